"""Published stopping rules against cases worked by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from worlds import RIGHT, draws, workload

from computewise.controller.orders import (
    SampleOrders,
    adaptive_consistency,
    beta_confidence,
    early_stopping,
    parallel_beta,
    short_m_at_k,
    tally,
)
from computewise.metrics import UNANSWERED

A, B, C = RIGHT, 1, 2


def in_order(*answers: int, tokens: list[float] | None = None, token_cost: float = 0.0) -> SampleOrders:
    """One problem whose samples are drawn in just this order; A is right."""
    drawn = draws(list(answers))
    if tokens is not None:
        drawn = type(drawn)(
            **{name: getattr(drawn, name) for name in drawn.__dataclass_fields__}
            | {
                "tokens": np.array(tokens, float),
                "costs": np.array(tokens, float) if token_cost else np.ones(len(answers)),
            }
        )
    for seed in range(5000):
        orders = SampleOrders.of(workload({"samples": drawn}), repeats=1, seed=seed, token_cost=token_cost)
        same = orders.answers[0].tolist() == list(answers)
        if same and (tokens is None or orders.tokens[0].tolist() == tokens):
            return orders
    raise AssertionError("no seed gives that order")


@pytest.mark.parametrize(
    ("first", "second", "chance"),
    [(1, 0, 3 / 4), (2, 0, 7 / 8), (4, 0, 31 / 32), (1, 1, 1 / 2), (2, 1, 11 / 16), (3, 1, 26 / 32)],
)
def test_the_beta_confidence_is_that_of_the_paper(first: int, second: int, chance: float) -> None:
    """The integral of x^first (1 - x)^second over [1/2, 1], divided by that over [0, 1]."""
    x = np.linspace(0, 1, 200_001)
    density = x**first * (1 - x) ** second
    assert density[x >= 0.5].sum() / density.sum() == pytest.approx(chance, abs=1e-4)
    assert beta_confidence(first, second) == chance


@given(st.integers(0, 200), st.integers(0, 200))
def test_the_beta_confidence_is_a_chance_and_symmetric(first: int, second: int) -> None:
    assert 0 <= beta_confidence(first, second) <= 1
    assert beta_confidence(first, second) + beta_confidence(second, first) == pytest.approx(1)


def test_adaptive_consistency_stops_at_its_threshold() -> None:
    """A A B A: confidences of 3/4, 7/8, 11/16, 26/32."""
    orders = in_order(A, A, B, A, A)
    path = adaptive_consistency(orders)
    for threshold, drawn in ((0.7, 1), (0.8, 2), (0.875, 2), (0.9, 5)):
        assert orders.along(path, 1 - threshold).samples.tolist() == [drawn]


def test_a_sample_without_an_answer_gives_no_confidence() -> None:
    orders = in_order(UNANSWERED, A, UNANSWERED, A)
    path = adaptive_consistency(orders)
    assert orders.along(path, 1 - 0.75).samples.tolist() == [2]
    assert orders.along(path, 1 - 0.8).samples.tolist() == [4]


def test_esc_stops_after_a_window_of_one_answer() -> None:
    orders = in_order(A, B, B, B, A, A)
    assert early_stopping(orders, 2).samples.tolist() == [4]
    assert early_stopping(orders, 2).accuracy.tolist() == [0]
    assert early_stopping(orders, 3).samples.tolist() == [6]


def test_esc_is_not_stopped_by_a_window_without_answers() -> None:
    assert early_stopping(in_order(UNANSWERED, UNANSWERED, A, A, B, B), 2).samples.tolist() == [4]


def test_short_m_at_k_votes_among_the_shortest_and_cancels_the_rest() -> None:
    """Lengths 10 20 30 40 say B A A B: one answers B, two tie and go to the shortest's B, three answer A."""
    orders = in_order(B, A, A, B, tokens=[10.0, 20.0, 30.0, 40.0], token_cost=1.0)
    one, two, three = (short_m_at_k(orders, m, 4) for m in (1, 2, 3))
    assert [float(each.accuracy[0]) for each in (one, two, three)] == [0, 0, 1]
    assert [float(each.tokens[0]) for each in (one, two, three)] == [40, 70, 90]
    assert [float(each.cost[0]) for each in (one, two, three)] == [40, 70, 90]
    assert three.samples.tolist() == [4]


def test_short_m_at_k_starts_no_more_than_k() -> None:
    orders = in_order(A, B, B, B, tokens=[40.0, 10.0, 20.0, 30.0])
    outcome = short_m_at_k(orders, 1, 2)
    assert (outcome.accuracy.tolist(), outcome.samples.tolist(), outcome.tokens.tolist()) == ([0], [2], [20])
    assert outcome.cost.tolist() == [2]  # in samples, what was started is paid for


def test_the_parallel_beta_rule_waits_for_two_answers_in_the_order_of_their_ends() -> None:
    """B ends first and A A A after it: confidences 3/4, 1/2, 11/16, 26/32; two answers are needed."""
    orders = in_order(A, A, B, A, tokens=[20.0, 30.0, 10.0, 40.0], token_cost=1.0)
    early, late = parallel_beta(orders, 0.6, 4), parallel_beta(orders, 0.99, 4)
    assert (early.accuracy.tolist(), early.tokens.tolist()) == ([1], [10 + 20 + 30 + 30])
    assert (late.accuracy.tolist(), late.tokens.tolist(), late.cost.tolist()) == ([1], [100], [100])


@given(st.lists(st.integers(-1, 3), min_size=1, max_size=12))
def test_a_tally_counts_as_a_person_does(answers: list[int]) -> None:
    right = np.array([[True, False, False, False]])
    votes = tally(np.array([answers]), right)
    for n in range(1, len(answers) + 1):
        cast = [one for one in answers[:n] if one >= 0]
        counts = [*sorted((cast.count(one) for one in set(cast)), reverse=True), 0, 0]
        assert (votes.first[0, n - 1], votes.second[0, n - 1]) == (counts[0], counts[1])
        leader = max(dict.fromkeys(cast), key=cast.count, default=None)
        assert votes.right[0, n - 1] == (leader == A)


def test_rules_that_never_stop_early_draw_all() -> None:
    orders = in_order(A, B, C, A)
    assert orders.along(adaptive_consistency(orders), 0.0).samples.tolist() == [4]
    assert math.isclose(float(early_stopping(orders, 4).samples[0]), 4)
