"""Pretraining against inference: a small model with more inference, or a larger model (Snell et al. 2024, section 7).

R is D_inference / D_pretrain, the tokens of inference over the tokens of pretraining. k(R) is the number of tokens of
inference that the small model may sample for one token of the large model, so that both cost the same in total.
`MatchedComparison` compares the curve of a small model with the answers of a large one; `from_problems`, `from_curve`
and `from_curves` make one comparison for all problems and one for each bin.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import Any, Literal

import numpy as np

from computewise.errors import UsageError
from computewise.intervals import Interval, difference, simultaneous
from computewise.metrics import Floats, Ints

SHARES: tuple[float, ...] = tuple(10 ** (tenth / 10) for tenth in range(-20, 21))
"""R from 0.01 to 100, ten values for each decade: the range of every search in this module."""
NOISE = 1e-9
"""A difference of means up to this size is a rounding error."""

Winner = Literal["small", "large", "tie"]


@dataclass(frozen=True, slots=True)
class Pretrained:
    """A model and the cost of its pretraining: 6 * `parameters` * `tokens` operations."""

    parameters: float
    tokens: float

    def __post_init__(self) -> None:
        _above_zero(parameters=self.parameters, tokens=self.tokens)


@dataclass(frozen=True, slots=True)
class ExchangeRate:
    """k(R) = `inference` + `pretraining` / R: what the large model's answers cost, and what its pretraining costs."""

    inference: float
    pretraining: float

    def k(self, share: float) -> float:
        """k at R = `share`; 0 where pretraining the small model costs more than everything the large model costs."""
        _above_zero(R=share)
        return max(0.0, self.inference + self.pretraining / share)

    def share(self, k: float) -> float:
        """The R at which k is `k`; raises `UsageError` where no R or every R gives this k."""
        beyond = k - self.inference
        if not beyond * self.pretraining > 0:
            raise UsageError(
                f"k = {k:g} is not reached at any one R: k = {self.inference:g} + {self.pretraining:g} / R"
            )
        return self.pretraining / beyond


def by_flops(small: Pretrained, large: Pretrained) -> ExchangeRate:
    """Equal operations over pretraining and inference.

    With P parameters and T pretraining tokens each, M = P_large / P_small and D_inference = R * T_large:
    6 P_small T_small + k 2 P_small D_inference = 6 P_large T_large + 2 P_large D_inference, so
    k = M + 3 (M - T_small / T_large) / R. For equal T it is `computewise.costs.exchange_rate`. R is measured against
    the large model's pretraining: it is the large one's making and answering that is compared. Left out: attention,
    and what training a verifier costs.
    """
    ratio = large.parameters / small.parameters
    return ExchangeRate(ratio, 3 * (ratio - small.tokens / large.tokens))


def by_price(small: float, large: float) -> ExchangeRate:
    """Equal bills, where an answer or a token costs `small` and `large`: prices contain the cost of pretraining."""
    _above_zero(small=small, large=large)
    return ExchangeRate(large / small, 0.0)


@dataclass(frozen=True, slots=True)
class Point:
    """The accuracies at one R: of `small` at a budget of `k` answers, and of `large`.

    `interval` is that of small minus large, paired by problem; NaN where there are fewer than two problems. `band` is
    the same for all points of a curve at once. Above the largest measured budget and below the smallest, the accuracy
    of `small` is the one at that budget.
    """

    share: float
    k: float
    small: float
    large: float
    interval: Interval
    band: Interval
    problems: int
    beyond_measured: bool
    under_measured: bool

    @property
    def difference(self) -> float:
        """Small minus large."""
        return self.small - self.large

    @property
    def relative(self) -> float:
        """The difference in percent of large's accuracy (the paper's figure 1); NaN where that is 0."""
        return 100 * self.difference / self.large if self.large else math.nan

    def to_dict(self) -> dict[str, Any]:
        """As plain data for JSON."""
        return {
            "R": self.share,
            "k": self.k,
            "small": self.small,
            "large": self.large,
            "difference": self.difference,
            "difference_ci95": list(self.interval),
            "difference_band95": list(self.band),
            "problems": self.problems,
            "beyond_measured": self.beyond_measured,
            "under_measured": self.under_measured,
            "winner": self.winner,
        }

    @property
    def winner(self) -> Winner:
        """The more accurate model, whether or not `interval` excludes 0."""
        return _winner(self.difference)


@dataclass(frozen=True, slots=True)
class MatchedComparison:
    """Accuracies of `small` ([partitions,] problems, budgets) against `large` (problems,), in [0, 1].

    `budgets` rise; the unit is one answer's inference by the small model. Between two of them accuracy is linear in
    log budget. One row of a published curve has no interval, and may be in percent.
    """

    rate: ExchangeRate
    budgets: Floats
    small: Floats
    large: Floats

    def __post_init__(self) -> None:
        if not len(self.budgets) or not (np.diff(self.budgets, prepend=0) > 0).all() or self.budgets[-1] == np.inf:
            raise UsageError(f"budgets = {self.budgets.tolist()} is not allowed: above 0, rising and finite")
        expected = (len(self.large), len(self.budgets))
        if self.small.shape[-2:] != expected or self.small.ndim > 3 or not len(self.large):
            raise UsageError(f"small of shape {self.small.shape} is not allowed: (problems, budgets), here {expected}")
        if not (np.isfinite(self.small).all() and np.isfinite(self.large).all()):
            raise UsageError("accuracies must be finite numbers")

    def at(self, share: float) -> Point:
        """Both at R = `share`."""
        [point] = self.points([share])
        return point

    def points(self, shares: Sequence[float] = SHARES) -> tuple[Point, ...]:
        """Both at every R."""
        ks = [self.rate.k(share) for share in shares]
        small = np.stack([self._at_budget(k) for k in ks])
        paired = small - self.large
        bands = simultaneous(paired)
        return tuple(
            Point(
                share,
                k,
                float(one.mean()),
                float(self.large.mean()),
                difference(apart).interval,
                band.interval,
                len(self.large),
                beyond_measured=bool(k > self.budgets[-1]),
                under_measured=bool(k < self.budgets[0]),
            )
            for share, k, one, apart, band in zip(shares, ks, small, paired, bands, strict=True)
        )

    def break_even(self) -> tuple[float, ...]:
        """Every R in the range at which the difference changes sign, rising; several where the curve falls."""
        return tuple(sorted(self.rate.share(math.exp(log_k)) for log_k in _crossings(*self._bends())))

    def winner(self) -> Winner | None:
        """The model that is ahead somewhere in the range and behind nowhere; None where there is a break-even."""
        _, differences = self._bends()
        if differences.min() < 0 < differences.max():
            return None
        return _winner(differences.sum())

    def undecided(self) -> tuple[Interval, ...]:
        """The stretches of R at which the interval of the difference contains 0.

        Around a single break-even, the stretch is its own 95 % interval: where the true difference is 0, 19 of 20
        intervals contain 0. A stretch that ends at an end of the range is open: the break-even may lie outside, or
        there is none. Ends are interpolated between neighbours on the grid. Empty where there are too few problems for
        intervals.
        """
        shares = sorted({*SHARES, *self.break_even()})
        intervals = [difference(self._at_budget(self.rate.k(share)) - self.large).interval for share in shares]
        excess = _without_noise(np.array([max(interval.low, -interval.high) for interval in intervals]))
        return tuple(Interval(*np.exp(ends).tolist()) for ends in _stretches(np.log(shares), excess))

    def _at_budget(self, budget: float) -> Floats:
        """([partitions,] problems) accuracies of small."""
        logs = np.log(self.budgets)
        at = math.log(max(budget, self.budgets[0]))
        return np.asarray(self.small @ np.array([np.interp(at, logs, one) for one in np.eye(len(logs))]))

    def _bends(self) -> tuple[Floats, Floats]:
        """Log budgets over the range, and the mean difference at each; linear between them and constant outside."""
        reached = np.clip([self.rate.k(share) for share in (SHARES[0], SHARES[-1])], self.budgets[0], self.budgets[-1])
        low, high = reached.min(), reached.max()
        inside = self.budgets[(self.budgets > low) & (self.budgets < high)]
        budgets = np.array([low, *inside, high])
        differences = np.array([(self._at_budget(budget) - self.large).mean() for budget in budgets])
        return np.log(budgets), _without_noise(differences)


@dataclass(frozen=True, slots=True)
class Exchange:
    """The comparison over all problems, and in each bin."""

    overall: MatchedComparison
    bins: dict[int, MatchedComparison]

    def to_dict(self) -> dict[str, Any]:
        """The curve over R and the break-even points: overall and by bin, 1 the easiest."""
        groups = {"overall": self.overall, **{str(bin + 1): match for bin, match in sorted(self.bins.items())}}
        return {
            "curve": {name: [point.to_dict() for point in match.points()] for name, match in groups.items()},
            "break_even": {
                name: {
                    "R": list(match.break_even()),
                    "wins_everywhere": match.winner(),
                    "undecided": [list(stretch) for stretch in match.undecided()],
                }
                for name, match in groups.items()
            },
        }


def from_problems(rate: ExchangeRate, budgets: Floats, small: Floats, large: Floats, bins: Ints) -> Exchange:
    """From accuracies of every problem: `small` ([partitions,] problems, budgets), `large` and `bins` (problems,)."""
    overall = MatchedComparison(rate, budgets, small, large)
    if bins.shape != large.shape:
        raise UsageError(f"bins of shape {bins.shape} is not allowed: one for each of the {len(large)} problems")
    return Exchange(
        overall,
        {
            int(one): MatchedComparison(rate, budgets, small[..., bins == one, :], large[bins == one])
            for one in np.unique(bins)
        },
    )


def from_curve(
    parameters: tuple[float, float],
    curve: Sequence[tuple[Floats, Floats]],
    large: Floats,
    bins: Ints,
    unit: float = 1.0,
    pretrained: float = 1.0,
) -> Exchange:
    """From a curve of the small model: accuracy, ([partitions,] problems), and FLOPs, (problems,), at every point.

    A budget is the mean FLOPs of a point over `unit`, those of one answer. Both models have `parameters`. The small one
    was pretrained on `pretrained` tokens for each of the large one's, its verifier's training included.
    """
    points = {float(cost.mean()) / unit: accuracy for accuracy, cost in curve}
    budgets = sorted(points)
    rate = by_flops(Pretrained(parameters[0], pretrained), Pretrained(parameters[1], 1.0))
    small = np.stack(np.broadcast_arrays(*(points[b] for b in budgets)), -1)
    return from_problems(rate, np.array(budgets), small, large, bins)


def from_curves(rate: ExchangeRate, budgets: Floats, small: Floats, large: Floats) -> Exchange:
    """From published curves: `small` (budgets, bins) and `large` (bins,), where all bins have the same number of
    problems.

    Each bin's curve becomes one row, and the mean over bins another. Nothing is resampled, so there are no intervals.
    """
    bins = from_problems(rate, budgets, small.T, large, np.arange(len(large))).bins
    return Exchange(MatchedComparison(rate, budgets, small.mean(1)[None], large.mean(keepdims=True)), bins)


def _without_noise(values: Floats) -> Floats:
    return np.where(np.abs(values) <= NOISE, 0, values)


def _winner(difference: float) -> Winner:
    if abs(difference) <= NOISE:
        return "tie"
    return "small" if difference > 0 else "large"


def _crossings(x: Floats, y: Floats) -> list[float]:
    """Where the line through the points changes sign; where it is 0 for a stretch, the middle of that stretch."""
    found = []
    for left, right in pairwise(np.flatnonzero(y)):
        if y[left] * y[right] > 0:
            continue
        if right == left + 1:
            found.append(_root(x[left], y[left], x[right], y[right]))
        else:
            found.append(float(x[left + 1] + x[right - 1]) / 2)
    return found


def _stretches(x: Floats, excess: Floats) -> list[tuple[float, float]]:
    """The stretches where the line through the points is at most 0."""
    found = []
    for held, group in groupby(range(len(x)), key=lambda index: bool(excess[index] <= 0)):
        if held:
            indices = list(group)
            first, last = indices[0], indices[-1]
            low = _root(x[first - 1], excess[first - 1], x[first], excess[first]) if first else x[0]
            high = _root(x[last], excess[last], x[last + 1], excess[last + 1]) if last + 1 < len(x) else x[-1]
            found.append((low, high))
    return found


def _root(x0: float, y0: float, x1: float, y1: float) -> float:
    """The place where the line between two points on either side of 0 is 0."""
    return float(x0 + (x1 - x0) * y0 / (y0 - y1))


def _above_zero(**settings: float) -> None:
    """Raise `UsageError` for a setting that is not positive and finite."""
    for name, value in settings.items():
        if not 0 < value < math.inf:
            raise UsageError(f"{name} = {value} is not allowed: above 0, and finite")
