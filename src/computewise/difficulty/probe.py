"""Difficulty from a short probe: its draws are charged, and go on to be part of the answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Self

import numpy as np

from computewise.difficulty.beta import Beta, concentration, effective
from computewise.difficulty.estimator import Cost, cost_of, first, fitted
from computewise.difficulty.logistic import Logistic, fit_logistic
from computewise.draws import Draws, Floats
from computewise.errors import UsageError
from computewise.metrics import UNANSWERED

ROUNDS = 3
"""Of fitting the mean and the concentration in turn; the third changes neither by much."""
ROUNDING = 1e-6
SHARPEST = 0.01
"""A score nearer to 0 or 1 says no more than this: a verifier's last digits must not outweigh the other draws."""


@dataclass(slots=True)
class ProbeDifficulty:
    """A posterior over pass@1 from the first `probe` draws (2 to 8 are meant), without their grades.

    A beta-binomial regression on what the verifier says of the draws (log-odds of the mean value, mean log-odds of
    `means`), the share that the commonest answer has of the draws and the heaviest of the values, how many draws have
    an answer, their length and their log-probability.
    """

    probe: int = 4
    model_: Logistic | None = field(default=None, init=False, repr=False)
    concentration_: float = field(default=np.nan, init=False, repr=False)
    """alpha + beta of every posterior: what the probe is worth in graded draws."""

    def fit(self, inputs: Sequence[Draws], ease: Floats) -> Self:
        """From `ease` (problems,), pass@1 over all the draws given of each problem; their number is its weight.

        The probe's own draws are taken out of it: a probe that is judged by itself believes itself too well. Raises
        `UsageError` where none are left, or `ease` cannot be of these draws.
        """
        if self.probe < 2:
            raise UsageError(f"probe = {self.probe} is not allowed: at least 2, a draw alone agrees with nobody")
        features = self._features(inputs)
        counts = np.array([len(draws) - self.probe for draws in inputs], np.float64)
        if not counts.any():
            raise UsageError(f"there are no draws to learn from but the probe's {self.probe}")
        probed = np.array([draws.correct[: self.probe].sum() for draws in inputs])
        shares = (ease * (counts + self.probe) - probed) / np.maximum(counts, 1)
        if not ((shares > -ROUNDING) & (shares < 1 + ROUNDING)).all():
            raise UsageError("ease is not pass@1 over all the draws given")
        shares = np.clip(shares, 0, 1)
        self.concentration_ = 1.0
        for _ in range(ROUNDS):
            self.model_ = fit_logistic(features, shares, effective(counts, self.concentration_))
            self.concentration_ = concentration(self.model_.left_out, shares, counts)
        return self

    def predict(self, inputs: Sequence[Draws]) -> Floats:
        """(problems,) means of the posteriors; raises `UsageError` for fewer draws than the probe."""
        return fitted(self.model_, self).predict(self._features(inputs))

    def posterior(self, inputs: Sequence[Draws]) -> Beta:
        """What is believed of each problem's pass@1; `quantiles((0.025, 0.975))` of it are a 95 % interval."""
        mean = self.predict(inputs)
        return Beta(mean * self.concentration_, (1 - mean) * self.concentration_)

    def cost(self, inputs: Sequence[Draws]) -> Cost:
        """The probe alone; none of it is lost where its draws are used."""
        return cost_of([first(draws, self.probe) for draws in inputs])

    def _features(self, inputs: Sequence[Draws]) -> Floats:
        return np.array([_features(first(draws, self.probe)) for draws in inputs])


def _features(probe: Draws) -> list[float]:
    answered = probe.answers != UNANSWERED
    _, answers = np.unique(probe.answers[answered], return_inverse=True)
    return [
        float(_log_odds(probe.values.mean())),  # of the mean: pass@1 itself, where the verifier is calibrated
        float(_log_odds(probe.means).mean()),
        np.bincount(answers, minlength=1).max() / len(probe),
        np.bincount(answers, probe.values[answered], minlength=1).max() / len(probe),
        answered.mean(),
        float(np.log1p(probe.tokens).mean()),
        float(probe.logprobs.mean()),
    ]


def _log_odds(scores: Floats) -> Floats:
    clipped = np.clip(scores, SHARPEST, 1 - SHARPEST)
    return np.asarray(np.log(clipped / (1 - clipped)))
