"""Independent samples; the selection does the rest."""

from __future__ import annotations

from dataclasses import dataclass

from computewise.core import Candidate, Problem
from computewise.session import Session
from computewise.strategies.validation import at_least_one


@dataclass(frozen=True, slots=True)
class BestOfN:
    """Sample `n` whole solutions, score each."""

    n: int = 16
    name = "best_of_n"

    def __post_init__(self) -> None:
        at_least_one(n=self.n)

    async def __call__(self, problem: Problem, session: Session) -> list[Candidate]:
        """Cost: `n` generations."""
        return await session.score(await session.sample(self.n))
