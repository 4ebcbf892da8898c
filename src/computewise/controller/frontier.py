"""Stopping paths: where a rule stops at each price, what that costs, and which price spends a given budget."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from computewise.controller.replay import ReplayEnv
from computewise.intervals import Interval
from computewise.metrics import Bools, Floats, Ints

Worth = Callable[[Floats, Ints], tuple[Floats, Ints]]
"""Maps features and increments left, (rows, ...) each, to the worth of the next draw and its arm, -1 for none."""


@dataclass(frozen=True)
class StoppingPath:
    """Replays to the end: arrays (rows, stops), with a possible stop after each draw.

    `worth` is the least worth of going on up to that stop: a row stops at the first stop where it is not above the
    price. `spent` and `right` are the cost and the correctness of stopping there. A row that has ended repeats its last
    stop, with a worth of minus infinity.
    """

    problems: Ints
    worth: Floats
    spent: Floats
    right: Bools
    arms: Ints
    """The arm of the next draw; -1 at the end."""

    def stops(self, price: float) -> Ints:
        """(rows,): the stop of each row at this price."""
        return (self.worth > price).sum(1)

    def at(self, price: float) -> tuple[Floats, Floats]:
        """(problems,) each: accuracy and mean cost."""
        rows, stops = np.arange(len(self.worth)), self.stops(price)
        return self.by_problem(self.right[rows, stops]), self.by_problem(self.spent[rows, stops])

    def price(self, mean_cost: float) -> float:
        """The lowest price, at least 0, that spends at most `mean_cost` a problem; correctness is not used.

        A price of 0 draws everything that is expected to gain, which may cost less.
        """
        return self.prices([mean_cost])[0]

    def prices(self, mean_costs: Sequence[float]) -> list[float]:
        """`price` of each mean cost."""
        worth, total = self._schedule
        affordable = np.searchsorted(total, np.array(mean_costs) * (1 + 1e-9), side="right")
        # A price cannot tell draws of equal worth apart: it draws all of them or none.
        return [0.0 if last == len(worth) else max(float(worth[last]), 0.0) for last in affordable]

    @cached_property
    def _schedule(self) -> tuple[Floats, Floats]:
        """All steps by falling worth, and the mean cost a problem of taking all up to each; kept for many prices."""
        problem, counts = self._groups
        weight = 1 / (counts[problem] * len(counts))
        worth, steps = self.worth[:, :-1].ravel(), np.diff(self.spent, axis=1)
        order = np.argsort(-worth, kind="stable")
        total = (self.spent[:, 0] * weight).sum() + np.cumsum((steps * weight[:, None]).ravel()[order])
        return worth[order], total

    @cached_property
    def _groups(self) -> tuple[Ints, Ints]:
        """(rows,) the place of each row's problem, and (problems,) its number of rows."""
        _, problem, counts = np.unique(self.problems, return_inverse=True, return_counts=True)
        return problem, counts

    def by_cost(self) -> StoppingPath:
        """The same stops, where the worth of a draw is one over the mean cost of all draws of at least its worth."""
        worth, total = self._schedule
        ends = np.searchsorted(-worth, -self.worth, side="right")
        rescaled = 1.0 / total[np.clip(ends - 1, 0, None)] if len(total) else np.zeros_like(self.worth)
        return replace(self, worth=np.where(np.isfinite(self.worth), rescaled, -np.inf))

    def only(self, problems: Ints) -> StoppingPath:
        """The rows of these problems."""
        rows = np.isin(self.problems, problems)
        return StoppingPath(self.problems[rows], self.worth[rows], self.spent[rows], self.right[rows], self.arms[rows])

    def by_problem(self, values: Floats | Bools) -> Floats:
        """(problems,): means of (rows,) values."""
        problem, counts = self._groups
        return np.asarray(np.bincount(problem, values) / counts)


def join(paths: Sequence[StoppingPath]) -> StoppingPath:
    """One path from paths of different problems, or of different orders."""
    stops = max(path.worth.shape[1] for path in paths)

    def joined(name: str, missing: float | None) -> NDArray[Any]:
        arrays = [getattr(path, name) for path in paths]
        if missing is None:
            return np.concatenate([np.pad(a, ((0, 0), (0, stops - a.shape[1])), mode="edge") for a in arrays])
        return np.concatenate([np.pad(a, ((0, 0), (0, stops - a.shape[1])), constant_values=missing) for a in arrays])

    return StoppingPath(
        np.concatenate([path.problems for path in paths]),
        joined("worth", -np.inf),
        joined("spent", None),
        joined("right", None),
        joined("arms", -1),
    )


def rollout(worth: Worth, first: int, walk: ReplayEnv, most: int | None = None) -> StoppingPath:
    """Draw by the arm `first`, then as `worth` says until no draw is worth anything, or `most` times."""
    every = np.arange(len(walk.problems))
    walk.draw(first, np.flatnonzero(walk.left[:, first] > 0))
    least = np.full(len(every), np.inf)
    worths: list[Floats] = []
    spent, right, drawn = [walk.spent.copy()], [walk.right()], list[Ints]()
    going = every
    while len(going) and (most is None or len(worths) < most):
        value, arm = worth(walk.tally.features(going), walk.left[going])
        least[going] = np.minimum(least[going], value)
        on = (arm >= 0) & (least[going] > 0)
        going, arm = going[on], arm[on]
        now, by = np.full(len(every), -np.inf), np.full(len(every), -1)
        now[going], by[going] = least[going], arm
        worths.append(now)
        drawn.append(by)
        for each in np.unique(arm):
            walk.draw(int(each), going[arm == each])
        spent.append(walk.spent.copy())
        right.append(walk.right())
    worths.append(np.full(len(every), -np.inf))
    drawn.append(np.full(len(every), -1))
    return StoppingPath(walk.problems, np.stack(worths, 1), np.stack(spent, 1), np.stack(right, 1), np.stack(drawn, 1))


@dataclass(frozen=True, slots=True)
class PricePoint:
    """A price with its mean cost, in draws of the probe arm, and its accuracy."""

    price: float
    mean_cost: float
    accuracy: float


def price_list(path: StoppingPath, unit: float) -> tuple[PricePoint, ...]:
    """Prices at forty mean costs, from one draw to all draws; `unit` is the mean cost of a draw by the probe arm."""
    least, most = path.spent[:, 0].mean(), max(path.at(0.0)[1].mean(), path.spent[:, 0].mean())
    prices = {*path.prices(np.geomspace(least, most, 40).tolist()), 0.0}
    return tuple(
        PricePoint(price, float(cost.mean()) / unit, float(accuracy.mean()))
        for price in sorted(prices, reverse=True)
        for accuracy, cost in [path.at(price)]
    )


class FrontierPoint(NamedTuple):
    """One budget, in draws a problem: cost and accuracy of the controller, and of equal draws for every problem.

    `gain` is the interval of the paired difference of the two accuracies.
    """

    budget: int
    cost: float
    accuracy: float
    interval: Interval
    uniform_cost: float
    uniform: float
    uniform_interval: Interval
    gain: Interval


@dataclass(frozen=True, slots=True)
class Frontier:
    """Accuracy by budget; `str` is a table with 95 % intervals."""

    points: tuple[FrontierPoint, ...]

    def __str__(self) -> str:
        lines = ["budget   draws  controller           uniform              controller - uniform"]
        for point in self.points:
            columns = (
                f"{point.budget:6d}  {point.cost:6.2f}",
                _percent(point.accuracy, point.interval),
                _percent(point.uniform, point.uniform_interval),
                _percent(point.accuracy - point.uniform, point.gain, "+"),
            )
            lines.append("  ".join(columns).rstrip())
        return "\n".join(lines)


def _percent(value: float, interval: Interval, sign: str = "") -> str:
    return f"{100 * value:{sign}.1f} [{100 * interval.low:{sign}.1f}, {100 * interval.high:{sign}.1f}]".ljust(19)
