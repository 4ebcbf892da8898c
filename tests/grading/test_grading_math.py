"""Mathematical answers: what is equal, what is not, and what must not hang or take its neighbours along."""

from __future__ import annotations

import gzip
import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from computewise.errors import RunError
from computewise.grading.equivalence import AnswerEquivalence
from computewise.grading.graders import MathGrader
from computewise.grading.normalize import LONGEST, normalize
from computewise.grading.processes import WorkerPool

SHARED = os.environ.get("COMPUTEWISE_SHARED_DATA")
needs_recordings = pytest.mark.skipif(not SHARED, reason="COMPUTEWISE_SHARED_DATA names no folder of recordings")
TOWER = "9^{9^{9^{9}}}"


@pytest.fixture(scope="module")
def grader() -> MathGrader:
    """One for the module: its workers take a second to start."""
    pytest.importorskip("math_verify", reason="needs math-verify, the extra [math]")
    return MathGrader(AnswerEquivalence(seconds=60))  # a busy machine is not what is tested


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("2**(1/4)", r"2^{\frac{1}{4}}"),
        ("10{,}080", "10080"),
        (r"3\frac{1}{2}", "7/2"),
        ("-3 1/2", "-3.5"),
        (r"1.5 \times 10^{3}", "1500"),
        (r"0.\overline{3}", "1/3"),
        (r"0.1\overline{6}", r"\frac16"),
        ("64 square feet", "64"),
        ("18 dollars", "18"),
        ("5 cm", "5"),
        (r"\angle APC = 74^\circ", "74°"),
        ("f(x) = x+1", "x + 1"),
        ("35*6=210", "210"),
        (r"\frac{\sqrt{3}}{3} \approx 0.577", r"\frac{\sqrt3}{3}"),
        (r"\text{Friday}", "friday"),
        ("185\\", "185"),
        ("x − 1", "x-1"),
        ("33.0", "33"),
        ("033", "33"),
        (r"\frac{-1}{2}", "-0.5"),
    ],
)
def test_spellings_of_one_answer(one: str, other: str) -> None:
    assert normalize(one) == normalize(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("1/2004!", "1/2004"),
        ("1/2004!", r"\frac{1}{2004}!"),
        ("x^1/2", r"x^{\frac{1}{2}}"),
        ("5 or 6", "5"),
        ("5 million", "5"),
        ("xy=1", "1"),
        ("ABC", "abc"),
        (r"\pi r", r"\pir"),
        ("50", "0.5"),
        ("x=1=y", "y"),
        (r"2\frac{-1}{2}", "2.5"),
    ],
)
def test_answers_that_only_look_alike(one: str, other: str) -> None:
    assert normalize(one) != normalize(other)


@given(st.text(alphabet=r"\{}()[]fracsqrtext0123.,/^_=+-%$ xy" + "'°²"))
def test_canonical_is_its_own_canonical_text_and_never_empty(text: str) -> None:
    found = normalize(text)
    assert normalize(found) == found
    assert found or not text.strip()


EQUAL = [
    (r"\frac{1}{\sqrt{3}}", r"\frac{\sqrt{3}}{3}"),
    (r"\sqrt[3]{16}", r"2\sqrt[3]{2}"),
    (r"2^{1/3}", r"\sqrt[3]{2}"),
    (r"\log_2 8", "3"),
    ("-2,1", r"\{1,-2\}"),
    (r"1\pm\sqrt{2}", r"1-\sqrt{2}, 1+\sqrt{2}"),
    ("(x+1)^2", "x^2+2x+1"),
    (r"\frac{x^2-1}{x-1}", "x+1"),
    ("0.5x", r"\frac{x}{2}"),
    ("3x+2y=5", "10-4y=6x"),
    ("2>x", "x<2"),
    (r"x \in [-2,7]", "[-2,7]"),
    (r"(-\infty,-8)\cup(8,\infty)", r"(-\infty, -8) \cup (8, \infty)"),
    (r"\begin{pmatrix}1&\frac{2}{4}\\0&x\end{pmatrix}", r"\begin{bmatrix}1&0.5\\0&x\end{bmatrix}"),
    (r"\left(3,\frac{\pi}{2}\right)", r"(3, \pi/2)"),
    (r"5!", "120"),
    ("x^2 - x^2", "0"),
    (r"\sin 30x", r"\sin(30x)"),
    (r"\{x,(x+1)^2\}", r"\{x^2+2x+1,x\}"),
    (r"\frac{1}{1+\sqrt{2}}", r"\sqrt{2}-1"),
    (r"\sqrt{3+2\sqrt{2}}", r"1+\sqrt{2}"),
    (r"\{\sqrt{2}+1,\frac{1}{\sqrt{2}-1}\}", r"\{1+\sqrt{2}\}"),
    (r"\pm\sqrt{1+\sqrt{37}}", r"\sqrt{\sqrt{37}+1}, -\sqrt{\sqrt{37}+1}"),
    (r"\arcsin x", r"\arcsin(x)"),
    (r"\binom{5}{2}n", "10n"),
    (r"\lfloor x\rfloor", r"\lfloor x \rfloor"),
]


@pytest.mark.parametrize(("one", "other"), EQUAL)
def test_equal_answers_share_a_key(grader: MathGrader, one: str, other: str) -> None:
    assert grader.key(one) == grader.key(other)
    assert grader.correct(one, other)


@pytest.mark.parametrize("answer", sorted({answer for pair in EQUAL for answer in pair}))
def test_a_key_is_an_answer_and_its_own_key(grader: MathGrader, answer: str) -> None:
    key = grader.key(answer)
    assert grader.key(key) == key
    assert grader.correct(answer, key)
    assert grader.correct(key, answer)


@pytest.mark.parametrize(
    ("reference", "answer"),
    [
        ("(1,2)", "[1,2)"),
        ("(1,2)", "(2,1)"),
        (r"\sqrt{2}", r"\sqrt{3}"),
        ("x<2", r"x\le 2"),
        ("x+1", "x-1"),
        ("3^{2025}", "2^{2025}"),
        ("11/10", "1,1"),
        ("1", "0.999"),
        ("x=1", "x=2"),
        (r"\begin{pmatrix}1&2\end{pmatrix}", r"\begin{pmatrix}2&1\end{pmatrix}"),
        (r"\frac{", "}{"),
        ("5", r"5.\overline{3} + 0"),
        (r"\sqrt{67},-\sqrt{85}", r"\sqrt{67}"),
        ("odd", "oddd"),
    ],
)
def test_different_answers_are_different(grader: MathGrader, reference: str, answer: str) -> None:
    assert not grader.correct(reference, answer)
    assert grader.key(reference) != grader.key(answer)


@pytest.mark.parametrize(
    ("reference", "answer"),
    [
        (r"\frac{1}{2004!}", "1/2004!"),
        ("0.335", r"33.5\%"),
    ],
)
def test_a_comparison_knows_more_than_keys(grader: MathGrader, reference: str, answer: str) -> None:
    assert grader.correct(reference, answer)
    assert grader.key(reference) != grader.key(answer)


def test_equal_keys_are_correct_whatever_a_comparison_would_say(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("math_verify", reason="needs math-verify, the extra [math]")
    with AnswerEquivalence(seconds=60) as equal:
        assert equal.key("x+x+1") == equal.key("1+2x")
        monkeypatch.setattr(equal._pool, "ask", lambda question, seconds: (True, False))
        assert equal("x+x+1", "1+2x")


def test_what_is_not_read_as_it_is_written_has_no_form() -> None:
    pytest.importorskip("math_verify", reason="needs math-verify, the extra [math]")
    from computewise.grading.mathematics import canonical_form

    assert canonical_form("x+x") == "2x"
    assert canonical_form("E") == "E"  # math-verify reads a small letter
    assert canonical_form("Rr") is None


def test_a_list_is_no_decimal_number(grader: MathGrader) -> None:
    assert grader.key("1," * 100) != grader.key("1.1")


@pytest.mark.parametrize("text", ["1/2004!", "3^{-2000}", r"(1+\frac{1}{997})^{600}", "10^{-25}", "2^{5000}"])
def test_keys_of_extreme_numbers_are_short(grader: MathGrader, text: str) -> None:
    assert len(grader.key(text)) <= 60


def test_a_prime_and_the_base_of_a_number_are_not_dropped_from_a_key(grader: MathGrader) -> None:
    assert grader.key("f'") != grader.key("f")
    assert grader.key("12_5") != grader.key("12")


PIECES = st.sampled_from(
    [
        "1",
        "2",
        "x",
        "y",
        "+",
        "-",
        r"\frac{1}{2}",
        r"\sqrt{2}",
        r"\sqrt{8}",
        "(",
        ")",
        "=",
        ",",
        "^2",
        r"\pi",
        "{",
        "}",
        "<",
    ]
)


DIFFERENT = [
    *[("10", r"10\text{ million}"), ("5", r"5\text{ thousand}"), ("5", r"2+3\mathrm{i}"), ("3", r"3\mathrm{i}")],
    *[("2", r"2\mathrm{e}"), ("3", r"3\mathrm{x}"), (r"3\mathbf{i}+2\mathbf{j}", r"3\mathbf{i}+2\mathbf{k}")],
    *[("2", r"2\text{ or more}"), ("2", r"2\text{ or less}"), ("√12", "2"), ("√10", "0"), ("10⁶", "10"), ("2⁸", "2")],
    *[("10⁻³", "10"), ("3×10⁸", "3"), ("2¾", "2"), ("5½", "5"), ("x₁", "x₂"), ("3 pm", "3 am"), ("3:00 pm", "3:00 am")],
    *[
        (r"3\text{ AM}", r"3\text{ PM}"),
        ("5 factorial", "5"),
        ("3 quarters", "3"),
        ("2 thirds", "2"),
        ("5 squared", "5"),
    ],
    *[("1 2 3", "123"), ("3 4", "34"), ("3t", "3"), ("4h", "4"), ("6s", "6"), ("2ab", "2"), ("a^2+2ab", "a^2+2")],
    *[
        ("x+2t", "x+2"),
        ("3R^2", "3r^2"),
        ("5,000x^5", r"\{0,5\}"),
        ("3x", "3"),
        ("[red]", "red"),
        ("7 mod 5", "5 mod 7"),
    ],
    *[("1/3", "0.333333"), ("1/3", "0.3333333333333333333"), ("12345678901234567890", "12345678901234567891")],
    *[("2 gross", "2"), ("2 hundredths", "2"), ("7 more", "7"), ("at least 7", "7"), (r"12_8", "12"), ("f'", "f")],
    *[(r"5\text{ mod }7", "5"), (r"\sin x", r"\sin y"), ("2^3x", "2^3"), (r"x\in[0,1]", r"x\in(0,1)"), ("-x", "x")],
]
"""Answers that mean different things, although a parser that drops what it does not know reads the same."""

EQUAL = [
    *[
        ("10000000", r"10\text{ million}"),
        ("24", r"2\text{ dozen}"),
        ("2+3i", r"2+3\mathrm{i}"),
        ("2e", r"2\mathrm{e}"),
    ],
    *[
        ("5", r"5\text{ cm}"),
        ("10", r"10\text{ apples}"),
        ("12", r"12\ \mathrm{cm}^2"),
        ("√12", r"2\sqrt{3}"),
        ("√25", "5"),
    ],
    *[("3√17", r"3\sqrt{17}"), ("√(17)", r"\sqrt{17}"), ("10⁶", "1000000"), ("10⁻³", "0.001"), ("x⁴+1", "x^4+1")],
    *[("2¾", "2.75"), ("½", "0.5"), ("1⁄2", "1/2"), ("x²", "x^2"), ("٤٢", "42"), ("４２", "42"), ("5 cm", "5")],
    *[("18 dollars", "18"), ("1 000 000", "1000000"), ("2ab", "2ba"), ("5,000x^5", "5000x^5"), ("12 km", "12")],
    *[(r"7\text{ m}", "7"), ("2.5 million dollars", "2500000"), ("60 km/h", "60"), ("11sqrt(2)", r"11\sqrt{2}")],
    *[(r"3\pm 2\sqrt{2}", r"3 + 2\sqrt{2}, 3 - 2\sqrt{2}"), (r"\boxed{42}", "42"), ("33.5%", "0.335"), ("3=x", "x=3")],
]


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_what_is_not_understood_is_not_dropped(grader: MathGrader, one: str, other: str) -> None:
    assert not grader.correct(one, other)
    assert not grader.correct(other, one)
    assert grader.key(one) != grader.key(other)


@pytest.mark.parametrize(("one", "other"), EQUAL)
def test_what_is_understood_is_equal(grader: MathGrader, one: str, other: str) -> None:
    pytest.importorskip("math_verify", reason="needs math-verify, the extra [math]")
    assert grader.correct(one, other)
    assert grader.correct(other, one)


@given(st.integers(1, 999), st.sampled_from("abcdfghjklmnopqrstuvwxyz"))
@settings(max_examples=30, deadline=None)
def test_a_letter_at_a_number_is_never_a_unit(grader: MathGrader, number: int, letter: str) -> None:
    assert not grader.correct(str(number), f"{number}{letter}")
    assert grader.key(str(number)) != grader.key(f"{number}{letter}")


@settings(max_examples=60, deadline=None)
@given(st.lists(PIECES, min_size=1, max_size=6), st.lists(PIECES, min_size=1, max_size=6))
def test_equal_keys_mean_correct(grader: MathGrader, one: list[str], other: list[str]) -> None:
    first, second = "".join(one), "".join(other)
    if grader.key(first) == grader.key(second):
        assert grader.correct(first, second)
    key = grader.key(first)
    assert grader.key(key) == key
    assert grader.correct(first, key)


HOSTILE = [
    "9" * 1_000_000,
    "+".join(map(str, range(100_000))),
    "(" * 100 + "x" + ")" * 100,
    "1," * 100,
    r"\frac{" * 60,
    "}" * 400,
    "$" * 400,
    "\\" * 400,
    "\x00\n\u202e\ud800",
    "½∑𝟗漢🧮" * 50,
]


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_what_no_grader_reads_is_an_answer_like_no_other(grader: MathGrader, text: str) -> None:
    key = grader.key(text)
    assert 0 < len(key) <= LONGEST
    assert not grader.correct("x+1", text)
    assert grader.correct(text, text)


@pytest.mark.parametrize("text", HOSTILE[:3], ids=["digits", "terms", "brackets"])
def test_what_is_endless_or_deep_is_refused_without_a_worker(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    equal = AnswerEquivalence()
    monkeypatch.setattr(equal, "_pool", None)
    assert 0 < len(equal.key(text)) <= LONGEST
    assert not equal("1", text)
    assert not equal(text, "1")


def test_long_answers_have_keys_of_their_own() -> None:
    equal = AnswerEquivalence()
    assert equal.key("9" * 1000) == equal.key(" " + "9" * 1000)
    assert equal.key("9" * 1000) != equal.key("9" * 999 + "8")
    assert equal("9" * 1000, "9" * 1000)


@pytest.mark.parametrize(
    "hostile", [TOWER, "1000000000!", "(a+b+c+d+e)^{60}", r"\prod_{n=1}^{100000000}(1+\frac{1}{n})"]
)
def test_what_hangs_is_killed_and_asked_no_more(hostile: str) -> None:
    pytest.importorskip("math_verify", reason="needs math-verify, the extra [math]")
    with AnswerEquivalence(seconds=1) as equal:
        assert equal.key(hostile) == normalize(hostile)
        assert not equal(r"\frac{x+1}{2}", hostile)
        assert equal.given_up == 1
        equal._seconds = 60
        assert equal(r"\sqrt{8}", r"2\sqrt{2}")
        equal._seconds = 1
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(equal, "_pool", None)
            assert not equal("x+1", hostile)


def test_a_worker_that_dies_between_questions_is_replaced() -> None:
    pytest.importorskip("math_verify", reason="needs math-verify, the extra [math]")
    with AnswerEquivalence(seconds=60) as equal:
        assert equal("(x+1)x", "x^2+x")
        [pid] = equal._pool.pids
        os.kill(pid, signal.SIGKILL)
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        assert equal("(x+2)x", "x^2+2x")
        assert equal.given_up == 0
        assert equal._pool.pids != [pid]
        assert not equal._spent


def test_a_worker_that_dies_of_its_question_is_charged() -> None:
    pytest.importorskip("math_verify", reason="needs math-verify, the extra [math]")
    with AnswerEquivalence(seconds=60, workers=1) as equal, ThreadPoolExecutor(1) as pool:
        assert equal.key("x+x") == "2x"
        [pid] = equal._pool.pids
        asked = pool.submit(equal._pool.ask, ("form", TOWER), 60)
        while equal._pool.pids:
            time.sleep(0.01)
        os.kill(pid, signal.SIGKILL)
        assert asked.result() == (False, None)
        assert equal._pool.pids == []


def test_threads_share_workers_and_one_that_hangs_holds_up_nobody(grader: MathGrader) -> None:
    with AnswerEquivalence(seconds=3, workers=2) as equal, ThreadPoolExecutor(8) as pool:
        equal._pool.ask(("form", "x"), 60)
        hanging = pool.submit(equal, "x+1", TOWER)
        pairs = [(f"(x+{n})^2", f"x^2+{2 * n}x+{n * n + n % 2}") for n in range(1, 25)]
        verdicts = list(pool.map(lambda pair: grader.correct(*pair), pairs))
        keys = list(pool.map(lambda pair: grader.key(pair[0]), pairs))
        assert verdicts == [n % 2 == 0 for n in range(1, 25)]
        assert keys == [f"x^2+{2 * n}x+{n * n}" for n in range(1, 25)]
        assert hanging.result() is False


def test_at_most_so_many_workers_live(grader: MathGrader) -> None:
    with AnswerEquivalence(seconds=60, workers=2) as equal, ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: equal.key(f"x+x+{n}"), range(16)))
        assert 1 <= len(equal._pool.pids) <= 2


def test_workers_end_with_the_process_that_asked_even_in_a_hang(tmp_path: Path) -> None:
    pytest.importorskip("math_verify", reason="needs math-verify, the extra [math]")
    # No guard of __main__ either: a worker must not run the script again.
    script = tmp_path / "script.py"
    script.write_text(
        "import threading, time\n"
        "from computewise.grading.processes import WorkerPool\n"
        "pool = WorkerPool(1)\n"
        "pool.ask(('form', 'x'), 60)\n"
        "print(*pool.pids, flush=True)\n"
        f"pool.ask(('form', {TOWER!r}), 2)\n"
    )
    with subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        worker = int(process.stdout.readline())
        time.sleep(0.3)
        process.kill()
    for _ in range(1000):
        if not _runs(worker):
            return
        time.sleep(0.02)
    pytest.fail("the worker outlived the process that asked")


def _runs(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return False


def test_a_worker_that_does_not_start_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(RunError, match="math-verify does not start: reinstall it"):
        WorkerPool(1).ask(("form", "x"), 1)


def test_without_math_verify_texts_are_compared_and_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("computewise.grading.equivalence.find_spec", lambda name: None)
    grader = MathGrader()
    monkeypatch.setattr(grader.equal, "_pool", None)
    assert grader.correct("1/2", "0.5")
    assert not grader.correct("(x+1)x", "x^2+x")
    assert grader.key("(x+1)x") == "(x+1)x"
    assert "pip install 'computewise[math]'" in grader.warnings[0]


@needs_recordings
def test_recorded_answers_are_graded_as_they_were_recorded(grader: MathGrader) -> None:
    asked, differing = 0, set()
    with gzip.open(f"{SHARED}/math500_llama3.1-8b-awq.dev.jsonl.gz", "rt", encoding="utf-8") as file:
        for line in list(file)[::6]:
            row = json.loads(line)
            for sample in row["samples"]:
                if sample["answer"] is not None:
                    asked += 1
                    key = grader.key(sample["answer"])
                    verdict = grader.correct(row["answer"], key)
                    assert verdict == grader.correct(row["answer"], sample["answer"])
                    if verdict != sample["correct"]:
                        differing.add((row["answer"], sample["answer"]))
    assert asked > 700
    assert len(differing) <= 2  # by math-verify alone; 7 of all 5,288 differ, and it is wrong in each
