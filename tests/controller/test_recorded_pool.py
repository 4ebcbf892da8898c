"""Recorded draws as padded arrays, and walks through them against drawing one by one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from worlds import RIGHT, draws, sampled, workload

from computewise.controller.replay import ABSENT, RecordedArm, RecordedPool, ReplayEnv
from computewise.errors import RunError
from computewise.metrics import UNANSWERED
from computewise.samples import ProblemSamples, SampleArrays
from computewise.selection import Ballot, hierarchical

WRONG = 1


def arm_of(name: str, *drawn: SampleArrays) -> RecordedArm:
    return RecordedArm.of(name, [ProblemSamples(f"p{at}", "", {name: one}) for at, one in enumerate(drawn)])


def test_arms_are_padded_to_the_longest_problem_and_the_widest_block() -> None:
    """The first problem has a search of two and a search of one, the second one search of three."""
    arm = arm_of(
        "search",
        draws([5, 6, 7], [0.1, 0.2, 0.3], blocks=[0, 0, 1], cost=2.0),
        draws([8, UNANSWERED, 9], [0.4, 0.5, 0.6], blocks=[0, 0, 0], cost=3.0),
    )
    assert arm.ballots.answers.tolist() == [
        [[5, 6, ABSENT], [7, ABSENT, ABSENT]],
        [[8, UNANSWERED, 9], [ABSENT] * 3],
    ]
    assert arm.ballots.values.tolist() == [[[0.1, 0.2, 0], [0.3, 0, 0]], [[0.4, 0.5, 0.6], [0, 0, 0]]]
    assert arm.costs.tolist() == [[4, 2], [9, 0]]
    assert arm.lengths.tolist() == [2, 1]


def test_a_problem_may_have_nothing_of_an_arm_but_the_probe() -> None:
    arm = arm_of("large", draws([]), draws([3]))
    assert arm.lengths.tolist() == [0, 1]
    assert arm.ballots.answers.tolist() == [[[ABSENT]], [[3]]]


def test_a_chain_votes_once_for_an_answer_with_its_best_value() -> None:
    """Values .4 .3 .6 for the same answer add up to .6; another answer, or another chain, counts by itself."""
    chain = draws([1, 1, 2, 1, 1], [0.4, 0.3, 0.2, 0.6, 0.5], chains=[0, 0, 0, 0, 1])
    assert arm_of("revisions", chain).ballots.weights[0, :, 0] == pytest.approx([0.4, 0, 0.2, 0.2, 0.5])


def test_what_one_search_found_together_votes_each() -> None:
    search = draws([1, 1, 1], [0.4, 0.3, 0.6], blocks=[0, 0, 0], chains=[0, 0, 0])
    assert arm_of("search", search).ballots.weights[0, 0].tolist() == [0.4, 0.3, 0.6]


def test_a_chain_of_one_answer_each_elects_as_the_selection_across_chains_does() -> None:
    """Three chains that keep their answers: weights .6 for answer 1, .35 + .3 for answer 2."""
    answers, values, chains = [1, 1, 2, 2, 2], [0.6, 0.5, 0.35, 0.2, 0.3], [0, 0, 1, 1, 2]
    problem = {"revisions": draws(answers, values, chains=chains)}
    walk = ReplayEnv(workload(problem), 1, seed=0)
    for _ in answers:
        walk.draw(0, np.zeros(1, np.int64))
    elected = hierarchical([Ballot(str(a), v, str(c)) for a, v, c in zip(answers, values, chains, strict=True)])
    assert elected is not None
    assert walk.tally.votes.leaders().tolist() == [answers[elected]] == [2]


@given(st.lists(st.integers(1, 4), min_size=1, max_size=5), st.integers(0, 99))
def test_a_shuffle_keeps_chains_whole_and_in_order(sizes: list[int], seed: int) -> None:
    chains = np.repeat(np.arange(len(sizes)), sizes)
    longer = draws([0] * (len(chains) + 2))
    arm = arm_of("revisions", draws([0] * len(chains), chains=chains.tolist()), longer)
    order = arm.shuffled(0, np.random.default_rng(seed))
    drawn = order[: len(chains)]
    assert sorted(drawn) == list(range(len(chains)))
    assert order[len(chains) :].tolist() == [len(chains), len(chains) + 1]
    assert np.count_nonzero(np.diff(chains[drawn])) == len(sizes) - 1
    assert all(np.diff(drawn)[np.diff(chains[drawn]) == 0] == 1)


def test_every_order_of_a_problems_draws_is_as_likely() -> None:
    walk = ReplayEnv(workload({"a": draws([0, 1, 2])}), 3000, seed=0)
    _, counts = np.unique(walk.orders[0], axis=0, return_counts=True)
    assert len(counts) == 6
    assert counts.min() > 400


def test_blocks_come_together_and_are_paid_for_together() -> None:
    walk = ReplayEnv(workload({"search": draws([0, 1, 2, 3], blocks=[0, 0, 1, 1], cost=1.5)}), 4, seed=1)
    walk.draw(0, np.arange(4))
    seen = (walk.tally.votes.counts > 0).tolist()
    assert all(row in ([True, True, False, False], [False, False, True, True]) for row in seen)
    assert walk.tally.sums["draws"].tolist() == [2] * 4
    assert walk.spent.tolist() == [3.0] * 4
    assert walk.left.tolist() == [[1]] * 4


def test_a_draws_unit_is_what_the_probe_took_for_that_problem() -> None:
    walk = ReplayEnv(workload({"a": draws([0, 0], cost=2.0), "b": draws([0], cost=50.0)}), 1, seed=0)
    row = np.zeros(1, np.int64)
    walk.draw(0, row)
    walk.draw(1, row)
    walk.draw(0, row)
    assert (walk.unit.tolist(), walk.spent.tolist()) == ([2.0], [54.0])


def test_stopping_is_right_where_the_leader_is_graded_right() -> None:
    """A right answer of another arm makes the same answer right everywhere; unanswered is never right."""
    late = {"a": draws([3, UNANSWERED]), "b": draws([RIGHT])}
    assert workload(late).right.tolist() == [[True, False, False, False]]
    walk = ReplayEnv(workload({"a": draws([UNANSWERED]), "b": draws([RIGHT, RIGHT])}), 1, seed=0)
    row = np.zeros(1, np.int64)
    walk.draw(0, row)
    assert walk.right().tolist() == [False]
    walk.draw(1, row)
    assert walk.right().tolist() == [True]


@st.composite
def problems(draw: st.DrawFn) -> dict[str, SampleArrays]:
    arms = {}
    for name in ("probe", "search", "revisions"):
        n = draw(st.integers(1, 7))
        answers = draw(st.lists(st.integers(UNANSWERED, 2), min_size=n, max_size=n))
        values = draw(st.lists(st.sampled_from([0.0, 0.25, 0.5, 1.0]), min_size=n, max_size=n))
        together = {
            "probe": {},
            "search": {"blocks": (np.arange(n) // 3).tolist()},
            "revisions": {"chains": (np.arange(n) // 2).tolist()},
        }[name]
        arms[name] = draws(answers, values, cost=draw(st.sampled_from([1.0, 2.5])), **together)
    return arms


@given(st.lists(problems(), min_size=1, max_size=3), st.integers(0, 2), st.integers(0, 9))
@settings(max_examples=60)
def test_looking_ahead_sees_what_drawing_would_bring(drawn: list[dict[str, SampleArrays]], arm: int, seed: int) -> None:
    """As many as there are, where there are fewer; and the walk itself does not move."""
    held, amounts = workload(*drawn), [1, 2, 4, 16]
    walk = ReplayEnv(held, 2, seed)
    rows = np.arange(len(walk.problems))
    walk.draw(0, rows)
    walk.draw(1, rows[1:])
    before = walk.tally.features(rows)
    after, costs = walk.ahead(arm, amounts, rows)
    assert np.array_equal(walk.tally.features(rows), before)
    spent, column = walk.spent.copy(), 0
    for step in range(1, max(amounts) + 1):
        walk.draw(arm, rows[walk.left[:, arm] > 0])
        if step in amounts:
            assert after[:, column].tolist() == walk.right().tolist()
            assert costs[:, column] == pytest.approx(walk.spent - spent)
            column += 1


def test_a_problems_orders_do_not_depend_on_which_others_are_walked() -> None:
    rng = np.random.default_rng(0)
    held = workload(*({"a": sampled(rng, 0.5, n), "b": sampled(rng, 0.5, 4)} for n in (5, 9, 7)))
    every, some = ReplayEnv(held, 2, seed=3), ReplayEnv(held, 2, seed=3, only=np.array([2, 0]))
    assert some.problems.tolist() == [2, 2, 0, 0]
    for all_orders, orders in zip(every.orders, some.orders, strict=True):
        assert np.array_equal(orders, all_orders[[4, 5, 0, 1]])
    assert not np.array_equal(every.orders[0][0], every.orders[0][1])
    assert not np.array_equal(ReplayEnv(held, 2, seed=4).orders[0], every.orders[0])


def test_a_workload_without_problems_or_with_unequal_arms_is_refused() -> None:
    with pytest.raises(RunError, match="same arms"):
        RecordedPool([])
    with pytest.raises(RunError, match="same arms"):
        workload({"a": draws([0]), "b": draws([0])}, {"b": draws([0]), "a": draws([0])})


def test_a_problem_that_was_not_probed_is_refused_by_its_name() -> None:
    with pytest.raises(RunError, match="'odd' has no draw by 'a'"):
        RecordedPool([ProblemSamples("even", "", {"a": draws([0])}), ProblemSamples("odd", "", {"a": draws([])})])


def test_draws_of_unequal_length_are_refused() -> None:
    whole = draws([0, 1])
    with pytest.raises(RunError, match="'values': 1"):
        SampleArrays(
            whole.answers, whole.values[:1], *(getattr(whole, name) for name in list(SampleArrays.__slots__)[2:])
        )


def test_the_first_draw_of_each_model_in_a_walk_pays_for_the_prompt() -> None:
    """Whichever of a model's arms it is by, and whatever the order; so looking ahead says too."""
    problem = ProblemSamples(
        "p",
        "",
        {"small": draws([1] * 3), "search": draws([1, 1], cost=3.0), "large": draws([RIGHT] * 2, cost=10.0)},
        {"small": ("model", 0.5), "search": ("model", 0.5), "large": ("large", 4.0)},
    )
    for order, paid in (
        ((0, 0, 1, 2, 2), (1.5, 2.5, 5.5, 19.5, 29.5)),
        ((2, 1, 0), (14.0, 17.5, 18.5)),
    ):
        walk, row = ReplayEnv(RecordedPool([problem]), 1, seed=0), np.zeros(1, np.int64)
        for arm, spent in zip(order, paid, strict=True):
            ahead = walk.ahead(arm, [1], row)[1][0, 0]
            before = walk.spent[0]
            walk.draw(arm, row)
            assert walk.spent[0] == pytest.approx(spent)
            assert walk.spent[0] - before == pytest.approx(ahead)
    assert walk.unit[0] == 1.0
