"""Tree searches of a fixed width: beam search, its lookahead variant, diverse verifier tree search (DVTS) and REBASE.

REBASE (Wu et al. 2024) divides its width by the softmax of the rewards.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from computewise.core import ROOT, Candidate, Problem
from computewise.errors import above_zero, at_least_one, divisible, zero_or_one
from computewise.registry import UNSAID
from computewise.selection import top
from computewise.session import Session, Strategy


@dataclass(frozen=True, slots=True)
class BeamSearch(Strategy):
    """Keep the best N/M of N beams each round and sample M continuations of each.

    `n` is the paper's N, the number of beams; `width` its M, the continuations of each survivor (4, or sqrt N).

    By the paper's rule a finished beam competes with those that grow, and is lost where it loses. It brings one value,
    while every survivor that grows brings `width` new ones each round, so long solutions are favoured by the noise of
    the verifier. With `keep_finished` = 1 a finished beam leaves the contest and keeps its place, as in REBASE: the
    others share the places that are left, and all `n` beams come to an end.
    """

    n: int = 16
    width: int = 4
    keep_finished: int = field(default=0, metadata=UNSAID)
    name = "beam_search"
    needs_steps = True
    needs_verifier = True

    def __post_init__(self) -> None:
        divisible(self.n, self.width)
        zero_or_one(keep_finished=self.keep_finished)

    async def __call__(self, problem: Problem, session: Session) -> list[Candidate]:
        """Cost: about `n` generations where all solutions of a problem are about as long.

        Where they are not, the paper's rule samples more than that, since the longest take part to the end, and ends
        with `n` / `width` candidates or little more. With `keep_finished` it costs at most about `n` generations.
        """
        if self.keep_finished:
            return await self._keeping(session)
        beams = await session.score(await session.expand([ROOT], self.n))
        while not all(beam.finished for beam in beams):
            survivors = top(beams, self.n // self.width, session.value)
            beams = await session.score(await session.expand(survivors, self.width))
        return beams

    async def _keeping(self, session: Session) -> list[Candidate]:
        beams = await session.score(await session.expand([ROOT], self.n))
        while growing := [beam for beam in beams if not beam.finished]:
            finished = [beam for beam in beams if beam.finished]
            places = self.n - len(finished)
            survivors = top(growing, max(1, places // self.width), session.value)
            children = await session.expand(survivors, shared(places, len(survivors)))
            beams = finished + await session.score(children)
        return beams


def shared(places: int, among: int) -> list[int]:
    """`places` in `among` parts as equal as can be, the earlier ones larger."""
    return [places // among + (index < places % among) for index in range(among)]


@dataclass(frozen=True, slots=True)
class DVTS(Strategy):
    """`n` / `width` independent trees; each keeps the best of its `width` beams every round.

    `keep_finished` is that of beam search, inside each tree.
    """

    n: int = 16
    width: int = 4
    keep_finished: int = field(default=0, metadata=UNSAID)
    name = "dvts"
    needs_steps = True
    needs_verifier = True

    def __post_init__(self) -> None:
        divisible(self.n, self.width)
        zero_or_one(keep_finished=self.keep_finished)

    async def __call__(self, problem: Problem, session: Session) -> list[Candidate]:
        """Cost: that of `n` / `width` beam searches with `width` beams each."""
        return await session.split(BeamSearch(self.width, self.width, self.keep_finished), self.n // self.width)


@dataclass(frozen=True, slots=True)
class Lookahead(Strategy):
    """Beam search where a beam's value is the verifier's at the end of a greedy rollout of at most `k` steps from it.

    `n` and `width` are N and M of beam search, which `k` = 0 would be.
    """

    n: int = 16
    width: int = 4
    k: int = 1
    name = "lookahead"
    needs_steps = True
    needs_verifier = True

    def __post_init__(self) -> None:
        divisible(self.n, self.width)
        at_least_one(k=self.k)

    async def __call__(self, problem: Problem, session: Session) -> list[Candidate]:
        """Cost: about `n` * (`k` + 1) generations where solutions are about as long; else more, as for beam search.

        The beams are scored too, although their own values decide nothing: the verifier then need not read their steps
        again.
        """
        beams = await session.score(await session.expand([ROOT], self.n))
        while not all(beam.finished for beam in beams):
            values = [session.value(end) for end in await self._ends(beams, session)]
            survivors = top(list(zip(beams, values, strict=True)), self.n // self.width, lambda pair: pair[1])
            beams = await session.score(await session.expand([beam for beam, _ in survivors], self.width))
        return beams

    async def _ends(self, beams: list[Candidate], session: Session) -> list[Candidate]:
        """The ends of the beams' rollouts, scored."""
        ends = beams
        for _ in range(self.k):
            ends = await session.expand(ends, 1, greedy=True)
        return await session.score(ends)


@dataclass(frozen=True, slots=True)
class Rebase(Strategy):
    """`n` beams; each round every unfinished one gets children in proportion to softmax(value / `balance_temperature`).

    Finished beams keep their places, so the width that is left to divide shrinks as beams finish.
    """

    n: int = 16
    balance_temperature: float = 0.2
    name = "rebase"
    needs_steps = True
    needs_verifier = True

    def __post_init__(self) -> None:
        at_least_one(n=self.n)
        above_zero(balance_temperature=self.balance_temperature)

    async def __call__(self, problem: Problem, session: Session) -> list[Candidate]:
        """Cost: about `n` generations."""
        beams = await session.score(await session.expand([ROOT], self.n))
        while growing := [beam for beam in beams if not beam.finished]:
            finished = [beam for beam in beams if beam.finished]
            shares = softmax([session.value(beam) for beam in growing], self.balance_temperature)
            children = await session.expand(growing, apportion(shares, self.n - len(finished)))
            beams = finished + await session.score(children)
        return beams


def softmax(logits: Sequence[float], temperature: float) -> list[float]:
    """Shares that sum to 1, in proportion to exp(logit / temperature)."""
    largest = max(logits)
    powers = [math.exp((logit - largest) / temperature) for logit in logits]
    return [power / sum(powers) for power in powers]


def apportion(shares: Sequence[float], total: int) -> list[int]:
    """Whole numbers that sum to `total`, in proportion to `shares`, by largest remainders; the earlier wins a tie."""
    exact = [share * total for share in shares]
    counts = [int(one) for one in exact]
    by_remainder = sorted(range(len(exact)), key=lambda index: counts[index] - exact[index])
    for index in by_remainder[: total - sum(counts)]:
        counts[index] += 1
    return counts
