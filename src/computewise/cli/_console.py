"""What the commands print: text as it is, whoever wrote it.

Problems, answers, names and messages of servers come from elsewhere. None of them is read as rich's markup or as an
emoji's name, and no control character of theirs reaches the terminal.
"""

from __future__ import annotations

import sys
import unicodedata
from collections.abc import Iterable
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from computewise.session import Ledger

_HIDDEN = {"Cc", "Cf", "Cs"}
"""Unicode's categories of control characters, changes of the writing's direction and lone surrogates."""

_KEPT = "\n\t\u200c\u200d"
"""Line breaks, tabs, and what joins or parts letters in several scripts."""


def shown(text: str) -> str:
    r"""The text with control characters written out, such as \x1b; line breaks and tabs stay."""
    if text.isprintable():
        return text
    return "".join(one if one in _KEPT or unicodedata.category(one) not in _HIDDEN else _escaped(one) for one in text)


def _escaped(character: str) -> str:
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")


class PlainConsole(Console):
    """A console that prints every string as it is; styles are given as such, not in the text."""

    def render_str(self, text: str, **settings: Any) -> Text:
        """A string as it is drawn, in cells and titles too."""
        return super().render_str(shown(text), **settings)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """What is drawn of anything, such as a tree of texts."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(shown(segment.text), segment.style)


def open_console(*, stderr: bool = False, width: int | None = None) -> PlainConsole:
    """The console of a command; `width` is for where standard output is no terminal."""
    beyond = (sys.stderr if stderr else sys.stdout).isatty()
    return PlainConsole(
        stderr=stderr, width=None if beyond else width, markup=False, emoji=False, highlight=False, soft_wrap=False
    )


def say_notes(ledgers: Iterable[Ledger]) -> None:
    """Say on standard error how many solutions the grader failed on, why in one case, and what the model noted."""
    ledgers = list(ledgers)
    for note in dict.fromkeys(note for ledger in ledgers for note in ledger.different_notes()):
        say(f"computewise: {note}", stderr=True)
    found = [why for ledger in ledgers for why in ledger.ungraded.values()]
    if found:
        say(f"computewise: {len(found)} solutions were not read: {found[0]}", stderr=True)


def say(text: str, *, stderr: bool = False) -> None:
    """Print a line, not wrapped."""
    print(shown(text), file=sys.stderr if stderr else sys.stdout, flush=stderr)
