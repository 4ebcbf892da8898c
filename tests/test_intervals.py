"""Intervals hold what they must, and words follow from them."""

from __future__ import annotations

import numpy as np
import pytest

from computewise.controller.bin_policy import cross_validate, partitions
from computewise.intervals import (
    Curve,
    Verdict,
    as_partitions,
    difference,
    proportion,
    rate,
    simultaneous,
    student,
    times_fewer,
    verdict,
)


def test_one_answer_a_problem_has_wilsons_interval() -> None:
    found = proportion(np.array([1.0] * 8 + [0.0] * 2))
    assert found.value == 0.8
    assert found.interval == pytest.approx((0.4902, 0.9433), abs=1e-4)  # Wilson 1927, as statsmodels has it


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_twelve_equal_answers_are_not_certainty(value: float) -> None:
    low, high = proportion(np.full(12, value)).interval
    assert high - low > 0.2
    assert low <= value <= high


def test_several_answers_a_problem_narrow_the_interval() -> None:
    rng = np.random.default_rng(0)
    chance = rng.uniform(0.4, 0.6, 60)
    one, many = (proportion(rng.binomial(seeds, chance) / seeds) for seeds in (1, 16))
    assert many.high - many.low < 0.5 * (one.high - one.low)


def test_no_difference_in_twelve_problems_is_not_certainty() -> None:
    found = difference(np.zeros(12))
    assert found == pytest.approx((0.0, -0.2646, 0.2646), abs=1e-4)  # Clopper and Pearson: 1 - 0.025^(1/12)


def test_a_long_difference_has_the_interval_of_its_standard_error() -> None:
    paired = np.random.default_rng(1).normal(0.1, 0.2, 400)
    found = difference(paired)
    half = 1.966 * paired.std(ddof=1) / 20
    assert (found.low, found.high) == pytest.approx((paired.mean() - half, paired.mean() + half), abs=0.002)


def test_partitions_that_disagree_widen_the_interval() -> None:
    each = np.random.default_rng(2).normal(0.0, 0.2, 100)
    agreed = difference(np.stack([each, each, each]))
    apart = difference(np.stack([each - 0.05, each, each + 0.05]))
    assert difference(each) == pytest.approx(agreed)
    assert apart.high - apart.low > 1.5 * (agreed.high - agreed.low)


@pytest.mark.parametrize("count", [3, 10])
def test_what_was_fitted_once_varies_as_its_refits_do(count: int) -> None:
    each, refits = np.random.default_rng(7).normal(0, 0.2, 100), np.array([0.1, 0.2, 0.24])
    rows = as_partitions(each, refits, count)
    assert rows.shape == (count, 100)
    assert rows.mean(0) == pytest.approx(each)
    assert rows.mean(1).std(ddof=1) == pytest.approx(refits.std(ddof=1))
    assert as_partitions(each, np.full(3, 0.1), count) == pytest.approx(np.tile(each, (count, 1)))


def test_averaging_over_partitions_earns_no_credit_within_a_partition() -> None:
    rng = np.random.default_rng(3)
    each = rng.choice([-0.4, 0.4], (50, 100))
    averaged, honest = difference(each.mean(0)), difference(each)
    assert honest.high - honest.low > 3 * (averaged.high - averaged.low)


def test_a_shared_choice_between_equals_is_covered() -> None:
    """Ten strategies of equal merit: the true difference is 0, and problem by problem it is held in about .8."""
    held = {"honest": 0, "averaged": 0}
    for trial in range(200):
        rng = np.random.default_rng(trial)
        accuracy = (rng.random((60, 10)) < rng.random((60, 1))).astype(float)
        bins = np.arange(60) % 5
        parts = partitions(bins, 10, trial)
        table, fixed = (cross_validate(accuracy, one, parts).average(accuracy) for one in (bins, np.zeros(60, int)))
        for kind, paired in (("honest", table - fixed), ("averaged", (table - fixed).mean(0))):
            found = difference(paired)
            held[kind] += found.low <= 0 <= found.high
    assert held["honest"] >= 180
    assert held["averaged"] <= 170


def test_fewer_than_two_problems_have_no_interval() -> None:
    for found in (
        proportion(np.array([])),
        proportion(np.array([1.0])),
        difference(np.array([0.5])),
        rate(np.array([1.0]), np.array([2.0])),
    ):
        assert np.isnan(found.low)
        assert np.isnan(found.high)


def test_a_rates_interval_covers_the_truth_19_times_in_20() -> None:
    """Chances differ from problem to problem, and so does the rate: half the problems .1, half .5."""
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(400):
        chances = rng.integers(0, 8, 80)
        events = rng.binomial(chances, np.where(rng.random(80) < 0.5, 0.1, 0.5))
        found = rate(events.astype(float), chances.astype(float))
        covered += found.low <= 0.3 <= found.high
    assert 0.92 <= covered / 400 <= 0.98


def test_a_rate_counts_chances_and_not_problems() -> None:
    """One problem of a hundred chances beside ninety-nine of one: the interval is about the pooled rate."""
    chances = np.array([100.0] + [1.0] * 99)
    events = np.array([0.0] + [1.0] * 99)
    assert rate(events, chances).low < 99 / 199 < rate(events, chances).high
    assert rate(events / chances, np.ones(100)).low > 0.9


def test_there_is_no_rate_without_chances() -> None:
    assert np.isnan(rate(np.zeros(5), np.zeros(5))).all()


def test_a_rate_of_one_chance_a_problem_is_a_proportion() -> None:
    events = np.array([1.0] * 8 + [0.0] * 2)
    assert rate(events, np.ones(10)) == pytest.approx(proportion(events))
    assert rate(np.zeros(10), np.ones(10)).high > 0.2


def test_a_band_is_wider_than_each_interval_and_less_so_where_places_move_together() -> None:
    rng = np.random.default_rng(4)
    alone = rng.normal(0, 0.2, (6, 200))
    together = alone[:1] + rng.normal(0, 0.01, (6, 200))

    def widening(paired: np.ndarray) -> float:
        single, band = difference(paired[0]), simultaneous(paired)[0]
        return (band.high - band.low) / (single.high - single.low)

    assert widening(alone) == pytest.approx(1.35, abs=0.03)  # 2.66 for 1.97: the studentised maximum of six
    assert 1 < widening(together) < 1.1


def test_a_band_of_one_place_is_its_interval() -> None:
    each = np.random.default_rng(5).normal(0, 0.2, (1, 4, 50))
    assert simultaneous(each) == [difference(each[0])]


def test_half_the_cost_for_the_same_accuracy_is_two_times_fewer() -> None:
    rng = np.random.default_rng(6)
    solved = rng.random(300) * 16  # the cost at which each problem is solved
    budgets = np.geomspace(1, 16, 60)

    def curve(pace: float, at: np.ndarray) -> Curve:
        return Curve((solved[:, None] < pace * at).astype(float), np.broadcast_to(at, (300, len(at))))

    spent, rival, times = times_fewer(curve(2, budgets), curve(1, np.array([1.0, 2, 4, 8])))
    assert rival == pytest.approx(8)
    assert spent == pytest.approx(4, rel=0.1)
    assert 1.7 < times.low <= times.value + 1e-9 < times.high < 2.3
    spent, _, times = times_fewer(curve(0.1, budgets), curve(1, np.array([8.0])))
    assert np.isinf(spent)
    assert times == (0, 0, 0)


@pytest.mark.parametrize(
    ("bounds", "problems", "says"),
    [
        ((0.1, 0.2), 30, Verdict.BETTER),
        ((-0.2, -0.1), 30, Verdict.WORSE),
        ((-0.1, 0.1), 30, Verdict.OPEN),
        ((np.nan, np.nan), 30, Verdict.OPEN),
        ((0.1, 0.2), 29, Verdict.TOO_FEW),
    ],
)
def test_words_need_thirty_problems_and_an_interval_on_one_side(
    bounds: tuple[float, float], problems: int, says: Verdict
) -> None:
    assert verdict(bounds, problems) is says


@pytest.mark.parametrize(("freedom", "quantile"), [(3, 3.1824), (5, 2.5706), (11, 2.2010), (59, 2.0010)])
def test_students_quantile_agrees_with_the_tables(freedom: int, quantile: float) -> None:
    assert student(freedom) == pytest.approx(quantile, abs=0.005)
