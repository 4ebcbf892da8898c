"""Chains of attempts in the terminal: what changed, at one glance, with and without colours."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from rich.console import Console
from rich.tree import Tree

from computewise.cli._render import changes, draw_attempts
from computewise.core import Attempt, Candidate, Step


def candidate(
    id: str, *lines: str, scores: tuple[float, ...] = (), parent: Candidate | None = None, cut: bool = False
) -> Candidate:
    history = () if parent is None else (Attempt(parent.id, tuple(step.text for step in parent.steps)),)
    steps = tuple(Step(line, len(line), -0.1) for line in lines)
    return Candidate(id, parent.id if parent else None, steps, scores, "length" if cut else "stop", history)


def printed(tree: Tree) -> list[str]:
    console = Console(width=120, color_system=None)
    with console.capture() as captured:
        console.print(tree)
    return [line.rstrip() for line in captured.get().splitlines()]


def drawn(explored: Sequence[Candidate], chosen: Candidate | None = None) -> list[str]:
    """The picture without colours, below its title."""
    title, *lines = printed(draw_attempts("3*(4+5)-6", explored, chosen, coloured=False))
    assert title == "3*(4+5)-6"
    return lines


@pytest.mark.parametrize(
    ("before", "after", "marked"),
    [
        ("27-6 → 21", "27-6 → 21", "27-6 → 21"),
        ("127-6", "125-6", "[-127-]{+125+}-6"),  # numbers change whole, not digit by digit
        ("Ann has 12 apples", "Ann had 12 apples", "Ann [-has-]{+had+} 12 apples"),
        ("27-6", "27-6 → 21", "27-6{+ → 21+}"),
        ("27-6 → 21", "27-6", "27-6[- → 21-]"),
        ("", "21", "{+21+}"),
        ("3*(9)", "3*[9]", "3*[-(-]{+[+}9[-)-]{+]+}"),
    ],
)
def test_a_diff_without_colours_is_marked_as_git_marks_words(before: str, after: str, marked: str) -> None:
    assert changes(before, after, coloured=False).plain == marked


def test_a_coloured_diff_strikes_out_and_marks_nothing() -> None:
    text = changes("127-6 → 21", "125-6 → 21", coloured=True)
    assert text.plain == "127125-6 → 21"
    styled = {text.plain[span.start : span.end]: span.style for span in text.spans}
    assert styled == {"127": "red strike", "125": "bold green", "-6 → 21": "dim"}


FIRST = candidate("0", "3*9-6\n", "28-6\n", "22", scores=(0.9, 0.2, 0.034))
SECOND = candidate("0.0", "3*9-6\n", "27-6\n", "22", scores=(0.9, 0.9, 0.1), parent=FIRST)
THIRD = candidate("0.0.0", "3*9-6\n", "27-6\n", "22", scores=(0.9, 0.9, 0.2), parent=SECOND)
FOURTH = candidate("0.0.0.0", "3*9-6\n", "27-6\n", "21", scores=(0.9, 0.9, 1.0), parent=THIRD)


def test_a_chain_stays_at_one_depth_and_each_attempt_is_compared_to_the_one_before() -> None:
    assert drawn([FIRST, SECOND, THIRD, FOURTH], FOURTH) == [
        "└── 3*9-6 → 28-6 → 22  0.03",
        "    ├── 3*9-6 → [-28-]{+27+}-6 → 22  0.10",
        "    ├── unchanged  0.20",
        "    └── 3*9-6 → 27-6 → [-22-]{+21+}  1.00  ◀ answer",
    ]


def test_the_answer_is_marked_wherever_it_stands_and_only_there() -> None:
    lines = drawn([FIRST, SECOND, THIRD], SECOND)
    assert [line.endswith("◀ answer") for line in lines] == [False, True, False]
    assert not any("◀" in line for line in drawn([FIRST, SECOND, THIRD]))


def test_several_revisions_of_one_attempt_branch_off_it() -> None:
    other = candidate("0.0.1", "21", parent=SECOND)
    beside = candidate("1", "7")
    assert drawn([FIRST, SECOND, THIRD, other, beside]) == [
        "├── 3*9-6 → 28-6 → 22  0.03",
        "│   └── 3*9-6 → [-28-]{+27+}-6 → 22  0.10",
        "│       ├── unchanged  0.20",
        "│       └── [-3*9-6 → 27-6 → 22-]{+21+}",
        "└── 7",
    ]


def test_what_is_cut_off_says_so_and_what_is_not_scored_shows_no_score() -> None:
    assert drawn([candidate("0", "3*9-6\n", "2", scores=(0.9,), cut=True)]) == ["└── 3*9-6 → 2  cut off"]


def test_with_colours_there_are_no_marks() -> None:
    lines = printed(draw_attempts("title", [FIRST, SECOND], SECOND))
    assert lines[2] == "    └── 3*9-6 → 2827-6 → 22  0.10  ◀ answer"
