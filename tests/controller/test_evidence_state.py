"""What is known of a problem by hand, and the same by every road that leads to it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from worlds import add, draws, increments, workload

from computewise.controller.replay import ReplayEnv
from computewise.controller.state import EvidenceState, LiveState, SampleBatch, Votes, feature_names
from computewise.core import ObservedSample
from computewise.metrics import UNANSWERED
from computewise.samples import SampleArrays

A, B, C = 0, 1, 2
ONE = np.zeros(1, np.int64)


def ballot(answer: int, value: float, weight: float | None = None) -> SampleBatch:
    seen = value, value if weight is None else weight, 0.9 * value, 0.8 * value, -value, 10.0
    return SampleBatch(np.array([answer]), *(np.array([one]) for one in seen))


def features(*ballots: SampleBatch, drawn: Sequence[float] = (0.0,)) -> dict[str, float]:
    tally = EvidenceState.none(1, 3, len(drawn))
    for one in ballots:
        tally.add(ONE, one)
    tally.drawn[0] = drawn
    names = feature_names(["probe", "search", "large"][: len(drawn)])
    return dict(zip(names, tally.features(ONE)[0].tolist(), strict=True))


def test_features_are_what_they_are_called() -> None:
    """A twice, B once and one that did not answer: A leads by 1.2 to .5."""
    seen = features(ballot(A, 0.8), ballot(B, 0.5), ballot(A, 0.4), ballot(UNANSWERED, 0.1), drawn=(2.0, 1.0, 3.0))
    odds = math.log(0.801 / 0.201) + math.log(0.401 / 0.601) + math.log(0.101 / 0.901)
    assert seen == pytest.approx(
        {
            "leader's share of draws": 2 / 4,
            "leader's weight a draw": 1.2 / 4,
            "runner-up's share of draws": 1 / 4,
            "runner-up's weight a draw": 0.5 / 4,
            "margin a draw": 0.7 / 4,
            "margin in standard errors": 0.7 / math.sqrt(0.64 + 0.25 + 0.16 + 0.05),
            "leader's best value": 0.8,
            "runner-up's best value": 0.5,
            "distinct answers": 2,
            "distinct answers a draw": 2 / 4,
            "answers seen once, a draw": 1 / 4,
            "unanswered a draw": 1 / 4,
            "draws": 4,
            "mean value": 1.8 / 4,
            "best value": 0.8,
            "mean log-odds of value": odds / 4,
            "mean of steps' mean score": 0.9 * 1.8 / 4,
            "mean of steps' least score": 0.8 * 1.8 / 4,
            "mean log tokens": math.log(10),
            "mean log-probability": -1.8 / 4,
            "draws by search": 1,
            "draws by large": 3,
        }
    )


def test_where_one_answer_voted_nobody_runs_up() -> None:
    seen = features(ballot(C, 0.6))
    assert seen["leader's share of draws"] == 1
    assert seen["margin a draw"] == pytest.approx(0.6)
    runner = [seen[name] for name in seen if name.startswith("runner-up")]
    assert runner == [0, 0, 0]


def test_where_nobody_answered_nobody_leads() -> None:
    seen = features(ballot(UNANSWERED, 0.9), ballot(UNANSWERED, 0.3))
    assert (seen["unanswered a draw"], seen["distinct answers"], seen["best value"]) == (1, 0, 0.9)
    assert [seen[name] for name in seen if name.startswith(("leader", "runner-up", "margin"))] == [0] * 8


def test_an_answer_of_no_weight_leads_where_it_is_the_only_one() -> None:
    votes = Votes.none(1, 3)
    assert votes.leaders().tolist() == [UNANSWERED]
    votes.add(ONE, ballot(UNANSWERED, 0.9))
    assert votes.leaders().tolist() == [UNANSWERED]
    votes.add(ONE, ballot(C, 0.0))
    assert votes.leaders().tolist() == [C]
    assert votes.right(np.array([[False, False, True]])).tolist() == [True]


@pytest.mark.parametrize("order", [(A, B, C), (C, A, B), (B, C, A)])
def test_among_equals_the_answer_seen_first_leads(order: tuple[int, ...]) -> None:
    votes = Votes.none(1, 3)
    for answer in (*order, *order):
        votes.add(ONE, ballot(answer, 0.5))
        assert votes.leaders().tolist() == [order[0]] or answer != order[-1]
    assert votes.leaders().tolist() == [order[0]]


def test_rows_are_counted_apart() -> None:
    tally = EvidenceState.none(3, 2, 1)
    tally.add(np.array([2, 0]), SampleBatch(np.array([A, B]), *(np.array([0.5, 0.25]) for _ in range(6))))
    assert tally.votes.leaders().tolist() == [B, UNANSWERED, A]
    assert tally.features(np.array([2, 0]))[:, 0].tolist() == [1, 1]
    assert tally.sums["values"].tolist() == [0.25, 0, 0.5]


@st.composite
def recorded(draw: st.DrawFn) -> list[SampleArrays]:
    """Two arms of one problem; values tie often, draws come in blocks or revise one another."""
    arms = []
    for _ in range(2):
        n = draw(st.integers(1, 8))
        answers = draw(st.lists(st.integers(UNANSWERED, 3), min_size=n, max_size=n))
        values = draw(st.lists(st.sampled_from([0.0, 0.25, 0.5, 0.75]), min_size=n, max_size=n))
        size = draw(st.sampled_from([1, 1, 3]))
        chain = draw(st.sampled_from([1, 2])) if size == 1 else 1
        blocks, chains = np.arange(n) // size, np.arange(n) // size // chain
        arms.append(draws(answers, values, blocks=blocks.tolist(), chains=chains.tolist()))
    return arms


def assert_same_on_the_way(arms: list[SampleArrays]) -> None:
    """Draw by a `ReplayEnv` and, in its order, by a `LiveState`: same features, same leader after each increment."""
    walk = ReplayEnv(workload(dict(zip("ab", arms, strict=True))), 1, seed=0)
    state = LiveState({"a": len(arms[0]), "b": len(arms[1])})
    for arm, name in enumerate("ab"):
        waiting = increments(arms[arm])
        for place in walk.orders[arm][0][: len(waiting)]:
            walk.draw(arm, ONE)
            add(state, name, waiting[place])
            assert np.array_equal(state.features(), walk.tally.features(ONE))
            leader = int(walk.tally.votes.leaders()[0])
            assert state.leader == (None if leader == UNANSWERED else str(leader))
    assert state.left.tolist() == [[len(arm) - len(np.unique(arm.blocks)) for arm in arms]]


@given(recorded())
@settings(max_examples=80)
def test_a_state_knows_what_a_walk_knows(arms: list[SampleArrays]) -> None:
    assert_same_on_the_way(arms)


def test_a_state_knows_what_a_walk_knows_of_more_answers_than_it_had_room_for() -> None:
    """35 distinct answers: room is made twice."""
    rng = np.random.default_rng(0)
    many = draws([*range(35), *range(35)], rng.random(70).tolist())
    assert_same_on_the_way([many, draws([0, 34], [0.9, 0.8])])


def test_a_state_says_which_arm_drew_last_and_what_is_left() -> None:
    state = LiveState({"small": 3, "large": 1})
    assert (state.last, state.leader) == (None, None)
    state.add("small", [ObservedSample("7", 0.5, 0.5, 0.5, -1.0, 10)])
    state.add("large", [ObservedSample(None, 0.5, 0.5, 0.5, -1.0, 10)])
    assert (state.last, state.leader, state.left.tolist()) == ("large", "7", [[2, 0]])


def test_a_chain_that_repeats_an_answer_adds_only_what_raises_its_best_value() -> None:
    state = LiveState({"revisions": 9})
    for answer, value, chain in (("x", 0.4, "1"), ("x", 0.3, "1"), ("x", 0.5, "1"), ("y", 0.8, "2"), ("x", 0.2, "2")):
        state.add("revisions", [ObservedSample(answer, value, value, value, -1.0, 10)], chain=chain)
    names = feature_names(["revisions"])
    seen = dict(zip(names, state.features()[0].tolist(), strict=True))
    assert state.leader == "y"
    assert seen["leader's weight a draw"] == pytest.approx(0.8 / 5)
    assert seen["runner-up's weight a draw"] == pytest.approx((0.5 + 0.2) / 5)
    assert seen["runner-up's share of draws"] == pytest.approx(4 / 5)
    squares = 0.4**2 + 0.1**2 + 0.8**2 + 0.2**2
    assert seen["margin in standard errors"] == pytest.approx(0.1 / math.sqrt(squares + 0.05))
