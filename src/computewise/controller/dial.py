"""A running price: what is spent on average comes to what was asked for, whatever problems come.

A price that was found on other problems spends more where the problems are harder than those, and less where they are
easier. The dial raises the price after a problem that took more than its share and lowers it after one that took less:
stochastic approximation of the price of a budget (Robbins and Monro 1951), in the logarithm of the price. A higher
price never draws more, so this is stable. What was spent too much or too little so far is made up over the next
`HORIZON` problems.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from statistics import fmean

import numpy as np

from computewise.controller.frontier import StoppingPath
from computewise.metrics import Floats, Ints

STEP = 0.5
"""How far the logarithm of the price moves after the first problem that takes twice its share."""
LEAST_STEP = 0.08
MOST_SURE = 3.0
"""A group of problems moves the price at most so many times as far as one."""
HORIZON = 40
MOST_ERROR = 2.0
"""One problem counts as no more than so many shares too much: a few problems take very many draws."""
RANGE = 1e4
"""The price stays within this factor of the first one."""
LEAST_PRICE = 1e-6
"""In accuracy by draw: a price of 0 would stay 0."""


@dataclass(slots=True)
class Dial:
    """The price for a mean cost of `target`, in the unit of the costs that are told; `price` is the one to begin with.

    Problems may run at the same time. Those that began before any of them ended make a group, and the price moves when
    all of a group have ended: the cheap ones end first, and alone they would lower it.
    """

    target: float
    price: float
    """At least `LEAST_PRICE`, from which it can rise."""
    problems: int = 0
    spent: float = 0.0
    _log: float = 0.0
    _moves: int = 0
    _group: int = 0
    _running: dict[int, int] = field(default_factory=dict)
    _told: dict[int, list[float]] = field(default_factory=dict)

    @property
    def now(self) -> float:
        """The price for the next problem."""
        return max(self.price, LEAST_PRICE) * math.exp(self._log)

    @property
    def mean(self) -> float:
        """What a problem cost so far; NaN before the first."""
        return self.spent / self.problems if self.problems else math.nan

    def begin(self) -> int:
        """A problem begins at the price of now; returns its group."""
        self._running[self._group] = self._running.get(self._group, 0) + 1
        return self._group

    def tell(self, cost: float | None, group: int) -> None:
        """A problem of that group has ended and cost so much; None where nobody can say."""
        self._running[group] -= 1
        if cost is not None:
            self.problems += 1
            self.spent += cost
            self._told.setdefault(group, []).append(cost)
        if group == self._group:
            self._group += 1
        if not self._running[group]:
            del self._running[group]
            self._move(self._told.pop(group, []))

    def _move(self, costs: list[float]) -> None:
        if not costs:
            return
        self._moves += 1
        behind = (self.target * self.problems - self.spent) / HORIZON
        share = min(max(self.target + behind, self.target / 4), 2 * self.target)
        error = fmean(min(max((cost - share) / self.target, -1.0), MOST_ERROR) for cost in costs)
        # The mean of a group is surer than one problem, so it moves the price further.
        step = max(STEP / math.sqrt(self._moves), LEAST_STEP) * min(math.sqrt(len(costs)), MOST_SURE)
        self._log = min(max(self._log + step * error, -math.log(RANGE)), math.log(RANGE))


def followed(path: StoppingPath, dial: Dial, rows: Ints) -> tuple[Floats, Floats]:
    """(len(rows),) each: accuracy and cost where these rows of a path come one after another."""
    right, cost = np.zeros(len(rows)), np.zeros(len(rows))
    for place, row in enumerate(rows):
        stop = int((path.worth[row] > dial.now).sum())
        right[place], cost[place] = path.right[row, stop], path.spent[row, stop]
        dial.tell(float(cost[place]), dial.begin())
    return right, cost
