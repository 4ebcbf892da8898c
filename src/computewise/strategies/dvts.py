"""Diverse verifier tree search (Beeching et al. 2024, Hugging Face): beam search cut into independent trees."""

from __future__ import annotations

from dataclasses import dataclass

from computewise.core import Candidate, Problem
from computewise.session import Session
from computewise.strategies.beam_search import BeamSearch
from computewise.strategies.validation import divisible


@dataclass(frozen=True, slots=True)
class DVTS:
    """`n` / `width` independent trees; each keeps the best of its `width` beams every round."""

    n: int = 16
    width: int = 4
    name = "dvts"

    def __post_init__(self) -> None:
        divisible(self.n, self.width)

    async def __call__(self, problem: Problem, session: Session) -> list[Candidate]:
        """Cost: about `n` generations."""
        return await session.split(BeamSearch(self.width, self.width), self.n // self.width)
