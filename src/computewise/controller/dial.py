"""A running price: what is spent on average comes to what was asked for, whatever problems come.

A price that was found on other problems spends more where the problems are harder than those, and less where they are
easier. The dial raises the price after a problem that took more than its share and lowers it after one that took less:
stochastic approximation of the price of a budget (Robbins and Monro 1951), in the logarithm of the price. A higher
price never draws more, so this is stable. What was spent too much or too little so far is made up over the next
`HORIZON` problems.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from computewise.controller.frontier import StoppingPath
from computewise.metrics import Floats, Ints

STEP = 0.5
"""How far the logarithm of the price moves after the first problem that takes twice its share."""
LEAST_STEP = 0.08
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

    Requests may run at the same time: a price is read where a problem begins, its cost is told where it ends.
    """

    target: float
    price: float
    """At least `LEAST_PRICE`, from which it can rise."""
    problems: int = 0
    spent: float = 0.0
    _log: float = 0.0

    @property
    def now(self) -> float:
        """The price for the next problem."""
        return max(self.price, LEAST_PRICE) * math.exp(self._log)

    @property
    def mean(self) -> float:
        """What a problem cost so far; NaN before the first."""
        return self.spent / self.problems if self.problems else math.nan

    def tell(self, cost: float) -> None:
        """What a problem cost."""
        self.problems += 1
        self.spent += cost
        behind = (self.target * self.problems - self.spent) / HORIZON
        share = min(max(self.target + behind, self.target / 4), 2 * self.target)
        error = min(max((cost - share) / self.target, -1.0), MOST_ERROR)
        step = max(STEP / math.sqrt(self.problems), LEAST_STEP)
        self._log = min(max(self._log + step * error, -math.log(RANGE)), math.log(RANGE))


def followed(path: StoppingPath, dial: Dial, rows: Ints) -> tuple[Floats, Floats]:
    """(len(rows),) each: accuracy and cost where these rows of a path come one after another."""
    right, cost = np.zeros(len(rows)), np.zeros(len(rows))
    for place, row in enumerate(rows):
        stop = int((path.worth[row] > dial.now).sum())
        right[place], cost[place] = path.right[row, stop], path.spent[row, stop]
        dial.tell(float(cost[place]))
    return right, cost
