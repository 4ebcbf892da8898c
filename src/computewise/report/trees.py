"""A recorded search tree as a reader can take it in: equal siblings merged, discarded ones behind the others."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from computewise.records import Node, Outcome


@dataclass(slots=True)
class Branch:
    """One step and what followed; `count` samples wrote the same text after the same steps."""

    step: str
    score: float | None
    end: str | None
    answer: str | None
    count: int = 0
    kept: bool = False
    """Whether a final candidate came of it."""
    children: list[Branch] = field(default_factory=list)

    @property
    def ends_kept(self) -> bool:
        """Whether it is itself a final candidate."""
        return self.kept and self.end is not None

    def walk(self) -> Iterator[Branch]:
        """Itself and everything under it."""
        yield self
        for child in self.children:
            yield from child.walk()


def grow(nodes: Sequence[Node], candidates: Sequence[Outcome]) -> list[Branch]:
    """The tree from its first steps on: what was kept first, then by falling score.

    A final candidate is found again by its answer and its value, which is its last step's score where the verifier
    aggregates so; where none is found by value, every finished node with a candidate's answer is taken.
    """
    below: dict[str | None, list[Node]] = {}
    known = {node.id for node in nodes}
    for node in nodes:
        below.setdefault(node.parent if node.parent in known else None, []).append(node)
    exact = {(outcome.answer, _rounded(outcome.value)) for outcome in candidates}
    if not any((node.answer, _rounded(node.score)) in exact for node in nodes if node.end):
        exact |= {(outcome.answer, _rounded(node.score)) for outcome in candidates for node in nodes}
    return _merge(below.get(None, []), below, exact)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 6)


def _merge(
    siblings: Sequence[Node], below: dict[str | None, list[Node]], final: set[tuple[str | None, float | None]]
) -> list[Branch]:
    groups: dict[tuple[str, str | None], list[Node]] = {}
    for node in siblings:
        groups.setdefault((node.step, node.end), []).append(node)
    branches = []
    for (step, end), same in groups.items():
        children = _merge([child for node in same for child in below.get(node.id, [])], below, final)
        first = same[0]
        itself = end is not None and (first.answer, _rounded(first.score)) in final
        kept = itself or any(child.kept for child in children)
        branches.append(Branch(step, first.score, end, first.answer, len(same), kept, children))
    return sorted(branches, key=lambda branch: (not branch.kept, -(branch.score or 0.0)))
