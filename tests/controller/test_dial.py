"""The running price: what is spent comes to what was asked for, in any order of any problems."""

from __future__ import annotations

import math
from heapq import heappop, heappush

import numpy as np
import pytest
from worlds import sampled, workload

from computewise.controller.dial import LEAST_PRICE, RANGE, Dial, followed
from computewise.controller.formula import DOUBT_PER_DRAW, FormulaRule
from computewise.controller.frontier import StoppingPath

REQUESTS = 200


def path(chance: float, *, seed: int = 0) -> StoppingPath:
    """Problems of one model, whose samples are right with about that chance, by doubt per draw."""
    rng = np.random.default_rng(seed)
    chances = np.clip(rng.normal(chance, 0.15, 40), 0.02, 0.98)
    rule = FormulaRule(arms=("small",), steps=(("small", 24),), powers=DOUBT_PER_DRAW, costs=(1.0,))
    held = workload(*({"small": sampled(rng, one, 24)} for one in chances))
    return rule.follow(held, repeats=4, seed=0)


EASY, HARD = path(0.85), path(0.25)
SHIFTS = ["same", "harder", "easier"]


def sequence(walks: StoppingPath, seed: int, requests: int = REQUESTS) -> np.ndarray:
    return np.random.default_rng(seed).integers(len(walks.worth), size=requests)


@pytest.mark.parametrize("target", [2.0, 4.0, 8.0, 12.0])
@pytest.mark.parametrize(
    ("fitted", "met"), [(EASY, EASY), (EASY, HARD), (HARD, EASY)], ids=["same", "harder", "easier"]
)
def test_what_is_spent_comes_to_what_was_asked(target: float, fitted: StoppingPath, met: StoppingPath) -> None:
    """Within a tenth after 200 problems, in each of fifty orders; the fitted price alone misses under shift."""
    price = fitted.price(target)
    for seed in range(50):
        _, cost = followed(met, Dial(target, price), sequence(met, seed))
        assert cost.mean() == pytest.approx(target, rel=0.1)
    if fitted is not met:
        fixed = met.at(price)[1].mean()
        assert abs(fixed / target - 1) > 0.1


def test_a_shift_in_the_middle_is_made_up_for() -> None:
    dial = Dial(6.0, EASY.price(6.0))
    followed(EASY, dial, sequence(EASY, 1))
    followed(HARD, dial, sequence(HARD, 2))
    assert dial.mean == pytest.approx(6.0, rel=0.1)
    assert dial.problems == 2 * REQUESTS


def test_accuracy_is_about_that_of_one_price_for_all() -> None:
    known = HARD.at(HARD.price(6.0))[0].mean()
    right = np.mean([followed(HARD, Dial(6.0, EASY.price(6.0)), sequence(HARD, seed))[0].mean() for seed in range(30)])
    assert right == pytest.approx(known, abs=0.03)


def test_a_price_of_nothing_can_rise_and_none_leaves_its_range() -> None:
    dial = Dial(2.0, 0.0)
    assert dial.now == LEAST_PRICE
    for _ in range(500):
        dial.tell(50.0, dial.begin())
    assert dial.now == pytest.approx(LEAST_PRICE * RANGE)
    for _ in range(5000):
        dial.tell(0.0, dial.begin())
    assert dial.now == pytest.approx(LEAST_PRICE / RANGE)


def test_before_the_first_problem_nothing_is_known() -> None:
    dial = Dial(2.0, 0.01)
    assert (dial.now, dial.problems) == (0.01, 0)
    assert math.isnan(dial.mean)


def busy(walks: StoppingPath, dial: Dial, rows: np.ndarray, at_once: int) -> float:
    """The mean cost where so many problems run at the same time, and each takes as long as it costs."""
    running: list[tuple[float, int, float, int]] = []
    costs: list[float] = []
    now = 0.0
    for place, row in enumerate(rows):
        if len(running) == at_once:
            now, _, cost, group = heappop(running)
            dial.tell(cost, group)
        cost = float(walks.spent[row, (walks.worth[row] > dial.now).sum()])
        costs.append(cost)
        heappush(running, (now + cost, place, cost, dial.begin()))
    return float(np.mean(costs))


@pytest.mark.parametrize("at_once", [16, 64])
@pytest.mark.parametrize("target", [2.0, 8.0])
def test_cheap_problems_that_end_first_do_not_move_the_price_alone(target: float, at_once: int) -> None:
    """On problems like those of the fit the fitted price is right, and stays so when many run at once."""
    spent = [busy(EASY, Dial(target, EASY.price(target)), sequence(EASY, seed), at_once) for seed in range(20)]
    assert np.mean(spent) == pytest.approx(target, rel=0.1)


@pytest.mark.parametrize(("fitted", "met"), [(EASY, HARD), (HARD, EASY)], ids=SHIFTS[1:])
def test_under_shift_many_at_once_come_nearer_than_the_fitted_price(fitted: StoppingPath, met: StoppingPath) -> None:
    price = fitted.price(8.0)
    spent = np.mean([busy(met, Dial(8.0, price), sequence(met, seed, 1000), 64) for seed in range(10)])
    assert abs(spent - 8.0) < 0.6 * abs(met.at(price)[1].mean() - 8.0)


def test_a_problem_that_fails_closes_its_group_and_tells_nothing() -> None:
    dial = Dial(2.0, 0.01)
    first, second = dial.begin(), dial.begin()
    dial.tell(None, first)
    assert (dial.now, dial.problems) == (0.01, 0)
    dial.tell(6.0, second)
    assert dial.now > 0.01
    assert dial.problems == 1
