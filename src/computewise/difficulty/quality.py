"""How good an estimate of difficulty is: its order, its bins and its calibration, on problems it was not fitted on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import numpy as np

from computewise.difficulty.bins import rank_bins
from computewise.difficulty.estimator import Estimator
from computewise.draws import Floats, Ints
from computewise.errors import UsageError
from computewise.metrics import Interval, bootstrap

RELIABILITY_BINS = 10
RESAMPLES = 1000
"""Of the rank correlation, which is ranked anew in each."""

Input = TypeVar("Input")


class Estimate(NamedTuple):
    """A number and its 95 % interval over problems."""

    value: float
    interval: Interval


class Reliability(NamedTuple):
    """One bin of predicted ease: the mean predicted in it, the mean true with its interval, and how many."""

    predicted: float
    true: float
    interval: Interval
    problems: int


@dataclass(frozen=True, slots=True)
class Quality:
    """Of an estimate of ease; `exact` and `within_one` are shares of problems by how far their bins are apart.

    `brier` is of the chance that one draw is right, the draw's own variance included: noise in the truth does not bias
    it. `calibration_error` is the mean distance of predicted and true over `reliability`; noise in the truth does bias
    it upwards, and a resample would add to that, so that it has no interval: those of `reliability` tell.
    """

    spearman: Estimate
    exact: Estimate
    within_one: Estimate
    brier: Estimate
    calibration_error: float
    reliability: tuple[Reliability, ...]


def quality(predicted: Floats, truth: Floats, ids: Sequence[str]) -> Quality:
    """Of `predicted` ease against pass@1, (problems,) each; bins are quintiles by rank of either."""
    apart = np.abs(rank_bins(predicted.tolist(), ids) - rank_bins(truth.tolist(), ids))
    reliability = _reliability(predicted, truth, ids)
    return Quality(
        Estimate(spearman(predicted, truth), _bootstrap_spearman(predicted, truth)),
        _mean(apart == 0),
        _mean(apart <= 1),
        _mean(truth * (1 - predicted) ** 2 + (1 - truth) * predicted**2),
        sum(abs(one.predicted - one.true) * one.problems for one in reliability) / len(truth),
        reliability,
    )


def spearman(a: Floats, b: Floats) -> float:
    """Rank correlation, equals sharing their mean rank; NaN where either is constant."""
    ranks_a, ranks_b = _ranks(a), _ranks(b)
    scale = np.sqrt((ranks_a @ ranks_a) * (ranks_b @ ranks_b))
    return float(ranks_a @ ranks_b / scale) if scale else float("nan")


def splits(problems: int, folds: int, seed: int) -> Iterator[tuple[Ints, Ints]]:
    """Indices to fit on and indices held out: each problem is held out once."""
    if not 2 <= folds <= problems:
        raise UsageError(f"folds = {folds} is not allowed: 2 to {problems}, the number of problems")
    fold = np.random.default_rng(seed).permutation(problems) % folds
    for one in range(folds):
        yield np.flatnonzero(fold != one), np.flatnonzero(fold == one)


def cross_predict(
    make: Callable[[], Estimator[Input]], inputs: Sequence[Input], ease: Floats, folds: int, seed: int
) -> Floats:
    """(problems,) each predicted by an estimator that was fitted without its fold."""
    predicted = np.empty(len(inputs))
    for fit_on, held_out in splits(len(inputs), folds, seed):
        estimator = make().fit([inputs[index] for index in fit_on], ease[fit_on])
        predicted[held_out] = estimator.predict([inputs[index] for index in held_out])
    return predicted


def _reliability(predicted: Floats, truth: Floats, ids: Sequence[str]) -> tuple[Reliability, ...]:
    bins = rank_bins(predicted.tolist(), ids, RELIABILITY_BINS)
    rows = []
    for bin in np.unique(bins)[::-1]:
        true = truth[bins == bin]
        rows.append(Reliability(float(predicted[bins == bin].mean()), float(true.mean()), bootstrap(true), len(true)))
    return tuple(rows)


def _bootstrap_spearman(predicted: Floats, truth: Floats) -> Interval:
    rng = np.random.default_rng(0)
    drawn = rng.integers(len(truth), size=(RESAMPLES, len(truth)))
    correlations = np.array([spearman(predicted[rows], truth[rows]) for rows in drawn])
    defined = correlations[~np.isnan(correlations)]
    return Interval(*np.quantile(defined, (0.025, 0.975)).tolist()) if len(defined) else Interval(np.nan, np.nan)


def _mean(per_problem: Floats) -> Estimate:
    return Estimate(float(per_problem.mean()), bootstrap(np.asarray(per_problem, np.float64)))


def _ranks(values: Floats) -> Floats:
    """Average ranks, centred."""
    _, group, sizes = np.unique(values, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(sizes) - (sizes - 1) / 2)[group]
    return np.asarray(ranks - ranks.mean())
