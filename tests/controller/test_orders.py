"""Samples in random orders, against what stopping after each of them is by definition."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from worlds import RIGHT, draws, sampled, workload

from computewise.controller.frontier import join
from computewise.controller.orders import SampleOrders, doubt_per_draw, normal
from computewise.controller.replay import RecordedPool
from computewise.metrics import UNANSWERED, vote_at_k
from computewise.samples import SampleArrays

WRONG = 1


def pools(chances: list[float], count: int, seed: int = 0) -> list[SampleArrays]:
    rng = np.random.default_rng(seed)
    return [sampled(rng, chance, count) for chance in chances]


def held(pool: list[SampleArrays]) -> RecordedPool:
    return workload(*({"samples": each} for each in pool))


def orders(pool: list[SampleArrays], repeats: int, seed: int = 0) -> SampleOrders:
    return SampleOrders.of(held(pool), repeats=repeats, seed=seed)


@given(st.integers(0, 99), st.integers(1, 9))
@settings(max_examples=30)
def test_all_draws_for_everybody_are_the_vote_over_the_whole_pool(seed: int, count: int) -> None:
    pool = pools([0.2, 0.4, 0.6, 0.8], count, seed)
    values, answers, correct = (np.stack([getattr(d, name) for d in pool]) for name in ("values", "answers", "correct"))
    outcome = orders(pool, 3).uniform(count)
    assert outcome.accuracy.tolist() == vote_at_k(values, answers, correct, count).tolist()
    assert outcome.cost.tolist() == outcome.samples.tolist() == [count] * 4
    assert outcome.tokens.tolist() == [sum(range(10, 10 + count))] * 4


@pytest.mark.parametrize("k", [1, 2, 5])
def test_some_draws_for_everybody_are_near_the_vote_over_subsets(k: int) -> None:
    pool = pools([0.1, 0.3, 0.5, 0.7] * 3, 12)
    values, answers, correct = (np.stack([getattr(d, name) for d in pool]) for name in ("values", "answers", "correct"))
    accuracy = orders(pool, 600).uniform(k).accuracy
    assert accuracy == pytest.approx(vote_at_k(values, answers, correct, k, draws=3000), abs=0.07)


def test_two_equal_votes_are_no_better_than_the_first_however_answers_are_numbered() -> None:
    """A majority of two is the first of two, draw for draw; the more frequent answer does not win ties unasked."""
    rng = np.random.default_rng(0)
    drawn = orders([draws((rng.random(9) > 0.6).astype(int).tolist()) for _ in range(50)], 20)
    assert drawn.uniform(2).accuracy.tolist() == drawn.uniform(1).accuracy.tolist()


def test_where_a_problem_has_fewer_draws_it_gets_all_it_has() -> None:
    drawn = orders([draws([RIGHT] * 2), draws([WRONG] * 4, cost=3.0)], 2)
    assert drawn.uniform(3).cost.tolist() == [2, 9]
    assert drawn.uniform(99).cost.tolist() == [2, 12]
    assert drawn.uniform(99).samples.tolist() == [2, 4]
    assert drawn.uniform(99).accuracy.tolist() == [1, 0]


DOUBTS = [
    1 - (1 + math.erf(margin / math.sqrt(2))) / 2
    for margin in (0.5 * n / math.sqrt(0.25 * n + 0.05) for n in range(1, 6))
]
"""Draws of weight .5 that agree: n draws lead by .5 n / sqrt(.25 n + .05) = .91, 1.35, 1.68, 1.95 standard errors."""


def test_the_normal_rule_stops_where_its_confidence_is_above_what_is_asked() -> None:
    drawn = orders([draws([RIGHT] * 6)], 1)
    path = normal(drawn)
    assert path.worth[0, :5] == pytest.approx(DOUBTS)
    for price, taken in ((0.5, 1), (0.1, 2), (0.05, 3), (0.03, 4)):
        assert drawn.along(path, price).samples.tolist() == [taken]


def test_doubt_per_draw_divides_by_the_draws() -> None:
    path = doubt_per_draw(orders([draws([RIGHT] * 6)], 1))
    assert path.worth[0, :5] == pytest.approx([doubt / n for n, doubt in enumerate(DOUBTS, 1)])


def test_the_normal_rule_goes_on_while_two_answers_are_even() -> None:
    """Whatever the order, after two draws the answers are tied, which is worth a half."""
    even = normal(orders([draws([RIGHT, WRONG])], 4))
    more = normal(orders([draws([UNANSWERED, UNANSWERED, UNANSWERED])], 1))
    assert even.worth[:, 1].tolist() == [-np.inf] * 4
    assert more.worth[0, :2].tolist() == [0.5, 0.5]
    assert more.at(0.4)[1].tolist() == [3]


def test_another_path_over_the_same_orders_is_read_whatever_the_order_of_its_rows() -> None:
    drawn = orders(pools([0.3, 0.5, 0.7], 6), 5)
    path = normal(drawn)
    halves = [path.only(np.array([2, 0])), path.only(np.array([1]))]
    for price in (0.0, 0.1, 0.3):
        ours, same = drawn.along(join(halves), price), drawn.after(path.stops(price))
        assert ours.accuracy.tolist() == same.accuracy.tolist() == path.at(price)[0].tolist()
        assert ours.cost.tolist() == same.cost.tolist() == path.at(price)[1].tolist()


def test_the_oracle_is_never_over_budget_and_never_under_uniform() -> None:
    drawn = orders(pools([0.0, 0.1, 0.3, 0.5, 0.7, 1.0] * 4, 12), 10)
    budgets = list(range(1, 13))
    for budget, outcome in zip(budgets, drawn.oracle(budgets), strict=True):
        assert outcome.cost.mean() <= budget + 1e-9
        assert outcome.accuracy.mean() >= drawn.uniform(budget).accuracy.mean() - 1e-12


def test_the_oracle_spends_on_what_gains() -> None:
    """One problem is hopeless, one easy; one has a wrong draw of .9, which any two of its four right ones outvote."""
    pool = [draws([WRONG] * 5), draws([RIGHT] * 5), draws([RIGHT] * 4 + [WRONG], [0.5] * 4 + [0.9])]
    outcome, *_ = orders(pool, 200).oracle([2.0])
    assert outcome.cost.tolist() == [1, 1, 3]
    assert outcome.accuracy.tolist() == [0, 1, 1]
