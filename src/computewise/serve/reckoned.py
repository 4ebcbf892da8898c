"""What a request took, as plain numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from computewise.compute import Flops
from computewise.core import Usage


@dataclass(frozen=True, slots=True)
class Difficulty:
    """`estimate` is how likely one solution is wrong (1 the hardest), from `samples` of this request."""

    estimate: float
    samples: int

    @property
    def bin(self) -> int:
        """A fifth of that scale, 1 the easiest."""
        return min(5, int(self.estimate * 5) + 1)


@dataclass(frozen=True, slots=True)
class Baseline:
    """Best-of-N where N is what the request was given, priced by its own solutions."""

    name: str
    flops: float


@dataclass(frozen=True, slots=True)
class Reckoned:
    """`usages` is by model, `usage` their sum; `shown` the sampled tokens that the client sees.

    `generations` are the solutions that the answer was selected from; while the search goes on, those that have ended.
    """

    usage: Usage
    usages: Mapping[str, Usage]
    flops: Flops
    generations: int
    shown: int
    difficulty: Difficulty | None
    baseline: Baseline | None

    @property
    def saved(self) -> float | None:
        """The share of the baseline's FLOPs that was not spent; negative where more was."""
        beside = self.baseline
        return None if beside is None or not beside.flops else 1 - self.flops.total / beside.flops
