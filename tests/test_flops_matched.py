"""Pretraining against inference: by hand, and against the figures of Snell et al. 2024."""

from __future__ import annotations

import json
import os
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from computewise.errors import UsageError
from computewise.flops_matched import (
    SHARES,
    Exchange,
    ExchangeRate,
    MatchedComparison,
    Pretrained,
    by_flops,
    by_price,
    from_curves,
    from_problems,
)
from computewise.intervals import difference
from computewise.metrics import Floats

PAPERS_RATE = by_flops(Pretrained(1, 1), Pretrained(14, 1))
"""M = 14, both models pretrained on the same tokens: k = 14 + 39 / R."""
PAPERS_SHARES = {"<<1": 0.16, "~1": 0.79, ">>1": 22}
STARS = {"<<1": 256, "~1": 64, ">>1": 16}
"""Budgets at which figure 9 marks the 14x model, one for each R."""

LARGE = [86.0, 51.0, 36.0, 16.2, 6.3]
"""Figure 9, the 14x model's greedy answer: MATH-500 % in difficulty bins 1 to 5, read off the vector graphics."""
SMALL = {
    "revisions": {
        1: [59.5, 22.3, 8.3, 2.8, 0.3],
        2: [73.5, 30.6, 12.3, 4.6, 0.3],
        4: [82.3, 41.2, 17.4, 5.3, 0.7],
        8: [86.7, 47.9, 22.5, 8.0, 1.0],
        16: [89.1, 53.8, 27.3, 10.2, 0.6],
        32: [90.3, 60.1, 31.0, 11.7, 2.7],
        64: [90.9, 59.5, 37.3, 14.3, 3.9],
        128: [93.0, 58.5, 41.7, 17.1, 1.8],
        256: [90.0, 62.0, 46.0, 18.1, 3.2],
    },
    "prm_search": {
        1: [37.0, 11.2, 3.4, 0.9, 0.1],
        4: [78.0, 32.0, 21.0, 2.2, 0.1],
        16: [79.3, 52.0, 25.0, 7.6, 2.1],
        64: [84.7, 52.1, 23.2, 10.5, 0.1],
        256: [85.1, 60.7, 34.0, 16.2, 0.2],
    },
}
"""Figure 9, compute-optimal: by budget, bins 1 to 5."""
PRINTED = {
    "revisions": {"<<1": [21.6, 27.8, 11.8], "~1": [16.7, 3.5, -11.9], ">>1": [5.4, -24.3, -37.2]},
    "prm_search": {"<<1": [19.1, -5.6, 0.0], "~1": [2.2, -35.6, -35.3], ">>1": [2.0, -30.6, -52.9]},
}
"""Figure 1, relative difference in percent as printed on its bars: easy, medium, hard are bins 2, 3, 4."""
CASES = [(method, size) for method in PRINTED for size in STARS]


def papers(method: str) -> Exchange:
    budgets = np.array(list(SMALL[method]), float)
    return from_curves(PAPERS_RATE, budgets, np.array(list(SMALL[method].values())), np.array(LARGE))


def relatives(method: str, share: float) -> list[float]:
    """Easy, medium, hard."""
    return [papers(method).bins[index].at(share).relative for index in (1, 2, 3)]


@pytest.mark.parametrize(("method", "size"), CASES)
def test_figure_1_follows_from_figure_9(method: str, size: str) -> None:
    """All 18 bars, each at the measured budget nearest to k, where figure 9 has its star."""
    k = PAPERS_RATE.k(PAPERS_SHARES[size])
    assert min(SMALL[method], key=lambda budget: abs(np.log(budget / k))) == STARS[size]
    assert relatives(method, PAPERS_RATE.share(STARS[size])) == pytest.approx(PRINTED[method][size], abs=0.3)


CHARGED = {
    "revisions": {"<<1": [14.8, 16.0, 5.6, 8.5], "~1": [17.7, -14.0, -27.9, 0.0], ">>1": [-6.3, -37.8, -51.0, -15.2]},
    "prm_search": {
        "<<1": [10.7, -20.4, -17.4, -6.1],
        "~1": [2.1, -33.0, -44.3, -13.9],
        ">>1": [-18.1, -36.2, -70.1, -23.6],
    },
}
"""Figure 1 where a verifier of the small model's size reads each of its answers: easy, medium, hard, overall."""


@pytest.mark.parametrize(("method", "size"), CASES)
def test_figure_1_with_the_verifier_charged_to_the_small_side(method: str, size: str) -> None:
    """An answer that is read costs as much again, so that k pays for half as many."""
    budgets = 2 * np.array(list(SMALL[method]), float)
    found = from_curves(PAPERS_RATE, budgets, np.array(list(SMALL[method].values())), np.array(LARGE))
    points = [match.at(PAPERS_SHARES[size]) for match in (*(found.bins[index] for index in (1, 2, 3)), found.overall)]
    assert [point.relative for point in points] == pytest.approx(CHARGED[method][size], abs=0.06)


def test_at_the_papers_own_rs_16_of_18_bars_are_within_the_same_bound() -> None:
    """k = 15.8 is read between two budgets here and as 16 in the paper: search rises too steeply there for both."""
    off = {
        (method, size, index): abs(found - printed)
        for method, size in CASES
        for index, (found, printed) in enumerate(
            zip(relatives(method, PAPERS_SHARES[size]), PRINTED[method][size], strict=True)
        )
    }
    assert {case for case, by in off.items() if by > 0.3} == {("prm_search", ">>1", 0), ("prm_search", ">>1", 2)}
    assert max(off.values()) < 0.6


def test_at_the_papers_smallest_r_its_largest_budget_is_just_too_small() -> None:
    points = papers("revisions").overall.points(tuple(PAPERS_SHARES.values()))
    assert [point.k for point in points] == pytest.approx([257.75, 63.37, 15.77], abs=0.01)
    assert [point.beyond_measured for point in points] == [True, False, False]
    assert not any(point.under_measured for point in points)


@pytest.mark.skipif(
    not Path(os.environ.get("COMPUTEWISE_SHARED_DATA", "")).is_file(),
    reason="COMPUTEWISE_SHARED_DATA names no file of the paper's figures to compare these numbers with",
)
def test_the_numbers_here_are_those_read_off_the_paper() -> None:
    figures = json.loads(Path(os.environ["COMPUTEWISE_SHARED_DATA"]).read_text())
    read, bars = figures["fig9"], figures["fig1_bars_labels_printed_in_figure"]
    assert read["star_14x_greedy_bins"] == LARGE
    for method, key in (("revisions", "revisions_bins"), ("prm_search", "search_bins")):
        assert {int(budget): bins for budget, bins in read[key].items()} == SMALL[method]
    assert {method: bars[method] for method in PRINTED} == PRINTED
    assert read["star_budgets"] == {f"R={PAPERS_SHARES[size]}": budget for size, budget in STARS.items()}


def test_where_the_papers_methods_break_even() -> None:
    """By hand: search at 51.0 in bin 2 is 19/20 from 4 to 16, k = 4 * 4^.95; revisions at 36.0 in bin 3, 50/63 from 32
    to 64; at 16.2 in bin 4, 19/28 from 64 to 128.
    """
    search, revisions = papers("prm_search"), papers("revisions")
    assert search.bins[1].break_even() == pytest.approx([39 / (4 * 4**0.95 - 14)])
    assert revisions.bins[2].break_even() == pytest.approx([39 / (32 * 2 ** (50 / 63) - 14)])
    assert revisions.bins[3].break_even() == pytest.approx([39 / (64 * 2 ** (19 / 28) - 14)])
    assert revisions.bins[2].winner() is None
    assert [revisions.bins[index].winner() for index in (0, 1, 4)] == ["small", "small", "large"]
    assert [revisions.bins[index].break_even() for index in (0, 1, 4)] == [(), (), ()]


def test_who_at_best_ties_wins_nowhere() -> None:
    """Search in bin 4 reaches the large model's 16.2 at its last budget."""
    hard = papers("prm_search").bins[3]
    assert hard.at(0.16).winner == "tie"
    assert hard.break_even() == ()
    assert hard.winner() == "large"


@given(st.floats(1, 1000), st.floats(0.01, 100), st.floats(1e6, 1e13))
def test_with_equal_pretraining_k_is_the_papers(ratio: float, share: float, tokens: float) -> None:
    rate = by_flops(Pretrained(1e9, tokens), Pretrained(ratio * 1e9, tokens))
    assert rate.k(share) == pytest.approx(ratio + 3 * (ratio - 1) / share)


@given(st.floats(0.1, 100), st.floats(0.1, 100), st.floats(0.1, 1000), st.floats(0.1, 100), st.floats(0.01, 100))
def test_at_k_both_have_cost_the_same(
    small_p: float, small_t: float, large_p: float, large_t: float, share: float
) -> None:
    k = by_flops(Pretrained(small_p, small_t), Pretrained(large_p, large_t)).k(share)
    inference = share * large_t
    small = 6 * small_p * small_t + k * 2 * small_p * inference
    large = 6 * large_p * large_t + 2 * large_p * inference
    assert small == pytest.approx(large) if k else small >= large * (1 - 1e-9)


def test_a_small_model_trained_for_longer_has_less_left_to_infer_with() -> None:
    """M = 10, T_small = 4 T_large, R = 2: k = 10 + 3 (10 - 4) / 2."""
    assert by_flops(Pretrained(1, 4), Pretrained(10, 1)).k(2) == 19


def test_what_was_spent_on_pretraining_twice_over_leaves_nothing() -> None:
    rate = by_flops(Pretrained(1, 20), Pretrained(10, 1))
    assert rate.k(1) == 0
    assert rate.k(6) == 5
    match = MatchedComparison(rate, np.array([5.0, 9.0]), np.array([[0.0, 1.0]]), np.array([0.5]))
    assert match.at(1).under_measured
    assert match.break_even() == pytest.approx([30 / (10 - np.sqrt(45))])


def test_by_price_k_is_the_ratio_whatever_r() -> None:
    rate = by_price(small=0.5, large=6)
    assert {rate.k(share) for share in SHARES} == {12}
    match = MatchedComparison(rate, np.array([1.0, 144.0]), np.array([[0.2, 0.6]]), np.array([0.3]))
    assert match.at(1).small == pytest.approx(0.4)
    assert match.break_even() == ()
    assert match.winner() == "small"


@given(st.floats(0.01, 100))
def test_a_share_is_found_back_from_its_k(share: float) -> None:
    assert PAPERS_RATE.share(PAPERS_RATE.k(share)) == pytest.approx(share)


@pytest.mark.parametrize(("rate", "k"), [(PAPERS_RATE, 14), (PAPERS_RATE, 3), (by_price(1, 12), 12)])
def test_a_k_that_no_r_or_any_gives_is_refused(rate: ExchangeRate, k: float) -> None:
    with pytest.raises(UsageError, match="not reached at any one R"):
        rate.share(k)


def test_between_budgets_accuracy_is_linear_in_log_budget_and_level_beyond() -> None:
    match = MatchedComparison(ExchangeRate(0, 1), np.array([2.0, 8.0]), np.array([[0.2, 0.6]]), np.array([0.5]))
    found = {point.k: point for point in match.points([1, 1 / 2, 1 / 4, 1 / 8, 1 / 16])}
    assert {k: pytest.approx(point.small) for k, point in found.items()} == {1: 0.2, 2: 0.2, 4: 0.4, 8: 0.6, 16: 0.6}
    assert [k for k, point in found.items() if point.under_measured] == [1]
    assert [k for k, point in found.items() if point.beyond_measured] == [16]
    assert [point.winner for point in found.values()] == ["large", "large", "large", "small", "small"]
    assert found[4].difference == pytest.approx(-0.1)
    assert found[4].relative == pytest.approx(-20)


def test_a_large_model_that_is_never_right_is_beaten_by_no_percentage() -> None:
    point = MatchedComparison(PAPERS_RATE, np.array([1.0]), np.array([[0.5]]), np.array([0.0])).at(1)
    assert np.isnan(point.relative)
    assert point.winner == "small"


def zigzag(*accuracies: float, large: float = 0.5) -> MatchedComparison:
    """Budgets 20, 40, 80, ..., so that crossings half way are at k = 20 * 2^.5, ..."""
    budgets = np.array([20.0 * 2**place for place in range(len(accuracies))])
    return MatchedComparison(PAPERS_RATE, budgets, np.array([accuracies]), np.array([large]))


def test_every_break_even_is_listed() -> None:
    ks = [20 * 2**2.5, 20 * 2**1.5, 20 * 2**0.5]
    assert zigzag(0.4, 0.6, 0.4, 0.6).break_even() == pytest.approx([39 / (k - 14) for k in ks])
    assert zigzag(0.4, 0.6, 0.4, 0.6).winner() is None


def test_a_tie_that_changes_hands_is_one_break_even_and_one_that_does_not_is_none() -> None:
    through = zigzag(0.4, 0.5, 0.5, 0.6)
    assert through.break_even() == pytest.approx([39 / (20 * 2**1.5 - 14)])
    touched = zigzag(0.6, 0.5, 0.5, 0.6)
    assert touched.break_even() == ()
    assert touched.winner() == "small"
    assert zigzag(0.5, 0.5).winner() == "tie"


def test_a_change_outside_the_range_of_r_is_none() -> None:
    """k is at most 14 + 3900 and at least 14.39."""
    assert (
        MatchedComparison(PAPERS_RATE, np.array([4000.0, 8000]), np.array([[0.4, 0.6]]), np.array([0.5])).winner()
        == "large"
    )
    assert (
        MatchedComparison(PAPERS_RATE, np.array([1.0, 14]), np.array([[0.4, 0.6]]), np.array([0.5])).winner() == "small"
    )


@given(st.lists(st.floats(0, 1), min_size=1, max_size=6), st.floats(0, 1))
def test_between_break_evens_nobody_overtakes(accuracies: list[float], large: float) -> None:
    match = zigzag(*accuracies, large=large)
    borders = [0.0, *match.break_even(), np.inf]
    for low, high in pairwise(borders):
        winners = {point.winner for point in match.points() if low < point.share < high}
        assert len(winners - {"tie"}) <= 1


TRUE_BREAK_EVEN = 39 / (160 - 14)


def problems(n: int, seed: int = 0) -> tuple[Floats, Floats, Floats]:
    """Budgets, small, large: over easy and hard problems .3, .4, .5, .6 at 20, 80, 320, 1280 against .45, which is half
    way from 80 to 320: k = 160.
    """
    rng = np.random.default_rng(seed)
    ease = rng.uniform(-0.3, 0.3, n)
    small = rng.random((n, 4)) < np.array([0.3, 0.4, 0.5, 0.6]) + ease[:, None]
    return np.array([20.0, 80, 320, 1280]), small.astype(float), (rng.random(n) < 0.45 + ease).astype(float)


def test_problems_give_the_curves_of_their_means_with_paired_intervals() -> None:
    budgets, small, large = problems(60)
    bins = np.arange(60) % 3
    found = from_problems(PAPERS_RATE, budgets, small, large, bins)
    means = np.array([[small[bins == one, column].mean() for one in range(3)] for column in range(4)])
    curves = from_curves(PAPERS_RATE, budgets, means, np.array([large[bins == one].mean() for one in range(3)]))
    for share in (0.02, 0.5, 3.0):
        sides = [(found.overall, curves.overall), *((found.bins[one], curves.bins[one]) for one in range(3))]
        for match, curve in sides:
            assert match.at(share).difference == pytest.approx(curve.at(share).difference)
            assert match.break_even() == pytest.approx(curve.break_even())
            assert np.isnan(curve.at(share).interval.low)
    second = PAPERS_RATE.share(80)
    assert found.overall.at(second).interval == pytest.approx(difference(small[:, 1] - large).interval)
    assert found.bins[2].at(second).interval == pytest.approx(difference((small[:, 1] - large)[bins == 2]).interval)


def test_a_break_evens_interval_is_where_the_differences_interval_holds_0() -> None:
    match = MatchedComparison(PAPERS_RATE, *problems(400))
    (broken,), (interval,) = match.break_even(), match.undecided()
    assert interval.low < broken < interval.high
    assert interval.low < TRUE_BREAK_EVEN < interval.high
    assert match.at(interval.low).interval.low == pytest.approx(0, abs=0.005)
    assert match.at(interval.high).interval.high == pytest.approx(0, abs=0.005)
    for point in match.points():
        assert (point.interval.low <= 0 <= point.interval.high) == (interval.low <= point.share <= interval.high)


def test_few_problems_leave_more_undecided() -> None:
    (few,), (many,) = (MatchedComparison(PAPERS_RATE, *problems(n)).undecided() for n in (60, 1000))
    assert few.low < many.low < many.high < few.high


def test_an_interval_between_two_points_of_the_grid_is_found() -> None:
    """Problems that almost agree: the interval is narrower than a step of the grid."""
    apart = np.random.default_rng(0).normal(0, 0.001, 50)
    small = np.tile([0.4, 0.6], (50, 1)) + apart[:, None]
    match = MatchedComparison(PAPERS_RATE, np.array([20.0, 80]), small, np.full(50, 0.5))
    (broken,), (interval,) = match.break_even(), match.undecided()
    assert interval.low < broken < interval.high
    assert interval == pytest.approx((broken, broken), rel=0.02)


def test_what_is_decided_everywhere_or_nowhere_says_so() -> None:
    budgets, small, large = problems(40)
    assert MatchedComparison(PAPERS_RATE, budgets, np.ones_like(small), np.zeros_like(large)).undecided() == ()
    (all_of_it,) = MatchedComparison(PAPERS_RATE, budgets, np.repeat(large[:, None], 4, axis=1), large).undecided()
    assert all_of_it == pytest.approx((0.01, 100))
    assert papers("revisions").overall.undecided() == ()


@pytest.mark.parametrize("budgets", [[], [0, 1], [2, 1], [1, 1], [1, np.nan], [1, np.inf]])
def test_budgets_that_do_not_rise_from_above_0_are_refused(budgets: list[float]) -> None:
    with pytest.raises(UsageError, match="is not allowed: above 0, rising and finite"):
        MatchedComparison(PAPERS_RATE, np.array(budgets, float), np.zeros((1, len(budgets))), np.zeros(1))


def test_arrays_that_do_not_fit_are_refused() -> None:
    budgets = np.array([1.0, 2, 3])
    with pytest.raises(UsageError, match=r"shape \(3, 2\) is not allowed: \(problems, budgets\), here \(2, 3\)"):
        MatchedComparison(PAPERS_RATE, budgets, np.zeros((3, 2)), np.zeros(2))
    with pytest.raises(UsageError, match=r"\(problems, budgets\)"):
        MatchedComparison(PAPERS_RATE, budgets, np.zeros((0, 3)), np.zeros(0))
    with pytest.raises(UsageError, match="one for each of the 2 problems"):
        from_problems(PAPERS_RATE, budgets, np.zeros((2, 3)), np.zeros(2), np.zeros(3, int))
    with pytest.raises(UsageError, match="accuracies must be finite numbers"):
        MatchedComparison(PAPERS_RATE, budgets, np.full((2, 3), np.nan), np.zeros(2))


@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf")])
def test_sizes_prices_and_rs_that_are_no_amount_are_refused(value: float) -> None:
    with pytest.raises(UsageError, match=r"parameters = .* is not allowed: above 0, and finite"):
        Pretrained(value, 1)
    with pytest.raises(UsageError, match="large = "):
        by_price(1, value)
    with pytest.raises(UsageError, match="R = "):
        PAPERS_RATE.k(value)
