"""Records as arrays, and the cost metrics that they are measured in."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from math import comb
from typing import Any, TypeVar

import numpy as np

from computewise.core import MODEL, REVISER, VERIFIER, Role, Usage
from computewise.costs import NO_VERIFIER, CostModel, FlopsCost, LatencyCost, MemoryCost, PriceCost, flops
from computewise.metrics import UNANSWERED, Floats, best_at_k, vote_at_k
from computewise.runs import CandidateRecord, Record, StrategyParams
from computewise.selection import Ballot, find_selection
from computewise.setups.base import Roles

T = TypeVar("T")


BATCH = 16

"""Number of rows that share one pass over the weights."""


@dataclass(frozen=True, slots=True)
class CostMetric:
    """A cost metric, with a cost model for every role."""

    name: str
    unit: str
    models: Mapping[Role, CostModel]

    def cost(self, usage: Usage, sequential: int, role: Role) -> float:
        """The cost of a usage of that role's model and the verifier; see `CostModel.cost`."""
        return self.models[role].cost(usage, sequential)


def cost_metrics(models: Roles) -> dict[str, CostMetric]:
    """The cost metrics by column: FLOPs, and those for which prices, speeds or shapes of all models are known."""
    roles, shapes = models.generators, models.shapes
    prm = models.sizes[VERIFIER]
    found = {"flops": CostMetric("FLOPs", "FLOPs", {role: FlopsCost(models.sizes[role], prm) for role in roles})}
    verifier = shapes.get(VERIFIER, None if prm else NO_VERIFIER)
    if verifier and shapes.keys() >= set(roles):
        traffic = {role: MemoryCost(shapes[role], verifier, BATCH) for role in roles}
        found["bytes"] = CostMetric("memory traffic", "bytes", traffic)
    if prices := _of_all(models.prices, roles):
        found["dollars"] = CostMetric("price", "$", {role: PriceCost(held) for role, held in prices.items()})
    if speeds := _of_all(models.speeds, roles):
        found["seconds"] = CostMetric("latency", "s", {role: LatencyCost(held) for role, held in speeds.items()})
    return found


def assumed(models: Roles) -> dict[str, Any]:
    """The assumptions of the cost metrics as plain data: by role dollars a million tokens, and seconds a token."""
    numbers = {shape.bytes_per_number for shape in models.shapes.values()}
    return {
        "nominal": models.nominal,
        "batch": BATCH,
        "bytes_per_number": max(numbers, default=None),
        "prices": {role: asdict(held) for role, held in models.prices.items()},
        "speeds": {role: asdict(held) for role, held in models.speeds.items()},
    }


def _of_all(known: Mapping[Role, T], roles: Sequence[Role]) -> dict[Role, T]:
    """By role, a reviser without its own has those of the model; empty where one is not known."""
    if not all(role in known for role in roles if role != REVISER):
        return {}
    return {role: known.get(role, known[MODEL]) for role in roles}


TOKEN_FIELDS = tuple(field.name for field in fields(Usage))


@dataclass(frozen=True, slots=True)
class StrategyRow:
    """One strategy and selection at one budget: accuracies in [0, 1] and usages, (problems,) means over seeds.

    Where a choice was cross-validated, accuracies are (partitions, problems).
    """

    family: str
    strategy: StrategyParams
    selection: str
    n: int
    accuracy: Floats
    usage: dict[str, Floats]
    role: Role = MODEL

    @property
    def label(self) -> str:
        """Family and selection, as readers see them."""
        return self.family if self.family in ("single sample", "greedy") else f"{self.family}, {self.selection}"


class SamplePool:
    """Samples of every problem with one seed: arrays (problems, samples)."""

    def __init__(self, records: Sequence[Record]) -> None:
        self.records = records
        self.values = _array(records, lambda outcome: outcome.value)
        self.logprobs = _array(records, lambda outcome: outcome.mean_token_prob)
        self.tokens = _array(records, lambda outcome: outcome.tokens)
        self.correct = _array(records, lambda outcome: outcome.correct).astype(np.bool_)
        self.answers = np.full(self.values.shape, UNANSWERED, np.int64)
        for row, record in enumerate(records):
            numbers: dict[str, int] = {}
            for column, outcome in enumerate(record.candidates):
                if outcome.answer is not None:
                    self.answers[row, column] = numbers.setdefault(outcome.answer, len(numbers))

    def accuracy(self, selection: str, k: int) -> Floats:
        """(problems,): the accuracy of a selection from k samples, exact or over many random subsets."""
        match selection:
            case "best":
                return best_at_k(self.values, self.answers, self.correct, k)
            case "majority":
                return vote_at_k(np.ones_like(self.values), self.answers, self.correct, k)
            case "weighted, logprob":
                return vote_at_k(self.logprobs, self.answers, self.correct, k)
            case _:
                return self.vote(self.values, k)

    def vote(self, weights: Floats, k: int) -> Floats:
        """(problems,): the accuracy of a vote of k samples by any weights (problems, samples)."""
        return vote_at_k(weights, self.answers, self.correct, k)

    def usage(self, k: int, *, verified: bool) -> list[Usage]:
        """The usage of k samples: sampled tokens in proportion, the prompt once uncached and k - 1 times cached."""
        n = self.values.shape[1]
        return [share_of_usage(record.usage, k, n, verified) for record in self.records]

    def longest(self, k: int) -> Floats:
        """(problems,): expected tokens of the longest of k samples, exact over all subsets; it decides the latency."""
        ranked = np.sort(self.tokens, axis=1)
        n = ranked.shape[1]
        below = np.array([comb(rank, k - 1) / comb(n, k) for rank in range(n)])
        return np.asarray(ranked @ below)


def share_of_usage(usage: Usage, k: int, n: int, verified: bool) -> Usage:
    """The usage of k of n samples that were drawn together: the prompt is read once, and k - 1 times from the cache."""
    cached = (k - 1) / (n - 1) if n > 1 else 0
    part = Usage(
        samples=k,
        prompt_tokens=round(usage.prompt_tokens * k / n),
        cached_prompt_tokens=round(usage.cached_prompt_tokens * cached),
        completion_tokens=round(usage.completion_tokens * k / n),
        verifier_tokens=round(usage.verifier_tokens * k / n),
        cached_verifier_tokens=round(usage.cached_verifier_tokens * cached),
    )
    return part if verified else replace(part, verifier_tokens=0, cached_verifier_tokens=0)


def _array(records: Sequence[Record], read: Callable[[CandidateRecord], float]) -> Floats:
    width = max(len(record.candidates) for record in records)
    padded = np.zeros((len(records), width))
    for row, record in enumerate(records):
        padded[row, : len(record.candidates)] = [read(outcome) for outcome in record.candidates]
    return padded


def elected(record: Record, selection: str) -> bool:
    """Whether the selection's answer among the recorded candidates is correct."""
    ballots = [Ballot(outcome.answer, outcome.value, outcome.chain) for outcome in record.candidates]
    chosen = find_selection(selection)(ballots)
    return chosen is not None and record.candidates[chosen].correct


@dataclass(frozen=True, slots=True)
class UsageColumns:
    """Turns usages into the columns of a row; one object for a study, since all rows are measured alike."""

    models: Roles
    metrics: Mapping[str, CostMetric]
    tokens_a_generation: Floats
    """(problems,)"""

    def of(self, usages: Iterable[Usage], sequential: Iterable[float], role: Role = MODEL) -> dict[str, Floats]:
        """(problems,) each: tokens of every kind, generations, FLOPs without a prefix cache, and every cost metric.

        `sequential` is the number of sampled tokens that had to wait for one another.
        """
        held, waited = list(usages), [round(tokens) for tokens in sequential]
        columns = {name: np.array([getattr(usage, name) for usage in held], float) for name in TOKEN_FIELDS}
        columns["generations"] = columns["completion_tokens"] / self.tokens_a_generation
        sizes = self.models.sizes[role], self.models.sizes[VERIFIER]
        columns["flops_uncached"] = np.array([flops(usage, *sizes).uncached_total for usage in held])
        for name, metric in self.metrics.items():
            columns[name] = np.array(
                [metric.cost(u, min(w, u.completion_tokens), role) for u, w in zip(held, waited, strict=True)]
            )
        return columns
