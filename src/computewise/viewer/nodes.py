"""From what was explored, or what a run recorded, to the nodes that the viewer draws."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

from computewise import records
from computewise.core import Candidate, Usage
from computewise.viewer.diff import diff
from computewise.viewer.merging import merge
from computewise.viewer.node import Node, Step
from computewise.viewer.states import when_over, while_running


def from_candidates(
    explored: Sequence[Candidate],
    *,
    final: Collection[str] | None,
    chosen: str | None,
    answer: Callable[[Candidate], str | None],
    value: Callable[[Candidate], float] | None,
    arms: Mapping[str, str] | None,
    costs: Mapping[str, Usage],
) -> tuple[list[Node], dict[str, str]]:
    """Equal siblings merged, parents before children; and by each candidate's id that of the node that shows it.

    `final` are the ids of the candidates the answer is `chosen` from, None while the search goes on. `answer` is asked
    about what ended by itself, `value` about what has all its scores. `arms` are by the beginning of the ids of what
    they drew.
    """
    by_id = {candidate.id: candidate for candidate in explored}
    parents = {candidate.id: candidate.parent for candidate in explored}
    states = while_running(explored) if final is None else when_over(parents, final, chosen)
    nodes = [
        Node(
            id=c.id,
            parent=c.parent,
            arm=next((arm for begins, arm in (arms or {}).items() if c.id.startswith(begins)), None),
            count=1,
            steps=_added(c, by_id.get(c.parent or "")),
            value=value(c) if value and c.scores and len(c.scores) == len(c.steps) else None,
            end=c.end,
            answer=answer(c) if c.end == "stop" else None,
            tokens=costs[c.id].completion_tokens if c.id in costs else 0,
            revises=c.revises,
            diff=diff(c.history[-1].text, c.text) if c.revises else None,
            state=states[c.id],
        )
        for c in explored
    ]
    return merge(nodes)


def _added(candidate: Candidate, parent: Candidate | None) -> tuple[Step, ...]:
    """What a child adds to its parent's steps; all of them where it begins or revises."""
    kept = 0 if parent is None or candidate.revises else len(parent.steps)
    scores = [*candidate.scores, *[None] * len(candidate.steps)]
    return tuple(
        Step(step.text, score, step.tokens) for step, score in list(zip(candidate.steps, scores, strict=False))[kept:]
    )


def from_records(
    nodes: Sequence[records.Node], candidates: Sequence[records.Outcome], chosen: records.Outcome | None
) -> list[Node]:
    """A recorded search tree, of which no tokens are known; equal siblings merged, parents before children.

    A final candidate is found again by its answer and its value, which is its last step's score where the verifier
    aggregates so; where none is found by value, every finished node with a candidate's answer is taken.
    """
    final = _found(nodes, candidates)
    best = _found([node for node in nodes if node.id in final], [chosen]) if chosen else []
    states = when_over({node.id: node.parent for node in nodes}, final, best[0] if best else None)
    drawn = [
        Node(
            id=node.id,
            parent=node.parent,
            arm=None,
            count=1,
            steps=(Step(node.step, node.score, 0),),
            value=node.score,
            end=node.end,  # type: ignore[arg-type]  # a record's is any string, but a candidate's was written
            answer=node.answer,
            tokens=0,
            revises=False,
            diff=None,
            state=states[node.id],
        )
        for node in nodes
    ]
    return merge(drawn)[0]


def _found(nodes: Sequence[records.Node], candidates: Sequence[records.Outcome]) -> list[str]:
    """The ids of the nodes that are candidates."""
    ended = [node for node in nodes if node.end is not None]
    exact = {(outcome.answer, _rounded(outcome.value)) for outcome in candidates}
    found = [node.id for node in ended if (node.answer, _rounded(node.score)) in exact]
    answers = {outcome.answer for outcome in candidates}
    return found or [node.id for node in ended if node.answer in answers]


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 6)
