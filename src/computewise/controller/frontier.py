"""Where a controller stops at a price, what that costs, and which price spends a given budget."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from computewise.controller.replay import ReplayEnv
from computewise.samples import Bools, Floats, Ints

Worth = Callable[[Floats, Ints], tuple[Floats, Ints]]
"""Features and increments left, (rows, ..) each, to the worth of the best option and its number, -1 for none."""


@dataclass(frozen=True, slots=True)
class StoppingPath:
    """What came of walking to the end: (rows, stops) each, a stop before any draw but the first.

    `worth` is the least that going on was worth up to there: a row stops at its first stop where that is not above the
    price. `spent` and `right` are of stopping there; a row that has ended repeats its last stop, worth minus infinity.
    """

    problems: Ints
    worth: Floats
    spent: Floats
    right: Bools
    arms: Ints
    """What was drawn by next; -1 at the end."""

    def stops(self, price: float) -> Ints:
        """(rows,): where each stops."""
        return (self.worth > price).sum(1)

    def at(self, price: float) -> tuple[Floats, Floats]:
        """(problems,) each: accuracy and mean cost."""
        rows, stops = np.arange(len(self.worth)), self.stops(price)
        return self.by_problem(self.right[rows, stops]), self.by_problem(self.spent[rows, stops])

    def price(self, mean_cost: float) -> float:
        """The least price from 0 up that spends at most `mean_cost` a problem; found without a look at what is right.

        At a price of 0 all is drawn that is expected to gain anything: that may cost less.
        """
        steps = np.diff(self.spent, axis=1)
        _, problem, counts = np.unique(self.problems, return_inverse=True, return_counts=True)
        weight = 1 / (counts[problem] * len(counts))
        worth = self.worth[:, :-1].ravel()
        order = np.argsort(-worth, kind="stable")
        total = (self.spent[:, 0] * weight).sum() + np.cumsum((steps * weight[:, None]).ravel()[order])
        affordable = np.searchsorted(total, mean_cost * (1 + 1e-9), side="right")
        if affordable == len(order):
            return 0.0
        # Where several are worth the same, all or none are drawn: that is what a price can say.
        return max(float(worth[order[affordable]]), 0.0)

    def only(self, problems: Ints) -> StoppingPath:
        """The rows of some problems."""
        rows = np.isin(self.problems, problems)
        return StoppingPath(self.problems[rows], self.worth[rows], self.spent[rows], self.right[rows], self.arms[rows])

    def by_problem(self, values: Floats | Bools) -> Floats:
        """(problems,): means of (rows,) values."""
        _, problem, counts = np.unique(self.problems, return_inverse=True, return_counts=True)
        return np.asarray(np.bincount(problem, values) / counts)


def join(paths: Sequence[StoppingPath]) -> StoppingPath:
    """Paths of different problems, or orders, as one."""
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


def rollout(worth: Worth, arms: Sequence[int], walk: ReplayEnv, most: int | None = None) -> StoppingPath:
    """Draw what is worth most until nothing is, or `most` times; `arms` says which arm each option draws by."""
    every = np.arange(len(walk.problems))
    walk.draw(0, every)
    least = np.full(len(every), np.inf)
    worths: list[Floats] = []
    spent, right, drawn = [walk.spent.copy()], [walk.right()], list[Ints]()
    going = every
    while len(going) and (most is None or len(worths) < most):
        value, option = worth(walk.tally.features(going), walk.left[going])
        least[going] = np.minimum(least[going], value)
        on = (option >= 0) & (least[going] > 0)
        going, option = going[on], option[on]
        now, arm = np.full(len(every), -np.inf), np.full(len(every), -1)
        now[going], arm[going] = least[going], np.asarray(arms)[option]
        worths.append(now)
        drawn.append(arm)
        for each in np.unique(arm[going]):
            walk.draw(int(each), going[arm[going] == each])
        spent.append(walk.spent.copy())
        right.append(walk.right())
    worths.append(np.full(len(every), -np.inf))
    drawn.append(np.full(len(every), -1))
    return StoppingPath(walk.problems, np.stack(worths, 1), np.stack(spent, 1), np.stack(right, 1), np.stack(drawn, 1))


@dataclass(frozen=True, slots=True)
class PricePoint:
    """What a price came to: mean cost in draws of the probe arm, and accuracy."""

    price: float
    mean_cost: float
    accuracy: float


def price_list(path: StoppingPath, unit: float) -> tuple[PricePoint, ...]:
    """What prices come to, forty steps from the first draw's cost to all; `unit` is what a probe's draw costs."""
    least, most = path.spent[:, 0].mean(), max(path.at(0.0)[1].mean(), path.spent[:, 0].mean())
    prices = {path.price(float(cost)) for cost in np.geomspace(least, most, 40)} | {0.0}
    return tuple(
        PricePoint(price, float(cost.mean()) / unit, float(accuracy.mean()))
        for price in sorted(prices, reverse=True)
        for accuracy, cost in [path.at(price)]
    )
