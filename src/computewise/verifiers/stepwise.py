"""Any reader of steps behind the `Verifier` protocol: one score a step, whatever the steps look like."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from computewise.core import Candidate, Problem, Usage
from computewise.errors import ModelError, UsageError
from computewise.verifiers.aggregation import AGGREGATIONS, aggregate
from computewise.verifiers.layout import Solution, read_solution

UNREAD = 0.5
"""The score of blank steps at the beginning: there is nothing to read yet."""
_ROUNDING = 1e-4
"""How far half precision may carry a probability out of [0, 1]."""


class Reader(Protocol):
    """A model that reads steps."""

    async def read(self, question: str, solutions: Sequence[Solution]) -> tuple[list[tuple[float, ...]], Usage]:
        """The scores of each solution's new steps, and what reading cost; every solution has new ones."""
        ...


class StepVerifier:
    """Scores the steps that have no score yet; a blank step has the score of the one before it."""

    def __init__(self, reader: Reader, *, name: str, parameters: int, aggregation: str) -> None:
        if aggregation not in AGGREGATIONS:
            raise UsageError(f"unknown aggregation {aggregation!r}: allowed are {', '.join(AGGREGATIONS)}")
        self.name = name
        self.parameters = parameters
        self.aggregation = aggregation
        self._reader = reader

    async def score(self, problem: Problem, candidates: Sequence[Candidate]) -> tuple[list[tuple[float, ...]], Usage]:
        """See `computewise.core.Verifier.score`; every candidate with anything new is read, and charged, once."""
        solutions = [read_solution(candidate) for candidate in candidates]
        unread = [solution for solution in solutions if solution.new]
        read, usage = await self._reader.read(problem.prompt, unread) if unread else ([], Usage())
        if len(read) != len(unread):
            raise ModelError(f"{self.name} read {len(read)} solutions of {len(unread)}")
        found = iter(read)
        new = [next(found) if solution.new else () for solution in solutions]
        return [self._scores(c, s, scores) for c, s, scores in zip(candidates, solutions, new, strict=True)], usage

    def value(self, scores: Sequence[float]) -> float:
        """As the verifier aggregates; 0 without a score."""
        return aggregate(scores, self.aggregation)

    def _scores(self, candidate: Candidate, solution: Solution, new: Sequence[float]) -> tuple[float, ...]:
        """One for each step of the candidate, blank ones included."""
        if len(new) != solution.new:
            raise ModelError(f"{self.name} gave {len(new)} scores for {solution.new} steps")
        fresh, scores = iter(new), list(candidate.scores[: len(candidate.steps)])
        for step in candidate.steps[len(scores) :]:
            scores.append(self._checked(next(fresh)) if step.text.strip() else (scores[-1] if scores else UNREAD))
        return tuple(scores)

    def _checked(self, score: float) -> float:
        if not -_ROUNDING <= score <= 1 + _ROUNDING:  # NaN neither
            raise ModelError(f"{self.name} scored a step {score}: a score is in [0, 1]")
        return min(max(score, 0.0), 1.0)
