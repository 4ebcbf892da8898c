"""Equal siblings made one."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from msgspec.structs import replace

from computewise.viewer.node import Node, State

_RANKS: tuple[State, ...] = ("chosen", "kept", "open", "pruned")


def merge(nodes: Sequence[Node]) -> tuple[list[Node], dict[str, str]]:
    """Parents before children, and for the id of each of `nodes` the id of the node that now stands for it.

    Siblings are equal that end alike with the same text by the same arm; what follows one of them follows the one.
    Where nothing is open any more the best is first: what was chosen, what was kept, then by falling value.
    """
    known = {node.id for node in nodes}
    below: dict[str | None, list[Node]] = defaultdict(list)
    for node in nodes:
        below[node.parent if node.parent in known else None].append(node)
    over = all(node.state != "open" for node in nodes)
    merged: list[Node] = []
    places: dict[str, str] = {}
    waiting: list[tuple[str | None, list[Node]]] = [(None, below[None])]
    while waiting:
        parent, siblings = waiting.pop()
        groups: dict[tuple[object, ...], list[Node]] = defaultdict(list)
        for node in siblings:
            groups[node.arm, node.end, node.revises, tuple(step.text for step in node.steps)].append(node)
        joined = [(_join(same, parent), same) for same in groups.values()]
        if over:
            joined.sort(key=lambda pair: _order(pair[0]))
        merged += [node for node, _ in joined]
        places |= {one.id: node.id for node, same in joined for one in same}
        waiting += [(node.id, [child for one in same for child in below[one.id]]) for node, same in reversed(joined)]
    return merged, places


def _join(same: Sequence[Node], parent: str | None) -> Node:
    read = next((node for node in same if node.value is not None), same[0])
    return replace(
        read,
        id=same[0].id,
        parent=parent,
        count=len(same),
        tokens=sum(node.tokens for node in same),
        state=min((node.state for node in same), key=_RANKS.index),
    )


def _order(node: Node) -> tuple[int, float]:
    return _RANKS.index(node.state), -(node.value or 0.0)
