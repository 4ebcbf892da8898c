"""Estimators of difficulty that are regressions: on a probe, on the prompt, on the model's hidden state."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import NamedTuple, Self

import numpy as np

from computewise.difficulty.estimators import Cost, cost_of, first, fitted
from computewise.errors import UsageError
from computewise.metrics import UNANSWERED, Floats
from computewise.samples import SampleArrays

CORRELATIONS = (np.arange(100) + 0.5) / 100

"""Correlations of the draws of one problem, 1 / (1 + concentration), that are equally likely a priori."""

REACH = 12.0

"""A quantile is searched within this many standard deviations of the log-odds, or within their whole range."""

MAX_LOG_PARAMETER = 40.0

"""Log-odds at which pass@1 rounds to 0 or 1."""

POINTS = 2001


_log_gamma = np.vectorize(math.lgamma, otypes=[np.float64])


class Beta(NamedTuple):
    """A beta distribution over pass@1 for each problem: (problems,) `alpha` and `beta`, above 0."""

    alpha: Floats
    beta: Floats

    @property
    def mean(self) -> Floats:
        """(problems,)."""
        return self.alpha / (self.alpha + self.beta)

    def quantiles(self, levels: Sequence[float]) -> Floats:
        """(problems, levels): quantiles to within 0.0001; levels 0.025 and 0.975 are the ends of a 95 % interval.

        Integrated over log-odds, where the density p^alpha (1-p)^beta has no poles and exponential tails.
        """
        alpha, beta = self.alpha[:, None], self.beta[:, None]
        middle, reach = np.log(alpha / beta), REACH * np.sqrt(1 / alpha + 1 / beta)
        low, high = (
            np.clip(middle - reach, -MAX_LOG_PARAMETER, MAX_LOG_PARAMETER),
            np.clip(middle + reach, -MAX_LOG_PARAMETER, MAX_LOG_PARAMETER),
        )
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
    """alpha + beta for all problems, from the expected means and the shares of `counts` draws that are right.

    It is that of the mean correlation under the likelihood of the beta-binomial. The likeliest value alone would be too
    certain where few draws of a problem leave it open. `mean` must not have been fitted to the same problem.
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
    """The number of independent draws that `counts` draws are worth, where problems differ by more than the expected
    means.

    Williams 1982, "Extra-binomial variation in logistic linear models", with correlation 1 / (1 + concentration).
    """
    return counts * (1 + concentration) / (counts + concentration)


def _log_beta(alpha: Floats, beta: Floats) -> Floats:
    return np.asarray(_log_gamma(alpha) + _log_gamma(beta) - _log_gamma(alpha + beta))


PENALTIES = (0.1, 1.0, 10.0, 100.0, 1000.0, 10_000.0)

"""Precisions of the prior of a standardised feature's weight, among which the best is chosen."""

INTERCEPT = 0.01

"""Precision of the prior of the intercept: flat, but finite where all shares are 0 or 1."""

STEPS = 50

MAX_LOG_ODDS = 30.0

"""Log-odds beyond which a prediction would round to 0 or 1."""


@dataclass(frozen=True, slots=True)
class Logistic:
    """A fitted regression; features (rows, width) are standardised by `centre` and `scale`, (width,) each."""

    centre: Floats
    scale: Floats
    intercept: float
    weights: Floats
    """(width,), of the standardised features."""
    penalty: float
    left_out: Floats
    """(rows,): the prediction for each row from a fit to all other rows."""

    def predict(self, features: Floats) -> Floats:
        """(rows,) in (0, 1)."""
        return _chance(self.intercept + (features - self.centre) / self.scale @ self.weights)


def fit_logistic(features: Floats, shares: Floats, counts: Floats) -> Logistic:
    """Fit `shares` of `counts`, (rows,) each, with the penalty that predicts left-out rows best."""
    centre, scale = features.mean(0), features.std(0)
    scale = np.where(scale > 1e-9, scale, 1.0)
    standardised = (features - centre) / scale
    rotation = np.eye(features.shape[1])
    if features.shape[1] > len(features):  # ridge ignores rotations: as many directions as rows suffice
        rotation = np.linalg.svd(standardised, full_matrices=False)[2].T
    design = np.column_stack([np.ones(len(features)), standardised @ rotation])
    fits = []
    for penalty in PENALTIES:
        precision = np.full(design.shape[1], penalty)
        precision[0] = INTERCEPT
        coefficients = maximise(design, shares, counts, precision)
        left_out = _leave_one_out(design, shares, counts, precision, coefficients)
        fits.append((_log_loss(left_out, shares, counts), penalty, coefficients, left_out))
    _, penalty, coefficients, left_out = min(fits, key=lambda fit: fit[0])
    return Logistic(centre, scale, float(coefficients[0]), rotation @ coefficients[1:], penalty, _chance(left_out))


def maximise(design: Floats, shares: Floats, counts: Floats, precision: Floats) -> Floats:
    """(width,): coefficients of the penalised maximum likelihood; a step that overshoots is halved."""

    def objective(coefficients: Floats) -> float:
        return _log_loss(design @ coefficients, shares, counts) + float(precision @ coefficients**2) / 2

    coefficients = np.zeros(design.shape[1])
    for _ in range(STEPS):
        gradient = design.T @ (counts * (shares - _chance(design @ coefficients))) - precision * coefficients
        step = np.linalg.solve(_curvature(design, counts, precision, coefficients), gradient)
        before = objective(coefficients)
        while objective(coefficients + step) > before + 1e-9 * abs(before):
            step /= 2
        coefficients = coefficients + step
        if np.abs(step).max() < 1e-9:
            break
    return coefficients


def _leave_one_out(design: Floats, shares: Floats, counts: Floats, precision: Floats, coefficients: Floats) -> Floats:
    """(rows,): log-odds without the row's own share, one step from the fit (Rad and Maleki 2020, arXiv 1801.10243)."""
    log_odds = design @ coefficients
    chance = _chance(log_odds)
    inverse = np.linalg.inv(_curvature(design, counts, precision, coefficients))
    pull = (design @ inverse * design).sum(1)
    leverage = np.minimum(counts * chance * (1 - chance) * pull, 1 - 1e-9)
    return log_odds - pull * counts * (shares - chance) / (1 - leverage)


def _curvature(design: Floats, counts: Floats, precision: Floats, coefficients: Floats) -> Floats:
    chance = _chance(design @ coefficients)
    return np.asarray((design.T * (counts * chance * (1 - chance))) @ design + np.diag(precision))


def _log_loss(log_odds: Floats, shares: Floats, counts: Floats) -> float:
    return float(counts @ (np.logaddexp(0, log_odds) - shares * log_odds))


def _chance(log_odds: Floats) -> Floats:
    return np.asarray(1 / (1 + np.exp(-np.clip(log_odds, -MAX_LOG_ODDS, MAX_LOG_ODDS))))


ROUNDS = 3

"""Number of rounds that fit the mean and the concentration in turn; the third changes neither by much."""

ROUNDING = 1e-6

SHARPEST = 0.01

"""A score nearer to 0 or 1 counts as this one: a verifier's last digits must not outweigh the other draws."""


@dataclass(slots=True)
class ProbeDifficulty:
    """A posterior over pass@1 from the first `probe` draws (usually 2 to 8), without their grades.

    A beta-binomial regression on the verifier's scores of the draws (log-odds of the mean value, mean log-odds of
    `means`), the share of the most frequent answer among the draws and among their values, the number of draws with an
    answer, their length and their log-probability.
    """

    probe: int = 4
    model_: Logistic | None = field(default=None, init=False, repr=False)
    concentration_: float = field(default=np.nan, init=False, repr=False)
    """alpha + beta of every posterior: the number of graded draws that the probe is worth."""

    def fit(self, inputs: Sequence[SampleArrays], ease: Floats) -> Self:
        """Fit to `ease` (problems,), pass@1 over all given draws of each problem; their number is its weight.

        The probe's own draws are taken out of the ease: a probe that is compared with itself would trust itself too
        much. Raises `UsageError` where no draws are left, or `ease` does not belong to these draws.
        """
        if self.probe < 2:
            raise UsageError(f"probe = {self.probe} is not allowed: at least 2, since agreement takes two draws")
        features = self._features(inputs)
        counts = np.array([len(draws) - self.probe for draws in inputs], np.float64)
        if not counts.any():
            raise UsageError(f"no draws are left to fit to besides the probe's {self.probe}")
        probed = np.array([draws.correct[: self.probe].sum() for draws in inputs])
        shares = (ease * (counts + self.probe) - probed) / np.maximum(counts, 1)
        if not ((shares > -ROUNDING) & (shares < 1 + ROUNDING)).all():
            raise UsageError("ease is not pass@1 over all given draws")
        shares = np.clip(shares, 0, 1)
        self.concentration_ = 1.0
        for _ in range(ROUNDS):
            self.model_ = fit_logistic(features, shares, effective(counts, self.concentration_))
            self.concentration_ = concentration(self.model_.left_out, shares, counts)
        return self

    def predict(self, inputs: Sequence[SampleArrays]) -> Floats:
        """(problems,) means of the posteriors; raises `UsageError` for fewer draws than the probe."""
        return fitted(self.model_, self).predict(self._features(inputs))

    def posterior(self, inputs: Sequence[SampleArrays]) -> Beta:
        """The posterior over each problem's pass@1; `quantiles((0.025, 0.975))` of it are a 95 % interval."""
        mean = self.predict(inputs)
        return Beta(mean * self.concentration_, (1 - mean) * self.concentration_)

    def cost(self, inputs: Sequence[SampleArrays]) -> Cost:
        """The cost of the probe alone; its draws also count towards the answer."""
        return cost_of([first(draws, self.probe) for draws in inputs])

    def _features(self, inputs: Sequence[SampleArrays]) -> Floats:
        return np.array([_features(first(draws, self.probe)) for draws in inputs])


def _features(probe: SampleArrays) -> list[float]:
    answered = probe.answers != UNANSWERED
    _, answers = np.unique(probe.answers[answered], return_inverse=True)
    return [
        float(_log_odds(probe.values.mean())),  # of the mean, which is pass@1 where the verifier is calibrated
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


FREE = Cost(0.0, 0.0, 0.0)

"""No cost: the prompt is read for the first draw in any case."""


LARGEST = 1e18

"""Larger numbers count as this one, so that none is infinite."""


OPERATORS = "+-*/^="


_COMMAND = re.compile(r"\\[A-Za-z]+")

_WORD = re.compile(r"[A-Za-z]+")

_NUMBER = re.compile(r"[0-9]+")

_RARE = re.compile(r"[^A-Za-z0-9\s.,?]")

_NESTING = {"(": 1, "[": 1, "{": 1, ")": -1, "]": -1, "}": -1}


@dataclass(slots=True)
class PromptDifficulty:
    """Ridge logistic regression on counts and sizes in the text of an expression or of a word problem in LaTeX."""

    model_: Logistic | None = field(default=None, init=False, repr=False)

    def fit(self, inputs: Sequence[str], ease: Floats) -> Self:
        """Fit to prompts and their pass@1 (problems,)."""
        self.model_ = fit_logistic(_texts(inputs), ease, np.ones(len(ease)))
        return self

    def predict(self, inputs: Sequence[str]) -> Floats:
        """(problems,)."""
        return fitted(self.model_, self).predict(_texts(inputs))

    def cost(self, inputs: Sequence[str]) -> Cost:
        """Nothing."""
        return FREE


@dataclass(slots=True)
class StateDifficulty:
    """The same on a hidden state (width,) of each prompt, as in Damani et al. 2024 (arXiv 2410.04707)."""

    model_: Logistic | None = field(default=None, init=False, repr=False)

    def fit(self, inputs: Sequence[Floats], ease: Floats) -> Self:
        """Fit to states of equal width and their problems' pass@1 (problems,)."""
        self.model_ = fit_logistic(np.asarray(inputs, np.float64), ease, np.ones(len(ease)))
        return self

    def predict(self, inputs: Sequence[Floats]) -> Floats:
        """(problems,)."""
        return fitted(self.model_, self).predict(np.asarray(inputs, np.float64))

    def cost(self, inputs: Sequence[Floats]) -> Cost:
        """Nothing."""
        return FREE


def _texts(prompts: Sequence[str]) -> Floats:
    return np.array([_text_features(prompt) for prompt in prompts])


def _text_features(prompt: str) -> list[float]:
    numbers = [float(digits) for digits in _NUMBER.findall(prompt)]
    words = _WORD.findall(_COMMAND.sub(" ", prompt))
    counts = [
        len(prompt),
        len(words),
        len(numbers),
        *(prompt.count(operator) for operator in OPERATORS),
        len(_COMMAND.findall(prompt)),
        prompt.count("$"),
        prompt.count("\n"),
        len(_RARE.findall(prompt)),
        sum(character in _NESTING for character in prompt),
        max(accumulate((_NESTING.get(character, 0) for character in prompt), initial=0)),
    ]
    sizes = np.log1p(np.minimum(numbers, LARGEST))
    letters = sum(map(len, words))
    return [
        *np.log1p(counts).tolist(),
        float(sizes.sum()),
        float(sizes.max(initial=0)),
        letters / max(1, len(words)),
        letters / max(1, len(prompt)),
    ]
