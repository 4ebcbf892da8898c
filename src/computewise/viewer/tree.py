"""Search trees in the form that the viewer draws, from records or from live candidates, and the viewer's files."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from difflib import SequenceMatcher
from functools import cache, lru_cache
from importlib.resources import files
from typing import Literal

import msgspec
from msgspec.structs import replace

from computewise import runs
from computewise.core import Candidate, Usage

State = Literal["chosen", "kept", "pruned", "open"]


class ViewStep(msgspec.Struct, frozen=True):
    """One step as it was written; `score` is None where no verifier has read it."""

    text: str
    score: float | None
    tokens: int


class ViewNode(msgspec.Struct, frozen=True):
    """What was sampled at once: a step of a search, a whole sample or a revision.

    `steps` are those that it adds to its parent's; all of its steps where it `revises` the parent; none where the model
    ended right after the parent's last. One node stands for `count` equal siblings, and `tokens` were sampled for all
    of them.
    """

    id: str
    parent: str | None
    arm: str | None
    count: int
    steps: tuple[ViewStep, ...]
    value: float | None
    end: Literal["stop", "length", "failed"] | None
    answer: str | None
    tokens: int
    revises: bool
    diff: tuple[Change, ...] | None
    """The changes against the parent's text, for a revision."""
    state: State
    """Whether it is on the path to the answer, on that to a final candidate, on neither, or not yet known."""


BEHIND = 2

"""A node without children is discarded after this many further levels of its part: one may be half drawn."""


def when_over(parents: Mapping[str, str | None], final: Collection[str], chosen: str | None) -> dict[str, State]:
    """The states by id; `final` and `chosen` are ids, and the nodes that they extend or revise have their state."""
    states: dict[str, State] = dict.fromkeys(parents, "pruned")
    for id in final:
        _mark(states, parents, id, "kept")
    if chosen is not None:
        _mark(states, parents, chosen, "chosen")
    return states


def while_running(explored: Sequence[Candidate]) -> dict[str, State]:
    """The states of a running search by id; a node is discarded if its part of the search went on without it."""
    deepest: dict[str, int] = defaultdict(int)
    for candidate in explored:
        part = _part(candidate.id)
        deepest[part] = max(deepest[part], len(candidate.steps))
    parents = {candidate.id: candidate.parent for candidate in explored}
    states: dict[str, State] = dict.fromkeys(parents, "pruned")
    for candidate in explored:
        if candidate.finished or len(candidate.steps) + BEHIND > deepest[_part(candidate.id)]:
            _mark(states, parents, candidate.id, "open")
    return states


def _mark(states: dict[str, State], parents: Mapping[str, str | None], id: str | None, state: State) -> None:
    """The path from a node to its root, up to the first node that has a mark."""
    while id in states and states[id] != state:
        states[id] = state
        id = parents[id]


def _part(id: str) -> str:
    return id.rpartition(":")[0]


Change = tuple[str, str]

"""A change and its text: "=" keeps it, "-" removes it, "+" inserts it."""


MOST_WORDS = 3000

"""Longer texts, both together, are compared by lines: the time grows with the square of the length."""

_WORDS = re.compile(r"\w+[^\S\n]*|\n|[^\w\s][^\S\n]*|[^\S\n]+")


@lru_cache(maxsize=256)
def diff(before: str, after: str, words: re.Pattern[str] = _WORDS) -> tuple[Change, ...]:
    """The changes in order: "=" and "+" together give `after`, "=" and "-" together give `before`.

    Every character of a text must belong to a match of `words`; a match changes as a whole.
    """
    old, new = words.findall(before), words.findall(after)
    if len(old) + len(new) > MOST_WORDS:
        old, new = before.splitlines(keepends=True), after.splitlines(keepends=True)
    changes: list[Change] = []
    for kind, a, b, c, d in SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if kind == "equal":
            changes.append(("=", "".join(old[a:b])))
            continue
        if a < b:
            changes.append(("-", "".join(old[a:b])))
        if c < d:
            changes.append(("+", "".join(new[c:d])))
    return tuple(changes)


_RANKS: tuple[State, ...] = ("chosen", "kept", "open", "pruned")


def merge(nodes: Sequence[ViewNode]) -> tuple[list[ViewNode], dict[str, str]]:
    """The merged nodes, parents before children, and for the id of each node the id of the node that stands for it.

    Siblings are equal if they end alike with the same text by the same arm; children of equal siblings become siblings.
    Where nothing is open any more the best is first: the chosen one, then kept ones, then by falling value.
    """
    known = {node.id for node in nodes}
    below: dict[str | None, list[ViewNode]] = defaultdict(list)
    for node in nodes:
        below[node.parent if node.parent in known else None].append(node)
    over = all(node.state != "open" for node in nodes)
    merged: list[ViewNode] = []
    places: dict[str, str] = {}
    waiting: list[tuple[str | None, list[ViewNode]]] = [(None, below[None])]
    while waiting:
        parent, siblings = waiting.pop()
        groups: dict[tuple[object, ...], list[ViewNode]] = defaultdict(list)
        for node in siblings:
            groups[node.arm, node.end, node.revises, tuple(step.text for step in node.steps)].append(node)
        joined = [(_join(same, parent), same) for same in groups.values()]
        if over:
            joined.sort(key=lambda pair: _order(pair[0]))
        merged += [node for node, _ in joined]
        places |= {one.id: node.id for node, same in joined for one in same}
        waiting += [(node.id, [child for one in same for child in below[one.id]]) for node, same in reversed(joined)]
    return merged, places


def _join(same: Sequence[ViewNode], parent: str | None) -> ViewNode:
    read = next((node for node in same if node.value is not None), same[0])
    return replace(
        read,
        id=same[0].id,
        parent=parent,
        count=len(same),
        tokens=sum(node.tokens for node in same),
        state=min((node.state for node in same), key=_RANKS.index),
    )


def _order(node: ViewNode) -> tuple[int, float]:
    return _RANKS.index(node.state), -(node.value or 0.0)


def from_candidates(
    explored: Sequence[Candidate],
    *,
    final: Collection[str] | None,
    chosen: str | None,
    answer: Callable[[Candidate], str | None],
    value: Callable[[Candidate], float] | None,
    arms: Mapping[str, str] | None,
    costs: Mapping[str, Usage],
) -> tuple[list[ViewNode], dict[str, str]]:
    """The merged nodes, parents before children, and for the id of each candidate the id of the node that shows it.

    `final` are the ids of the candidates that the answer is `chosen` from, None while the search runs. `answer` is
    called for candidates that ended by themselves, `value` for those with all scores. `arms` are by the beginning of
    the ids that they drew.
    """
    by_id = {candidate.id: candidate for candidate in explored}
    parents = {candidate.id: candidate.parent for candidate in explored}
    states = while_running(explored) if final is None else when_over(parents, final, chosen)
    nodes = [
        ViewNode(
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


def _added(candidate: Candidate, parent: Candidate | None) -> tuple[ViewStep, ...]:
    """The steps that a child adds to its parent's; all of them where it starts anew or revises."""
    kept = 0 if parent is None or candidate.revises else len(parent.steps)
    scores = [*candidate.scores, *[None] * len(candidate.steps)]
    return tuple(
        ViewStep(step.text, score, step.tokens)
        for step, score in list(zip(candidate.steps, scores, strict=False))[kept:]
    )


def from_records(
    nodes: Sequence[runs.NodeRecord], candidates: Sequence[runs.CandidateRecord], chosen: runs.CandidateRecord | None
) -> list[ViewNode]:
    """A recorded search tree, without token counts, with equal siblings merged.

    A final candidate is found by its answer and its value, which is its last step's score where the verifier aggregates
    in that way. Where none is found by value, every finished node with the answer of a candidate counts as final.
    """
    final = _found(nodes, candidates)
    best = _found([node for node in nodes if node.id in final], [chosen]) if chosen else []
    states = when_over({node.id: node.parent for node in nodes}, final, best[0] if best else None)
    drawn = [
        ViewNode(
            id=node.id,
            parent=node.parent,
            arm=None,
            count=1,
            steps=(ViewStep(node.step, node.score, 0),),
            value=node.score,
            end=node.end,  # type: ignore[arg-type]  # a record holds any string, but it was written from a candidate
            answer=node.answer,
            tokens=0,
            revises=False,
            diff=None,
            state=states[node.id],
        )
        for node in nodes
    ]
    return merge(drawn)[0]


def _found(nodes: Sequence[runs.NodeRecord], candidates: Sequence[runs.CandidateRecord]) -> list[str]:
    """The ids of the nodes that are candidates."""
    ended = [node for node in nodes if node.end is not None]
    exact = {(outcome.answer, _rounded(outcome.value)) for outcome in candidates}
    found = [node.id for node in ended if (node.answer, _rounded(node.score)) in exact]
    answers = {outcome.answer for outcome in candidates}
    return found or [node.id for node in ended if node.answer in answers]


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 6)


ASSETS = ("d3-hierarchy.min.js", "viewer.js", "viewer.css")
"""The scripts in the order in which they must run."""

_PARTS = ("parts", "tree", "layout", "card", "panel", "decisions", "view")
"""The parts of `viewer.js`, which adds one name to a page."""


@cache
def read_asset(name: str) -> str:
    """The text of one of `ASSETS`; raises `KeyError` for any other."""
    if name not in ASSETS:
        raise KeyError(name)
    if name == "viewer.js":
        return script(_text(f"js/{part}.js") for part in _PARTS)
    return _text(name)


def script(parts: Iterable[str]) -> str:
    """Join scripts into the body of one function, so that they define only the names that they mean to."""
    body = "\n".join(parts)
    return f'"use strict";\n(() => {{\n{body}}})();\n'


def _text(name: str) -> str:
    return files("computewise.viewer").joinpath(name).read_text(encoding="utf-8")
