"""The run directory survives what happens to run directories."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from computewise.core import Usage
from computewise.errors import RunError
from computewise.records import Outcome, Record, RunDirectory, key_of

CONFIG = {"task": "expressions", "problems": 20}


def record(problem: str) -> Record:
    """A record with every kind of field."""
    outcome = Outcome(answer="7", value=0.5, logprob=0.9, tokens=3, correct=True)
    return Record("pool", "small", {"name": "best_of_n", "n": 4}, 0, problem, Usage(samples=4), [outcome])


def key(problem: str) -> tuple[str, str, str, int, str]:
    """The key of `record(problem)`, settings in another order."""
    return key_of("pool", "small", {"n": 4, "name": "best_of_n"}, 0, problem)


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


def test_a_corrupt_record_is_named_by_its_line(tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path, CONFIG, resume=False)
    directory.append([record("1+1")])
    with (tmp_path / "records.jsonl").open("a") as file:
        file.write('{"purpose": 3}\n')
    with pytest.raises(RunError, match="line 2"):
        directory.read()


def test_a_full_disk_loses_nothing_that_was_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = RunDirectory(tmp_path, CONFIG, resume=False)
    directory.append([record("1+1")])

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("computewise.records.os.fsync", full)
    with pytest.raises(RunError, match=r"No space left on device.*--resume"):
        directory.append([record("2+2")])
    monkeypatch.undo()
    assert set(directory.read()) == {key("1+1")}


def test_a_result_file_is_replaced_whole(tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path, CONFIG, resume=False)
    directory.write("summary.json", "old")
    directory.write("summary.json", json.dumps({"new": True}))
    assert json.loads((tmp_path / "summary.json").read_text()) == {"new": True}
    assert not list(tmp_path.glob("*.tmp"))
