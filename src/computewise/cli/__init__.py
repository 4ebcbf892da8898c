"""The command line: every command reads its flags, calls one library function and prints the result.

Text is printed as it is, whoever wrote it. Problems, answers, names and messages of servers come from elsewhere. None
of them is read as rich's markup or as an emoji's name, and no control character of theirs reaches the terminal.
"""

from __future__ import annotations

import sys
import unicodedata
from collections.abc import Iterable
from typing import Any

from cyclopts import App, Parameter
from cyclopts.exceptions import CycloptsError
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from computewise.errors import ComputewiseError
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


app = App(
    name="computewise",
    help="Spend a language model's test-time compute where it pays: search for answers, measure, fit a controller.",
    version_flags=["--version"],
    default_parameter=Parameter(consume_multiple=True, negative=()),
)
for _name, (_module, _help) in {
    "study": ("study", "Measure every strategy on a set of problems, fit a controller, test it, and write a report."),
    "replay": ("replay", "Fit a controller to recorded samples and test it; no model is run."),
    "check": ("check", "Find out what an OpenAI-compatible server can do, and which strategies that allows."),
    "serve": (
        "serve",
        "Serve an OpenAI-compatible URL whose answers are searched for, in front of your own server.",
    ),
    "solve": ("solve", "Solve one problem; show the search, the answer and its cost."),
    "merge": ("runs", "Join the shards that `study --shard` measured in several places."),
    "export": ("runs", "Write an embedded model or a run's records in a form that other software reads."),
    "report": ("runs", "Write the report of a finished run again."),
    "train": ("runs", "Train an embedded model; needs PyTorch, the extra [train]."),
}.items():
    app.command(f"computewise.cli.{_module}:{_name}", name=_name, help=_help)


def main() -> None:
    """Run the command; what a person did wrong is one line on standard error and exit code 2."""
    try:
        app(exit_on_error=False, print_error=False)
    except (CycloptsError, ComputewiseError) as error:
        say(f"computewise: {' '.join(str(error).split())}", stderr=True)
        sys.exit(2)
    except KeyboardInterrupt:
        say("computewise: interrupted; what is recorded is kept", stderr=True)
        sys.exit(130)
