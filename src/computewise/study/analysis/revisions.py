"""Chains of revisions: every ratio of sequential to parallel attempts from the same recorded chains."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from computewise.core import Usage
from computewise.intervals import Estimate, rate
from computewise.metrics import Bools, Floats
from computewise.runs import CandidateRecord, Record
from computewise.selection import Ballot, find_selection
from computewise.session import Strategy
from computewise.strategies import GatedRevisions, Revisions
from computewise.study.plan import parallel_widths

Chain = tuple[CandidateRecord, ...]


@dataclass(frozen=True, slots=True)
class Ratio:
    """`chains` chains of `length` attempts; with `trust`, a chain ends at its first attempt of that value."""

    length: int
    chains: int
    trust: float | None = None

    @property
    def family(self) -> str:
        """The name of its family."""
        kind = "revisions" if self.trust is None else "gated revisions"
        return f"{kind}, {self.chains} x {self.length}"

    def strategy(self) -> Strategy:
        """The strategy that would draw it on its own."""
        if self.trust is None:
            return Revisions(self.length, self.chains)
        return GatedRevisions(self.length, self.chains, self.trust)


def ratios(n: int) -> Iterator[Ratio]:
    """The ways to split `n` attempts into equally long chains that `RevisionPool` draws, the most sequential first."""
    for chains in parallel_widths(n):
        if n % chains == 0:
            yield Ratio(n // chains, chains)


class ChainPool:
    """The chains that `RevisionPool` drew for every problem with one seed."""

    def __init__(self, records: Sequence[Record]) -> None:
        self._records = records
        self._chains = [
            [tuple(chain) for _, chain in groupby(record.candidates, key=lambda outcome: outcome.chain)]
            for record in records
        ]

    def accuracy(self, ratio: Ratio, selection: str) -> Floats:
        """(problems,): the share of disjoint groups of chains whose selected answer is right."""
        return np.array([np.mean([_elected(g, selection) for g in _groups(cs, ratio)]) for cs in self._chains])

    def usage(self, ratio: Ratio, *, verified: bool) -> list[Usage]:
        """The mean usage of one group if it were drawn on its own; the verifier reads without history."""
        return [
            _mean_usage(record, chains, ratio, verified)
            for record, chains in zip(self._records, self._chains, strict=True)
        ]

    def longest(self, ratio: Ratio) -> Floats:
        """(problems,): mean number of tokens of the longest chain of a group, which decides the latency."""
        groups = [_groups(chains, ratio) for chains in self._chains]
        return np.array([np.mean([max(sum(a.tokens for a in c) for c in g) for g in each]) for each in groups])

    def correct(self, least: int) -> np.ndarray:
        """(problems, chains, attempts): whether attempts are right, in chains cut to `least`."""
        return np.array([[[one.correct for one in chain] for chain in chains] for chains in self._cut_to(least)])

    def values(self, least: int) -> Floats:
        """The same for the verifier's values; 0 where there is no answer."""
        return np.array(
            [
                [[one.value if one.answer is not None else 0.0 for one in chain] for chain in chains]
                for chains in self._cut_to(least)
            ]
        )

    def _cut_to(self, least: int) -> list[list[Chain]]:
        return [[chain[:least] for chain in chains if len(chain) >= least] for chains in self._chains]


def _groups(chains: Sequence[Chain], ratio: Ratio) -> list[list[Chain]]:
    """Disjoint groups of the chains long enough, each cut to the ratio's length and at its first trusted attempt."""
    enough = [_cut(chain, ratio) for chain in chains if len(chain) >= ratio.length]
    whole = len(enough) // ratio.chains
    return [enough[at * ratio.chains : (at + 1) * ratio.chains] for at in range(whole)]


def _cut(chain: Chain, ratio: Ratio) -> Chain:
    if ratio.trust is not None:
        for index, attempt in enumerate(chain[: ratio.length]):
            if attempt.value >= ratio.trust and attempt.answer is not None:
                return chain[: index + 1]
    return chain[: ratio.length]


def _elected(group: Sequence[Chain], selection: str) -> bool:
    outcomes = [outcome for chain in group for outcome in chain]
    chosen = find_selection(selection)([Ballot(o.answer, o.value, o.chain) for o in outcomes])
    return chosen is not None and outcomes[chosen].correct


def _mean_usage(record: Record, chains: Sequence[Chain], ratio: Ratio, verified: bool) -> Usage:
    groups = _groups(chains, ratio)
    attempts = [attempt for group in groups for chain in group for attempt in chain]
    prompt = record.candidates[0].uncached_prompt_tokens
    tokens = sum(attempt.tokens for attempt in attempts) / len(groups)
    revised = sum(attempt.uncached_prompt_tokens for group in groups for chain in group for attempt in chain[1:]) / len(
        groups
    )
    again = prompt * (ratio.chains - 1)
    samples = len(attempts) / len(groups)
    rounds = sum(max(map(len, group)) for group in groups) / len(groups)
    return Usage(
        samples=round(samples),
        prompt_tokens=round(prompt + again + revised),
        cached_prompt_tokens=again,
        completion_tokens=round(tokens),
        verifier_tokens=round(samples * prompt + tokens) if verified else 0,
        cached_verifier_tokens=round(prompt * (samples - rounds)) if verified else 0,
    )


@dataclass(frozen=True, slots=True)
class Along:
    """The attempt of that number, 1 the first: rates over all chains of all problems, NaN where none had the chance."""

    attempt: int
    right: Estimate
    mended: Estimate
    """Right, given that the attempt before was wrong; NaN for the first attempt."""
    broken: Estimate
    """Wrong, given that the attempt before was right."""
    gated: Estimate
    """Right, if a chain ends at its first attempt that the verifier trusts."""


def along(correct: Bools, values: Floats, trust: float) -> list[Along]:
    """Attempts 1, 2, 4, ..: from (problems, chains, attempts) of right or wrong and of the verifier's values."""
    found = []
    for attempt in (1 << power for power in range(correct.shape[2].bit_length())):
        now = correct[:, :, attempt - 1]
        before = correct[:, :, attempt - 2] if attempt > 1 else np.zeros_like(now)
        chance = np.full_like(now, attempt > 1)
        found.append(
            Along(
                attempt,
                right=_rate(now, np.ones_like(now)),
                mended=_rate(now & ~before & chance, ~before & chance),
                broken=_rate(~now & before, before),
                gated=_rate(gated(correct, values, trust, attempt), np.ones_like(now)),
            )
        )
    return found


def gated(correct: Bools, values: Floats, trust: float, attempts: int) -> Bools:
    """(problems, chains): whether a chain of `attempts`, ended at its first of value `trust`, ends right."""
    trusted = values[:, :, :attempts] >= trust
    ends = np.where(trusted.any(2), trusted.argmax(2), attempts - 1)
    return np.take_along_axis(correct, ends[:, :, None], 2)[:, :, 0]


def _rate(events: Bools, chances: Bools) -> Estimate:
    return rate(events.sum(1).astype(float), chances.sum(1).astype(float))
