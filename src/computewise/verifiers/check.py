"""A verifier proves that it can tell right from wrong before anything is spent on its word."""

from __future__ import annotations

import math
from collections.abc import Sequence

from computewise.core import Candidate, Problem, Step, Verifier
from computewise.errors import UsageError
from computewise.verifiers.template import Pair

SUM = Pair(
    question="A box holds 12 pencils. How many pencils are in 7 boxes and 5 loose pencils together?",
    right=("7 boxes hold 7 * 12 = 84 pencils.", "With the 5 loose ones that is 84 + 5 = 89. The answer is 89."),
    wrong=("7 boxes hold 7 * 12 = 36 pencils.", "With the 5 loose ones that is 36 + 5 = 53. The answer is 53."),
)
"""Nothing that a verifier of reasoning could miss."""
CONSTANT = 1e-4
"""Values closer than this are the same to every use of them."""


async def self_check(verifier: Verifier, pair: Pair = SUM) -> None:
    """Raise `UsageError` for a verifier that is constant, gives no numbers or ranks the wrong solution above the right.

    A wrong template looks like any score: a loader that reads the wrong place gives 0.50003 for everything.
    """
    problem = Problem("self-check", pair.question)
    candidates = [_solution("right", pair.right), _solution("wrong", pair.wrong)]
    (right, wrong), _ = await verifier.score(problem, candidates)
    seen = f"{verifier.name} scores a right solution {_shown(right)} and a wrong one {_shown(wrong)}"
    if (len(right), len(wrong)) != (len(pair.right), len(pair.wrong)):
        raise UsageError(f"{seen}, of {len(pair.right)} and {len(pair.wrong)} steps: likely it splits steps otherwise")
    if not all(math.isfinite(score) and 0 <= score <= 1 for score in (*right, *wrong)):
        raise UsageError(f"{seen}: a score is in [0, 1]; likely the weights are damaged or the data type overflows")
    better, worse = verifier.value(right), verifier.value(wrong)
    if abs(better - worse) < CONSTANT:
        raise UsageError(f"{seen}, which is the same: likely the marker is wrong, so nothing of the steps is read")
    if better < worse:
        raise UsageError(f"{seen}, the wrong way round: likely the labels are in the wrong order")


def _solution(name: str, steps: Sequence[str]) -> Candidate:
    return Candidate(name, None, tuple(Step(f"{step}\n\n", 1, 0.0) for step in steps), end="stop")


def _shown(scores: Sequence[float]) -> str:
    return "(" + ", ".join(f"{score:.4f}" for score in scores) + ")"
