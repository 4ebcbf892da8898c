"""The generator's own probability as a verifier: it costs nothing, and every learned verifier must beat it."""

from __future__ import annotations

from collections.abc import Sequence

from computewise.core import Candidate, Problem, Usage
from computewise.samples import mean_probabilities


class LogprobVerifier:
    """Scores a step by the geometric mean of the token probabilities up to its end.

    Self-certainty (Kang et al. 2025) is another measure: the mean divergence between the uniform distribution and that
    of each next token. It needs the log-probabilities of the whole vocabulary; a `Step` holds only those of the sampled
    tokens.
    """

    name = "logprob"
    parameters = 0

    async def score(self, problem: Problem, candidates: Sequence[Candidate]) -> tuple[list[tuple[float, ...]], Usage]:
        """See `computewise.core.Verifier.score`."""
        return [mean_probabilities(candidate) for candidate in candidates], Usage()

    def value(self, scores: Sequence[float]) -> float:
        """The last step's score; 0 without one."""
        return scores[-1] if scores else 0.0
