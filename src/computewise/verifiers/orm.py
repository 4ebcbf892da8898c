"""The shipped outcome verifier for revisions: it reads the attempts before the one it judges."""

from __future__ import annotations

from pathlib import Path

from computewise.core import Candidate, Problem
from computewise.models.embedded import fitting_context
from computewise.models.loop import EngineLoop
from computewise.verifiers.prm import EmbeddedPRM


class EmbeddedORM(EmbeddedPRM):
    """Scores an attempt by the chance that it is right, in view of its history (Snell et al. 2024, appendix I).

    Trained on whole attempts' outcomes; the scores of earlier steps are its opinion of the same so far. The value is
    the last step's.
    """

    def __init__(self, loop: EngineLoop, *, path: Path | None = None) -> None:
        super().__init__(loop, name="orm", path=path)

    def _context(self, problem: Problem, candidate: Candidate) -> tuple[int, ...]:
        length = sum(len(step.text) for step in candidate.steps) + 1
        return fitting_context(problem.prompt, [one.text for one in candidate.history], self.context - length)

    def _shared(self, candidate: Candidate, context: tuple[int, ...]) -> tuple[int, ...]:
        """A history is hardly ever that of two candidates, and keeping it takes megabytes."""
        return () if candidate.history else context

    def _known(self, candidate: Candidate) -> int:
        """Nothing of what was scored in view of another history."""
        return 0 if candidate.revises else len(candidate.scores)
