"""Where a price stops and what it spends: by hand, and for any path."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from worlds import RIGHT, draws, workload

from computewise.controller.frontier import StoppingPath, Worth, join, price_list, rollout
from computewise.controller.replay import ReplayEnv
from computewise.controller.state import FEATURES
from computewise.metrics import Floats, Ints

NONE = -np.inf


def path(
    problems: list[int], worth: list[list[float]], spent: list[list[float]], right: list[list[int]]
) -> StoppingPath:
    arms = np.where(np.isfinite(worth), 0, -1)
    return StoppingPath(np.array(problems), np.array(worth), np.array(spent), np.array(right, np.bool_), arms)


TWO = path(
    [4, 7, 7],
    [[0.5, 0.2, NONE], [0.3, NONE, NONE], [0.3, 0.1, NONE]],
    [[1, 2, 5], [1, 3, 3], [1, 2, 4]],
    [[0, 0, 1], [1, 1, 1], [0, 1, 0]],
)
"""Problem 4 once and problem 7 in two orders."""


def test_a_row_stops_where_going_on_is_not_worth_more_than_the_price() -> None:
    assert TWO.stops(0.5).tolist() == [0, 0, 0]
    assert TWO.stops(0.3).tolist() == [1, 0, 0]
    assert TWO.stops(0.2).tolist() == [1, 1, 1]
    assert TWO.stops(0.0).tolist() == [2, 1, 2]


def test_what_a_price_came_to_is_a_mean_of_each_problems_orders() -> None:
    accuracy, cost = TWO.at(0.25)
    assert (accuracy.tolist(), cost.tolist()) == ([0, 1], [2, 2.5])
    accuracy, cost = TWO.at(0.0)
    assert (accuracy.tolist(), cost.tolist()) == ([1, 0.5], [5, 3.5])


def test_the_price_of_a_budget_counts_problems_and_not_orders() -> None:
    """Mean costs: 1 from .5 up, 1.5 from .3, 2.25 from .2, 3.75 from .1, and at 0 all there is, 4.25."""
    assert [TWO.price(budget) for budget in (0.5, 1, 1.4, 1.5, 2.2, 2.25, 3.7, 3.75, 4.2, 4.25, 99)] == [
        *[0.5, 0.5, 0.5, 0.3, 0.3, 0.2, 0.2, 0.1, 0.1, 0.0, 0.0]
    ]
    assert [float(TWO.at(price)[1].mean()) for price in (0.5, 0.3, 0.2, 0.1, 0.0)] == [1, 1.5, 2.25, 3.75, 4.25]


@pytest.mark.parametrize("unit", [1e-6, 1.0, 1e12])
def test_a_budget_that_is_met_exactly_is_met_in_any_currency(unit: float) -> None:
    """Sums in another order differ by rounding."""
    rng = np.random.default_rng(0)
    spent, worth = unit * rng.random((200, 9)).cumsum(1), -np.sort(-rng.random((200, 9)).round(2), axis=1)
    worth[:, -1] = NONE
    long = StoppingPath(np.arange(200), worth, spent, rng.random((200, 9)) < 0.5, np.zeros((200, 9), int))
    for price in (0.11, 0.32, 0.53, 0.74, 0.95):
        assert long.price(float(long.at(price)[1].mean())) == price


@st.composite
def paths(draw: st.DrawFn) -> StoppingPath:
    """Of up to three problems; worths tie often, rows end anywhere."""
    rows, stops = draw(st.integers(1, 5)), draw(st.integers(1, 5))
    worth, costs = np.full((rows, stops), NONE), np.zeros((rows, stops))
    for row in range(rows):
        steps = draw(st.integers(0, stops - 1))
        levels = st.lists(st.sampled_from([0.05, 0.1, 0.2, 0.5]), min_size=steps, max_size=steps)
        worth[row, :steps] = sorted(draw(levels), reverse=True)
        taken = st.lists(st.sampled_from([0.5, 1.0, 7.0]), min_size=steps + 1, max_size=steps + 1)
        costs[row, : steps + 1] = draw(taken)
    problems = np.array(draw(st.lists(st.integers(0, 2), min_size=rows, max_size=rows)))
    right = np.random.default_rng(draw(st.integers(0, 99))).random((rows, stops)) < 0.5
    return StoppingPath(problems, worth, costs.cumsum(1), right, np.where(np.isfinite(worth), 0, -1))


def spent(of: StoppingPath, price: float) -> float:
    return float(of.at(price)[1].mean())


@given(paths(), st.floats(0, 30))
def test_the_price_of_a_budget_keeps_to_it_and_any_lower_one_does_not(of: StoppingPath, budget: float) -> None:
    """But for the first draws, which no price prevents."""
    price = of.price(budget)
    assert spent(of, price) <= max(budget, spent(of, np.inf)) * (1 + 1e-8)
    if price > 0:
        assert spent(of, np.nextafter(price, 0)) > budget


@given(paths(), st.floats(0, 0.6), st.floats(0, 0.6))
def test_a_higher_price_spends_more_on_nothing(of: StoppingPath, price: float, other: float) -> None:
    rows = np.arange(len(of.worth))
    dear, cheap = of.stops(max(price, other)), of.stops(min(price, other))
    assert (of.spent[rows, dear] <= of.spent[rows, cheap]).all()


@given(paths(), paths())
def test_joined_paths_stop_and_spend_as_they_did_apart(first: StoppingPath, second: StoppingPath) -> None:
    moved = StoppingPath(second.problems + 10, second.worth, second.spent, second.right, second.arms)
    both = join([first, moved])
    for price in (0.0, 0.1, 0.3):
        assert both.stops(price).tolist() == [*first.stops(price), *moved.stops(price)]
        for whole, *parts in zip(both.at(price), first.at(price), moved.at(price), strict=True):
            assert whole == pytest.approx(np.concatenate(parts))
    assert both.price(2.0) == pytest.approx(join([moved, first]).price(2.0))


def test_a_joined_path_repeats_its_last_stop() -> None:
    longer = path([1], [[0.4, 0.3, NONE]], [[1, 2, 3]], [[0, 1, 1]])
    both = join([path([0], [[NONE]], [[2]], [[1]]), longer])
    assert both.spent.tolist() == [[2, 2, 2], [1, 2, 3]]
    assert both.right.tolist() == [[True] * 3, [False, True, True]]
    assert both.arms.tolist() == [[-1, -1, -1], [0, 0, -1]]
    assert both.worth.tolist() == [[NONE] * 3, [0.4, 0.3, NONE]]


def test_only_some_problems_are_kept_with_all_their_orders() -> None:
    kept = TWO.only(np.array([7, 99]))
    assert kept.problems.tolist() == [7, 7]
    assert [part.tolist() for part in kept.at(0.0)] == [[0.5], [3.5]]
    assert np.array_equal(kept.arms, TWO.arms[1:])


def scripted(worths: list[float]) -> Worth:
    """What going on is worth after one, two, .. draws."""

    def worth(features: Floats, left: Ints) -> tuple[Floats, Ints]:
        drawn = features[:, FEATURES.index("draws")].astype(int)
        return np.array(worths)[drawn - 1], np.where(left[:, 0] > 0, 0, -1)

    return worth


@given(st.lists(st.sampled_from([0.0, 0.1, 0.2, 0.3, 0.4]), min_size=6, max_size=6), st.integers(1, 6))
@settings(max_examples=60)
def test_a_price_stops_where_choosing_anew_after_every_draw_would_first_stop(worths: list[float], count: int) -> None:
    """However worth rises again after: a stop is a stop."""
    followed = rollout(scripted(worths), 0, ReplayEnv(workload({"a": draws([0] * count)}), 1, seed=0))
    assert (np.diff(followed.worth[0, :-1]) <= 0).all()
    for price in (0.0, 0.1, 0.25, 0.3):
        stop = next((drawn for drawn in range(1, count) if worths[drawn - 1] <= price), count)
        assert followed.at(price)[1].tolist() == [stop]


def test_a_path_says_what_was_drawn_by_and_whether_stopping_was_right() -> None:
    """The second arm is right and outvotes the first."""

    def worth(features: Floats, left: Ints) -> tuple[Floats, Ints]:
        return np.where(left[:, 1] > 0, 0.3, 0.1), np.where(left[:, 1] > 0, 1, np.where(left[:, 0] > 0, 0, -1))

    held = workload({"small": draws([1, 1]), "large": draws([RIGHT], [0.9], cost=10.0)})
    followed = rollout(worth, 0, ReplayEnv(held, 1, seed=0))
    assert followed.arms[0, :3].tolist() == [1, 0, -1]
    assert followed.spent[0, :3].tolist() == [1, 11, 12]
    assert followed.right[0, :3].tolist() == [False, True, False]
    assert followed.worth[0, :3].tolist() == [0.3, 0.1, NONE]


def test_rows_go_on_while_others_have_ended() -> None:
    held = workload({"a": draws([0])}, {"a": draws([0, 0, 0])})
    followed = rollout(scripted([0.5, 0.4, 0.3]), 0, ReplayEnv(held, 1, seed=0))
    assert followed.at(0.0)[1].tolist() == [1, 3]
    assert followed.at(0.4)[1].tolist() == [1, 2]


def test_listed_prices_fall_to_nothing_and_spend_ever_more() -> None:
    listed = price_list(TWO, unit=0.5)
    assert [one.price for one in listed] == sorted({one.price for one in listed}, reverse=True)
    assert (listed[0].price, listed[0].mean_cost, listed[0].accuracy) == (0.5, 2.0, 0.25)
    assert (listed[-1].price, listed[-1].mean_cost, listed[-1].accuracy) == (0.0, 8.5, 0.75)
    assert (np.diff([one.mean_cost for one in listed]) >= 0).all()


def test_where_nothing_lies_ahead_the_only_price_is_nothing() -> None:
    listed = price_list(path([0, 1], [[NONE], [NONE]], [[2], [4]], [[1], [0]]), unit=3.0)
    assert [(one.price, one.mean_cost, one.accuracy) for one in listed] == [(0, 1, 0.5)]
