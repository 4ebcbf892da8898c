"""Boosted trees against what they must find, and what they say against how it is written down."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from computewise.controller.trees import Forest, Recipe, grow
from computewise.metrics import Floats

ONE_TREE = Recipe(trees=1, depth=1, rate=1.0, share=0.02)


def column(*values: float) -> Floats:
    return np.array(values, float)[:, None]


def test_one_split_fits_one_step() -> None:
    rows, targets = column(0, 1, 2, 3, 4, 5, 6, 7), column(1, 1, 1, 1, 3, 3, 3, 3)
    forest = grow(rows, targets, ONE_TREE)
    assert forest.base.tolist() == [2.0]
    assert 3 <= forest.thresholds[0, 0] < 4
    assert forest.predict(rows) == pytest.approx(targets)
    assert forest.predict(column(-100, 100)) == pytest.approx(column(1, 3))


def test_a_tree_moves_by_its_rate() -> None:
    """Two steps of a half leave a quarter of the way: 2 -+ 1 * 3 / 4."""
    rows, targets = column(0, 1, 2, 3), column(1, 1, 3, 3)
    forest = grow(rows, targets, Recipe(trees=2, depth=1, rate=0.5, share=0.02))
    assert forest.predict(rows) == pytest.approx(column(1.25, 1.25, 2.75, 2.75))


def test_a_leaf_holds_its_share_of_the_rows() -> None:
    """The best split parts the last row from the others; a quarter of eight rows is two."""
    rows, targets = column(*range(8)), column(0, 0, 0, 0, 0, 0, 0, 8)
    alone = grow(rows, targets, ONE_TREE).predict(rows)
    paired = grow(rows, targets, Recipe(trees=1, depth=1, rate=1.0, share=0.25)).predict(rows)
    assert alone == pytest.approx(targets)
    assert paired == pytest.approx(column(0, 0, 0, 0, 0, 0, 4, 4))


def test_two_levels_fit_what_holds_only_together() -> None:
    rows = np.array([[a, b] for a in (0, 1) for b in (0, 1) for _ in range(5)], float)
    targets = (rows[:, :1] * rows[:, 1:]).astype(float)
    assert grow(rows, targets, Recipe(trees=1, depth=2, rate=1.0)).predict(rows) == pytest.approx(targets)


def test_several_outputs_are_fitted_together_each_in_its_own_unit() -> None:
    """The second depends on another feature than the first and is a thousand times smaller; the third is constant."""
    rng = np.random.default_rng(0)
    rows, fresh = rng.uniform(-1, 1, (2000, 3)), rng.uniform(-1, 1, (500, 3))

    def truth(of: Floats) -> Floats:
        return np.column_stack([of[:, 0] > 0, 1e-3 * (of[:, 1] > 0.5), np.full(len(of), 7.0)])

    forest = grow(rows, truth(rows), Recipe(trees=150, depth=2))
    clear = (np.abs(fresh[:, 0]) > 0.1) & (np.abs(fresh[:, 1] - 0.5) > 0.1)
    away = np.abs(forest.predict(fresh) - truth(fresh))[clear]
    assert away[:, 0].max() < 0.05
    assert away[:, 1].max() < 0.05e-3
    assert away[:, 2].max() < 1e-6


def test_constant_targets_are_predicted_as_they_are() -> None:
    rows = np.random.default_rng(0).random((50, 4))
    forest = grow(rows, np.full((50, 2), [0.25, 3.0]), Recipe(trees=5))
    assert np.isinf(forest.thresholds).all()
    assert forest.predict(rows) == pytest.approx(np.full((50, 2), [0.25, 3.0]))


def test_nothing_is_split_by_a_feature_that_is_constant() -> None:
    forest = grow(np.ones((20, 1)), column(*range(20)), Recipe(trees=3))
    assert np.isinf(forest.thresholds).all()
    assert forest.predict(np.array([[-5.0], [np.inf]])) == pytest.approx(column(9.5, 9.5))


def test_growing_is_repeatable() -> None:
    rng = np.random.default_rng(0)
    rows, targets = rng.random((300, 3)), rng.random((300, 2))
    first, second = (grow(rows, targets, Recipe(trees=10)) for _ in range(2))
    assert np.array_equal(first.thresholds, second.thresholds)
    assert np.array_equal(first.leaves, second.leaves)


@st.composite
def forests(draw: st.DrawFn) -> Forest:
    """Of random splits at 0, 1 or 2, many of them none."""
    trees, depth, outputs = draw(st.integers(1, 4)), draw(st.integers(0, 3)), draw(st.integers(1, 3))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    nodes = 2**depth - 1
    return Forest(
        rng.normal(size=outputs),
        rng.integers(0, 2, (trees, nodes)),
        rng.choice([0.0, 1.0, 2.0, np.inf], (trees, nodes)),
        rng.normal(size=(trees, nodes + 1, outputs)),
    )


ROWS = st.lists(st.tuples(*[st.sampled_from([-1.0, 0.0, 0.5, 1.0, 2.0, 3.0])] * 2), min_size=2, max_size=6)


@given(forests(), ROWS)
@settings(max_examples=60)
def test_one_row_is_predicted_as_it_is_among_many(forest: Forest, rows: list[tuple[float, float]]) -> None:
    together = forest.predict(np.array(rows))
    alone = np.concatenate([forest.predict(np.array([row])) for row in rows])
    assert alone == pytest.approx(together, abs=1e-12)


@given(forests(), ROWS)
@settings(max_examples=60)
def test_what_is_written_down_predicts_the_same(forest: Forest, rows: list[tuple[float, float]]) -> None:
    again = Forest.read(forest.base.tolist(), forest.plain(["a", "b"]), ["a", "b"])
    assert np.array_equal(again.predict(np.array(rows)), forest.predict(np.array(rows)))


def test_trees_of_unequal_depth_are_read_as_they_stand() -> None:
    """Above 1 is over, 1 itself is under."""
    split = {"of": "b", "split": 1.0, "under": {"add": [10.0]}, "over": {"add": [20.0]}}
    forest = Forest.read(
        [0.5],
        [{"of": "a", "split": 0.0, "under": {"add": [1.0]}, "over": split}, {"add": [100.0]}],
        ["a", "b"],
    )
    rows = np.array([[0.0, 9.0], [0.1, 1.0], [0.1, 1.1]])
    assert forest.predict(rows)[:, 0].tolist() == [101.5, 110.5, 120.5]
    assert forest.plain(["a", "b"])[1] == {"add": [100.0]}


def test_a_node_without_a_split_is_left_out_of_what_is_written() -> None:
    forest = Forest(np.zeros(1), np.zeros((1, 3), np.int64), np.array([[np.inf, 0.0, 0.0]]), np.ones((1, 4, 1)))
    assert forest.plain(["a"]) == [{"of": "a", "split": 0.0, "under": {"add": [1.0]}, "over": {"add": [1.0]}}]


def test_a_forest_without_trees_says_its_base() -> None:
    forest = Forest.read([0.25, 0.5], [], ["a"])
    assert forest.predict(np.zeros((3, 1))).tolist() == [[0.25, 0.5]] * 3
    assert forest.predict(np.zeros((1, 1))).tolist() == [[0.25, 0.5]]
