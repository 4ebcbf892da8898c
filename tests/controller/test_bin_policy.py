"""Bins, the table policy and its cross-validation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from computewise.controller.bin_policy import best_per_bin, cross_validate, partitions
from computewise.core import Usage
from computewise.costs import flops
from computewise.difficulty import BINS, bin_edges, rank_bins


@given(st.lists(st.sampled_from([0.0, 0.0, 0.5, 1.0]), min_size=5, max_size=60))
def test_no_bin_is_empty_however_many_problems_tie(ease: list[float]) -> None:
    bins = rank_bins(ease, [f"p{index}" for index in range(len(ease))])
    sizes = np.bincount(bins, minlength=BINS)
    assert sizes.min() >= 1
    assert sizes.max() - sizes.min() <= 1
    for easier in range(BINS - 1):
        assert np.array(ease)[bins == easier].min() >= np.array(ease)[bins == easier + 1].max()


def test_bins_do_not_depend_on_the_order_of_the_problems() -> None:
    ease, ids = [0.0] * 20 + [1.0] * 5, [f"p{index}" for index in range(25)]
    forward = dict(zip(ids, rank_bins(ease, ids), strict=True))
    backward = dict(zip(ids[::-1], rank_bins(ease[::-1], ids[::-1]), strict=True))
    assert forward == backward


def test_edges_place_a_problem_where_its_equals_are() -> None:
    ease = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0]
    bins = rank_bins(ease, [str(index) for index in range(10)])
    assert bin_edges(ease, bins) == [0.9, 0.7, 0.5, 0.3]


def test_each_bin_takes_its_best_action_and_the_cheaper_of_equals() -> None:
    accuracy = np.array([[1, 0, 0], [1, 0, 0], [0, 1, 1], [0, 1, 1]], float)
    assert best_per_bin(accuracy, np.array([0, 0, 1, 1])).tolist() == [0, 1]


def test_an_action_that_only_luck_chose_is_worth_its_true_accuracy() -> None:
    """With actions of equal merit the choice looks better than it is where it was made, and only there."""
    rng = np.random.default_rng(0)
    accuracy = (rng.random((400, 30)) < 0.5).astype(float)
    bins = np.arange(400) % 5
    flattering = accuracy[np.arange(400), best_per_bin(accuracy, bins)[bins]].mean()
    honest = cross_validate(accuracy, bins, partitions(bins, 20, 0)).average(accuracy).mean()
    assert flattering > 0.56
    assert abs(honest - 0.5) < 0.03


def test_a_true_difference_between_bins_is_found_and_held_out() -> None:
    rng = np.random.default_rng(1)
    bins = np.arange(400) % 2
    chance = np.where(np.arange(2)[None] == bins[:, None], 0.8, 0.3)
    accuracy = (rng.random((400, 2)) < chance).astype(float)
    adaptive = cross_validate(accuracy, bins, partitions(bins, 20, 0)).average(accuracy).mean()
    fixed = cross_validate(accuracy, np.zeros(400, int), partitions(bins, 20, 0)).average(accuracy).mean()
    assert adaptive == pytest.approx(0.8, abs=0.05)
    assert adaptive - fixed > 0.2


def test_each_part_is_measured_by_what_was_chosen_on_the_others() -> None:
    rng = np.random.default_rng(2)
    accuracy, bins = rng.random((23, 4)).round(1), rng.integers(5, size=23)
    parts = partitions(bins, 7, 3)
    taken = cross_validate(accuracy, bins, parts).taken
    for part, took in zip(parts, taken, strict=True):
        for held in range(5):
            chosen = best_per_bin(accuracy, bins, np.flatnonzero(part != held))
            assert took[part == held].tolist() == chosen[bins[part == held]].tolist()


def test_parts_are_of_equal_size_and_share_out_every_group() -> None:
    groups = np.repeat(np.arange(5), 12)
    for parts in partitions(groups, 9, 0):
        assert np.bincount(parts).tolist() == [12] * 5
        assert all(np.ptp(np.bincount(parts[groups == one], minlength=5)) <= 1 for one in range(5))


def test_flops_charge_both_models_and_keep_apart_what_a_cache_saves() -> None:
    usage = Usage(4, 100, 75, 40, 200, 150)
    spent = flops(usage, model_parameters=10, verifier_parameters=7)
    assert (spent.prompt, spent.completion, spent.verifier) == (500, 800, 700)
    assert spent.total == 2000
    assert spent.uncached_total == 2 * 10 * 140 + 2 * 7 * 200
