"""Graders of choices, texts, programs, and those that a user writes."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from computewise.errors import ProblemError, UsageError
from computewise.grading import graders, processes
from computewise.grading.graders import MAX_SOURCE_CHARACTERS, CodeGrader, find_grader, load_function
from computewise.grading.normalize import ChoiceGrader, ExactGrader

PROGRAM = "Some thoughts.\n\n```python\ndef double(x):\n    return 2 * x  # twice\n```\n"
TESTS = "assert double(2) == 4\nassert double(-1) == -2"


@pytest.mark.parametrize(
    ("solution", "choice"),
    [
        ("The answer is B.", "B"),
        ("The answer is (b)", "B"),
        (r"so \boxed{B}", "B"),
        (r"so \boxed{\text{B}}", "B"),
        (r"so $\boxed{\textbf{(B)}\ 42}$", "B"),
        ("Answer: **C**", "C"),
        ("The answer is A. Not B.", "A"),
        ("The answer is option D", "D"),
        ("The answer is C because A is wrong", "C"),
        ("first\n\n(E)", "E"),
        ("first\n\nE.", "E"),
        ("The answer is a good one", None),
        ("The answer is Both", None),
        ("A", "A"),
        ("It might be A or B", None),
        ("", None),
    ],
)
def test_the_choice_is_found(solution: str, choice: str | None) -> None:
    assert ChoiceGrader().answer(solution) == choice


def test_choices_are_compared_by_their_letter() -> None:
    grader = ChoiceGrader()
    assert grader.correct("(B)", "b")
    assert not grader.correct("B", "C")
    assert not grader.correct("seven", "seven")
    assert grader.key("(b)") == "B"
    assert not grader.accepts("seven")


def test_texts_are_compared_without_case_space_and_punctuation_at_the_ends() -> None:
    grader = ExactGrader()
    assert grader.correct("New York", ' "new  york." ')
    assert grader.key("ﬁve") == grader.key("FIVE!")
    assert not grader.correct("3.5", "35")
    assert not grader.correct("-5", "5")
    assert grader.key("...") == "..."
    assert grader.answer("It is so. The answer is Paris, France. Indeed.") == "Paris, France"
    assert not grader.accepts("  ")


@pytest.fixture
def user_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module of graders, in the current directory."""
    (tmp_path / "my_graders.py").write_text(
        "def same(answer, reference):\n    return answer == reference\n"
        "def share(answer, reference):\n    return float(answer)\n"
        "def broken(answer, reference):\n    return 1 / 0\n"
        "def silent(answer, reference):\n    return None\n"
        "def endless(answer, reference):\n    while answer == 'loop': pass\n    return int(answer) ** int(answer) > 1\n"
        "def leaving(answer, reference):\n    import os\n    return os._exit(0)\n"
        "def printing(answer, reference):\n    print(input() if answer == 'x' else 'true')\n    return True\n"
        "def forging(answer, reference):\n    import os\n"
        "    [os.write(n, b'true\\ntrue\\n') for n in range(3, 20) if os.path.exists(f'/proc/self/fd/{n}')]\n"
        "    return False\n"
        "def evaluating(answer, reference):\n    return helper(answer) == reference\n"
        "def helper(text):\n    return str(eval(text))\n"
        "def by_sympy(answer, reference):\n    from sympy import sympify\n    return sympify(answer) == 1\n"
        "class Whole:\n"
        "    instruction, warnings = 'Be brief.', ['a note']\n"
        "    def answer(self, solution): return solution[1:] if solution else 1 / 0\n"
        "    def key(self, answer): return answer.lower() if answer != 'list' else [1]\n"
        "    def correct(self, reference, answer): return answer == reference if answer != 'none' else None\n"
        "    def accepts(self, reference): return True\n"
        "class Evaluating(Whole):\n"
        "    def key(self, answer): return self.parsed(answer)\n"
        "    def parsed(self, answer): return str(eval(answer))\n"
    )
    (tmp_path / "broken_graders.py").write_text("raise KeyError('two\\nlines')\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [part for part in sys.path if part])
    monkeypatch.delitem(sys.modules, "my_graders", raising=False)
    return "my_graders"


def test_a_users_function_grades(user_module: str) -> None:
    grader = find_grader(f"{user_module}:same")
    assert grader.correct("a", "a")
    assert not grader.correct("a", "b")
    assert grader.answer(r"\boxed{a }") == "a"
    share = load_function(f"{user_module}:share")
    assert share.correct("x", "0.5")
    assert not share.correct("x", "0.49")
    assert share.key(" 1 ") == "1"


@pytest.mark.parametrize(
    ("function", "answer", "said"),
    [
        ("broken", "x", "the grader my_graders:broken failed: ZeroDivisionError: division by zero"),
        ("leaving", "x", "the grader my_graders:leaving took too long, or ended its process"),
        ("printing", "x", "the grader my_graders:printing failed: EOFError"),
        ("forging", "x", "the grader my_graders:forging took too long, or ended its process"),
        ("silent", "x", "returned None: allowed are a bool, or a number in"),
        ("share", "7", "returned 7.0: allowed"),
        ("share", "nan", "returned nan: allowed"),
    ],
)
def test_a_users_function_that_fails_is_one_problems_error(
    user_module: str, function: str, answer: str, said: str
) -> None:
    with pytest.raises(ProblemError, match=said) as error:
        load_function(f"{user_module}:{function}").correct("x", answer)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("answer", ["loop", "99999999"])
def test_a_users_function_that_does_not_end_is_killed(
    user_module: str, monkeypatch: pytest.MonkeyPatch, answer: str
) -> None:
    monkeypatch.setattr(graders, "GRADING_SECONDS", 0.5)
    monkeypatch.setattr(processes, "_UNANSWERED", set())
    grader = load_function(f"{user_module}:endless")
    for _ in range(2):  # the second time it is not asked
        with pytest.raises(ProblemError, match="the grader my_graders:endless took too long, or ended its process"):
            grader.correct("x", answer)
        monkeypatch.setattr(processes, "_workers", None)


def test_what_a_users_function_prints_is_no_verdict(user_module: str) -> None:
    grader = load_function(f"{user_module}:printing")
    assert [grader.correct("x", "y") for _ in range(3)] == [True] * 3


def test_a_users_grader_reads_and_grades_in_a_worker(user_module: str) -> None:
    grader = load_function(f"{user_module}:Whole")
    assert (grader.instruction, grader.warnings) == ("Be brief.", ("a note",))
    assert (grader.answer("xYes"), grader.key("Yes"), grader.accepts("Yes")) == ("Yes", "yes", True)
    assert grader.correct("Yes", "Yes")
    with pytest.raises(ProblemError, match="the grader my_graders:Whole failed: ZeroDivisionError: division by zero"):
        grader.answer("")
    with pytest.raises(ProblemError, match=r"the grader my_graders:Whole returned \[1\]: allowed is a text"):
        grader.key("list")
    with pytest.raises(ProblemError, match="the grader my_graders:Whole returned None: allowed is a bool"):
        grader.correct("Yes", "none")


@pytest.mark.parametrize(
    ("name", "how"), [("evaluating", "eval"), ("by_sympy", "sympy"), ("Evaluating", "eval"), ("helper", "eval")]
)
def test_a_users_grader_that_evaluates_needs_permission(user_module: str, name: str, how: str) -> None:
    said = rf"my_graders:{name} may run what the model writes as Python \({how}\), .* allow_code_execution permits it"
    with pytest.raises(UsageError, match=said) as error:
        find_grader(f"{user_module}:{name}")
    assert "\n" not in str(error.value)
    if name == "evaluating":
        allowed = find_grader(f"{user_module}:{name}", allow_code_execution=True)
        assert allowed.correct("4", "2 + 2")
        with pytest.raises(ProblemError, match="failed: SyntaxError"):
            allowed.correct("4", "2 +")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("my_graders:missing", "my_graders has no 'missing': what may be a grader there is same, share"),
        ("no_such_module:f", "no_such_module:f cannot be imported: ModuleNotFoundError"),
        ("broken_graders:f", "broken_graders:f cannot be imported: KeyError: 'two"),
        ("mathematics", "unknown grader 'mathematics': allowed are math, choice, exact, code or module:function"),
        ("module:", "unknown grader"),
        ("code", "allow_code_execution permits it"),
    ],
)
def test_a_grader_that_cannot_be_had_is_one_line(user_module: str, name: str, said: str) -> None:
    with pytest.raises(UsageError, match=said) as error:
        find_grader(name)
    assert "\n" not in str(error.value)


def code_grader(seconds: float = 20.0) -> CodeGrader:
    """The grader; longer than it takes on a busy machine."""
    return CodeGrader(seconds)


def test_a_program_is_graded_by_its_tests() -> None:
    grader = find_grader("code", allow_code_execution=True)
    program = grader.answer(PROGRAM)
    assert program is not None
    assert grader.correct(TESTS, program)
    assert grader.correct(TESTS, grader.key(program))
    assert not grader.correct(TESTS + "\nassert double(3) == 7", program)
    assert grader.answer("no code") is None
    assert grader.answer(f"```\n{'x' * (MAX_SOURCE_CHARACTERS + 1)}\n```") is None


def test_programs_that_differ_in_layout_share_a_key() -> None:
    grader = code_grader()
    assert grader.key("x = 1  # one") == grader.key("x=1")
    assert grader.key("x = ") == "x ="
    assert grader.key("(" * 50_000) == "(" * 50_000
    assert grader.accepts(TESTS)
    assert not grader.accepts("assert (")
    assert not grader.accepts("")


@pytest.mark.parametrize(
    "program",
    [
        "import sys; sys.exit(0)",
        "import os; os._exit(0)",
        "def double(x):",
        "raise KeyboardInterrupt",
        "print('1' * 10**7)",
        "x = bytearray(3 << 30)",
        "open('big', 'wb').write(bytes(64 << 20))",
        "import os; os.kill(os.getpid(), 9)",
        "double = [].__class__.__len__",
        "double = 5\n\x00",
    ],
)
def test_a_program_that_does_not_pass_fails(program: str) -> None:
    assert not code_grader().correct(TESTS, program)


def test_a_program_that_loops_is_killed() -> None:
    begun = time.perf_counter()
    assert not code_grader(1).correct(TESTS, "while True: pass")
    assert not code_grader(1).correct(TESTS, "import time; time.sleep(1000)")
    assert time.perf_counter() - begun < 60


def test_memory_and_files_are_limited_and_the_rest_is_graded() -> None:
    double = "def double(x): return 2 * x\n"
    eats = double + "try:\n    bytearray(3 << 30)\nexcept MemoryError:\n    small = True\nassert small"
    writes = (
        double + "try:\n    open('big', 'wb').write(bytes(64 << 20))\nexcept OSError:\n    small = True\nassert small"
    )
    assert code_grader().correct(TESTS, eats)
    assert code_grader().correct(TESTS, writes)


@pytest.fixture
def _not_isolated(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As where unshare does not work."""
    monkeypatch.setattr(processes, "_ISOLATIONS", (("no-such-command",),))
    processes.isolation.cache_clear()
    yield
    processes.isolation.cache_clear()


def test_children_are_killed_with_the_program_and_hold_up_nothing() -> None:
    _leave_children_behind("isolated")


@pytest.mark.usefixtures("_not_isolated")
def test_children_are_killed_without_a_namespace_too() -> None:
    _leave_children_behind("alone")


def _leave_children_behind(name: str) -> None:
    mark = f"computewise-{name}-{os.getpid()}"
    forks = (
        "import os, time\ndef double(x): return 2 * x\n"
        "for _ in range(3):\n    if os.fork() == 0:\n"
        f"        os.execv('/bin/sh', ['sh', '-c', 'sleep 300; true {mark}'])\n"
    )
    assert code_grader().correct(TESTS, forks)
    for _ in range(500):
        if mark not in _command_lines():
            return
        time.sleep(0.02)
    pytest.fail("a child outlived its program")


def _command_lines() -> str:
    return subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout


def test_a_program_sees_an_empty_environment_and_directory() -> None:
    looks = "import os\ndef double(x): return 2 * x\nassert 'HOME' not in os.environ\nassert not os.listdir('.')\n"
    assert code_grader().correct(TESTS, looks)


def test_a_program_has_no_network_where_that_can_be_taken_away() -> None:
    if not processes.isolation():
        pytest.skip("unshare does not work here")
    asks = (
        "import socket\ndef double(x): return 2 * x\ntry:\n    socket.create_connection(('127.0.0.1', %d), 1)\n"
        "except OSError:\n    alone = True\nassert alone\n"
    )
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        socket.create_connection(("127.0.0.1", port)).close()
        assert code_grader().correct(TESTS, asks % port)
    assert code_grader().warnings == ()


@pytest.mark.usefixtures("_not_isolated")
def test_without_unshare_programs_run_and_that_is_said() -> None:
    assert code_grader().correct(TESTS, "def double(x): return 2 * x")
    assert not code_grader(1).correct(TESTS, "while True: pass")
    assert "can reach the network" in code_grader().warnings[0]
