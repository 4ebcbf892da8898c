"""Records as arrays, the cost metrics that they are measured in, and a row for each strategy, selection and budget."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from math import comb
from typing import Any, TypeVar

import numpy as np

from computewise.core import LARGE, MODEL, REVISER, VERIFIER, Role, Usage
from computewise.costs import NO_VERIFIER, CostModel, FlopsCost, LatencyCost, MemoryCost, PriceCost, flops
from computewise.metrics import UNANSWERED, Floats, best_at_k, vote_at_k
from computewise.runs import CandidateRecord, Key, Record, StrategyParams, make_key
from computewise.selection import Ballot, find_selection
from computewise.setups.base import Roles
from computewise.strategies import strategy_to_dict
from computewise.strategies.revisions import TRUST
from computewise.study.analysis.revisions import ChainPool, Ratio, ratios
from computewise.study.plan import Run, StudyConfig, strategy_of

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
        "without_attention": [
            models.labels.get(r, r) for r, n in models.sizes.items() if n and not getattr(n, "attention", 0)
        ],
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


POOL_SELECTIONS = ("majority", "weighted, logprob", "best", "weighted")
SEARCH_SELECTIONS = ("best", "weighted")
REVISED = ("step revisions", "adaptive branching")
"""Families whose candidates are chains: selected hierarchically."""


@dataclass(frozen=True, slots=True)
class RatioRow:
    """A ratio of sequential to parallel attempts, and its row."""

    ratio: Ratio
    row: StrategyRow


def revises(row: StrategyRow) -> bool:
    """Whether its candidates are attempts that may be made in view of earlier ones."""
    return row.role == REVISER or row.selection == "hierarchical"


def weighs_probability(pools: Sequence[SamplePool]) -> bool:
    """Whether the samples have log-probabilities: some servers give none."""
    return any(np.ptp(pool.logprobs) > 0 for pool in pools)


def large_row(greedy: list[list[Record]], columns: UsageColumns) -> StrategyRow | None:
    """The larger model's one greedy answer, without a verifier; None where there is no larger model."""
    for records in greedy:
        usages = [replace(r.usage, verifier_tokens=0, cached_verifier_tokens=0) for r in records]
        waited = [r.usage.completion_tokens for r in records]
        usage = columns.of(usages, waited, LARGE)
        return StrategyRow("greedy", records[0].strategy, "none", 1, _accuracy([records], "best"), usage, LARGE)
    return None


def pool_rows(config: StudyConfig, pools: list[SamplePool], columns: UsageColumns) -> list[StrategyRow]:
    """Best-of-N at every budget, by every selection, from the same samples."""
    selections = [one for one in POOL_SELECTIONS if weighs_probability(pools) or one != "weighted, logprob"]
    return [
        pool_row(pools, selection, k, columns)
        for k in config.budgets
        for selection in (selections if k > 1 else ("best",))
    ]


def larger_rows(pools: list[SamplePool], columns: UsageColumns) -> list[StrategyRow]:
    """Best-of-k of the larger model's samples, weighted by the verifier, for every k that was drawn."""
    most = pools[0].values.shape[1] if pools else 0
    return [pool_row(pools, "weighted", k, columns, LARGE) for k in range(2, most + 1)]


def pool_row(pools: list[SamplePool], selection: str, k: int, columns: UsageColumns, role: Role = MODEL) -> StrategyRow:
    """Best-of-k by one selection; a single sample where k is 1."""
    verified = selection in ("best", "weighted") and k > 1
    usages = [_mean(usages) for usages in zip(*(pool.usage(k, verified=verified) for pool in pools), strict=True)]
    accuracy = np.mean([pool.accuracy(selection, k) for pool in pools], axis=0)
    usage = columns.of(usages, np.mean([pool.longest(k) for pool in pools], axis=0), role)
    if k == 1:
        return StrategyRow("single sample", {"name": "single"}, "none", k, accuracy, usage, role)
    return StrategyRow("best-of-N", {"name": "best_of_n", "n": k}, selection, k, accuracy, usage, role)


def search_rows(runs: list[tuple[Run, list[Record]]], columns: UsageColumns) -> list[StrategyRow]:
    """The rows of strategies that have runs of their own: greedy, the searches and the step revisions."""
    by_strategy: dict[Key, list[tuple[Run, list[Record]]]] = defaultdict(list)
    for run, records in runs:
        if run.purpose not in ("pool", "difficulty", "chains", "draws") and run.role != LARGE:
            by_strategy[make_key(run.purpose, run.role, run.strategy, 0, "")].append((run, records))
    rows = []
    for same in by_strategy.values():
        run, seeds = same[0][0], [records for _, records in same]
        usages = [_mean([record.usage for record in one]) for one in zip(*seeds, strict=True)]
        sequential = np.mean([[record.sequential for record in one] for one in seeds], axis=0)
        usage = columns.of(usages, sequential, run.role)
        chains = strategy_of(run).default_select == "hierarchical"
        selections = ("hierarchical",) if chains else SEARCH_SELECTIONS
        for selection in selections if run.purpose != "greedy" else ("best",):
            name = selection if run.purpose != "greedy" else "none"
            accuracy = _accuracy(seeds, selection)
            rows.append(StrategyRow(run.purpose, run.strategy, name, run.budget, accuracy, usage, run.role))
    return rows


def ratio_rows(n: int, chains: list[ChainPool], columns: UsageColumns) -> list[RatioRow]:
    """Every ratio at a budget: by verifier, by majority, and with chains that end at a trusted attempt."""
    rows = []
    for ratio in ratios(n) if chains else ():
        # One attempt needs no selection, but a revision needs the verifier's scores, even where a majority selects.
        ways = [(ratio, "hierarchical", n > 1), (ratio, "majority", ratio.length > 1)]
        if ratio.length > 1:
            ways.append((replace(ratio, trust=TRUST), "hierarchical", True))
        for way, selection, verified in ways:
            usages = [_mean(one) for one in zip(*(c.usage(way, verified=verified) for c in chains), strict=True)]
            sequential = np.mean([c.longest(way) for c in chains], axis=0)
            usage = columns.of(usages, sequential, REVISER)
            accuracy = np.mean([c.accuracy(way, selection) for c in chains], axis=0)
            strategy = strategy_to_dict(way.strategy())
            rows.append(RatioRow(way, StrategyRow(way.family, strategy, selection, n, accuracy, usage, REVISER)))
    return rows


def _accuracy(seeds: Sequence[Sequence[Record]], selection: str) -> Floats:
    return np.mean([[elected(record, selection) for record in records] for records in seeds], axis=0, dtype=float)


def _mean(usages: Sequence[Usage]) -> Usage:
    total = sum(usages, Usage())
    return Usage(*(round(getattr(total, name) / len(usages)) for name in Usage.__dataclass_fields__))
