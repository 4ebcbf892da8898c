"""Difficulty as Snell et al. 2024, section 3.2, have it: a mean over many draws, that no answer comes of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from computewise.difficulty.estimator import Cost, cost_of, first
from computewise.draws import Draws, Floats


@dataclass(slots=True)
class OracleDifficulty:
    """pass@1 over the draws given: needs the right answers, and is the ceiling. There is nothing to fit."""

    def fit(self, inputs: Sequence[Draws], ease: Floats) -> Self:
        """Learn nothing."""
        return self

    def predict(self, inputs: Sequence[Draws]) -> Floats:
        """(problems,) shares of right draws; raises `UsageError` for a problem without any."""
        return np.array([first(draws, max(1, len(draws))).correct.mean() for draws in inputs])

    def cost(self, inputs: Sequence[Draws]) -> Cost:
        """All of the draws."""
        return cost_of(inputs)


@dataclass(slots=True)
class PredictedDifficulty:
    """Mean verifier's value over the draws given: no answers used, nothing to fit, as calibrated as the verifier."""

    def fit(self, inputs: Sequence[Draws], ease: Floats) -> Self:
        """Learn nothing."""
        return self

    def predict(self, inputs: Sequence[Draws]) -> Floats:
        """(problems,) mean values; raises `UsageError` for a problem without draws."""
        return np.array([first(draws, max(1, len(draws))).values.mean() for draws in inputs])

    def cost(self, inputs: Sequence[Draws]) -> Cost:
        """All of the draws."""
        return cost_of(inputs)
