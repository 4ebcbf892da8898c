"""Logistic regression of shares: ridge, by Newton's method, with each row predicted as if it had been left out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from computewise.draws import Floats

PENALTIES = (0.1, 1.0, 10.0, 100.0, 1000.0, 10_000.0)
"""Precisions of the prior of a standardised feature's weight, of which the best is taken."""
INTERCEPT = 0.01
"""Its precision: flat, but finite where every share is 0 or every one is 1."""
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
    """(rows,) what is predicted for each row by all the others."""

    def predict(self, features: Floats) -> Floats:
        """(rows,) in (0, 1)."""
        return _chance(self.intercept + (features - self.centre) / self.scale @ self.weights)


def fit_logistic(features: Floats, shares: Floats, counts: Floats) -> Logistic:
    """Binomial likelihood of `shares` of `counts`, (rows,) each, under the penalty that predicts left-out rows best."""
    centre, scale = features.mean(0), features.std(0)
    scale = np.where(scale > 1e-9, scale, 1.0)
    standardised = (features - centre) / scale
    rotation = np.eye(features.shape[1])
    if features.shape[1] > len(features):  # ridge is blind to rotations: as many directions as rows are enough
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
    """(width,) coefficients of the penalised maximum likelihood; a step that overshoots is halved."""

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
    """(rows,) log-odds without a row's own share: one step from the fit (Rad and Maleki 2020, arXiv 1801.10243)."""
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
