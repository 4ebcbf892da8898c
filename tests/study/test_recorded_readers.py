"""Every schema is read; what cannot be read is said by its place, and no sample goes missing in silence."""

from __future__ import annotations

import contextlib
import copy
import csv
import gzip
import json
import math
import os
import random
import re
import zipfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from computewise.errors import ComputewiseError, RunError, UsageError
from computewise.study.recorded.read import read_recording
from computewise.study.recorded.readers.cells import NAMES, Notes, Reading
from computewise.study.recorded.readers.choose import SCHEMAS, TELL_APART
from computewise.study.recorded.rows import Recording, Sample, counted, to_draws

Row = dict[str, Any]
PAGE = (Path(__file__).parents[2] / "docs" / "replay.md").read_text(encoding="utf-8")
EXAMPLES = {
    name: (file, content)
    for name, file, content in re.findall(r"^### (\S+)$.*?^```\w+ (\S+)\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
}


@pytest.fixture(autouse=True)
def _plain(monkeypatch: pytest.MonkeyPatch) -> None:
    """Answers here are numbers and words, for which no algebra system has to start."""
    monkeypatch.setattr("computewise.grading.equivalence.find_spec", lambda name: None)


def kinds(recording: Recording) -> dict[str, str]:
    return {finding.kind: finding.text for finding in recording.findings}


def samples(recording: Recording) -> list[Sample]:
    return [sample for problem in recording.problems for sample in problem.samples]


def lines(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def example(name: str) -> tuple[str, Row]:
    """The file's name and the document or row of a schema's example; a table's first row."""
    file, content = EXAMPLES[name]
    if file.endswith(".csv"):
        heading, first, *_ = content.splitlines()
        return "rows.jsonl", dict(zip(heading.split(","), first.split(","), strict=True))
    return file, json.loads(content)


def test_every_schema_is_shown() -> None:
    assert set(EXAMPLES) == {schema.name for schema in SCHEMAS}
    for role, names in NAMES.items():
        assert f"| `{role}` | " + ", ".join(f"`{name}`" for name in names) in PAGE


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
@pytest.mark.parametrize("name", EXAMPLES)
@pytest.mark.parametrize("named", [False, True], ids=["found", "named"])
def test_the_shown_examples_are_read(tmp_path: Path, name: str, packed: bool, named: bool) -> None:
    file, content = EXAMPLES[name]
    path = tmp_path / (f"{file}.gz" if packed else file)
    path.write_bytes(gzip.compress(content.encode()) if packed else content.encode())
    recording = read_recording(path, Reading(format=name if named else None))
    [problem] = recording.problems
    assert [sample.correct for sample in problem.samples] == [True, False]
    right, wrong = problem.samples
    assert right.answer == "42"
    assert wrong.answer == ("41" if name != "trajectories" else None)
    assert wrong.answer_class != right.answer_class
    assert problem.prompt == ("What is 6 * 7?" if problem.prompted else problem.id)
    assert not kinds(recording).keys() & {"lost samples", "unreadable cells", "logged grades", "duplicates"}


def test_a_file_needs_no_ending(tmp_path: Path) -> None:
    for name, (_, content) in EXAMPLES.items():
        path = tmp_path / name
        path.write_text(content)
        assert len(samples(read_recording(path))) == 2


@pytest.mark.parametrize("format", [schema.name for schema in SCHEMAS])
@pytest.mark.parametrize("name", EXAMPLES)
def test_a_file_in_another_schema_than_is_named_is_refused(tmp_path: Path, name: str, format: str) -> None:
    file, content = EXAMPLES[name]
    path = tmp_path / file
    path.write_text(content)
    if format in (name, "rows") or {format, name} == {"samples", "monkeys"}:
        return
    with pytest.raises(ComputewiseError, match="holds no samples that can be read"):
        read_recording(path, Reading(format=format))


@pytest.mark.parametrize("name", ["x.jsonl", "x.json", "x"])
def test_json_is_read_however_it_is_laid_out(tmp_path: Path, name: str) -> None:
    _, row = example("samples")
    path = tmp_path / name
    line = json.dumps(row)
    contents = (line, json.dumps(row, indent=2), json.dumps([row], indent=2), json.dumps({"data": [row]}, indent=2))
    for content in (*contents, f"\ufeff{line}", f"\n{line}\r\n\r\n"):
        path.write_text(content, encoding="utf-8")
        assert len(samples(read_recording(path))) == 2
    path.write_text(line[:-9] + "\n" + line)
    recording = read_recording(path)
    assert len(samples(recording)) == 2
    assert "line 1 is not JSON" in kinds(recording)["lost samples"]


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_tables_are_read_by_their_delimiter(tmp_path: Path, delimiter: str) -> None:
    path = tmp_path / "x.csv"
    path.write_text("\n".join(delimiter.join(row) for row in (("problem_id", "target", "answer"), ("1", "7", "7"))))
    assert [one.correct for one in samples(read_recording(path))] == [True]


def test_choices_are_graded_as_letters(tmp_path: Path) -> None:
    rows = [{"id": "a", "target": "B", "text": f"So the answer is ({one})."} for one in "ABB"]
    found = samples(read_recording(lines(tmp_path / "x.jsonl", rows), Reading(grader="choice")))
    assert [(one.answer, one.correct) for one in found] == [("A", False), ("B", True), ("B", True)]


def test_deep_nesting_and_lone_surrogates_are_no_traceback(tmp_path: Path) -> None:
    deep = "[" * 900 + "]" * 900
    path = tmp_path / "x.jsonl"
    for cell in (deep, '"\\ud800"', f'{{"a": {deep}}}'):
        for column in ("id", "target", "answer", "tokens", "model", "text"):
            row = {"id": '"1"', "target": '"7"', "answer": '"7"', "text": '"7"'} | {column: cell}
            path.write_text("{" + ", ".join(f'"{name}": {value}' for name, value in row.items()) + "}")
            with contextlib.suppress(ComputewiseError):
                for problem in read_recording(path).problems:
                    f"{problem}".encode()


def test_an_eval_archive_is_read_member_by_member(tmp_path: Path) -> None:
    _, log = example("inspect")
    path = tmp_path / "log.eval"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for sample in log["samples"]:
            archive.writestr(f"samples/{sample['id']}_epoch_{sample['epoch']}.json", json.dumps(sample))
        archive.writestr("samples/b_epoch_1.json", "{")
        archive.writestr("header.json", json.dumps({"eval": log["eval"]}))
    recording = read_recording(path)
    assert [sample.correct for sample in samples(recording)] == [True, False]
    assert [sample.tokens for sample in samples(recording)] == [9, 9]
    assert "samples/b_epoch_1.json is not JSON" in kinds(recording)["lost samples"]
    packed = tmp_path / "log.eval.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    assert read_recording(packed).problems == recording.problems


def test_an_archive_that_is_packed_by_zstandard_is_read(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow", reason="needs pyarrow, the extra [parquet]")
    _, log = example("inspect")
    path = tmp_path / "log.eval"
    with zipfile.ZipFile(path, "w") as archive:
        for sample in log["samples"]:
            content = json.dumps(sample).encode()
            packed = pyarrow.Codec("zstd").compress(content, asbytes=True)
            info = zipfile.ZipInfo(f"samples/a_epoch_{sample['epoch']}.json")
            archive.writestr(info, packed)
            info.compress_type, info.file_size, info.CRC = 93, len(content), zipfile.crc32(content)  # type: ignore[attr-defined]
    assert [sample.correct for sample in samples(read_recording(path))] == [True, False]


def test_a_zip_of_something_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.txt", "x")
    with pytest.raises(RunError, match="zip without samples"):
        read_recording(path)
    path.write_bytes(path.read_bytes()[:30])
    with pytest.raises(RunError, match="cannot read"):
        read_recording(path)


def test_names_that_hold_line_breaks_stay_on_one_line(tmp_path: Path) -> None:
    _, log = example("inspect")
    log["samples"][0]["scores"]["a\nb\ud800"] = {"value": "I"}
    held = ([log], [{"a\nb": 1}], [RUNS[0] | {"run_id": "a\nb"}, *RUNS[12:]])
    for rows in held:
        with pytest.raises(UsageError, match=r"x\.jsonl.*a\\nb") as error:
            read_recording(lines(tmp_path / "x.jsonl", rows))
        assert str(error.value).isprintable()


def test_scorers_are_chosen_or_listed(tmp_path: Path) -> None:
    _, log = example("inspect")
    for sample in log["samples"]:
        sample["scores"]["strict"] = {"value": "I", "answer": "6"}
    path = tmp_path / "log.json"
    path.write_text(json.dumps(log))
    with pytest.raises(UsageError, match="scorer=match, scorer=strict"):
        read_recording(path)
    assert [one.answer for one in samples(read_recording(path, Reading(only={"scorer": "strict"})))] == ["6", "6"]


@pytest.mark.parametrize(
    ("value", "correct"),
    [("C", True), ("I", False), ("P", True), ("N", False), (1.0, True), (0, False), ({"a": 1}, True)],
)
def test_the_values_of_scorers_are_grades(tmp_path: Path, value: object, correct: bool) -> None:
    _, log = example("inspect")
    [one, _] = log["samples"]
    one["scores"]["match"] = {"value": value, "answer": "a word"}
    log["samples"] = [one]
    path = tmp_path / "log.json"
    path.write_text(json.dumps(log))
    [sample] = samples(read_recording(path))
    assert sample.correct is correct


def test_a_sample_of_inspect_that_failed_is_lost_and_its_reason_is_said(tmp_path: Path) -> None:
    _, log = example("inspect")
    log["samples"][1] |= {"error": {"message": "out of memory"}, "output": {"choices": [], "completion": ""}}
    path = tmp_path / "log.json"
    path.write_text(json.dumps(log, indent=1))
    recording = read_recording(path)
    assert len(samples(recording)) == 1
    assert 'samples[1] failed: "out of memory"' in kinds(recording)["lost samples"]


def test_a_scorers_answer_that_is_the_whole_text_is_read(tmp_path: Path) -> None:
    _, log = example("inspect")
    for sample in log["samples"]:
        sample["output"]["completion"] = "We multiply.\n\nThe answer is 42."
        sample["scores"]["match"]["answer"] = sample["output"]["completion"]
    path = tmp_path / "log.json"
    path.write_text(json.dumps(log))
    assert [sample.answer for sample in samples(read_recording(path))] == ["42", "42"]


def test_filters_of_the_harness_are_no_samples(tmp_path: Path) -> None:
    _, row = example("lm-eval")
    row["resps"] = [["The answer is 42."]]
    other = row | {"filter": "flexible-extract", "filtered_resps": ["6"], "exact_match": 0.0}
    path = lines(tmp_path / "samples.jsonl", [row, other])
    recording = read_recording(path)
    assert [(one.answer, one.correct) for one in samples(recording)] == [("42", True)]
    assert "strict-match, flexible-extract" in kinds(recording)["filters"]
    chosen = samples(read_recording(path, Reading(only={"filter": "flexible-extract"})))
    assert [(one.answer, one.correct) for one in chosen] == [("6", False)]


def test_log_likelihoods_are_no_samples(tmp_path: Path) -> None:
    _, row = example("lm-eval")
    row["resps"] = [[["-1.5", "False"]], [["-0.5", "True"]]]
    with pytest.raises(RunError, match=r'resps\[0\]\[0\] is \["-1.5", "False"\], expected a text'):
        read_recording(lines(tmp_path / "samples.jsonl", [row]))


RUNS = [
    {"run_id": run, "model": model, "problem_id": f"p{number}", "epoch": epoch, "target": "7", "answer": str(answer)}
    for run, model, answer in (("r1", "a", 7), ("r2", "a", 8), ("r3", "b", 9))
    for number in range(3)
    for epoch in range(4)
]


def test_runs_in_one_file_are_told_apart(tmp_path: Path) -> None:
    path = lines(tmp_path / "runs.jsonl", RUNS)
    with pytest.raises(UsageError) as error:
        read_recording(path)
    assert "run_id=r1 (a, 12 rows); run_id=r2 (a, 12 rows); run_id=r3 (b, 12 rows)" in str(error.value)
    with pytest.raises(UsageError, match=r"run_id=r1 \(12 rows\); run_id=r2"):
        read_recording(path, Reading(only={"model": "a"}))
    assert {one.answer for one in samples(read_recording(path, Reading(only={"run_id": "r2"})))} == {"8"}
    mixed = read_recording(path, Reading(only={"run_id": "*", "model": "*"}))
    assert [len(problem.samples) for problem in mixed.problems] == [12, 12, 12]


def test_a_name_for_each_sample_is_no_run(tmp_path: Path) -> None:
    rows = [row | {"run_id": f"run-{number}", "model": "a"} for number, row in enumerate(RUNS)]
    assert len(samples(read_recording(lines(tmp_path / "runs.jsonl", rows)))) == 36


@pytest.mark.parametrize("column", TELL_APART)
def test_two_models_of_a_row_a_problem_are_told_apart(tmp_path: Path, column: str) -> None:
    _, row = example("samples")
    rows = [row | {"unique_id": str(number), column: number % 2} for number in range(6)]
    with pytest.raises(UsageError, match=f"{column}=0 .3 rows.; {column}=1 .3 rows."):
        read_recording(lines(tmp_path / "x.jsonl", rows))
    assert len(read_recording(lines(tmp_path / "x.jsonl", rows), Reading(only={column: "1"})).problems) == 3


def test_columns_are_named(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("case,said,truth,length\n1,The answer is 4.,4,11.0\n1,The answer is 5.,4,\n")
    with pytest.raises(UsageError, match=r"columns case, said, truth, length are not understood.*--columns"):
        read_recording(path)
    reading = Reading(columns={"id": "case", "text": "said", "reference": "truth", "tokens": "length"})
    assert [(one.answer, one.correct, one.tokens) for one in samples(read_recording(path, reading))] == [
        ("4", True, 11),
        ("5", False, None),
    ]


def test_an_answer_beside_a_text_is_the_reference_where_there_is_no_other(tmp_path: Path) -> None:
    rows = [{"question": "6*7?", "answer": "42", "response": f"The answer is {n}."} for n in (42, 41)]
    assert [one.correct for one in samples(read_recording(lines(tmp_path / "x.jsonl", rows)))] == [True, False]
    rows = [row | {"prediction": "40"} for row in rows]
    assert [one.answer for one in samples(read_recording(lines(tmp_path / "x.jsonl", rows)))] == ["40", "40"]


def test_rows_of_samples_are_gathered_from_anywhere_in_the_file(tmp_path: Path) -> None:
    rows = RUNS[:12]
    random.Random(0).shuffle(rows)
    recording = read_recording(lines(tmp_path / "x.jsonl", rows))
    assert sorted((problem.id, len(problem.samples)) for problem in recording.problems) == [
        ("p0", 4),
        ("p1", 4),
        ("p2", 4),
    ]


def test_one_id_with_two_references_is_two_problems(tmp_path: Path) -> None:
    rows = [{"id": "1", "target": target, "answer": "7"} for target in ("7", "8", "7", None)]
    recording = read_recording(lines(tmp_path / "x.jsonl", rows))
    assert [(one.answer, [s.correct for s in one.samples]) for one in recording.problems] == [
        ("7", [True, True, True]),
        ("8", [False]),
    ]


def long(number: int) -> str:
    return f"Attempt {number}: " + "we look at it again. " * 20


def changed(**cells: object) -> Row:
    """A row of four samples, the second with other cells."""
    held: list[Row] = [
        {"text": long(place), "answer": "7", "correct": True, "tokens": 90, "step_scores": [0.5], "logprob": -0.1}
        for place in range(4)
    ]
    held[1] |= cells
    return {"unique_id": "a", "problem": "?", "answer": "7", "samples": held}


@pytest.mark.parametrize(
    ("cells", "read"),
    [
        ({"tokens": None}, {"tokens": None}),
        ({"tokens": 41.0}, {"tokens": 41}),
        ({"tokens": "41"}, {"tokens": 41}),
        ({"tokens": math.nan}, {"tokens": None}),
        ({"correct": 1}, {"correct": True}),
        ({"correct": "1"}, {"correct": True}),
        ({"correct": 0.0, "answer": "8"}, {"correct": False}),
        ({"correct": "False", "answer": "8"}, {"correct": False}),
        ({"correct": None}, {"correct": True}),
        ({"correct": math.nan, "answer": "8"}, {"correct": False}),
        ({"answer": 7}, {"answer": "7"}),
        ({"answer": 7.0}, {"answer": "7"}),
        ({"answer": ["7"]}, {"answer": "7"}),
        ({"answer": None, "correct": False}, {"answer": None, "answer_class": None}),
        ({"answer": " ", "correct": False}, {"answer": None, "answer_class": None}),
        ({"step_scores": 0.25}, {"step_scores": (0.25,)}),
        ({"step_scores": "[0.25, 0.5]"}, {"step_scores": (0.25, 0.5)}),
        ({"step_scores": None}, {"step_scores": ()}),
        ({"logprob": None}, {"logprob": None}),
        ({"text": [{"type": "reasoning", "text": "hm"}, {"type": "text", "text": "It is 7."}]}, {"text": "It is 7."}),
        ({"text": None}, {"text": "", "answer": "7"}),
    ],
)
def test_cells_that_say_the_same_otherwise_are_converted(tmp_path: Path, cells: Row, read: Row) -> None:
    recording = read_recording(lines(tmp_path / "x.jsonl", [changed(**cells)]))
    found = samples(recording)[1]
    assert {name: getattr(found, name) for name in read} == read
    assert not kinds(recording).keys() & {"lost samples", "unreadable cells"}


@pytest.mark.parametrize(
    ("cells", "said"),
    [
        ({"tokens": "many"}, '.tokens is "many", expected a number'),
        ({"tokens": 1e30}, ".tokens is 1e+30, expected a count up to 10,000,000"),
        ({"tokens": True}, ".tokens is true, expected a number"),
        ({"tokens": 10**400}, ".tokens is 1000000000000000000000000000000000000..., expected a number"),
        ({"correct": "1/0"}, '.correct is "1/0", expected true or false, 1 or 0'),
        ({"correct": 7}, ".correct is 7, expected true or false"),
        ({"logprob": -9999}, ".logprob is -9999, expected a mean log-probability"),
        ({"logprob": 0.5}, ".logprob is 0.5, expected a mean log-probability"),
        ({"step_scores": {"last": 1}}, '.step_scores is {"last": 1}, expected a number'),
        ({"step_scores": ["high"]}, '.step_scores is ["high"], expected a number'),
        ({"answer": {"value": 7}}, '.answer is {"value": 7}, expected a text or a number'),
        ({"answer_class": -1}, ".answer_class is -1, expected a whole number of at least 0"),
    ],
)
def test_cells_that_cannot_be_read_count_as_missing_and_are_said(tmp_path: Path, cells: Row, said: str) -> None:
    recording = read_recording(lines(tmp_path / "x.jsonl", [changed(**cells)]))
    assert len(samples(recording)) == 4
    assert ": 1 cell of x.jsonl: " in kinds(recording)["unreadable cells"]
    assert f"line 1, samples[1]{said}" in kinds(recording)["unreadable cells"]


@pytest.mark.parametrize(
    ("sample", "said"),
    [
        (None, " is null, expected an object"),
        (5, " is 5, expected an object"),
        ({"text": None}, ".text is null, expected a text"),
        ({"text": {"a": 1}}, '.text is {"a": 1}, expected a text'),
        ({"tokens": 5}, " has neither text nor answer"),
        ({"text": 5, "answer": [1, 2]}, ".text is 5, expected a text"),
    ],
)
def test_a_sample_that_says_nothing_is_lost_and_said(tmp_path: Path, sample: object, said: str) -> None:
    row = changed()
    row["samples"][1] = sample
    recording = read_recording(lines(tmp_path / "x.jsonl", [row]))
    assert len(samples(recording)) == 3
    assert "1 of 4 samples of x.jsonl cannot be read" in kinds(recording)["lost samples"]
    assert f"line 1, samples[1]{said}" in kinds(recording)["lost samples"]


def test_a_sample_without_grade_or_reference_is_lost(tmp_path: Path) -> None:
    row = changed(correct=None)
    del row["answer"]
    recording = read_recording(lines(tmp_path / "x.jsonl", [row]))
    assert [one.correct for one in samples(recording)] == [True] * 3
    assert "samples[1] has no grade" in kinds(recording)["lost samples"]


def test_raw_rewards_are_made_probabilities(tmp_path: Path) -> None:
    path = lines(tmp_path / "x.jsonl", [changed(step_scores=[0.0, -1000.0, 1000.0, None])])
    found = samples(read_recording(path, Reading(scores="logit")))
    assert found[0].step_scores == pytest.approx((1 / (1 + math.exp(-0.5)),))
    assert found[1].step_scores[:3] == pytest.approx((0.5, 0.0, 1.0))
    assert math.isnan(found[1].step_scores[3])


def test_grades_that_contradict_answers_and_references_are_said(tmp_path: Path) -> None:
    rows = [
        {"id": "a", "target": "26", "answer": answer, "correct": correct}
        for answer, correct in (("26", 1), ("6", 1), ("26.0", 0), ("", 1), ("about 26", 1), ("", 0))
    ]
    recording = read_recording(lines(tmp_path / "x.jsonl", rows))
    assert [one.correct for one in samples(recording)] == [True, False, True, False, True, False]
    assert "contradict 2 grades" in kinds(recording)["logged grades"]
    assert "'6' is logged as right, the reference is '26'" in kinds(recording)["logged grades"]
    assert kinds(recording)["right without an answer"].startswith(
        "Logged as right, without an answer that is known: 1 sample."
    )


def test_any_of_several_references_is_right(tmp_path: Path) -> None:
    rows = [{"id": "a", "target": ["Paris", "Lutetia"], "answer": answer} for answer in ("paris", "Lutetia", "Rome")]
    assert [one.correct for one in samples(read_recording(lines(tmp_path / "x.jsonl", rows)))] == [True, True, False]


@pytest.mark.parametrize("reference", ["So we have\n#### 42", r"Then $x = 6$, and \boxed{42} it is.", "42", 42, 42.0])
def test_references_may_be_whole_solutions(tmp_path: Path, reference: object) -> None:
    rows = [{"id": "a", "target": reference, "text": f"The answer is {n}."} for n in (42, 6)]
    assert [one.correct for one in samples(read_recording(lines(tmp_path / "x.jsonl", rows)))] == [True, False]


def test_a_text_that_a_limit_cut_off_has_no_answer(tmp_path: Path) -> None:
    rows = [
        {"id": "a", "target": "42", "text": "The answer is 42.", "finish_reason": end} for end in ("stop", "length")
    ]
    assert [one.answer for one in samples(read_recording(lines(tmp_path / "x.jsonl", rows)))] == ["42", None]


def test_texts_that_are_nothing_but_answers_are_compared_as_a_whole(tmp_path: Path) -> None:
    rows = [{"id": "a", "target": "Paris", "text": text} for text in ("Paris", "Rome", "Paris")]
    recording = read_recording(lines(tmp_path / "x.jsonl", rows))
    assert [(one.answer_class, one.correct) for one in samples(recording)] == [(0, True), (1, False), (0, True)]
    assert "whole texts are compared, 3 of them" in kinds(recording)["texts as answers"]


def test_programs_without_a_reference_are_graded_by_the_file(tmp_path: Path) -> None:
    program = "def f(x):\n    return x + {}"
    row = {"question": "?", "samples": [program.format(n) for n in (1, 2, 1)], "is_corrects": [True, False, True]}
    recording = read_recording(lines(tmp_path / "x.jsonl", [row]))
    assert [one.correct for one in samples(recording)] == [True, False, True]
    assert to_draws(recording.problems[0], "last").correct.tolist() == [True, False, True]


def equal_texts(key: object = None, repeats: int = 1) -> list[Row]:
    """Eight problems with eight short samples each, of three texts."""
    return [
        {"id": str(number), "target": "1", "text": f"The answer is {sample % 3}.", "seed": key if key else sample % 8}
        for number in range(8)
        for sample in [*range(8)] * repeats
    ]


def test_short_equal_texts_are_samples(tmp_path: Path) -> None:
    recording = read_recording(lines(tmp_path / "x.jsonl", equal_texts()))
    assert len(samples(recording)) == 64
    assert not kinds(recording).keys() & {"duplicates", "equal texts"}


def test_a_seed_that_all_share_names_no_sample(tmp_path: Path) -> None:
    assert len(samples(read_recording(lines(tmp_path / "x.jsonl", equal_texts(key=42))))) == 64


def test_the_same_seed_twice_is_a_copy(tmp_path: Path) -> None:
    recording = read_recording(lines(tmp_path / "x.jsonl", equal_texts(repeats=2)))
    assert len(samples(recording)) == 64
    assert ": 64 samples." in kinds(recording)["duplicates"]
    assert "same epoch, seed or number" in kinds(recording)["duplicates"]


def test_a_file_that_holds_everything_twice_is_read_once(tmp_path: Path) -> None:
    rows = equal_texts(repeats=2)
    for row in rows:
        del row["seed"]
    recording = read_recording(lines(tmp_path / "x.jsonl", rows))
    assert [len(problem.samples) for problem in recording.problems] == [8] * 8
    assert "several times" in kinds(recording)["duplicates"]


def test_a_long_text_that_chance_rules_out_twice_is_a_copy(tmp_path: Path) -> None:
    row = changed(text=long(0), tokens=900)
    row["samples"][0]["tokens"] = 900
    recording = read_recording(lines(tmp_path / "x.jsonl", [row]))
    assert len(samples(recording)) == 3
    assert "log-probabilities" in kinds(recording)["duplicates"]
    sure = changed(text=long(0), logprob=-0.001)
    sure["samples"][0]["logprob"] = -0.001
    assert len(samples(read_recording(lines(tmp_path / "x.jsonl", [sure])))) == 4


def test_a_sample_without_a_text_is_not_free(tmp_path: Path) -> None:
    rows = [
        {"id": "a", "target": "7", "answer": "7", "output_tokens": tokens, "answer_chars": characters}
        for tokens, characters in ((30, 9), (None, 36), (None, None))
    ]
    recording = read_recording(lines(tmp_path / "x.jsonl", rows))
    assert [counted(sample) for sample in samples(recording)] == [True, False, False]
    assert to_draws(recording.problems[0], "last").tokens.tolist() == [30, 10, 20]
    assert "tokens" in kinds(recording)


def test_thousands_of_answers_are_classified_without_comparing_all_pairs(tmp_path: Path) -> None:
    texts = [rf"\boxed{{x_{{{n % 900}}} + y}}" for n in range(1800)]
    [problem] = read_recording(
        lines(
            tmp_path / "x.jsonl", [{"question": "?", "gt_answer": "z", "samples": texts, "is_corrects": [False] * 1800}]
        )
    ).problems
    assert len({sample.answer_class for sample in problem.samples}) == 900


def test_a_person_who_waits_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("computewise.study.recorded.readers.choose.EVERY_SECONDS", 0.0)
    told: list[str] = []
    read_recording(lines(tmp_path / "x.jsonl", RUNS[:12]), watch=told.append)
    assert "reading x.jsonl: 100%" in told
    assert "grading x.jsonl: problem 3 of 3" in told


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("problem_id,target,answer\n1,7,7\n1,7\n", "line 3 must have 3 values, one a column"),
        ("problem_id,target,answer\n1,7,7\n1,7,7,9\n", "line 3 must have 3 values, one a column"),
    ],
)
def test_a_row_of_another_length_is_lost(tmp_path: Path, content: str, said: str) -> None:
    path = tmp_path / "x.csv"
    path.write_text(content)
    assert said in kinds(read_recording(path))["lost samples"]


def test_a_cell_may_be_long(tmp_path: Path) -> None:
    path = tmp_path / "x.tsv"
    path.write_text(f"problem_id\ttarget\ttext\n1\t7\t{'so, ' * 60_000}the answer is 7\n")
    assert [one.correct for one in samples(read_recording(path))] == [True]


SHARED = os.environ.get("COMPUTEWISE_SHARED_DATA")
needs_recordings = pytest.mark.skipif(not SHARED, reason="COMPUTEWISE_SHARED_DATA names no folder of recordings")


@needs_recordings
@pytest.mark.parametrize(
    ("name", "problems", "most", "accuracy"),
    [
        ("mgsm_qwen2.5-1.5b.dev.jsonl.gz", 125, 24, 0.453),
        ("mgsm_qwen2.5-7b.dev.jsonl.gz", 125, 30, 0.683),
        ("mgsm_qwen2.5-32b.dev.jsonl.gz", 125, 30, 0.812),
        ("qwen_rm_math100.jsonl.gz", 100, 8, 0.91),
        ("gsm8k_qwen2.5-0.5b_trajectories.dev.jsonl.gz", 140, 16, 0.37),
        ("math500_qwen2.5-1.5b_skywork_cassette0.json.gz", 40, 8, 0.37),
        ("math500_qwen2.5-1.5b_skywork_cassette1.json.gz", 40, 8, 0.39),
    ],
)
def test_shared_recordings_of_every_schema_are_read_whole(name: str, problems: int, most: int, accuracy: float) -> None:
    recording = read_recording(Path(SHARED or "") / name)
    assert len(recording.problems) == problems
    assert {len(problem.samples) for problem in recording.problems} == {most}
    assert not kinds(recording).keys() & {"lost samples", "unreadable cells", "duplicates", "misplaced completions"}
    assert fmean(sample.correct for sample in samples(recording)) == pytest.approx(accuracy, abs=0.006)


@needs_recordings
def test_each_run_of_a_shared_table_is_right_where_its_answer_is_the_target() -> None:
    path = Path(SHARED or "") / "otis_mock_aime.dev.csv.gz"
    with gzip.open(path, "rt") as file:
        rows = list(csv.DictReader(file))
    for run in ("k7inKYrGDT2LFcCiQhGfTP", "G5gxbTH33S7LXA29o5fgmv", "mYb9MGQD39RS8VdDyMqujr"):
        own = [row for row in rows if row["run_id"] == run]
        found = samples(read_recording(path, Reading(only={"run_id": run})))
        assert len(found) == len(own)
        assert sum(sample.correct for sample in found) == sum(row["answer"] == row["target"] for row in own)


def places(held: object, path: tuple[object, ...] = ()) -> Iterator[tuple[object, ...]]:
    """Every place in a document that holds a value."""
    if path:
        yield path
    if isinstance(held, dict):
        for name, value in held.items():
            yield from places(value, (*path, name))
    elif isinstance(held, list):
        for number, value in enumerate(held):
            yield from places(value, (*path, number))


def put(held: Any, path: tuple[object, ...], value: object) -> Any:
    """The document with another value in one place."""
    found = copy.deepcopy(held)
    inner = found
    for step in path[:-1]:
        inner = inner[step]
    inner[path[-1]] = value
    return found


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from(["1/0", 41.0, "7"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)


@pytest.mark.parametrize("name", EXAMPLES)
@given(data=st.data())
def test_no_value_anywhere_is_a_traceback_or_a_silent_loss(
    tmp_path_factory: pytest.TempPathFactory, name: str, data: Any
) -> None:
    file, row = example(name)
    place = data.draw(st.sampled_from(list(places(row))))
    broken = put(row, place, data.draw(VALUES))
    path = tmp_path_factory.mktemp("fuzz") / file
    held = data.draw(st.permutations([row, broken])) if file.endswith(".jsonl") else [broken]
    path.write_text("".join(json.dumps(one) + "\n" for one in held))
    notes: list[Notes] = []
    recording = None
    with pytest.MonkeyPatch.context() as patch, contextlib.suppress(ComputewiseError):
        patch.setattr("computewise.study.recorded.read.Notes", partial(_noted, notes))
        recording = read_recording(path)
    if recording is None:
        with pytest.raises(ComputewiseError) as error:
            read_recording(path)
        assert "\n" not in str(error.value)
        assert path.name in str(error.value)
        return
    [note] = notes
    dropped = sum(finding.count for finding in recording.findings if finding.kind == "duplicates")
    assert len(samples(recording)) + note.lost + dropped == note.seen
    lost = [finding.count for finding in recording.findings if finding.kind == "lost samples"]
    assert lost == ([note.lost] if note.lost else [])
    for finding in recording.findings:
        finding.text.encode()
    for problem in recording.problems:
        to_draws(problem, "last")


def _noted(notes: list[Notes]) -> Notes:
    notes.append(Notes())
    return notes[-1]


@given(
    content=st.binary(max_size=60),
    ending=st.sampled_from([".jsonl", ".json", ".csv", ".eval", ".jsonl.gz", "", ".tsv"]),
)
def test_no_bytes_are_a_traceback(tmp_path_factory: pytest.TempPathFactory, content: bytes, ending: str) -> None:
    path = tmp_path_factory.mktemp("bytes") / f"x{ending}"
    path.write_bytes(content)
    with pytest.raises(ComputewiseError) as error:
        read_recording(path)
    assert "\n" not in str(error.value)
