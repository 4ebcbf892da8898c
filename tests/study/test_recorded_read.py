"""Recorded samples are read as they were recorded, or refused in one line."""

from __future__ import annotations

import gzip
import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from computewise.errors import RunError, UsageError
from computewise.grading.equivalence import AnswerEquivalence
from computewise.grading.normalize import normalize
from computewise.grading.reading import boxed
from computewise.study.recorded.read import join, read_recording
from computewise.study.recorded.readers.cells import Reading
from computewise.study.recorded.rows import RecordedProblem, Recording, Sample, classify, to_drawn, to_draws

Row = dict[str, Any]
SHARED = os.environ.get("COMPUTEWISE_SHARED_DATA")
needs_recordings = pytest.mark.skipif(not SHARED, reason="COMPUTEWISE_SHARED_DATA names no folder of recordings")


def graded(**changes: object) -> Row:
    """A row whose samples are objects."""
    samples = [
        {"text": "2+2\n\nis 4", "step_scores": [0.5, 0.9], "answer": "4", "answer_class": 0, "correct": True},
        {"text": "no idea", "step_scores": [0.25], "answer": None, "answer_class": None, "correct": False},
        {
            "text": "5",
            "step_scores": [],
            "answer": "5",
            "answer_class": 1,
            "correct": False,
            "tokens": 7,
            "logprob": -0.5,
        },
    ]
    return {"unique_id": "a", "problem": "2+2?", "answer": "4", "subject": "x", "samples": samples} | changes


def columns(**changes: object) -> Row:
    """A row as search-and-learn publishes it."""
    completions = [r"So \boxed{\frac12}.", r"Hence $\boxed{0.5}$", r"\boxed{\dfrac{1}{3}}", "I do not know"]
    row = {"problem": "Half?", "answer": r"\frac{1}{2}", "unique_id": 3, "completions": completions}
    return row | {"scores": [[0.9], [0.8], [0.2], [0.1]], "completion_tokens": [5, 6, 7, 8], "pred": "x"} | changes


def lines(path: Path, *rows: Row) -> Path:
    """The rows, a line each."""
    text = "".join(json.dumps(row) + "\n" for row in rows)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


def without(monkeypatch: pytest.MonkeyPatch, *modules: str) -> None:
    """As if these had never been installed."""
    for module in modules:
        monkeypatch.setitem(sys.modules, module, None)


def kinds(recording: Recording) -> set[str]:
    return {finding.kind for finding in recording.findings}


@pytest.mark.parametrize("name", ["samples.jsonl", "samples.jsonl.gz"])
def test_graded_samples_are_read_as_they_stand(tmp_path: Path, name: str) -> None:
    recording = read_recording(lines(tmp_path / name, graded()))
    right = Sample("2+2\n\nis 4", (0.5, 0.9), "4", 0, True)
    unanswered = Sample("no idea", (0.25,), None, None, False)
    wrong = Sample("5", (), "5", 1, False, tokens=7, logprob=-0.5)
    assert recording.problems == (RecordedProblem("a", "2+2?", "4", (right, unanswered, wrong)),)


def test_a_problem_without_an_id_is_called_by_its_text(tmp_path: Path) -> None:
    recording = read_recording(lines(tmp_path / "x.jsonl", graded(unique_id=None)))
    assert recording.problems[0].id == "2+2?"


def test_columns_are_graded_from_the_completions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without(monkeypatch, "math_verify")
    recording = read_recording(lines(tmp_path / "x.jsonl", columns()))
    problem = recording.problems[0]
    assert (problem.id, problem.answer) == ("3", r"\frac{1}{2}")
    assert [sample.correct for sample in problem.samples] == [True, True, False, False]
    assert [sample.answer for sample in problem.samples] == [r"\frac12", "0.5", r"\dfrac{1}{3}", None]
    first, second, third, unanswered = (sample.answer_class for sample in problem.samples)
    assert first == second != third
    assert unanswered is None
    assert [sample.tokens for sample in problem.samples] == [5, 6, 7, 8]
    [finding] = [finding for finding in recording.findings if finding.kind == "grading"]
    assert "computewise[math]" in finding.text


def test_tokens_of_all_completions_together_are_shared_out(tmp_path: Path) -> None:
    recording = read_recording(lines(tmp_path / "x.jsonl", columns(completion_tokens=40)))
    assert [sample.tokens for sample in recording.problems[0].samples] == [10] * 4


def test_tokens_that_a_search_wrote_as_minus_one_are_estimated(tmp_path: Path) -> None:
    recording = read_recording(lines(tmp_path / "x.jsonl", columns(completion_tokens=-1)))
    assert to_draws(recording.problems[0], "last").tokens[0] == pytest.approx(len(r"So \boxed{\frac12}.") / 3.6)
    assert "tokens" in kinds(recording)


def test_equal_texts_are_samples_and_long_ones_are_said(tmp_path: Path) -> None:
    long = "a long completion " * 20
    path = lines(tmp_path / "x.jsonl", columns(completions=[long, long, "x", "x"]))
    recording = read_recording(path)
    assert [sample.text for sample in recording.problems[0].samples] == [long, long, "x", "x"]
    [finding] = [finding for finding in recording.findings if finding.kind == "equal texts"]
    assert finding.count == 1
    once = read_recording(path, Reading(equal_texts="once"))
    assert [sample.text for sample in once.problems[0].samples] == [long, "x"]


@pytest.mark.parametrize("row", [graded, columns])
def test_parquet_says_the_same_as_lines(tmp_path: Path, row: Callable[..., Row]) -> None:
    pyarrow = pytest.importorskip("pyarrow", reason="needs pyarrow, the extra [parquet]")
    parquet = pytest.importorskip("pyarrow.parquet", reason="needs pyarrow, the extra [parquet]")
    rows = [row(), row(unique_id=None, problem="another")]
    as_lines = read_recording(lines(tmp_path / "x.jsonl", *rows))
    parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "x.parquet")
    as_columns = read_recording(tmp_path / "x.parquet")
    assert as_columns.problems == as_lines.problems
    assert as_columns.findings == as_lines.findings


def test_a_broken_parquet_file_is_one_line(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow", reason="needs pyarrow, the extra [parquet]")
    (tmp_path / "x.parquet").write_bytes(b"PAR1 or not")
    with pytest.raises(RunError, match=r"cannot read .*x\.parquet"):
        read_recording(tmp_path / "x.parquet")


def test_parquet_without_pyarrow_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without(monkeypatch, "pyarrow", "pyarrow.parquet")
    (tmp_path / "x.parquet").write_bytes(b"PAR1")
    with pytest.raises(UsageError, match=r"pip install 'computewise\[parquet\]'"):
        read_recording(tmp_path / "x.parquet")


def test_neither_extra_is_loaded_before_it_is_needed() -> None:
    loaded = "[m for m in ('pyarrow', 'math_verify') if m in sys.modules]"
    script = f"import sys, computewise.study.recorded.read; print({loaded})"
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout == "[]\n"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "holds no problems"),
        ("\n\n", "holds no problems"),
        ("{", "line 1 is not JSON"),
        ("\xff", "line 1 is not JSON"),
        ("[" * 100_000, "line 1 is not JSON"),
        ("[1]", "line 1, row 1 is a int, expected an object"),
        ("null", "line 1 is a NoneType, expected an object"),
        (json.dumps(graded(samples=[])), r"line 1\.samples is \[\], expected a list of objects"),
        (json.dumps(graded(samples=[{"text": 5}])), r"line 1, samples\[0\]\.text is 5, expected a text"),
        (json.dumps(columns(scores=[[0.5]])), "lists of unequal length: completions 4, scores 1"),
        (json.dumps(columns(completion_tokens=[1, 2])), "lists of unequal length"),
    ],
)
def test_what_cannot_be_read_is_one_line_with_its_place(tmp_path: Path, content: str, said: str) -> None:
    path = tmp_path / "x.jsonl"
    path.write_bytes(content.encode("latin-1"))
    with pytest.raises(RunError, match=said) as error:
        read_recording(path)
    assert "\n" not in str(error.value)
    assert str(path) in str(error.value)


@pytest.mark.parametrize(
    ("second", "said"),
    [
        ("{}", "line 2 has other columns: none"),
        ("null", "line 2 is a NoneType, expected an object"),
        ('{"samples": 3', "line 2 is not JSON"),
        (json.dumps(graded(samples="many")), 'line 2.samples is "many", expected a list of objects'),
    ],
)
def test_a_row_that_cannot_be_read_costs_itself_and_is_said(tmp_path: Path, second: str, said: str) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text(json.dumps(graded()) + "\n" + second + "\n")
    recording = read_recording(path)
    assert [problem.id for problem in recording.problems] == ["a"]
    [finding] = [finding for finding in recording.findings if finding.kind == "lost samples"]
    assert finding.count == 1
    assert "1 of 4 samples of x.jsonl" in finding.text
    assert said in finding.text
    assert "expected are problem, answer, samples" in finding.text


def test_answers_without_a_class_are_classified(tmp_path: Path) -> None:
    row = graded()
    row["samples"][0]["answer_class"] = None
    [problem] = read_recording(lines(tmp_path / "x.jsonl", row)).problems
    one, unanswered, other = (sample.answer_class for sample in problem.samples)
    assert unanswered is None
    assert None not in (one, other)
    assert one != other


def test_a_torn_archive_is_one_line(tmp_path: Path) -> None:
    path = lines(tmp_path / "x.jsonl.gz", *[graded()] * 50)
    whole = path.read_bytes()
    for torn in (whole[: len(whole) // 2], b"no archive"):
        path.write_bytes(torn)
        with pytest.raises(RunError, match="cannot read"):
            read_recording(path)


@pytest.mark.parametrize("name", ["missing.jsonl", "missing.jsonl.gz"])
def test_a_missing_file_is_one_line(tmp_path: Path, name: str) -> None:
    with pytest.raises(RunError, match="No such file"):
        read_recording(tmp_path / name)


def test_other_files_and_columns_are_refused_with_what_is_allowed(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"question, solutions are not understood: .*--columns.*samples.*completions"):
        read_recording(lines(tmp_path / "x.jsonl", {"question": "?", "solutions": []}))


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (r"\boxed{4}", "4"),
        (r"first \boxed{1}, then $\boxed{2}$.", "2"),
        (r"\boxed{\frac{1}{2}}", r"\frac{1}{2}"),
        (r"\boxed{\{1, 2\}}", r"\{1, 2\}"),
        (r"\boxed{\left\{ x \right.}", r"\left\{ x \right."),
        (r"\boxed {5}", "5"),
        (r"\boxed{\boxed{7}}", "7"),
        (r"a } stray, \boxed{8} and { more", "8"),
        (r"\boxed{9} but then \boxed{1", "9"),
        (r"\\boxed{6", None),
        (r"\boxed{ }", None),
        ("no box", None),
        ("", None),
    ],
)
def test_the_last_balanced_box_is_the_answer(text: str, answer: str | None) -> None:
    assert boxed(text) == answer


@given(st.text(alphabet=r"\{}boxed 1"))
def test_a_box_is_found_in_anything(text: str) -> None:
    found = boxed(text)
    assert found is None or found in text
    assert boxed(text + r" \boxed{42}") == "42"


def test_a_hostile_completion_is_scanned_once() -> None:
    begun = time.perf_counter()
    assert boxed(r"\boxed{" * 200_000) is None
    assert time.perf_counter() - begun < 5


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (r"\frac{1}{2}", "0.5"),
        (r"\frac12", "1/2"),
        (r"\dfrac{2}{4}", r"\tfrac12"),
        (r"\frac9{19}", r"\frac{9}{19}"),
        (r"10,\!080", "10080"),
        ("1,234.50", "1234.5"),
        (r"\left( 3, \frac{\pi}{2} \right)", r"(3,\frac{\pi}{2})"),
        (r"(3/2,-13)", r"\left(\frac{3}{2}, -13\right)"),
        (r"\text{Evelyn}", "Evelyn"),
        (r"\text{(C)}", "C"),
        (r"5 \text{ cm}", "5"),
        (r"12\mbox{ inches}^2", "12"),
        (r"90^\circ", "90"),
        (r"50\%", "50"),
        (r"\$3.50", "3.5"),
        ("x = 5", "5"),
        ("7.", "7"),
        (r"11\sqrt2", r"11\sqrt{2}"),
        ("x^{2}", "x^2"),
        ("-0", "0"),
    ],
)
def test_answers_that_are_written_differently_are_equal(one: str, other: str) -> None:
    assert normalize(one) == normalize(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [("1", "2"), ("-3", "3"), (r"3\frac{1}{2}", "31/2"), ("1,2", "12"), ("(0,5)", "0.5"), ("1/0", "1"), ("x", "X")],
)
def test_answers_that_differ_stay_different(one: str, other: str) -> None:
    assert normalize(one) != normalize(other)


@given(st.text())
def test_canonical_survives_anything(text: str) -> None:
    normalize(text)


def test_an_endless_number_is_compared_as_text() -> None:
    assert normalize("9" * 10_000) == "9" * 10_000


def test_classes_are_compared_by_one_of_each_only() -> None:
    asked = []

    def equal(gold: str, answer: str) -> bool:
        asked.append((gold, answer))
        return gold[0] == answer[0]

    found = classify(["a1", "b1", None, "a2", "a2", "b2", "a 1"], equal)
    assert found == [0, 1, None, 0, 0, 1, 0]
    assert asked == [("a1", "b1"), ("a1", "a2"), ("a1", "b2"), ("b1", "b2")]


def test_equal_texts_and_whole_numbers_ask_nobody() -> None:
    with AnswerEquivalence(seconds=0) as equal:
        assert equal(r"\frac{1}{2}", "0.5")
        assert not equal("12", "13")
        assert not equal("x" * 1000, "y")
        assert equal.given_up == 0


def test_mathematics_sees_what_text_does_not() -> None:
    pytest.importorskip("math_verify", reason="needs math-verify, the extra [math]")
    with AnswerEquivalence() as equal:
        assert equal(r"\frac{\sqrt{3}}{3}", r"\frac{1}{\sqrt{3}}")
        assert equal("-2,1", "1,-2")
        assert not equal(r"\sqrt{2}", r"\sqrt{3}")
        assert not equal(r"\frac{", "}{")


def test_a_comparison_that_hangs_is_given_up_and_its_neighbours_are_not() -> None:
    pytest.importorskip("math_verify", reason="needs math-verify, the extra [math]")
    hostile = "9^{9^{9^{9}}}"
    with AnswerEquivalence() as equal:
        assert equal(r"\sqrt{8}", r"2\sqrt{2}")  # the worker stands
    with AnswerEquivalence(seconds=1) as equal:
        assert not equal("x+1", hostile)
        assert equal.given_up == 1
        assert not equal("x+2", hostile)
        assert equal.given_up == 1
        equal._seconds = 60  # a busy machine is not what is tested
        assert equal("x+1", "1+x")


def test_what_was_given_up_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("math_verify", reason="needs math-verify, the extra [math]")
    monkeypatch.setattr("computewise.study.recorded.read.AnswerEquivalence", lambda: AnswerEquivalence(seconds=1e-3))
    recording = read_recording(lines(tmp_path / "x.jsonl", columns(completions=[r"\boxed{\sqrt{7}}", "a", "b", "c"])))
    [finding] = [finding for finding in recording.findings if finding.kind == "grading"]
    assert "count as equal to none" in finding.text


@pytest.mark.parametrize(
    ("aggregation", "values"),
    [
        ("last", [0.9, 0.25, 0.0, 0.0]),
        ("min", [0.5, 0.25, 0.0, 0.0]),
        ("prod", [0.45, 0.25, 0.0, 0.0]),
        ("mean", [0.7, 0.25, 0.0, 0.5]),
    ],
)
def test_draws_hold_what_was_recorded(tmp_path: Path, aggregation: str, values: list[float]) -> None:
    problem = read_recording(lines(tmp_path / "x.jsonl", graded())).problems[0]
    strange = Sample("scores", (2.0, math.nan), "4", 0, True)
    draws = to_draws(replace(problem, samples=(*problem.samples, strange)), aggregation)
    assert draws.values == pytest.approx(values)
    assert draws.means == pytest.approx([0.7, 0.25, 0, 0.5])
    assert draws.lows == pytest.approx([0.5, 0.25, 0, 0])
    assert draws.answers.tolist() == [0, -1, 1, 0]
    assert draws.correct.tolist() == [True, False, False, True]
    assert draws.tokens == pytest.approx([9 / 3.6, 7 / 3.6, 7, 6 / 3.6])
    assert draws.logprobs.tolist() == [0, 0, -0.5, 0]
    assert draws.costs.tolist() == [1, 1, 1, 1]
    assert draws.blocks.tolist() == draws.chains.tolist() == [0, 1, 2, 3]


def test_a_problem_is_drawn_by_one_arm(tmp_path: Path) -> None:
    drawn = to_drawn(read_recording(lines(tmp_path / "x.jsonl", graded())).problems[0], "last", arm="small")
    assert (drawn.id, drawn.prompt, list(drawn.arms)) == ("a", "2+2?", ["small"])
    assert drawn.right.tolist() == [0]


def test_a_right_sample_without_an_answer_is_no_right_answer() -> None:
    problem = RecordedProblem("a", "?", "4", (Sample("four", (1.0,), None, None, True),))
    assert not to_draws(problem, "last").correct.any()


def test_an_unknown_aggregation_is_refused_with_what_is_allowed() -> None:
    with pytest.raises(UsageError, match="allowed are last, min, prod, mean"):
        to_draws(RecordedProblem("a", "?", "4", (Sample("4", (1.0,), "4", 0, True),)), "median")


def recorded(name: str, *problems: tuple[str, str, list[tuple[str | None, int | None, bool]]]) -> Recording:
    """A recording of problems: id, prompt, and each sample's answer, class and grade."""
    return Recording(
        Path(name),
        tuple(
            RecordedProblem(
                identity,
                prompt,
                "4",
                tuple(Sample("text", (), answer, *rest) for answer, *rest in samples),  # type: ignore[arg-type]
            )
            for identity, prompt, samples in problems
        ),
        (),
    )


def classes(problem: RecordedProblem) -> list[int | None]:
    return [sample.answer_class for sample in problem.samples]


def test_joined_problems_number_their_answers_alike() -> None:
    small = recorded("small", ("a", "2+2?", [("5", 0, False), ("4", 1, True), (None, None, False), ("7", 2, False)]))
    large = recorded("large", ("a", "2+2?", [("4.0", 0, True), ("7", 1, False), ("8", 2, False), (" 5", 3, False)]))
    joined = join(small, large)
    [(one, other)] = joined.pairs
    five, right, unanswered, seven = classes(one)
    assert unanswered is None
    assert classes(other)[:2] == [right, seven]
    assert classes(other)[3] == five
    assert len({five, right, seven, classes(other)[2]}) == 4
    assert joined.findings == ()


def test_right_answers_are_one_class_however_they_are_written() -> None:
    small = recorded("small", ("a", "2+2?", [("4", 0, True), (r"\sqrt{16}", 1, True)]))
    large = recorded("large", ("a", "2+2?", [("four", 5, True), ("5", 0, False)]))
    [(one, other)] = join(small, large).pairs
    assert len({*classes(one), classes(other)[0]}) == 1
    assert classes(other)[1] not in classes(one)


def test_an_equivalent_wrong_answer_is_known_by_any_of_its_texts() -> None:
    small = recorded("small", ("a", "2+2?", [("x+1", 0, False)]))
    large = recorded("large", ("a", "2+2?", [("1+x", 0, False), ("x+1", 0, False)]))
    [(one, other)] = join(small, large).pairs
    assert classes(other) == classes(one) * 2


def test_problems_are_matched_by_text_or_by_id_and_reference() -> None:
    answer: list[tuple[str | None, int | None, bool]] = [("4", 0, True)]
    small = recorded("small", ("a", "2 +  2?", answer), ("b", "one", answer), ("c", "two", answer))
    large = recorded("large", ("b", "one, edited", answer), ("z", "2 + 2?", answer), ("y", "three", answer))
    joined = join(small, large)
    assert [(one.id, other.id) for one, other in joined.pairs] == [("a", "z"), ("b", "b")]
    [finding] = joined.findings
    assert (finding.kind, finding.count) == ("unmatched", 2)
    assert "2 problems are in both files" in finding.text


def test_the_number_of_a_row_is_no_match() -> None:
    small = recorded("small", ("0", "2+2?", [("4", 0, True)]))
    other = replace(small.problems[0], prompt="2*3?", answer="6")
    with pytest.raises(UsageError, match="no problem in common"):
        join(small, Recording(Path("large"), (other,), ()))


@needs_recordings
@pytest.mark.parametrize(("model", "accuracy"), [("3.1-8b", 0.422), ("3.2-3b", 0.423), ("3.2-1b", 0.222)])
def test_shared_recordings_are_read_whole(model: str, accuracy: float) -> None:
    recording = read_recording(Path(SHARED or "") / f"math500_llama{model}-awq.dev.jsonl.gz")
    assert len(recording.problems) == 297
    assert not kinds(recording) & {"misplaced completions", "completions of two problems", "duplicates", "same id"}
    assert "tokens" in kinds(recording)
    samples = [sample for problem in recording.problems for sample in problem.samples]
    assert all(boxed(sample.text) == sample.answer.strip() for sample in samples if sample.answer is not None)
    rates = [np.mean([sample.correct for sample in problem.samples]) for problem in recording.problems]
    assert np.mean(rates) == pytest.approx(accuracy, abs=0.001)


@needs_recordings
def test_the_recordings_of_two_models_join_whole() -> None:
    folder = Path(SHARED or "")
    small, large = (read_recording(folder / f"math500_llama{model}-awq.dev.jsonl.gz") for model in ("3.2-1b", "3.1-8b"))
    joined = join(small, large)
    assert len(joined.pairs) == 297
    assert joined.findings == ()
    for one, other in joined.pairs:
        right = {sample.answer_class for problem in (one, other) for sample in problem.samples if sample.correct}
        wrong = {sample.answer_class for problem in (one, other) for sample in problem.samples if not sample.correct}
        assert len(right) <= 1
        assert not right & wrong


@needs_recordings
def test_both_ways_to_grade_agree_on_published_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("math_verify", reason="needs math-verify, the extra [math]")
    paths = sorted((Path(SHARED or "") / "search_and_learn").glob("*.jsonl"))
    assert paths
    by_mathematics = [read_recording(path).problems for path in paths]
    without(monkeypatch, "math_verify")
    assert [read_recording(path).problems for path in paths] == by_mathematics
