"""What is printed is what is there: no markup, no emoji names, no control characters, whoever wrote it."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.table import Table
from rich.text import Text
from rich.tree import Tree

import computewise.cli
from computewise.cli import PlainConsole, open_console, say_notes, shown
from computewise.session import Ledger

TRICKS = (
    "[a,b]",
    "[/INST]",
    "[red]x[/red]",
    ":smile:",
    "[0,a]\\cup[b,1]",
    "\x1b[31mred\x1b[0m",
    "\u202eabc",
    "[link=x]y",
)


def printed(what: object) -> str:
    console = open_console(width=300)
    console.file = io.StringIO()
    console.print(what)
    return console.file.getvalue()


@pytest.mark.parametrize("text", TRICKS)
def test_a_string_is_printed_as_it_is(text: str) -> None:
    table = Table(title=text)
    table.add_column(text)
    table.add_row(text)
    tree = Tree(Text(text))
    tree.add(Text(text))
    assert printed(text).strip() == shown(text)
    assert printed(table).count(shown(text)) == 3
    assert printed(tree).count(shown(text)) == 2


def test_control_characters_are_written_out() -> None:
    assert shown("a\x1b[31m\tb\nc\x07") == "a\\x1b[31m\tb\nc\\x07"
    assert shown("\u202e\u2066") == "\\u202e\\u2066"
    assert shown("\ud800") == "\\ud800"
    assert shown("نمی\u200cخواهم ½ 𝑥") == "نمی\u200cخواهم ½ 𝑥"


@given(st.text())
def test_nothing_that_is_printed_moves_the_cursor(text: str) -> None:
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", shown(text))
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", printed(Text(text)))


def test_solutions_that_were_not_read_are_said(capsys: pytest.CaptureFixture[str]) -> None:
    say_notes([Ledger(), Ledger(ungraded={"0": "the grader [/b] failed\x1b", "1": "so did it"})])
    assert capsys.readouterr().err == "computewise: 2 solutions were not read: the grader [/b] failed\\x1b\n"
    say_notes([Ledger()])
    assert capsys.readouterr().err == ""


def test_no_command_has_a_console_of_its_own() -> None:
    for path in Path(computewise.cli.__file__).parent.glob("*.py"):
        source = path.read_text("utf-8")
        if path.name != "__init__.py":
            assert not re.search(r"\bConsole\(|from_markup|markup=True|emoji=True", source), path
            assert not re.search(r"\b(?:Live|Progress)\((?!.*\bconsole=)", source), path
            assert not re.search(r"(?<!\.)\bprint\((?!json\.dumps)", source), path
    assert isinstance(open_console(), PlainConsole)
