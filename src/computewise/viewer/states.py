"""Which nodes led to the answer, which to a candidate, which to nothing."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence

from computewise.core import Candidate
from computewise.viewer.node import State

BEHIND = 2
"""Levels by which a part has gone on without a node that thereby counts as discarded: one level may be half drawn."""


def when_over(parents: Mapping[str, str | None], final: Collection[str], chosen: str | None) -> dict[str, State]:
    """By id; `final` and `chosen` are ids, and whoever they extend or revise shares their state."""
    states: dict[str, State] = dict.fromkeys(parents, "pruned")
    for id in final:
        _mark(states, parents, id, "kept")
    if chosen is not None:
        _mark(states, parents, chosen, "chosen")
    return states


def while_running(explored: Sequence[Candidate]) -> dict[str, State]:
    """By id: discarded is what has not ended and nobody goes on from, while its part of the search has gone on."""
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
    """From a node to its root, as far as it is not marked yet."""
    while id in states and states[id] != state:
        states[id] = state
        id = parents[id]


def _part(id: str) -> str:
    return id.rpartition(":")[0]
