"""The run directory survives what happens to run directories."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from computewise.core import Problem, Usage
from computewise.errors import RunError
from computewise.runs import (
    FORMAT,
    CandidateRecord,
    Record,
    RunDirectory,
    last_records,
    make_key,
    read_config,
    read_problems,
    read_records,
)

CONFIG = {"task": "expressions", "problems": 20}


def record(problem: str) -> Record:
    """A record with every kind of field."""
    outcome = CandidateRecord(answer="7", value=0.5, mean_token_prob=0.9, tokens=3, correct=True)
    return Record("pool", "model", {"name": "best_of_n", "n": 4}, 0, problem, Usage(samples=4), [outcome])


def key(problem: str) -> tuple[str, str, str, int, str]:
    """The key of `record(problem)`, settings in another order."""
    return make_key("pool", "model", {"n": 4, "name": "best_of_n"}, 0, problem)


def test_what_is_appended_is_read_back(tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path / "run", CONFIG, resume=False)
    directory.append([record("1+1"), record("2+2")])
    directory.append([record("3+3")])
    held = RunDirectory(tmp_path / "run", CONFIG, resume=True).read()
    assert held == {key(problem): record(problem) for problem in ("1+1", "2+2", "3+3")}


def test_a_torn_last_line_is_dropped_and_the_next_append_stands_on_its_own(tmp_path: Path) -> None:
    RunDirectory(tmp_path, CONFIG, resume=False).append([record("1+1")])
    path = tmp_path / "records.jsonl"
    whole = path.read_bytes()
    for cut in range(1, len(whole)):
        path.write_bytes(whole + whole[:cut])
        directory = RunDirectory(tmp_path, CONFIG, resume=True)
        directory.append([record("2+2")])
        assert set(directory.read()) == {key("1+1"), key("2+2")}


def test_another_configuration_is_refused_by_name(tmp_path: Path) -> None:
    RunDirectory(tmp_path, CONFIG, resume=False)
    with pytest.raises(RunError, match=r"another configuration \(problems differ\)"):
        RunDirectory(tmp_path, {**CONFIG, "problems": 30}, resume=True)


def test_a_run_is_not_gone_on_with_unasked(tmp_path: Path) -> None:
    RunDirectory(tmp_path, CONFIG, resume=False).append([record("1+1")])
    with pytest.raises(RunError, match="--resume"):
        RunDirectory(tmp_path, CONFIG, resume=False)


def test_a_directory_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("do not touch")
    with pytest.raises(RunError, match="not empty"):
        RunDirectory(tmp_path, CONFIG, resume=False)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize("content", ["", "{", "[]"])
def test_an_unreadable_configuration_is_one_line(tmp_path: Path, content: str) -> None:
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(RunError) as error:
        RunDirectory(tmp_path, CONFIG, resume=True)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "line",
    [
        '{"purpose": 3}',
        "[]",
        '{"model": "small"}',
        '{"model": ["small"], "strategy": {"name": "greedy"}}',
        '{"model": "small", "strategy": {"name": "greedy"}, "candidates": [1]}',
        '{"model": "small", "strategy": {"name": "greedy"}, "candidates": [{"read": "a"}]}',
    ],
)
def test_a_corrupt_record_is_named_by_its_line(tmp_path: Path, line: str) -> None:
    directory = RunDirectory(tmp_path, CONFIG, resume=False)
    directory.append([record("1+1")])
    with (tmp_path / "records.jsonl").open("a") as file:
        file.write(line + "\n")
    with pytest.raises(RunError, match="line 2"):
        directory.read()


def test_a_full_disk_loses_nothing_that_was_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = RunDirectory(tmp_path, CONFIG, resume=False)
    directory.append([record("1+1")])

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("computewise.runs.os.fsync", full)
    with pytest.raises(RunError, match=r"No space left on device.*--resume"):
        directory.append([record("2+2")])
    monkeypatch.undo()
    assert set(directory.read()) == {key("1+1")}


def test_what_a_run_does_not_keep_costs_nothing(tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path, CONFIG, resume=False)
    kept = CandidateRecord("7", 0.5, 0.9, 3, True, text="3+4\n7", scores=(0.4, 0.5))
    directory.append([record("1+1"), Record("pool", "model", {"n": 1}, 0, "2+2", candidates=[kept])])
    first, second = (tmp_path / "records.jsonl").read_text().splitlines()
    assert '"text"' not in first
    assert '"scores"' not in first
    assert '"text":"3+4\\n7","scores":[0.4,0.5]' in second
    assert [one.candidates for one in read_records(tmp_path)][1] == [kept]


def test_problems_are_kept_beside_the_records(tmp_path: Path) -> None:
    problems = [Problem("a/1", "What is é + 1?", "7"), Problem("a/2", "What?\nNot that.")]
    directory = RunDirectory(tmp_path, CONFIG, resume=False)
    directory.write_problems(problems)
    directory.write_problems(problems)
    assert read_problems(tmp_path) == {problem.id: problem for problem in problems}
    assert len((tmp_path / "problems.jsonl").read_text().splitlines()) == 2


def test_a_run_is_read_without_being_touched(tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path, CONFIG, resume=False)
    assert list(read_records(tmp_path)) == []
    failed = Record("pool", "model", {"name": "best_of_n", "n": 4}, 0, "1+1", error="the server is gone")
    directory.append([failed, record("2+2"), record("1+1")])
    with (tmp_path / "records.jsonl").open("ab") as file:
        file.write(b'{"purp')
    before = (tmp_path / "records.jsonl").read_bytes()
    assert list(read_records(tmp_path)) == [failed, record("2+2"), record("1+1")]
    assert list(last_records(tmp_path)) == [record("2+2"), record("1+1")]
    assert read_config(tmp_path) == {"format": FORMAT, **CONFIG}
    assert (tmp_path / "records.jsonl").read_bytes() == before


def test_what_is_no_run_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"no run directory: cannot read config\.json: No such file"):
        read_config(tmp_path)
    with pytest.raises(RunError, match=r"cannot read .*problems\.jsonl: No such file"):
        read_problems(tmp_path)
    (tmp_path / "problems.jsonl").write_bytes(b'{"id": "\xff"}\n')
    with pytest.raises(RunError, match="line 1 is no problem") as error:
        read_problems(tmp_path)
    assert "\n" not in str(error.value)


def test_a_result_file_is_replaced_whole(tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path, CONFIG, resume=False)
    directory.write("summary.json", "old")
    directory.write("summary.json", json.dumps({"new": True}))
    assert json.loads((tmp_path / "summary.json").read_text()) == {"new": True}
    assert not list(tmp_path.glob("*.tmp"))
