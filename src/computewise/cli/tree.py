"""A search tree for the terminal: steps with their scores, pruned branches dimmed, equal siblings drawn once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from rich.text import Text
from rich.tree import Tree

from computewise.core import Candidate


def draw(title: str, explored: Sequence[Candidate], chosen: Candidate | None = None) -> Tree:
    """The tree as far as it is explored; bright is what finished or may still go on."""
    children: dict[str | None, list[Candidate]] = defaultdict(list)
    for candidate in explored:
        children[candidate.parent].append(candidate)
    deepest = max((len(candidate.steps) for candidate in explored), default=0)
    tree = Tree(Text(title, style="bold"))
    _grow(tree, [None], children, deepest, chosen, 0)
    return tree


def _grow(
    tree: Tree,
    parents: Sequence[str | None],
    children: dict[str | None, list[Candidate]],
    deepest: int,
    chosen: Candidate | None,
    depth: int,
) -> None:
    groups: dict[tuple[str, bool], list[Candidate]] = defaultdict(list)
    for parent in parents:
        for child in children[parent]:
            groups[child.text, child.end == "stop"].append(child)
    for same in sorted(groups.values(), key=lambda same: -_score(same[0])):
        ids = [candidate.id for candidate in same]
        alive = any(_alive(candidate, children, deepest) for candidate in same)
        branch = tree.add(_line(same, depth, chosen, alive))
        _grow(branch, ids, children, deepest, chosen, len(same[0].steps))


def _alive(candidate: Candidate, children: dict[str | None, list[Candidate]], deepest: int) -> bool:
    if candidate.end == "stop" or len(candidate.steps) == deepest:
        return True
    return any(_alive(child, children, deepest) for child in children[candidate.id])


def _score(candidate: Candidate) -> float:
    return candidate.scores[-1] if candidate.scores and len(candidate.scores) == len(candidate.steps) else 0.0


def _line(same: Sequence[Candidate], depth: int, chosen: Candidate | None, alive: bool) -> Text:
    candidate = same[0]
    is_chosen = chosen is not None and chosen.text == candidate.text and candidate.finished
    line = Text(style="" if alive else "dim")
    line.append(
        " → ".join(step.text.strip() for step in candidate.steps[depth:]), style="bold green" if is_chosen else ""
    )
    if candidate.scores and len(candidate.scores) == len(candidate.steps):
        line.append(f"  {candidate.scores[-1]:.2f}", style="cyan" if alive else "")
    if len(same) > 1:
        line.append(f"  x{len(same)}", style="dim")
    if candidate.end == "length":
        line.append("  cut off", style="dim")
    if is_chosen:
        line.append("  ◀ answer", style="bold green")
    return line
