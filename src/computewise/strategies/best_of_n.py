"""One sample, one greedy solution, or the best of N."""

from __future__ import annotations

from dataclasses import dataclass

from computewise.core import ROOT, Candidate, Problem
from computewise.errors import at_least_one
from computewise.session import Session, Strategy


@dataclass(frozen=True, slots=True)
class BestOfN(Strategy):
    """Sample `n` whole solutions, score each."""

    n: int = 16
    name = "best_of_n"

    def __post_init__(self) -> None:
        at_least_one(n=self.n)

    async def __call__(self, problem: Problem, session: Session) -> list[Candidate]:
        """Cost: `n` generations."""
        return await session.score(await session.sample(self.n))


@dataclass(frozen=True, slots=True)
class Single(Strategy):
    """Sample one solution."""

    name = "single"
    n = 1

    async def __call__(self, problem: Problem, session: Session) -> list[Candidate]:
        """Cost: one generation."""
        return await session.sample(1)


@dataclass(frozen=True, slots=True)
class Greedy(Strategy):
    """Take the likeliest token every time."""

    name = "greedy"
    n = 1

    async def __call__(self, problem: Problem, session: Session) -> list[Candidate]:
        """Cost: one generation."""
        found = [ROOT]
        while not found[0].finished:
            found = await session.expand(found, 1, greedy=True)
        return found
