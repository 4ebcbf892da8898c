"""Beam search, its lookahead variant and diverse verifier tree search."""

from __future__ import annotations

from dataclasses import dataclass

from computewise.core import ROOT, Candidate, Problem
from computewise.session import Session, Strategy
from computewise.strategies._common import at_least_one, divisible, top


@dataclass(frozen=True, slots=True)
class BeamSearch(Strategy):
    """Keep the best N/M of N beams each round and sample M continuations of each.

    `n` is the paper's N, the number of beams; `width` its M, the continuations of each survivor (4, or sqrt N).
    """

    n: int = 16
    width: int = 4
    name = "beam_search"
    needs_steps = True

    def __post_init__(self) -> None:
        divisible(self.n, self.width)

    async def __call__(self, problem: Problem, session: Session) -> list[Candidate]:
        """Cost: about `n` generations. A finished beam keeps its place and competes; it is not sampled again."""
        beams = await session.score(await session.expand([ROOT], self.n))
        while not all(beam.finished for beam in beams):
            survivors = top(beams, self.n // self.width, session.value)
            beams = await session.score(await session.expand(survivors, self.width))
        return beams


@dataclass(frozen=True, slots=True)
class DVTS(Strategy):
    """`n` / `width` independent trees; each keeps the best of its `width` beams every round."""

    n: int = 16
    width: int = 4
    name = "dvts"
    needs_steps = True

    def __post_init__(self) -> None:
        divisible(self.n, self.width)

    async def __call__(self, problem: Problem, session: Session) -> list[Candidate]:
        """Cost: about `n` generations."""
        return await session.split(BeamSearch(self.width, self.width), self.n // self.width)


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

    def __post_init__(self) -> None:
        divisible(self.n, self.width)
        at_least_one(k=self.k)

    async def __call__(self, problem: Problem, session: Session) -> list[Candidate]:
        """Cost: about `n` * (`k` + 1) generations.

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
