"""Sharing out a budget: by hand, and against every other way to spend it."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from computewise.controller.bin_policy import allocate
from computewise.metrics import Floats

COST = np.array([[1, 2, 4], [1, 2, 4]], float)
ACCURACY = np.array([[0.2, 0.6, 0.8], [0.5, 0.55, 0.95]])
"""Steps of the envelopes: .4 and .1 a unit for the first prompt; .15 a unit for the second, past its middle action."""


def test_the_steepest_step_is_taken_first_and_the_last_in_part() -> None:
    assert allocate(ACCURACY, COST, 1.0).tolist() == [[1, 0, 0], [1, 0, 0]]
    assert allocate(ACCURACY, COST, 1.5).tolist() == [[0, 1, 0], [1, 0, 0]]
    assert allocate(ACCURACY, COST, 2.25) == pytest.approx(np.array([[0, 1, 0], [0.5, 0, 0.5]]))
    assert allocate(ACCURACY, COST, 3.0) == pytest.approx(np.array([[0, 1, 0], [0, 0, 1]]))
    assert allocate(ACCURACY, COST, 3.5) == pytest.approx(np.array([[0, 0.5, 0.5], [0, 0, 1]]))


def test_more_than_all_there_is_to_buy_is_not_spent() -> None:
    assert allocate(ACCURACY, COST, 100.0).tolist() == [[0, 0, 1], [0, 0, 1]]


def test_where_even_the_cheapest_cost_more_those_are_taken() -> None:
    assert allocate(ACCURACY, COST, 0.5).tolist() == [[1, 0, 0], [1, 0, 0]]


def test_what_costs_more_and_gains_nothing_is_never_taken() -> None:
    shares = allocate(np.array([[0.5, 0.5, 0.4]]), np.array([[1.0, 2.0, 3.0]]), 10.0)
    assert shares.tolist() == [[1, 0, 0]]


def test_of_actions_that_cost_the_same_the_best_is_taken_whatever_the_order() -> None:
    """Cost 1: the second; cost 3: the last."""
    accuracy, cost = np.array([[0.1, 0.3, 0.2, 0.7, 0.9]]), np.array([[1.0, 1.0, 1.0, 3.0, 3.0]])
    assert allocate(accuracy, cost, 1.0).tolist() == [[0, 1, 0, 0, 0]]
    assert allocate(accuracy, cost, 2.0) == pytest.approx(np.array([[0, 0.5, 0, 0, 0.5]]))
    assert allocate(accuracy[:, ::-1], cost[:, ::-1], 2.0) == pytest.approx(np.array([[0.5, 0, 0, 0.5, 0]]))


@st.composite
def cases(draw: st.DrawFn) -> tuple[Floats, Floats, float]:
    """One to three prompts, two or three actions, with many ties."""
    shape = draw(st.integers(1, 3)), draw(st.integers(2, 3))
    size = shape[0] * shape[1]
    accuracy = draw(st.lists(st.sampled_from([0.0, 0.2, 0.25, 0.6, 1.0]), min_size=size, max_size=size))
    cost = draw(st.lists(st.sampled_from([1.0, 2.0, 3.0, 7.0]), min_size=size, max_size=size))
    return np.reshape(accuracy, shape), np.reshape(cost, shape), draw(st.sampled_from([1.0, 1.5, 2.0, 3.25, 8.0]))


def most(accuracy: Floats, cost: Floats, mean_cost: float) -> float:
    """The best sum of accuracies of one action a prompt, or of a coin's toss between two such choices."""
    rows = range(len(accuracy))
    pure = [
        (
            sum(cost[p, a] for p, a in zip(rows, actions, strict=True)),
            sum(accuracy[p, a] for p, a in enumerate(actions)),
        )
        for actions in product(range(accuracy.shape[1]), repeat=len(accuracy))
    ]
    budget = mean_cost * len(accuracy)
    found = [gain for spent, gain in pure if spent <= budget]
    for (low, less), (high, more) in product(pure, pure):
        if low <= budget < high:
            found.append(less + (more - less) * (budget - low) / (high - low))
    return max(found)


@given(cases())
def test_no_other_way_to_spend_as_much_is_better(case: tuple[Floats, Floats, float]) -> None:
    """A mixture of whole choices is what a linear programme with one constraint comes to."""
    accuracy, cost, mean_cost = case
    shares = allocate(accuracy, cost, mean_cost)
    assert shares.min() >= 0
    assert shares.sum(1) == pytest.approx(np.ones(len(shares)))
    least = cost.min(1).mean()
    assert (shares * cost).sum(1).mean() <= max(mean_cost, least) + 1e-12
    if mean_cost >= least:
        assert (shares * accuracy).sum() == pytest.approx(most(accuracy, cost, mean_cost))


@given(cases())
def test_a_larger_budget_never_loses(case: tuple[Floats, Floats, float]) -> None:
    accuracy, cost, mean_cost = case
    less, more = (allocate(accuracy, cost, budget) for budget in (mean_cost, 1.5 * mean_cost))
    assert (more * accuracy).sum() >= (less * accuracy).sum() - 1e-12
