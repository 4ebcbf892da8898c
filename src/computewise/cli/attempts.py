"""Chains of revisions for the terminal: each attempt as an inline diff against the one it revises."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from difflib import SequenceMatcher

from rich.text import Text
from rich.tree import Tree

from computewise.core import Candidate

_PIECES = re.compile(r"\d+|\w+|\s+|.")


def draw_attempts(
    title: str, explored: Sequence[Candidate], chosen: Candidate | None = None, *, coloured: bool = True
) -> Tree:
    """Every chain, oldest attempt first; an only revision stands below its attempt, several branch off it.

    Without colours a diff is marked as in git's word diff: [-gone-]{+new+}.
    """
    children: dict[str | None, list[Candidate]] = defaultdict(list)
    for candidate in explored:
        children[candidate.parent].append(candidate)
    tree = Tree(Text(title, style="bold"))
    for first in children[None]:
        _grow_attempts(tree, first, None, children, chosen, coloured, only=False)
    return tree


def _grow_attempts(
    tree: Tree,
    attempt: Candidate,
    before: Candidate | None,
    children: dict[str | None, list[Candidate]],
    chosen: Candidate | None,
    coloured: bool,
    *,
    only: bool,
) -> None:
    branch = tree.add(_attempt_line(attempt, before, chosen, coloured))
    revisions = children[attempt.id]
    # The only revision of an only revision goes on at the same depth: a chain of sixteen must fit the screen.
    alone = len(revisions) == 1
    for revision in revisions:
        _grow_attempts(tree if only and alone else branch, revision, attempt, children, chosen, coloured, only=alone)


def _attempt_line(attempt: Candidate, before: Candidate | None, chosen: Candidate | None, coloured: bool) -> Text:
    line = Text()
    if before is None:
        line.append(_shown(attempt))
    elif _shown(attempt) == _shown(before):
        line.append("unchanged", style="dim")
    else:
        line.append_text(diff(_shown(before), _shown(attempt), coloured=coloured))
    if attempt.scores and len(attempt.scores) == len(attempt.steps):
        line.append(f"  {attempt.scores[-1]:.2f}", style="cyan")
    if attempt.end == "length":
        line.append("  cut off", style="dim")
    if chosen is not None and chosen.id == attempt.id:
        line.append("  ◀ answer", style="bold green")
    return line


def _shown(attempt: Candidate) -> str:
    return " → ".join(step.text.strip() for step in attempt.steps)


def diff(before: str, after: str, *, coloured: bool = True) -> Text:
    """`after` with what it changes of `before`, by whole numbers and words."""
    old, new = _PIECES.findall(before), _PIECES.findall(after)
    marks = ("", "", "", "") if coloured else ("[-", "-]", "{+", "+}")
    text = Text()
    for kind, a, b, c, d in SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if kind == "equal":
            text.append("".join(new[c:d]), style="dim")
            continue
        if a < b:
            text.append(f"{marks[0]}{''.join(old[a:b])}{marks[1]}", style="red strike")
        if c < d:
            text.append(f"{marks[2]}{''.join(new[c:d])}{marks[3]}", style="bold green")
    return text
