"""What a controller is compared with, against what it is by definition."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from worlds import RIGHT, draws, sampled, workload

from computewise.controller.bin_policy import always, confidence_rule, oracle, uniform
from computewise.controller.replay import RecordedPool
from computewise.metrics import UNANSWERED, vote_at_k
from computewise.samples import SampleArrays

WRONG, OTHER = 1, 2


def pools(chances: list[float], count: int, seed: int = 0) -> list[SampleArrays]:
    rng = np.random.default_rng(seed)
    return [sampled(rng, chance, count) for chance in chances]


def held(pool: list[SampleArrays]) -> RecordedPool:
    return workload(*({"samples": each} for each in pool))


@given(st.integers(0, 99), st.integers(1, 9))
@settings(max_examples=30)
def test_all_draws_for_everybody_are_the_vote_over_the_whole_pool(seed: int, count: int) -> None:
    pool = pools([0.2, 0.4, 0.6, 0.8], count, seed)
    values, answers, correct = (np.stack([getattr(d, name) for d in pool]) for name in ("values", "answers", "correct"))
    accuracy, cost = uniform(always(held(pool), repeats=3, seed=0), count)
    assert accuracy.tolist() == vote_at_k(values, answers, correct, count).tolist()
    assert cost.tolist() == [count] * 4


@pytest.mark.parametrize("k", [1, 2, 5])
def test_some_draws_for_everybody_are_near_the_vote_over_subsets(k: int) -> None:
    pool = pools([0.1, 0.3, 0.5, 0.7] * 3, 12)
    values, answers, correct = (np.stack([getattr(d, name) for d in pool]) for name in ("values", "answers", "correct"))
    accuracy, _ = uniform(always(held(pool), repeats=600, seed=0), k)
    assert accuracy == pytest.approx(vote_at_k(values, answers, correct, k, draws=3000), abs=0.07)


def test_two_equal_votes_are_no_better_than_the_first_however_answers_are_numbered() -> None:
    """A majority of two is the first of two, draw for draw; the more frequent answer does not win ties unasked."""
    rng = np.random.default_rng(0)
    path = always(held([draws((rng.random(9) > 0.6).astype(int).tolist()) for _ in range(50)]), repeats=20, seed=0)
    assert uniform(path, 2)[0].tolist() == uniform(path, 1)[0].tolist()


def test_where_a_problem_has_fewer_draws_it_gets_all_it_has() -> None:
    path = always(held([draws([RIGHT] * 2), draws([WRONG] * 4, cost=3.0)]), repeats=2, seed=0)
    assert uniform(path, 3)[1].tolist() == [2, 9]
    assert uniform(path, 99)[1].tolist() == [2, 12]
    assert uniform(path, 99)[0].tolist() == [1, 0]


def test_the_plain_rule_stops_where_its_confidence_is_above_what_is_asked() -> None:
    """Draws of weight .5 that agree: n draws lead by .5 n / sqrt(.25 n + .05) = .91, 1.35, 1.68, 1.95."""
    path = confidence_rule(held([draws([RIGHT] * 6)]), repeats=1, seed=0)
    margins = [0.5 * n / math.sqrt(0.25 * n + 0.05) for n in range(1, 6)]
    doubts = [1 - (1 + math.erf(margin / math.sqrt(2))) / 2 for margin in margins]
    assert path.worth[0, :5] == pytest.approx(doubts)
    for price, drawn in ((0.5, 1), (0.1, 2), (0.05, 3), (0.03, 4)):
        assert path.at(price)[1].tolist() == [drawn]


def test_the_plain_rule_goes_on_while_two_answers_are_even() -> None:
    """Whatever the order, after two draws the answers are tied, which is worth a half."""
    even = confidence_rule(held([draws([RIGHT, WRONG])]), repeats=4, seed=0)
    more = confidence_rule(held([draws([UNANSWERED, UNANSWERED, UNANSWERED])]), repeats=1, seed=0)
    assert even.worth[:, 1].tolist() == [-np.inf] * 4
    assert more.worth[0, :2].tolist() == [0.5, 0.5]
    assert more.at(0.4)[1].tolist() == [3]


def test_rules_are_compared_on_the_same_orders() -> None:
    """At a price of 0 each of them draws all there is, and passes by the same states."""
    pool = held(pools([0.3, 0.5], 6))
    whole, plain = always(pool, repeats=5, seed=1), confidence_rule(pool, repeats=5, seed=1)
    assert plain.right.tolist() == whole.right.tolist()
    assert plain.spent.tolist() == whole.spent.tolist()


def test_the_oracle_is_never_over_budget_and_never_under_uniform() -> None:
    path = always(held(pools([0.0, 0.1, 0.3, 0.5, 0.7, 1.0] * 4, 12)), repeats=10, seed=0)
    budgets = list(range(1, 13))
    for budget, (accuracy, cost) in zip(budgets, oracle(path, budgets), strict=True):
        assert cost.mean() <= budget + 1e-9
        assert accuracy.mean() >= uniform(path, budget)[0].mean() - 1e-12


def test_the_oracle_spends_on_what_gains() -> None:
    """One problem is hopeless, one easy; one has a wrong draw of .9, which any two of its four right ones outvote."""
    pool = held([draws([WRONG] * 5), draws([RIGHT] * 5), draws([RIGHT] * 4 + [WRONG], [0.5] * 4 + [0.9])])
    path = always(pool, repeats=200, seed=0)
    (accuracy, cost), *_ = oracle(path, [2.0])
    assert cost.tolist() == [1, 1, 3]
    assert accuracy.tolist() == [0, 1, 1]
