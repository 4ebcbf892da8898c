"""The verifier as one request sees it: it reads the conversation, and where it fails the others decide."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from computewise.core import Candidate, Problem, Usage, Verifier
from computewise.errors import ModelError
from computewise.serve.work import Work

UNDECIDED = 0.5
"""The score of a step that the verifier could not read."""


class Verifying:
    """Notes in `work` what it was called for, and what it failed at."""

    def __init__(self, verifier: Verifier, work: Work, transcript: str) -> None:
        self.name, self.parameters = verifier.name, verifier.parameters
        self._verifier, self._work, self._transcript = verifier, work, transcript

    async def score(self, problem: Problem, candidates: Sequence[Candidate]) -> tuple[list[tuple[float, ...]], Usage]:
        """See `computewise.core.Verifier.score`."""
        self._work.verifier_calls += 1
        read = replace(problem, prompt=self._transcript) if self._transcript else problem
        try:
            return await self._verifier.score(read, candidates)
        except ModelError as error:
            self._work.unread.append(" ".join(str(error).split()))
            return [(UNDECIDED,) * len(candidate.steps) for candidate in candidates], Usage()

    def value(self, scores: Sequence[float]) -> float:
        """See `computewise.core.Verifier.value`; equal for all once some were not read: a vote is then by majority."""
        return 1.0 if self._work.unread else self._verifier.value(scores)
