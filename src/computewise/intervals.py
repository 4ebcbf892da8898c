"""How sure an estimate is: 95 % intervals over problems, and the words that they allow.

A problem is the unit: its samples and seeds are averaged before. What was cross-validated comes as (partitions,
problems), one row for each random partition into parts. A choice that the problems share (of a strategy, a threshold,
a fitted rule) makes problems depend on each other, and averaging over partitions hides by how much. So the variance of
such a mean is that of one partition, by problem, plus that of the means of the partitions. What is covered is the mean
accuracy, on new problems of the same kind, of the things that were chosen or fitted. `benchmarks/coverage.py` measures
how often each interval holds its truth.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from functools import lru_cache
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

LEAST_PROBLEMS = 30
"""From fewer problems nothing is called better or worse."""
TAIL = 0.025
Z = NormalDist().inv_cdf(1 - TAIL)
DRAWS = 8_000
"""Of the largest of several deviations, for a simultaneous band."""
RESAMPLES = 1000


class Interval(NamedTuple):
    """A 95 % interval."""

    low: float
    high: float


class Estimate(NamedTuple):
    """An estimate with its 95 % interval; the ends are NaN where there are fewer than two problems."""

    value: float
    low: float
    high: float

    @property
    def interval(self) -> Interval:
        """The two ends."""
        return Interval(self.low, self.high)


def proportion(values: Floats) -> Estimate:
    """The mean of ([partitions,] problems) numbers in [0, 1], such as accuracies.

    Wilson's interval with the effective sample size (Korn and Graubard 1998): the number of problems with one answer
    each that would vary as much. So it is Wilson's own for one answer a problem, and never a point.
    """
    each = np.atleast_2d(np.asarray(values, np.float64))
    problems = each.shape[1]
    mean = float(each.mean()) if problems else np.nan
    if problems < 2:
        return Estimate(mean, np.nan, np.nan)
    binary = mean * (1 - mean)
    spread = _spread(each)
    # Half a problem more, as uncertain as one answer: a few problems that happen to agree prove little.
    within = (each.var(1).mean() * problems + 0.5 * binary) / (problems + 0.5)
    variance = within / problems + spread
    return Estimate(mean, *_wilson(mean, variance, problems))


def rate(events: Floats, chances: Floats) -> Estimate:
    """sum(`events`) / sum(`chances`) over problems, (problems,) each: a conditional rate, clustered by problem."""
    total, problems = float(chances.sum()), int((chances > 0).sum())
    if problems < 2:
        return Estimate(float(events.sum()) / total if total else np.nan, np.nan, np.nan)
    value = float(events.sum()) / total
    binary = value * (1 - value)
    residual = events - value * chances
    # One more problem that has an event or none.
    variance = float(residual @ residual + (total / problems) ** 2 * binary) / total**2 * problems / (problems + 1)
    return Estimate(value, *_wilson(value, variance, problems))


def difference(paired: Floats) -> Estimate:
    """The mean of ([partitions,] problems) differences in [-1, 1], paired by problem.

    A Wald interval with half a problem more on either side (in the way of Agresti and Min 2005), each as far from 0 as
    the differences that were seen usually are; by Student's quantile, or the normal one for one answer a problem. Where
    no difference was seen, either side is Clopper's and Pearson's limit.
    """
    each = np.atleast_2d(np.asarray(paired, np.float64))
    problems = each.shape[1]
    mean = float(each.mean()) if problems else np.nan
    if problems < 2:
        return Estimate(mean, np.nan, np.nan)
    if not each.any():
        most = 1 - TAIL ** (1 / problems)
        return Estimate(mean, -most, most)
    centre, variance = _shrunk(each)
    half = (Z if np.isin(each, (-1.0, 0.0, 1.0)).all() else student(problems - 1)) * np.sqrt(variance)
    return Estimate(mean, max(-1.0, float(centre - half)), min(1.0, float(centre + half)))


def simultaneous(paired: Floats) -> list[Estimate]:
    """As `difference` for every place of (places, [partitions,] problems), such as budgets, with one band for all.

    The band holds the truths of all places together in 95 % of cases: what a claim over all budgets needs. Its width
    is the 95 % quantile of the largest deviation of any place (max-t), with the places' own correlations.
    """
    each = np.asarray(paired, np.float64)
    each = each[:, None] if each.ndim == 2 else each
    places, partitions, problems = each.shape
    single = [difference(one) for one in each]
    if problems < 2 or places < 2:
        return single
    means = each.mean(2)
    apart = (each - means[:, :, None]).transpose(1, 0, 2)
    covariance = np.mean([one @ one.T for one in apart], axis=0) / problems / (problems - 1)
    if partitions > 1:
        covariance = covariance + np.atleast_2d(np.cov(means)) * (1 + 1 / partitions)
    scale = np.sqrt(np.diag(covariance))
    varies = scale > 0
    factor = 1.0
    if varies.sum() > 1:
        correlation = covariance[np.ix_(varies, varies)] / np.outer(scale[varies], scale[varies])
        factor = _largest(correlation, problems - 1) / student(problems - 1)
    return [
        Estimate(
            one.value,
            max(-1.0, (one.low + one.high) / 2 - factor * (one.high - one.low) / 2),
            min(1.0, (one.low + one.high) / 2 + factor * (one.high - one.low) / 2),
        )
        for one in single
    ]


def as_partitions(accuracy: Floats, refitted: Floats, count: int) -> Floats:
    """(`count`, problems): the (problems,) accuracies of one partition, as often as rivals have partitions.

    Moved so that the rows' means vary as `refitted`, the means of a few partitions, do: for what is fitted so slowly
    that every partition would take too long.
    """
    apart = np.resize(refitted - refitted.mean(), count)
    apart -= apart.mean()
    if apart.any():
        apart *= refitted.std(ddof=1) / apart.std(ddof=1)
    return np.asarray(accuracy + apart[:, None])


class Curve(NamedTuple):
    """Accuracy and cost at rising budgets, ([partitions,] problems, budgets) each."""

    accuracy: Floats
    cost: Floats


def times_fewer(ours: Curve, theirs: Curve) -> tuple[float, float, Estimate]:
    """The least mean cost of each from which on it is as accurate as the last point of `theirs`, and their ratio.

    The first cost is infinite, and the ratio 0, where `ours` does not come to that. Percentile bootstrap over problems,
    with one of the partitions, both curves read again in each resample.
    """
    ours = Curve(*(one if one.ndim == 3 else one[None] for one in np.broadcast_arrays(*ours)))
    problems, partitions = ours.accuracy.shape[1], len(ours.accuracy)
    every = np.full((1, problems), 1 / problems)
    spent, rival = (float(one[0]) for one in _reached(Curve(*(one.mean(0) for one in ours)), theirs, every))
    weights = np.array_split(resample_counts(problems, resamples=RESAMPLES) / problems, partitions)
    ratios = []
    for accuracy, cost, resamples in zip(*ours, weights, strict=True):
        least, other = _reached(Curve(accuracy, cost), theirs, resamples)
        # Where a resample does not reach the accuracy it saves 0 times, which pulls the low end down, as it must.
        ratios.append(other / least)
    low, high = np.quantile(np.concatenate(ratios), (TAIL, 1 - TAIL))
    return spent, rival, Estimate(rival / spent, float(low), float(high))


def _reached(ours: Curve, theirs: Curve, weights: Floats) -> tuple[Floats, Floats]:
    """(resamples,) each: the least cost of each curve from which on it is as accurate as the last of `theirs`."""
    needed = weights @ theirs.accuracy[:, -1]
    spent = []
    for curve in (ours, theirs):
        accuracy, cost = weights @ curve.accuracy, weights @ curve.cost
        stays = np.minimum.accumulate(accuracy[:, ::-1], axis=1)[:, ::-1] >= needed[:, None] - 1e-12
        spent.append(np.where(stays.any(1), cost[np.arange(len(cost)), stays.argmax(1)], np.inf))
    return spent[0], spent[1]


@lru_cache(maxsize=4)
def resample_counts(problems: int, *, resamples: int, seed: int = 0) -> Floats:
    """(resamples, problems): how often each problem is in each bootstrap resample; not to be written to."""
    drawn = np.random.default_rng(seed).integers(problems, size=(resamples, problems))
    slots = drawn + problems * np.arange(resamples)[:, None]
    counts = np.bincount(slots.ravel(), minlength=drawn.size).reshape(drawn.shape).astype(np.float64)
    counts.setflags(write=False)
    return counts


class Verdict(Enum):
    """What the 95 % interval of a difference allows to say."""

    BETTER = "better"
    WORSE = "worse"
    OPEN = "not distinguishable"
    TOO_FEW = "too few problems to tell"


def verdict(bounds: Sequence[float], problems: int) -> Verdict:
    """Better or worse where the whole interval lies on one side of zero, and never from fewer than 30 problems."""
    if problems < LEAST_PROBLEMS:
        return Verdict.TOO_FEW
    low, high = bounds
    if low > 0:
        return Verdict.BETTER
    return Verdict.WORSE if high < 0 else Verdict.OPEN


def student(freedom: int) -> float:
    """The 97.5 % quantile of Student's t, to 0.004 from 3 degrees of freedom on (Abramowitz and Stegun 26.7.5)."""
    powers = (
        (Z**3 + Z) / 4,
        (5 * Z**5 + 16 * Z**3 + 3 * Z) / 96,
        (3 * Z**7 + 19 * Z**5 + 17 * Z**3 - 15 * Z) / 384,
        (79 * Z**9 + 776 * Z**7 + 1482 * Z**5 - 1920 * Z**3 - 945 * Z) / 92160,
    )
    return Z + sum(term / freedom**power for power, term in enumerate(powers, 1))


def _spread(each: Floats) -> float:
    """The variance between the means of the partitions, for the mean of all of them; 0 for one."""
    partitions = len(each)
    return float(each.mean(1).var(ddof=1)) * (1 + 1 / partitions) if partitions > 1 else 0.0


def _shrunk(each: Floats) -> tuple[float, float]:
    """The mean of (partitions, problems) differences and its variance, with half a problem more on either side."""
    problems = each.shape[1]
    usual = float((each**2).sum() / np.abs(each).sum())
    means = each.sum(1) / (problems + 1)
    within = ((each**2).sum(1) + usual**2) / (problems + 1) - means**2
    return float(means.mean()), float(within.mean()) / (problems + 1) + _spread(each)


def _wilson(mean: float, variance: float, problems: int) -> Interval:
    """Wilson's interval for as many answers as have this variance; all alike they are one for each problem.

    With Student's quantile where the variance was estimated, not that of one answer a problem.
    """
    mean = min(max(mean, 0.0), 1.0)
    binary = mean * (1 - mean)
    size = binary / variance if binary > 0 < variance else float(problems)
    quantile = Z if abs(size - problems) < 1e-6 * problems else student(problems - 1)
    square = quantile**2 / size
    middle = (mean + square / 2) / (1 + square)
    half = np.sqrt(square * (mean * (1 - mean) + square / 4)) / (1 + square)
    return Interval(max(0.0, min(mean, float(middle - half))), min(1.0, max(mean, float(middle + half))))


def _largest(correlation: Floats, freedom: int) -> float:
    """The 95 % quantile of the largest of several correlated Student deviations, either side of 0."""
    rng = np.random.default_rng(0)
    values, vectors = np.linalg.eigh(correlation)
    root = vectors * np.sqrt(np.maximum(values, 0))
    normal = np.abs(rng.standard_normal((DRAWS, len(root))) @ root.T).max(1)
    return float(np.quantile(normal / np.sqrt(rng.chisquare(freedom, DRAWS) / freedom), 1 - 2 * TAIL))
