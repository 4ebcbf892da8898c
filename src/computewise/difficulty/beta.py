"""What is believed of pass@1: a Beta distribution for each problem, and how concentrated it is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from computewise.draws import Floats

CORRELATIONS = (np.arange(100) + 0.5) / 100
"""Of draws of one problem beyond what is expected of it: 1 / (1 + concentration), held equally likely before."""
REACH = 12.0
"""Standard deviations of the log-odds, or their whole range, within which a quantile is looked for."""
MAX_LOG_PARAMETER = 40.0
"""Log-odds at which pass@1 rounds to 0 or 1."""
POINTS = 2001

_log_gamma = np.vectorize(math.lgamma, otypes=[np.float64])


class Beta(NamedTuple):
    """One distribution over pass@1 a problem: (problems,) `alpha` and `beta`, above 0."""

    alpha: Floats
    beta: Floats

    @property
    def mean(self) -> Floats:
        """(problems,)."""
        return self.alpha / (self.alpha + self.beta)

    def quantiles(self, levels: Sequence[float]) -> Floats:
        """(problems, levels); `(0.025, 0.975)` are the ends of a 95 % interval. Good to 0.0001.

        Integrated over log-odds, where the density p^alpha (1-p)^beta has no poles and exponential tails.
        """
        alpha, beta = self.alpha[:, None], self.beta[:, None]
        middle, reach = np.log(alpha / beta), REACH * np.sqrt(1 / alpha + 1 / beta)
        low, high = np.clip(middle - reach, -MAX_LOG_PARAMETER, MAX_LOG_PARAMETER), np.clip(middle + reach, -MAX_LOG_PARAMETER, MAX_LOG_PARAMETER)
        log_odds = low + (high - low) * np.linspace(0, 1, POINTS)
        log_density = -alpha * np.logaddexp(0, -log_odds) - beta * np.logaddexp(0, log_odds)
        density = np.exp(log_density - log_density.max(1, keepdims=True))
        tails = density[:, [0, -1]] / np.hstack([alpha, beta])
        mass = density * (high - low) / (POINTS - 1)
        below = tails[:, :1] + np.cumsum(mass, 1) - mass / 2
        share = below / (below[:, -1:] + tails[:, 1:])
        ease = 1 / (1 + np.exp(-log_odds))
        return np.array([np.interp(levels, one, p) for one, p in zip(share, ease, strict=True)])


def concentration(mean: Floats, ease: Floats, counts: Floats) -> float:
    """alpha + beta common to all problems, given what was expected of each and the share of `counts` that came right.

    That of the mean correlation under the beta-binomial's likelihood: an average, for where few draws a problem leave
    it open, the likeliest value alone would be sure of too much. `mean` must not have been fitted to the same problem.
    """
    right, wrong = ease * counts, (1 - ease) * counts

    def log_likelihood(correlation: float) -> float:
        total = 1 / correlation - 1
        alpha, beta = mean * total, (1 - mean) * total
        return float(np.sum(_log_beta(alpha + right, beta + wrong) - _log_beta(alpha, beta)))

    log_likelihoods = np.array([log_likelihood(correlation) for correlation in CORRELATIONS])
    weights = np.exp(log_likelihoods - log_likelihoods.max())
    return float(weights.sum() / (weights @ CORRELATIONS) - 1)


def effective(counts: Floats, concentration: float) -> Floats:
    """How many independent draws `counts` of one problem are worth, where problems differ by more than was expected.

    Williams 1982, "Extra-binomial variation in logistic linear models", with correlation 1 / (1 + concentration).
    """
    return counts * (1 + concentration) / (counts + concentration)


def _log_beta(alpha: Floats, beta: Floats) -> Floats:
    return np.asarray(_log_gamma(alpha) + _log_gamma(beta) - _log_gamma(alpha + beta))
