"""An exact verifier of known cost for both sides of a benchmark: each call takes a fixed time."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence

_ALLOWED = re.compile(r"[0-9+*() -]{1,200}")


async def scores(prompt: str, solutions: Sequence[str], seconds: float) -> list[float]:
    """1 for every solution whose last line still has the problem's value; `seconds` is the time for a whole batch."""
    await asyncio.sleep(seconds)
    value = value_of(prompt)
    return [float(value_of(solution.rstrip("\n").rsplit("\n", 1)[-1]) == value) for solution in solutions]


def value_of(line: str) -> int | None:
    """The value of an arithmetic expression; None where the line is none."""
    if "**" in line or not _ALLOWED.fullmatch(line):
        return None
    try:
        value = eval(line, {"__builtins__": {}})
    except (SyntaxError, TypeError):
        return None
    return value if isinstance(value, int) else None
