"""Estimates against the enumeration of what they claim to be the exact value of."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from computewise.metrics import (
    UNANSWERED,
    Bools,
    Floats,
    Ints,
    auroc,
    best_at_k,
    pass_at_k,
    vote_at_k,
    within_auroc,
    within_problem_aurocs,
)

RIGHT_ANSWER = 1


@st.composite
def pools(draw: st.DrawFn) -> tuple[Floats, Ints, Bools, int]:
    """One problem's values (with ties), answers (with unanswered ones), correctness, and a k."""
    n = draw(st.integers(1, 7))
    values = draw(st.lists(st.sampled_from([0.0, 0.25, 0.5, 0.75]), min_size=n, max_size=n))
    answers = draw(st.lists(st.sampled_from([UNANSWERED, 0, RIGHT_ANSWER, 2]), min_size=n, max_size=n))
    ids = np.array([answers])
    return np.array([values]), ids, ids == RIGHT_ANSWER, draw(st.integers(1, n))


def enumerated(n: int, k: int, chance: Callable[[list[int]], float]) -> float:
    """The mean of `chance` over all subsets of size k."""
    return float(np.mean([chance(list(subset)) for subset in combinations(range(n), k)]))


@given(pools())
def test_pass_at_k_is_the_mean_over_all_subsets(pool: tuple[Floats, Ints, Bools, int]) -> None:
    _, _, correct, k = pool
    expected = enumerated(correct.shape[1], k, lambda subset: bool(correct[0, subset].any()))
    assert pass_at_k(correct, k) == pytest.approx([expected])


@given(pools())
def test_best_at_k_is_the_mean_over_all_subsets(pool: tuple[Floats, Ints, Bools, int]) -> None:
    values, answers, correct, k = pool

    def chance(subset: list[int]) -> float:
        answered = [index for index in subset if answers[0, index] != UNANSWERED]
        highest = [i for i in answered if values[0, i] == max(values[0, answered])]
        return float(correct[0, highest].mean()) if highest else 0.0

    assert best_at_k(values, answers, correct, k) == pytest.approx([enumerated(values.shape[1], k, chance)])


def vote(weights: Floats, answers: Ints, correct: Bools, subset: list[int]) -> float:
    totals: dict[int, float] = {}
    for index in subset:
        if answers[0, index] != UNANSWERED:
            totals[answers[0, index]] = totals.get(answers[0, index], 0.0) + weights[0, index]
    if not totals:
        return 0.0
    winners = [answer for answer, total in totals.items() if total == max(totals.values())]
    return (RIGHT_ANSWER in winners) / len(winners)


@given(pools(), st.booleans())
@settings(max_examples=60)
def test_vote_at_k_is_near_the_mean_over_all_subsets(pool: tuple[Floats, Ints, Bools, int], majority: bool) -> None:
    weights, answers, correct, k = pool
    weights = np.ones_like(weights) if majority else weights
    expected = enumerated(weights.shape[1], k, lambda subset: vote(weights, answers, correct, subset))
    assert vote_at_k(weights, answers, correct, k, draws=3000) == pytest.approx([expected], abs=0.05)


@given(pools())
def test_the_vote_over_the_whole_pool_is_exact(pool: tuple[Floats, Ints, Bools, int]) -> None:
    weights, answers, correct, _ = pool
    n = weights.shape[1]
    assert vote_at_k(weights, answers, correct, n) == pytest.approx([vote(weights, answers, correct, list(range(n)))])


@given(pools())
def test_at_k_1_all_estimates_are_the_share_of_correct_samples(pool: tuple[Floats, Ints, Bools, int]) -> None:
    values, answers, correct, _ = pool
    assert pass_at_k(correct, 1) == pytest.approx(correct.mean(1))
    assert best_at_k(values, answers, correct, 1) == pytest.approx(correct.mean(1))


def test_estimates_are_made_problem_by_problem() -> None:
    rng = np.random.default_rng(0)
    values, answers = rng.random((5, 8)), rng.integers(-1, 3, (5, 8))
    correct = answers == RIGHT_ANSWER
    whole = pass_at_k(correct, 3), best_at_k(values, answers, correct, 3), vote_at_k(values, answers, correct, 3)
    for i in range(5):
        one = values[i : i + 1], answers[i : i + 1], correct[i : i + 1]
        assert pass_at_k(one[2], 3) == pytest.approx(whole[0][i])
        assert best_at_k(*one, 3) == pytest.approx(whole[1][i])
        assert vote_at_k(*one, 3) == pytest.approx(whole[2][i])


@pytest.mark.parametrize("k", [0, 5])
def test_a_k_that_the_pool_cannot_give_is_refused(k: int) -> None:
    values, answers, correct = np.zeros((2, 4)), np.zeros((2, 4), int), np.zeros((2, 4), bool)
    with pytest.raises(ValueError, match="allowed are 1 to 4"):
        pass_at_k(correct, k)
    with pytest.raises(ValueError, match="allowed are 1 to 4"):
        best_at_k(values, answers, correct, k)
    with pytest.raises(ValueError, match="allowed are 1 to 4"):
        vote_at_k(values, answers, correct, k)


@given(st.lists(st.tuples(st.sampled_from([0.1, 0.2, 0.3, 0.9]), st.booleans()), min_size=1, max_size=12))
def test_auroc_is_the_share_of_pairs_in_order(scored: list[tuple[float, bool]]) -> None:
    scores, right = np.array([score for score, _ in scored]), np.array([flag for _, flag in scored])
    pairs = [(a > b) + (a == b) / 2 for a, b in product(scores[right], scores[~right])]
    expected = float(np.mean(pairs)) if pairs else float("nan")
    assert auroc(scores, right) == pytest.approx(expected, nan_ok=True)


def test_within_problem_auroc_is_blind_to_difficulty() -> None:
    """Scores that know only which problem is easy: good pooled, a coin's toss within."""
    problem = np.repeat([0, 1], 4)
    right = np.array([1, 1, 1, 0, 1, 0, 0, 0], bool)
    scores = np.repeat([0.9, 0.1], 4)
    assert auroc(scores, right) == pytest.approx(0.75)
    assert within_auroc(scores, right, problem) == 0.5


def test_within_problem_auroc_leaves_out_problems_of_one_kind() -> None:
    problem = np.array([0, 0, 1, 1])
    assert within_problem_aurocs(np.array([0.2, 0.1, 0.5, 0.5]), np.array([1, 0, 1, 1], bool), problem).tolist() == [
        1.0
    ]
    assert np.isnan(within_auroc(np.zeros(4), np.zeros(4, bool), problem))
