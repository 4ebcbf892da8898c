"""The quality of an estimate of difficulty, and its cost."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, TypeVar

import numpy as np

from computewise.difficulty.estimators import Cost, Estimator, OracleDifficulty, PredictedDifficulty, rank_bins
from computewise.difficulty.learned import ProbeDifficulty, PromptDifficulty
from computewise.errors import UsageError
from computewise.intervals import Estimate, Interval, proportion
from computewise.metrics import Floats, Ints
from computewise.samples import ProblemSamples

RELIABILITY_BINS = 10

RESAMPLES = 1000

"""Number of resamples for the rank correlation, which is ranked again in each."""


Input = TypeVar("Input")


class Reliability(NamedTuple):
    """One bin of predicted ease: the mean predicted in it, the mean true with its interval, and how many."""

    predicted: float
    true: float
    interval: Interval
    problems: int


@dataclass(frozen=True, slots=True)
class Quality:
    """The quality of an estimate of ease; `exact` and `within_one` are shares of problems by the distance of their
    bins.

    `brier` is that of the chance that one draw is right, including the variance of the draw: noise in the true values
    does not bias it. `calibration_error` is the mean distance between predicted and true values over `reliability`.
    Noise in the true values biases it upwards, and resampling would add to that, so it has no interval; `reliability`
    has intervals.
    """

    spearman: Estimate
    exact: Estimate
    within_one: Estimate
    brier: Estimate
    calibration_error: float
    reliability: tuple[Reliability, ...]


def quality(predicted: Floats, truth: Floats, ids: Sequence[str]) -> Quality:
    """The quality of `predicted` ease against pass@1, (problems,) each; bins are quintiles by rank of either."""
    apart = np.abs(rank_bins(predicted.tolist(), ids) - rank_bins(truth.tolist(), ids))
    reliability = _reliability(predicted, truth, ids)
    return Quality(
        Estimate(spearman(predicted, truth), *_bootstrap_spearman(predicted, truth)),
        proportion(apart == 0),
        proportion(apart <= 1),
        proportion(truth * (1 - predicted) ** 2 + (1 - truth) * predicted**2),
        sum(abs(one.predicted - one.true) * one.problems for one in reliability) / len(truth),
        reliability,
    )


def spearman(a: Floats, b: Floats) -> float:
    """Rank correlation; equal values share their mean rank. NaN where either side is constant."""
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
        found = proportion(true)
        rows.append(Reliability(float(predicted[bins == bin].mean()), found.value, found.interval, len(true)))
    return tuple(rows)


def _bootstrap_spearman(predicted: Floats, truth: Floats) -> Interval:
    rng = np.random.default_rng(0)
    drawn = rng.integers(len(truth), size=(RESAMPLES, len(truth)))
    correlations = np.array([spearman(predicted[rows], truth[rows]) for rows in drawn])
    defined = correlations[~np.isnan(correlations)]
    return Interval(*np.quantile(defined, (0.025, 0.975)).tolist()) if len(defined) else Interval(np.nan, np.nan)


def _ranks(values: Floats) -> Floats:
    """Average ranks, centred."""
    _, group, sizes = np.unique(values, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(sizes) - (sizes - 1) / 2)[group]
    return np.asarray(ranks - ranks.mean())


PROBES = (2, 4, 8)

FOLDS = 5


def compare_estimators(problems: Sequence[ProblemSamples], ease: Floats, seed: int) -> list[dict[str, Any]]:
    """One row for each estimate, on problems that it was not fitted on, against `ease`: pass@1 over other samples."""
    draws = [next(iter(problem.arms.values())) for problem in problems]
    prompts, ids = [problem.prompt for problem in problems], [problem.id for problem in problems]
    own = OracleDifficulty().predict(draws)
    rows = []
    for name, estimator in (
        ("oracle: pass@1", OracleDifficulty()),
        ("predicted: mean value", PredictedDifficulty()),
    ):
        rows.append(_row(name, quality(estimator.predict(draws), ease, ids), estimator.cost(draws)))
    for probe in PROBES:
        if probe < min(map(len, draws)):
            predicted = cross_predict(partial(ProbeDifficulty, probe), draws, own, FOLDS, seed)
            rows.append(_row(f"probe of {probe}", quality(predicted, ease, ids), ProbeDifficulty(probe).cost(draws)))
    predicted = cross_predict(PromptDifficulty, prompts, own, FOLDS, seed)
    rows.append(_row("prompt alone", quality(predicted, ease, ids), PromptDifficulty().cost(prompts)))
    return rows


def _row(name: str, found: Quality, cost: Cost) -> dict[str, Any]:
    scalars = {"spearman": found.spearman, "exact": found.exact, "within_one": found.within_one, "brier": found.brier}
    return {
        "estimate": name,
        **{key: {"value": _number(one.value), "ci95": _bounds(one.interval)} for key, one in scalars.items()},
        "calibration_error": found.calibration_error,
        "reliability": [
            {"predicted": one.predicted, "true": one.true, "ci95": _bounds(one.interval), "problems": one.problems}
            for one in found.reliability
        ],
        "draws": cost.draws,
        "tokens": cost.tokens,
        "flops": cost.cost,
    }


def _number(value: float) -> float | None:
    """None where too few problems, or equal ones, leave nothing to estimate: JSON has no NaN."""
    return None if math.isnan(value) else value


def _bounds(interval: Interval) -> list[float] | None:
    return None if math.isnan(interval.low) else list(interval)
