"""What the viewer is given: nodes from candidates and from records, and differences of texts."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import msgspec
import pytest
from doubles import TASK, solved
from hypothesis import given, settings
from hypothesis import strategies as st

from computewise import runs
from computewise.core import Attempt, Candidate, Result, Step, Usage
from computewise.runs import CandidateRecord
from computewise.session import Strategy
from computewise.solver import answer_of
from computewise.strategies import BeamSearch, BestOfN, Lookahead, StepRevisions
from computewise.testing import SimulatedPRM
from computewise.viewer.tree import MOST_WORDS, ViewNode, diff, from_candidates, from_records, read_asset, while_running


def candidate(id: str, *texts: str, parent: str | None = None, end: str | None = None) -> Candidate:
    steps = tuple(Step(text, 2, -0.5) for text in texts)
    scores = tuple(0.1 * (index + 1) for index in range(len(texts)))
    return Candidate(id, parent, steps, scores, end)  # type: ignore[arg-type]


def drawn(
    explored: Sequence[Candidate], *, final: list[str] | None = None, chosen: str | None = None, **others: object
) -> list[ViewNode]:
    held: dict[str, Any] = {
        "answer": lambda c: c.steps[-1].text.strip(),
        "value": lambda c: c.scores[-1],
        "arms": None,
        "costs": {},
    }
    nodes, _ = from_candidates(explored, final=final, chosen=chosen, **{**held, **others})
    return nodes


def shown(result: Result) -> tuple[list[ViewNode], dict[str, str]]:
    return from_candidates(
        result.tree,
        final={c.id for c in result.candidates},
        chosen=result.chosen.id if result.chosen else None,
        answer=lambda c: answer_of(c, TASK),
        value=lambda c: SimulatedPRM().value(c.scores),
        arms=None,
        costs=result.costs,
    )


@pytest.mark.parametrize("strategy", [BeamSearch(16, 4), BestOfN(64), Lookahead(8, 4, 2), StepRevisions(4, 4)])
def test_every_candidate_is_in_one_node_and_every_token_is_counted(strategy: Strategy) -> None:
    result = asyncio.run(solved(strategy))
    nodes, places = shown(result)
    assert places.keys() == {c.id for c in result.tree}
    assert Counter(places.values()) == {node.id: node.count for node in nodes}
    assert sum(node.tokens for node in nodes) == result.usage.completion_tokens
    met: set[str | None] = {None}
    for node in nodes:
        assert node.parent in met, "parents come first"
        met.add(node.id)
    assert result.chosen is not None
    answering = {places[result.chosen.id]}
    by_id = {node.id: node for node in nodes}
    while (parent := by_id[min(answering, key=len)].parent) is not None:
        answering.add(parent)
    assert {node.id for node in nodes if node.state == "chosen"} == answering


def test_a_node_adds_steps_to_its_parents() -> None:
    first = candidate("0", "a\n")
    second = candidate("0.0", "a\n", "b\n", parent="0")
    nodes = drawn([first, second, candidate("1", "c\n", "d", end="stop")], final=["1"])
    assert {node.id: [step.text for step in node.steps] for node in nodes} == {
        "0": ["a\n"],
        "0.0": ["b\n"],
        "1": ["c\n", "d"],
    }
    added = next(node for node in nodes if node.id == "0.0").steps[0]
    assert (added.score, added.tokens) == (0.2, 2)
    assert {node.id: node.answer for node in nodes} == {"0": None, "0.0": None, "1": "d"}


def test_a_solution_that_ends_behind_its_parents_last_step_adds_none() -> None:
    parent = candidate("0", "a\n")
    ended = replace(parent, id="0.0", parent="0", end="stop")
    assert drawn([parent, ended], final=["0.0"])[1].steps == ()


def test_what_no_verifier_has_read_has_no_scores() -> None:
    (node,) = drawn([replace(candidate("0", "a\n", "b\n"), scores=(0.5,))])
    assert [step.score for step in node.steps] == [0.5, None]
    assert node.value is None


def test_equal_siblings_are_merged_and_so_is_what_follows_them() -> None:
    explored = [
        candidate("0", "x"),
        candidate("1", "y"),
        candidate("2", "x"),
        candidate("0.0", "x", "1", parent="0"),
        candidate("2.0", "x", "1", parent="2"),
        candidate("2.1", "x", "1", parent="2", end="length"),
    ]
    costs = {"0.0": Usage(completion_tokens=3), "2.0": Usage(completion_tokens=4)}
    nodes, places = from_candidates(
        explored, final=["2.0"], chosen="2.0", answer=lambda c: None, value=None, arms=None, costs=costs
    )
    assert [(node.id, node.parent, node.count, node.tokens, node.state) for node in nodes] == [
        ("0", None, 2, 0, "chosen"),
        ("1", None, 1, 0, "pruned"),
        ("0.0", "0", 2, 7, "chosen"),
        ("2.1", "0", 1, 0, "pruned"),
    ]
    assert places == {"0": "0", "1": "1", "2": "0", "0.0": "0.0", "2.0": "0.0", "2.1": "2.1"}


def test_a_merged_node_has_the_value_of_whichever_was_read() -> None:
    unread = replace(candidate("0", "x"), scores=())
    (node,) = drawn([unread, candidate("1", "x")])
    assert node.id == "0"
    assert node.value == pytest.approx(0.1)


def test_what_different_arms_drew_is_not_merged() -> None:
    explored = [candidate("0:1:0", "x", end="stop"), candidate("10:1:0", "x", end="stop")]
    nodes = drawn(explored, final=["0:1:0", "10:1:0"], arms={"0:": "samples", "1:": "search", "10:": "large"})
    assert [(node.arm, node.count) for node in nodes] == [("samples", 1), ("large", 1)]


def test_a_revision_shows_all_its_steps_and_what_it_changes() -> None:
    first = candidate("0", "3*4\n", "13", end="stop")
    history = (Attempt("0", ("3*4\n", "13")),)
    second = replace(candidate("0.0", "3*4\n", "12", parent="0", end="stop"), history=history)
    _, node = drawn([first, second], final=["0", "0.0"], chosen="0.0")
    assert node.revises
    assert [step.text for step in node.steps] == ["3*4\n", "12"]
    assert node.diff == (("=", "3*4\n"), ("-", "13"), ("+", "12"))


def test_the_best_is_first_when_it_is_over_and_nothing_moves_before() -> None:
    explored = [
        replace(candidate(str(i), f"t{i}", end="stop"), scores=(score,)) for i, score in enumerate((0.1, 0.9, 0.5))
    ]
    assert [node.id for node in drawn(explored)] == ["0", "1", "2"]
    assert [node.id for node in drawn(explored, final=["0", "1", "2"], chosen="2")] == ["2", "1", "0"]
    assert [node.id for node in drawn(explored, final=["0"], chosen=None)] == ["0", "1", "2"]


def test_a_running_search_discards_what_it_went_on_without() -> None:
    explored = [
        candidate("0", "a"),
        candidate("1", "b"),
        candidate("2", "done", end="stop"),
        candidate("0.0", "a", "c", parent="0"),
        candidate("0.0.0", "a", "c", "e", parent="0.0"),
        candidate("0.1", "a", "d", parent="0"),
        candidate("1:0", "another part is slower"),
    ]
    states = while_running(explored)
    assert {id for id, state in states.items() if state == "pruned"} == {"1"}
    assert set(states.values()) == {"open", "pruned"}


def test_only_one_level_is_in_doubt_while_a_search_runs() -> None:
    """As the ledger grows, what counts as discarded stays so."""
    result = asyncio.run(solved(BeamSearch(16, 4)))
    by_level = sorted(result.tree, key=lambda c: len(c.steps))
    gone: set[str] = set()
    for count in range(1, len(by_level) + 1):
        states = while_running(by_level[:count])
        assert all(states[id] == "pruned" for id in gone)
        gone = {id for id, state in states.items() if state == "pruned"}
    assert gone


def test_nodes_are_plain_data_of_the_agreed_shape() -> None:
    plain = msgspec.json.decode(
        msgspec.json.encode(drawn([candidate("0", "a\n", end="stop")], final=["0"], chosen="0"))
    )
    assert plain == [
        {
            "id": "0",
            "parent": None,
            "arm": None,
            "count": 1,
            "steps": [{"text": "a\n", "score": 0.1, "tokens": 2}],
            "value": 0.1,
            "end": "stop",
            "answer": "a",
            "tokens": 0,
            "revises": False,
            "diff": None,
            "state": "chosen",
        }
    ]


RECORDED = [
    runs.NodeRecord("0", None, "3*9", 0.8, None, None),
    runs.NodeRecord("1", None, "3*9", 0.8, None, None),
    runs.NodeRecord("2", None, "3*8", 0.1, None, None),
    runs.NodeRecord("0.0", "0", "27", 0.9, "stop", "27"),
    runs.NodeRecord("1.0", "1", "27", 0.9, "stop", "27"),
    runs.NodeRecord("1.1", "1", "26", 0.2, "stop", "26"),
]


def test_a_recorded_tree_is_merged_and_its_candidates_are_found_again() -> None:
    chosen = CandidateRecord("27", 0.9, 0.5, 4, True)
    nodes = from_records(RECORDED, [chosen], chosen)
    assert [(node.id, node.count, node.state, node.answer) for node in nodes] == [
        ("0", 2, "chosen", None),
        ("2", 1, "pruned", None),
        ("0.0", 2, "chosen", "27"),
        ("1.1", 1, "pruned", "26"),
    ]


def test_where_no_value_is_found_again_the_answer_decides() -> None:
    outcomes = [CandidateRecord("27", 0.7, 0.5, 4, True), CandidateRecord("25", 0.1, 0.5, 4, False)]
    states = {node.id: node.state for node in from_records(RECORDED, outcomes, outcomes[0])}
    assert states == {"0": "chosen", "0.0": "chosen", "1.1": "pruned", "2": "pruned"}
    assert {node.state for node in from_records(RECORDED, outcomes, None)} == {"kept", "pruned"}


TEXTS = st.text(alphabet="ab1 +\n\t", max_size=30)


@given(TEXTS, TEXTS)
@settings(max_examples=300)
def test_a_difference_spells_both_texts(before: str, after: str) -> None:
    changes = diff(before, after)
    assert "".join(text for op, text in changes if op in "=-") == before
    assert "".join(text for op, text in changes if op in "=+") == after
    assert all(text for _, text in changes)


def test_a_difference_is_by_words() -> None:
    assert diff("of 117 apples", "of 118 apples") == (("=", "of "), ("-", "117 "), ("+", "118 "), ("=", "apples"))


def test_long_texts_are_compared_by_lines() -> None:
    words = " ".join(["word"] * MOST_WORDS) + "\n"
    assert diff(f"one two\n{words}", f"one three\n{words}")[:2] == (("-", "one two\n"), ("+", "one three\n"))


def test_the_viewer_is_one_name_and_writes_no_markup() -> None:
    script = read_asset("viewer.js")
    assert script.count("window.") == script.count("window.computewiseViewer") == 1
    for name in ("viewer.js", "d3-hierarchy.min.js"):
        assert "</script" not in read_asset(name).lower()
        assert "innerHTML" not in read_asset(name)
    with pytest.raises(KeyError):
        read_asset("node.py")
