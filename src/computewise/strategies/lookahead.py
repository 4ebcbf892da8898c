"""Beam search that judges a step by where it leads (Snell et al. 2024, section 5.2)."""

from __future__ import annotations

from dataclasses import dataclass

from computewise.core import ROOT, Candidate, Problem
from computewise.session import Session
from computewise.strategies.ranking import top
from computewise.strategies.validation import at_least_one, divisible


@dataclass(frozen=True, slots=True)
class Lookahead:
    """Beam search where a beam's value is the verifier's at the end of a greedy rollout of at most `k` steps from it.

    `n` and `width` are beam search's N and M; `k` = 0 would be beam search.
    """

    n: int = 16
    width: int = 4
    k: int = 1
    name = "lookahead"

    def __post_init__(self) -> None:
        divisible(self.n, self.width)
        at_least_one(k=self.k)

    async def __call__(self, problem: Problem, session: Session) -> list[Candidate]:
        """Cost: about `n` * (`k` + 1) generations.

        The beams are scored too, though their own values decide nothing: what a verifier has read is not read again.
        """
        beams = await session.score(await session.expand([ROOT], self.n))
        while not all(beam.finished for beam in beams):
            values = [session.value(end) for end in await self._ends(beams, session)]
            survivors = top(list(zip(beams, values, strict=True)), self.n // self.width, lambda pair: pair[1])
            beams = await session.score(await session.expand([beam for beam, _ in survivors], self.width))
        return beams

    async def _ends(self, beams: list[Candidate], session: Session) -> list[Candidate]:
        """Where each beam's rollout ends, scored: the verifier reads the extended text, not the beam's."""
        ends = beams
        for _ in range(self.k):
            ends = await session.expand(ends, 1, greedy=True)
        return await session.score(ends)
