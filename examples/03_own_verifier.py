"""A verifier of one's own: a function, plain or async, that returns one number for a solution, or one for each step.

On the command line name it as `--verifier my_module:checks_arithmetic`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import computewise as cw
from computewise.testing import check_verifier


@cw.verifier
async def checks_arithmetic(problem: str, steps: Sequence[str]) -> list[float]:
    """Low for a step that leaves a calculation with another value than the problem has."""
    expected = value(problem)
    return [0.9 if value(step) == expected else 0.1 for step in steps]


def value(expression: str) -> int | None:
    """What sums and products of integers come to; None for anything else."""
    text = expression.strip()
    if not re.fullmatch(r"[-+*() 0-9]+", text) or len(text) > 60:
        return None
    try:
        return int(eval(text, {"__builtins__": {}}))
    except (SyntaxError, TypeError):
        return None


if __name__ == "__main__":
    check_verifier(checks_arithmetic)
    result = cw.solve(
        "3*(4+5)-6*7",
        cw.BeamSearch(n=8, width=4),
        model=cw.load_model("small"),
        verifier=checks_arithmetic,
        task="expressions",
    )
    print(f"answer: {result.answer}, steps scored: {sum(len(c.scores) for c in result.candidates)}")
