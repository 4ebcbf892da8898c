"""The cheapest price at which no more than so much accuracy is lost, with so much confidence.

Learn-then-Test (Angelopoulos et al. 2021, arXiv 2110.01052) on the path of a rule: prices are tested in a fixed order,
from the one that draws most to cheaper ones, and the last before the first that fails is taken. The loss of a problem
is whether always drawing the most is right, less whether stopping at the price is. The test is by betting (Waudby-Smith
and Ramdas 2024, section 4): a capital that bets on a mean loss below the limit grows where that is true; were the mean
loss above the limit, it would not be expected to grow, whatever the distribution of losses in [-1, 1].
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from computewise.controller.frontier import StoppingPath
from computewise.errors import UsageError
from computewise.metrics import Floats

COSTS = 24
"""Prices that are tested, by mean costs from that of all draws to that of one."""
SHUFFLES = 20
"""The capital is a mean over so many orders of the problems."""
BOLD = 0.9
"""The largest bet, as a share of the one that a single problem could ruin."""


@dataclass(frozen=True, slots=True)
class Promise:
    """The cheapest price that passed; None where none but drawing the most did."""

    price: float | None
    mean_cost: float
    most_cost: float
    lost: float
    """The estimate of what is lost at the price, in accuracy."""
    problems: int
    needed: int
    """Problems without a single loss from which on anything could be promised."""


def promise(path: StoppingPath, lose_at_most: float, confidence: float, *, seed: int = 0) -> Promise:
    """By the path of a rule on problems that it was not fitted on; raises `UsageError` as `check_promise`."""
    check_promise(lose_at_most, confidence)
    best = path.by_problem(path.right[:, -1])
    most, least = (float(path.by_problem(path.spent[:, end]).mean()) for end in (-1, 0))
    found = Promise(None, most, most, 0.0, len(best), needed(lose_at_most, confidence))
    for cost in np.geomspace(most, least, COSTS)[1:]:
        price = path.price(float(cost))
        accuracy, spent = path.at(price)
        losses = best - accuracy
        if evidence(losses, lose_at_most, seed=seed) < 1 / (1 - confidence):
            break
        found = Promise(price, float(spent.mean()), most, float(losses.mean()), len(best), found.needed)
    return found


def check_promise(lose_at_most: float, confidence: float) -> None:
    """Raise `UsageError` for a limit or a confidence that is not between 0 and 1."""
    for name, value in (("lose_at_most", lose_at_most), ("confidence", confidence)):
        if not 0 < value < 1:
            raise UsageError(f"{name} = {value} is not allowed: between 0 and 1, such as 0.02 and 0.9")


def evidence(losses: Floats, limit: float, *, seed: int = 0) -> float:
    """The capital of bets that the mean of (problems,) losses in [-1, 1] is below the limit, from 1.

    Its expectation is at most 1 where the mean is at or above the limit, so by Markov it is seldom large there.
    """
    rng, capital = np.random.default_rng(seed), []
    for _ in range(SHUFFLES):
        gaps = limit - rng.permutation(losses)
        # The bet on a problem depends on those before it alone: about the one of the fastest growth (Kelly 1956).
        count = np.arange(len(gaps))
        before = np.concatenate([[0.0], np.cumsum(gaps)[:-1]])
        squares = np.concatenate([[0.0], np.cumsum(gaps**2)[:-1]])
        mean, square = (before + limit) / (count + 1), (squares + limit) / (count + 1)
        bets = np.clip(mean / square, 0.0, BOLD / (1 - limit))
        capital.append(math.exp(min(float(np.log1p(bets * gaps).sum()), 700.0)))
    return float(np.mean(capital))


def needed(limit: float, confidence: float) -> int:
    """Problems without any loss that are enough for the limit."""
    least = math.log(1 / (1 - confidence)) / math.log1p(BOLD / (1 - limit) * limit)
    count = max(1, math.floor(least))
    while evidence(np.zeros(count), limit) < 1 / (1 - confidence):
        count += max(1, count // 50)
    return count
