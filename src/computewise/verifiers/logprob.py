"""The generator's own opinion as a verifier: it costs nothing, and every learned one must beat it."""

from __future__ import annotations

import math
from collections.abc import Sequence

from computewise.core import Candidate, Problem, Usage


class LogprobVerifier:
    """Scores a step by the mean probability (geometric, a token) of everything up to its end.

    Self-certainty (Kang et al. 2025) is another measure: the mean divergence of the uniform distribution from that of
    each next token. It needs the log-probabilities of the whole vocabulary, of which a `ViewStep` carries the sampled
    token's alone.
    """

    name = "logprob"
    parameters = 0

    async def score(self, problem: Problem, candidates: Sequence[Candidate]) -> tuple[list[tuple[float, ...]], Usage]:
        """See `computewise.core.Verifier.score`."""
        return [mean_probabilities(candidate) for candidate in candidates], Usage()

    def value(self, scores: Sequence[float]) -> float:
        """The last step's score; 0 without one."""
        return scores[-1] if scores else 0.0


def mean_probabilities(candidate: Candidate) -> tuple[float, ...]:
    """exp of the mean token log-probability up to the end of each step; 1 before the first token.

    A step has no token where a server's count was shared out by length and the step is short.
    """
    scores, logprob, tokens = [], 0.0, 0
    for step in candidate.steps:
        logprob, tokens = logprob + step.logprob, tokens + step.tokens
        scores.append(math.exp(logprob / max(tokens, 1)))
    return tuple(scores)
