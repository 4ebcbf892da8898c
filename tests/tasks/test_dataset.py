"""Problem sets read from files, from the hub, and generated: what is kept, what is left out, and what is refused."""

from __future__ import annotations

import csv
import gzip
import json
import os
import pickle
import sys
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from computewise.core import Problem
from computewise.errors import ProblemError, RunError, UsageError
from computewise.tasks import reasoning_gym
from computewise.tasks.dataset import DatasetTask, split_of_prompt
from computewise.tasks.load import TaskSpec, load_task, read_columns
from computewise.tasks.reasoning_gym import GymTask, evaluated_by

Row = dict[str, Any]
SHARED = os.environ.get("COMPUTEWISE_SHARED_DATA")
needs_gym = pytest.mark.skipif(find_spec("reasoning_gym") is None, reason="needs reasoning-gym, an extra")
needs_data = pytest.mark.skipif(not SHARED, reason="COMPUTEWISE_SHARED_DATA names no folder of data sets")
ROWS: list[Row] = [{"problem": f"What is {n}+{n}?", "answer": str(2 * n), "unique_id": f"p{n}"} for n in range(50)]


def write(path: Path, rows: list[Row]) -> Path:
    """The rows in the format that the path's ending names."""
    if ".csv" in path.name:
        text = ",".join(rows[0]) + "\n"
        text += "".join(",".join(f'"{value}"' for value in row.values()) + "\n" for row in rows)
    else:
        text = "".join(json.dumps(row) + "\n" for row in rows)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


def load(path: Path | str, **settings: Any) -> DatasetTask:
    """A data set of one's own."""
    task = load_task(TaskSpec(name=settings.pop("name", "mine"), path=str(path), **settings))
    assert isinstance(task, DatasetTask)
    return task


@pytest.mark.parametrize("name", ["x.jsonl", "x.jsonl.gz", "x.csv", "x.csv.gz"])
def test_every_format_says_the_same(tmp_path: Path, name: str) -> None:
    task = load(write(tmp_path / name, ROWS), name="math500")
    assert task.rows == tuple(Problem(row["unique_id"], row["problem"], row["answer"]) for row in ROWS)
    assert (task.name, task.delimiter, task.warnings) == ("math500", "\n\n", ())
    assert r"\boxed{}" in task.instruction


def test_parquet_says_the_same(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow", reason="needs pyarrow, the extra [parquet]")
    parquet = pytest.importorskip("pyarrow.parquet", reason="needs pyarrow, the extra [parquet]")
    parquet.write_table(pyarrow.Table.from_pylist(ROWS), tmp_path / "x.parquet")
    assert load(tmp_path / "x.parquet").rows == load(write(tmp_path / "x.jsonl", ROWS)).rows


def test_a_path_is_a_name(tmp_path: Path) -> None:
    path = str(write(tmp_path / "x.jsonl", ROWS))
    assert load_task(TaskSpec(path)).name == path


def test_gsm8k_has_its_answers_behind_hashes(tmp_path: Path) -> None:
    task = load(write(tmp_path / "x.jsonl", [{"question": "?", "answer": "6*200\n#### 1,200"}]), name="gsm8k")
    [problem] = task.problems("all", 1, 0)
    assert problem.answer == "1,200"
    assert task.correct(problem, task.answer("it is\n#### 1200"))
    assert task.correct(problem, task.answer(r"\boxed{1{,}200}"))
    assert not task.correct(problem, task.answer(r"\boxed{1201}"))


@pytest.mark.parametrize(
    "row",
    [
        {"ID": 7, "Problem": "?", "Answer": 33},
        {"id": "7", "question": "?", "answer": "033"},
        {"problem": "?", "answer": 33.0},
    ],
)
def test_aime_is_called_in_several_ways(tmp_path: Path, row: Row) -> None:
    task = load(write(tmp_path / "x.jsonl", [row]), name="aime")
    [problem] = task.rows
    assert problem.id == ("7" if len(row) == 3 else problem.id)
    assert task.correct(problem, task.answer(r"\boxed{33}"))


def test_columns_may_be_named(tmp_path: Path) -> None:
    path = write(tmp_path / "x.csv", [{"key": "a", "question": "1?", "problem": "?", "gold": "1"}])
    task = load(path, columns=read_columns("prompt=question, answer=gold,id=key"))
    assert task.rows == (Problem("a", "1?", "1"),)


@pytest.mark.parametrize(
    ("row", "columns", "said"),
    [
        ({"q": "?", "answer": "1"}, {}, "no column prompt or problem or question for the prompt: it has q, answer"),
        ({"prompt": "?", "a": "1"}, {}, "for the answer: it has prompt, a"),
        ({"prompt": "?", "answer": "1"}, {"answer": "gold"}, "no column gold for the answer: it has prompt, answer"),
        ({"prompt": "?", "answer": "1"}, {"id": "key"}, "no column key for the id: it has prompt, answer"),
    ],
)
def test_a_missing_column_is_said_with_those_there_are(
    tmp_path: Path, row: Row, columns: dict[str, str], said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        load(write(tmp_path / "x.jsonl", [row]), columns=columns)


def test_splits_are_disjoint_whatever_the_seed_and_the_order(tmp_path: Path) -> None:
    task = load(write(tmp_path / "x.jsonl", ROWS))
    turned = load(write(tmp_path / "y.jsonl", ROWS[::-1]))
    sizes = {split: sum(split_of_prompt(row.prompt) == split for row in task.rows) for split in ("test", "validation")}
    assert min(sizes.values()) > 0
    for seed in (0, 1):
        test = task.problems("test", sizes["test"], seed)
        validation = task.problems("validation", sizes["validation"], seed)
        assert not {p.id for p in test} & {p.id for p in validation}
        assert sorted(p.id for p in test + validation) == sorted(p.id for p in task.problems("all", 50, seed))
        assert turned.problems("test", 7, seed) == test[:7]
    assert task.problems("test", 9, 0) != task.problems("test", 9, 1)


def test_what_there_is_not_is_refused(tmp_path: Path) -> None:
    task = load(write(tmp_path / "x.jsonl", ROWS))
    with pytest.raises(UsageError, match="unknown split 'train': allowed are test, validation, all"):
        task.problems("train", 1, 0)
    with pytest.raises(UsageError, match="mine has 50 problems in all, 50 in total, not 51"):
        task.problems("all", 51, 0)


def test_repeated_prompts_are_left_out_and_ids_are_unique(tmp_path: Path) -> None:
    rows = [*ROWS[:3], ROWS[1], {**ROWS[4], "unique_id": "p0"}, ROWS[2]]
    task = load(write(tmp_path / "x.jsonl", rows))
    assert [row.prompt for row in task.rows] == [ROWS[n]["problem"] for n in (0, 1, 2, 4)]
    assert len({row.id for row in task.rows}) == 4
    assert task.warnings == ("2 rows repeat an earlier prompt and are left out, the first at line 4",)


def test_rows_without_an_id_are_called_by_their_content(tmp_path: Path) -> None:
    rows = [{"problem": row["problem"], "answer": row["answer"]} for row in ROWS]
    ids = {row.prompt: row.id for row in load(write(tmp_path / "x.jsonl", rows)).rows}
    assert ids == {row.prompt: row.id for row in load(write(tmp_path / "y.jsonl", rows[::-1])).rows}
    assert len(set(ids.values())) == 50


def test_references_that_cannot_be_right_are_left_out_and_said(tmp_path: Path) -> None:
    rows = [
        ROWS[0],
        {**ROWS[1], "answer": r"\frac{1}{2"},
        {**ROWS[2], "answer": None},
        {**ROWS[3], "answer": "9" * 600},
    ]
    task = load(write(tmp_path / "x.jsonl", rows))
    assert [row.id for row in task.rows] == ["p0"]
    assert task.warnings[0] == "3 rows are left out because of the reference answer"
    assert task.warnings[1] == r"line 2: the reference '\\frac{1}{2' does not grade correct against itself"
    assert task.warnings[2] == "line 3 has no reference answer"
    assert task.warnings[3].startswith("line 4: the reference '9999")
    assert all("\n" not in finding and len(finding) < 200 for finding in task.warnings)


def test_very_many_bad_references_are_not_all_listed(tmp_path: Path) -> None:
    rows = [ROWS[0], *({**row, "answer": "}"} for row in ROWS[1:])]
    findings = load(write(tmp_path / "x.jsonl", rows)).warnings
    assert findings[0] == "49 rows are left out because of the reference answer"
    assert len(findings) == 22
    assert findings[-1] == "and 29 more rows like these"


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("x.jsonl", "{", "line 1 is not JSON"),
        ("x.jsonl", json.dumps(ROWS[0]) + "\n[]", "line 2 is a list"),
        (
            "x.jsonl",
            json.dumps(ROWS[0]) + '\n{"problem": 5, "answer": "1"}',
            "line 2 is malformed: problem must be a text",
        ),
        ("x.jsonl", '{"problem": " ", "answer": "1"}', "line 1 is malformed: problem must be a text"),
        ("x.jsonl", '{"problem": "?", "answer": ["1"]}', "line 1 is malformed: answer must be a text or a number"),
        ("x.jsonl", "", "holds no problems that can be graded"),
        ("x.jsonl", '{"problem": "?", "answer": ""}', "can be graded: line 1 has no reference answer"),
        ("x.csv", "problem,answer\na,1\nb\n", "line 3 is malformed: it must have 2 values, one a column"),
        ("x.csv", "problem,answer\na,1,2\n", "line 2 is malformed: it must have 2 values, one a column"),
        ("x.csv", 'problem,answer\na,1\nb,"2\n', "cannot read .* after line 2: unexpected end of data"),
        ("x.csv", "problem,answer\n\xff,1\n", "cannot read .*: 'utf-8' codec"),
        ("x.csv", "", "holds no problems"),
        ("x.csv.gz", "no archive", "cannot read"),
    ],
)
def test_a_malformed_file_is_one_line_with_its_place(tmp_path: Path, name: str, content: str, said: str) -> None:
    path = tmp_path / name
    path.write_bytes(content.encode("latin-1"))
    with pytest.raises(RunError, match=said) as error:
        load(path)
    assert "\n" not in str(error.value)
    assert str(path) in str(error.value)


def test_a_csv_of_a_spreadsheet_is_read(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    with path.open("w", encoding="utf-8-sig", newline="") as file:
        csv.writer(file).writerows([["problem", "answer"], ["two\nlines, quoted", "1"], ["b", "}"], ["c", "2"]])
    task = load(path)
    assert [row.prompt for row in task.rows] == ["two\nlines, quoted", "c"]
    assert task.warnings[1].startswith("line 4: ")


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        (
            TaskSpec("nothing"),
            "unknown task 'nothing': allowed are expressions, stories, math500, gsm8k, aime, reasoning",
        ),
        (TaskSpec("mine", "x.txt"), "unknown task 'x.txt'"),
        (TaskSpec("mine", "hf:x"), "allowed is hf:OWNER/NAME"),
        (TaskSpec("stories", path="x.jsonl"), "the task stories has no setting path: allowed are none"),
        (TaskSpec("reasoning_gym:chain_sum", grader="exact"), "no setting grader: allowed are delimiter, instruction"),
        (TaskSpec("mine", "x.jsonl", grader="maths"), "unknown grader 'maths'"),
        (TaskSpec("mine", "x.jsonl", grader="code"), "allow_code_execution"),
    ],
)
def test_a_setting_that_cannot_be_used_is_one_line(spec: TaskSpec, said: str) -> None:
    with pytest.raises(UsageError, match=said) as error:
        load_task(spec)
    assert "\n" not in str(error.value)


def test_a_spec_is_checked_and_plain() -> None:
    with pytest.raises(UsageError, match="unknown column 'question': allowed are prompt, answer, id"):
        TaskSpec("mine", columns={"question": "q"})
    with pytest.raises(UsageError, match="delimiter must not be empty"):
        TaskSpec("mine", delimiter="")
    with pytest.raises(UsageError, match="are not understood: write them as prompt=question"):
        read_columns("prompt")
    spec = TaskSpec("mine", "x.csv", {"prompt": "q"}, "exact", "\n", "Do it.", allow_code_execution=True)
    assert TaskSpec(**json.loads(json.dumps(spec.to_dict()))) == spec
    assert pickle.loads(pickle.dumps(spec)) == spec
    assert len({spec, TaskSpec(**spec.to_dict())}) == 1


def test_embedded_tasks_load_by_name() -> None:
    assert load_task(TaskSpec("stories")).name == "stories"


def test_delimiter_and_instruction_may_be_set(tmp_path: Path) -> None:
    task = load(write(tmp_path / "x.jsonl", ROWS), delimiter="\n", instruction="")
    assert (task.delimiter, task.instruction) == ("\n", "")


def test_equal_answers_are_one_vote_and_none_is_none(tmp_path: Path) -> None:
    pytest.importorskip("math_verify", reason="needs math-verify, the extra [math]")
    task = load(write(tmp_path / "x.jsonl", [{"problem": "?", "answer": r"\frac{\sqrt{3}}{3}"}]))
    answers = [task.answer(rf"\boxed{{{text}}}") for text in (r"\frac{1}{\sqrt{3}}", r"\sqrt{\frac13}", r"\sqrt{3}/3")]
    assert len(set(answers)) == 1
    assert task.correct(task.rows[0], answers[0])
    assert task.answer("no box") is None
    assert not task.correct(task.rows[0], None)


def test_choices_texts_and_programs_are_graded(tmp_path: Path) -> None:
    choice = load(write(tmp_path / "c.jsonl", [{"prompt": "?", "answer": "(B)"}]), grader="choice")
    assert choice.correct(choice.rows[0], choice.answer("The answer is B."))
    exact = load(write(tmp_path / "e.jsonl", [{"prompt": "?", "answer": "Paris."}]), grader="exact")
    assert exact.correct(exact.rows[0], exact.answer("The answer is paris"))
    rows = [{"prompt": "Double.", "tests": ["assert double(2) == 4", "assert double(0) == 0"]}]
    code = load(write(tmp_path / "p.jsonl", rows), grader="code", allow_code_execution=True)
    assert code.correct(code.rows[0], code.answer("```python\ndef double(x): return 2 * x\n```"))
    assert not code.correct(code.rows[0], code.answer("```python\ndef double(x): return x\n```"))
    assert "fenced block" in code.instruction


def test_a_users_grader_that_fails_on_a_reference_is_its_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "failing_grader.py").write_text("def grade(answer, reference):\n    return int(answer) == 1\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    path = write(tmp_path / "x.jsonl", [{"prompt": "a", "answer": "1"}, {"prompt": "b", "answer": "two"}])
    task = load(path, grader="failing_grader:grade")
    assert [row.prompt for row in task.rows] == ["a"]
    assert "line 2: the grader failing_grader:grade failed: ValueError" in task.warnings[1]
    with pytest.raises(ProblemError, match="failed: ValueError"):
        task.correct(task.rows[0], "two")


def test_the_hub_is_read_by_datasets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("datasets", reason="needs datasets, the extra [datasets]")
    path = write(tmp_path / "x.jsonl", ROWS)
    asked: list[tuple[object, ...]] = []
    real = datasets.load_dataset

    def load_dataset(name: str, config: str | None, split: str) -> object:
        asked.append((name, config, split))
        return real("json", data_files=str(path), split="train", cache_dir=str(tmp_path / "cache"))

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    assert load("hf:OWNER/NAME", name="math500").rows == load(path, name="math500").rows
    load("hf:o/n/main:train")
    load_task(TaskSpec("math500"))
    assert asked == [("OWNER/NAME", None, "test"), ("o/n", "main", "train"), ("HuggingFaceH4/MATH-500", None, "test")]


def test_a_hub_that_cannot_be_reached_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("datasets", reason="needs datasets, the extra [datasets]")

    def load_dataset(*_: object, **__: object) -> object:
        raise ConnectionError("no\nroute")

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    with pytest.raises(RunError, match="cannot read hf:o/n: no route"):
        load("hf:o/n")


@pytest.mark.parametrize(
    ("modules", "name", "said"),
    [
        (["datasets"], "math500", r"pip install 'computewise\[datasets\]'"),
        (["reasoning_gym"], "reasoning_gym:chain_sum", r"pip install 'computewise\[reasoning-gym\]'"),
    ],
)
def test_what_is_not_installed_is_named(
    monkeypatch: pytest.MonkeyPatch, modules: list[str], name: str, said: str
) -> None:
    for module in modules:
        monkeypatch.setitem(sys.modules, module, None)
    reasoning_gym.made_dataset.cache_clear()
    with pytest.raises(UsageError, match=said):
        load_task(TaskSpec(name))


def gym_task(name: str, *, allowed: bool = False) -> GymTask:
    """A generated task."""
    pytest.importorskip("reasoning_gym", reason="needs reasoning-gym, the extra [reasoning-gym]")
    task = load_task(TaskSpec(f"reasoning_gym:{name}", allow_code_execution=allowed))
    assert isinstance(task, GymTask)
    return task


@pytest.mark.parametrize("name", ["chain_sum", "countdown"])
def test_generated_problems_are_graded_by_their_generator(name: str) -> None:
    task = gym_task(name, allowed=True)
    problems = task.problems("test", 5, 3)
    assert problems == task.problems("test", 5, 3) != task.problems("test", 5, 4)
    assert len({problem.prompt for problem in problems}) == len({problem.id for problem in problems}) == 5
    assert not {p.prompt for p in problems} & {p.prompt for p in task.problems("validation", 5, 3)}
    for problem in problems:
        assert task.correct(problem, task.answer(rf"\boxed{{{problem.answer}}}"))
        assert not task.correct(problem, task.answer(r"\boxed{-987654321}"))
        assert not task.correct(problem, None)


EVALUATING = {
    *("binary_matrix", "countdown", "intermediate_integration", "n_queens", "polynomial_multiplication"),
    *("puzzle24", "simple_integration", "spiral_matrix", "string_insertion"),
}
"""Of reasoning-gym 0.1.25: those whose scorers call eval or SymPy on the answer."""


@needs_gym
def test_scorers_that_evaluate_need_permission() -> None:
    from reasoning_gym.factory import DATASETS

    assert {name for name in DATASETS if evaluated_by(name) is not None} == EVALUATING
    for name in EVALUATING:
        said = (
            f"the scorer of reasoning_gym:{name} runs answers as Python .*, without a sandbox: --allow-code-execution"
        )
        with pytest.raises(UsageError, match=said) as error:
            load_task(TaskSpec(f"reasoning_gym:{name}"))
        assert "\n" not in str(error.value)


@needs_gym
def test_a_scorer_that_nobody_has_read_needs_permission(monkeypatch: pytest.MonkeyPatch) -> None:
    from reasoning_gym.factory import DATASETS

    class Reading:
        def score_answer(self, answer: str, entry: Row) -> float:
            return float(pytest.approx(answer) == entry["answer"])

    class Imported:
        def score_answer(self, answer: str, entry: Row) -> float:
            import hypothesis.strategies

            return float(answer in hypothesis.strategies.__all__)

    class Indirect:
        def score_answer(self, answer: str, entry: Row) -> float:
            return self._read(answer)

        def _read(self, answer: str) -> float:
            return float(getattr(entry_points, "load")(answer))  # noqa: B009

    for number, kind in enumerate((Reading, Imported, Indirect, type("Made", (), {"score_answer": int.__add__}))):
        monkeypatch.setitem(DATASETS, f"new_{number}", (kind, None, None))
        assert evaluated_by(f"new_{number}") is not None, kind


@needs_gym
def test_an_answer_is_not_run_without_permission(tmp_path: Path) -> None:
    """Whoever builds the task without asking for permission is refused at each answer."""
    task, mark = reasoning_gym.gym_task("spiral_matrix", "x", None), tmp_path / "made"
    with pytest.raises(ProblemError, match="without a sandbox"):
        task.correct(Problem("spiral_matrix/0/0", "?", None), f"__import__('pathlib').Path({str(mark)!r}).touch()")
    assert not mark.exists()


@needs_gym
@pytest.mark.parametrize(("name", "answer"), [("game_of_life", "{}"), ("boxnet", "42")])
def test_an_answer_that_a_scorer_cannot_read_is_that_problems_failure(name: str, answer: str) -> None:
    task = gym_task(name)
    [problem] = task.problems("test", 1, 0)
    with pytest.raises(
        ProblemError, match=f"the scorer of reasoning_gym:{name}, asked about '{answer}', failed: "
    ) as error:
        task.correct(problem, answer)
    assert "\n" not in str(error.value)


@needs_gym
def test_an_answer_that_never_ends_is_killed_and_the_next_is_graded(monkeypatch: pytest.MonkeyPatch) -> None:
    task = gym_task("countdown", allowed=True)
    [problem] = task.problems("test", 1, 0)
    monkeypatch.setattr(reasoning_gym, "SCORING_SECONDS", 0.5)
    with pytest.raises(ProblemError, match=r"asked about '9\*\*9\*\*9\*\*9', took too long"):
        task.correct(problem, "9**9**9**9")
    monkeypatch.undo()
    assert not task.correct(problem, "1")


HOSTILE = {
    "ends its process": "__import__('os')._exit(0)",
    "raises beyond Exception": "exec('raise SystemExit(0)')",
    "closes what it can": "__import__('os').closerange(0, 256)",
    "kills its process": "__import__('os').kill(__import__('os').getpid(), 9)",
    "writes what it likes": "[__import__('os').write(n, b'1.0\\n1.0\\n') for n in range(3, 20)]",
    "writes half a line": "__import__('os').write(3, b'1.0')",
    "asks for memory": "bytearray(1 << 40)",
}


@needs_gym
def test_an_answer_that_is_evaluated_grades_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    task = gym_task("spiral_matrix", allowed=True)
    one, other = task.problems("test", 2, 0)
    module = "__import__('reasoning_gym.algorithmic.spiral_matrix', fromlist='x')"
    replaced = f"[setattr({module}.SpiralMatrixDataset, 'score_answer', lambda *given: 1.0), '1'][1]"
    monkeypatch.setattr(reasoning_gym, "SCORING_SECONDS", 5.0)
    for what in (*HOSTILE.values(), replaced):
        try:
            assert not task.correct(one, what), what
        except ProblemError as error:
            assert "asked about" in str(error)  # noqa: PT017 - either is right
        assert not task.correct(other, "wrong")
        assert other.answer is not None
        assert task.correct(other, other.answer)


@needs_gym
def test_a_data_set_that_cannot_be_made_is_one_line() -> None:
    with pytest.raises(UsageError, match="reasoning-gym cannot make its data set composite: AssertionError") as error:
        gym_task("composite")
    assert "\n" not in str(error.value)
    assert gym_task("word_ladder").problems("test", 1, 0)


def test_what_is_not_generated_is_refused() -> None:
    task = gym_task("chain_sum")
    with pytest.raises(UsageError, match="unknown split 'train'"):
        task.problems("train", 1, 0)
    with pytest.raises(UsageError, match=r"reasoning-gym has no 'nothing': it has .*chain_sum"):
        gym_task("nothing")


@needs_data
@pytest.mark.parametrize(("name", "file", "count"), [("math500", "math500", 500), ("gsm8k", "gsm8k_test", 1319)])
def test_every_published_reference_grades_correct(name: str, file: str, count: int) -> None:
    pytest.importorskip("math_verify", reason="needs math-verify, the extra [math]")
    task = load(f"{SHARED}/{file}.jsonl.gz", name=name)
    assert (len(task.rows), task.warnings) == (count, ())
