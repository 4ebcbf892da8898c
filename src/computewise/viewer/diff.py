"""What a text changes of another, by words, as the viewer shows it."""

from __future__ import annotations

import re
from difflib import SequenceMatcher
from functools import lru_cache

Change = tuple[str, str]
"""What is done and to which text: "=" keeps it, "-" takes it away, "+" puts it in."""

MOST_WORDS = 3000
"""Of both texts together: longer ones are compared by lines, as the time grows with the square."""
_WORDS = re.compile(r"\w+[^\S\n]*|\n|[^\w\s][^\S\n]*|[^\S\n]+")


@lru_cache(maxsize=256)
def diff(before: str, after: str) -> tuple[Change, ...]:
    """The changes in order; those that keep or put in spell `after`, those that keep or take away spell `before`."""
    old, new = _WORDS.findall(before), _WORDS.findall(after)
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
