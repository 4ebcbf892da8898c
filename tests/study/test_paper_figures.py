"""The paper's figures from recorded samples: against what is known of samples that were made by a rule."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from computewise.runs import CandidateRecord, Record
from computewise.study.analysis.paper import aggregations, between, crossing
from computewise.study.analysis.tables import SamplePool


@pytest.mark.parametrize(
    ("level", "samples"),
    [(0.1, 1.0), (0.2, 1.0), (0.4, 2.0), (0.5, 2 * math.sqrt(2)), (0.7, 8.0), (0.71, math.inf)],
)
def test_the_crossing_is_interpolated_over_doublings(level: float, samples: float) -> None:
    found = crossing(np.array([0.0, 1.0, 2.0, 3.0]), np.array([0.2, 0.4, 0.6, 0.7]), level)
    assert found == pytest.approx(samples)


def test_a_curve_that_falls_is_crossed_where_it_first_reaches_the_level() -> None:
    assert crossing(np.array([0.0, 1.0, 2.0]), np.array([0.2, 0.6, 0.4]), 0.5) == pytest.approx(2**0.75)


def _pool(scores: list[tuple[float, ...]]) -> SamplePool:
    """One problem whose first two samples are right with one answer, whose others are wrong with another."""
    candidates = [
        CandidateRecord("right" if at < 2 else "wrong", each[-1], 1.0, 3, at < 2, scores=each)
        for at, each in enumerate(scores)
    ]
    return SamplePool([Record("pool", "model", {"name": "best_of_n", "n": 4}, 0, "1", candidates=candidates)])


def test_a_vote_is_weighed_by_each_aggregation_of_the_recorded_steps() -> None:
    """The last step prefers the wrong answer, the least, the product and the mean prefer the right one."""
    held = aggregations([_pool([(0.9, 0.6), (0.9, 0.6), (0.1, 0.7), (0.1, 0.7)])], [4])
    assert {each["name"]: each["at"][0]["accuracy"] for each in held} == {
        "last": 0.0,
        "min": 1.0,
        "prod": 1.0,
        "mean": 1.0,
        "majority": 0.5,
    }
    assert [each["auroc_within_problem"] for each in held] == [0.0, 1.0, 1.0, 1.0, 0.5]


def test_without_scores_of_steps_nothing_is_aggregated() -> None:
    pool = _pool([(0.9,)] * 4)
    bare = [
        Record("pool", "model", {"name": "best_of_n"}, 0, "1", candidates=[CandidateRecord("1", 1.0, 1.0, 3, True)])
    ]
    assert len(aggregations([pool], [2])) == 5
    assert aggregations([SamplePool(bare)], [1]) == []


def test_searches_are_measured_in_samples_of_best_of_n(summary: dict[str, Any]) -> None:
    held = summary["samples_saved"]
    labels = {row["label"] for row in summary["curves"] if row["selection"] == "weighted"} - {"best-of-N, weighted"}
    assert {each["label"] for each in held} == labels
    curve = {row["n"]: row["accuracy"] for row in summary["curves"] if row["label"] == "best-of-N, weighted"}
    for each in held:
        low, high = each["ci95"]
        needed = each["samples"] or math.inf
        assert (low or math.inf) <= needed <= (high or math.inf)
        above = [n for n, accuracy in curve.items() if accuracy >= each["accuracy"]]
        assert not above or needed <= min(above)
        assert needed == math.inf or each["times"] == pytest.approx(needed / each["generations"])
        for part in ("difference", "easy", "hard"):
            assert each[f"{part}_ci95"][0] <= each[part] <= each[f"{part}_ci95"][1]
        assert 0.4 * each["easy"] + 0.6 * each["hard"] == pytest.approx(each["difference"])
        if each["generations"] == each["n"]:
            assert each["difference"] == pytest.approx(each["accuracy"] - curve[each["n"]])


def test_between_two_places_both_neighbours_count() -> None:
    assert between(np.array([0.0, 1.0, 3.0]), 2.5).tolist() == [0.0, 0.25, 0.75]
    assert between(np.array([0.0, 1.0, 3.0]), 4.0).tolist() == [0.0, 0.0, 1.0]


def test_a_flipped_verifier_ranks_worse_selects_worse_and_loses_to_the_larger_model(summary: dict[str, Any]) -> None:
    held = summary["verifier_quality"]
    whole = next(row for row in summary["curves"] if row["label"] == "best-of-N, weighted" and row["n"] == 64)
    assert held[0]["share"] == 0
    assert held[0]["at"][-1]["accuracy"] == whole["accuracy"]
    assert held[0]["auroc_within_problem"] == pytest.approx(summary["verifiers"]["verifier"]["auroc_within_problem"])
    aurocs = [each["auroc_within_problem"] for each in held]
    accuracies = [each["at"][2]["accuracy"] for each in held]
    assert aurocs == sorted(aurocs, reverse=True)
    assert accuracies[-1] < accuracies[0]
    for before, after in pairwise(held):
        assert len(before["exchange"]) == len(summary["exchange"])
        assert after["exchange"][-1]["small"] < before["exchange"][-1]["small"]


def test_one_mechanism_has_the_budgets_at_which_it_has_actions(summary: dict[str, Any]) -> None:
    held = summary["mechanisms"]
    assert list(held) == ["search", "revisions, by verifier", "revisions, by majority"]
    for name, kinds in held.items():
        for kind, choices in kinds.items():
            assert [choice["n"] for choice in choices] == [row["n"] for row in summary["policy"][kind]]
            labels = {label for choice in choices for label in choice["actions"]}
            assert all(("revisions" in label) == name.startswith("revisions") for label in labels), labels
