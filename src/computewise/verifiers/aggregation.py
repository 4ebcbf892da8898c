"""The value of a candidate from the scores of its steps."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

AGGREGATIONS: dict[str, Callable[[Sequence[float]], float]] = {
    "last": lambda scores: scores[-1],
    "min": min,
    "prod": math.prod,
    "mean": lambda scores: math.fsum(scores) / len(scores),
}


def aggregate(scores: Sequence[float], how: str) -> float:
    """One of `AGGREGATIONS`; 0 without a score."""
    return float(AGGREGATIONS[how](scores)) if scores else 0.0
