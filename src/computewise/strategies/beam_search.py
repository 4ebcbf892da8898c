"""Beam search against a process reward model (Snell et al. 2024, section 5.2)."""

from __future__ import annotations

from dataclasses import dataclass

from computewise.core import ROOT, Candidate, Problem
from computewise.session import Session
from computewise.strategies.ranking import top
from computewise.strategies.validation import divisible


@dataclass(frozen=True, slots=True)
class BeamSearch:
    """Keep the best N/M of N beams each round and sample M continuations of each.

    `n` is the paper's N, the number of beams; `width` its M, the continuations of each survivor (4, or sqrt N).
    """

    n: int = 16
    width: int = 4
    name = "beam_search"

    def __post_init__(self) -> None:
        divisible(self.n, self.width)

    async def __call__(self, problem: Problem, session: Session) -> list[Candidate]:
        """Cost: about `n` generations. A finished beam keeps its place and competes; it is not sampled again."""
        beams = await session.score(await session.expand([ROOT], self.n))
        while not all(beam.finished for beam in beams):
            survivors = top(beams, self.n // self.width, session.value)
            beams = await session.score(await session.expand(survivors, self.width))
        return beams
