"""One sample, or one greedy solution: the unit everything else is measured in."""

from __future__ import annotations

from dataclasses import dataclass

from computewise.core import ROOT, Candidate, Problem
from computewise.session import Session


@dataclass(frozen=True, slots=True)
class Single:
    """Sample one solution."""

    name = "single"
    n = 1

    async def __call__(self, problem: Problem, session: Session) -> list[Candidate]:
        """Cost: one generation."""
        return await session.sample(1)


@dataclass(frozen=True, slots=True)
class Greedy:
    """Take the likeliest token every time."""

    name = "greedy"
    n = 1

    async def __call__(self, problem: Problem, session: Session) -> list[Candidate]:
        """Cost: one generation."""
        found = [ROOT]
        while not found[0].finished:
            found = await session.expand(found, 1, greedy=True)
        return found
