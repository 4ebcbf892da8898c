"""Shards put together are the run they were cut from; what is no whole of equal parts is refused by name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from quick import quick_controllers
from simulated_source import SimulatedSource

from computewise.core import Problem, Usage
from computewise.errors import RunError, UsageError
from computewise.runs import CandidateRecord, Record, RunDirectory, read_records, record_key
from computewise.study.executors import executor_for
from computewise.study.plan import StudyConfig, plan
from computewise.study.run import measure, run_study
from computewise.study.shards import Shard, merge, parse_shard

CONFIG = {"task": "sums", "problems": 7}
PROBLEMS = [Problem(f"sums/{number}", f"{number} + 1", str(number + 1)) for number in range(7)]


def record(problem: str, *, purpose: str = "pool", value: float = 0.5, error: str | None = None) -> Record:
    candidates = [] if error else [CandidateRecord("2", value, 0.9, 3, True)]
    return Record(
        purpose, "model", {"name": "best_of_n", "n": 1}, 0, problem, Usage(samples=1), candidates, error=error
    )


def shard_of(
    path: Path, shard: Shard, records: Sequence[Record] | None = None, config: dict[str, Any] | None = None
) -> Path:
    """The run directory of a shard, with two records of each of its problems where nothing else is said."""
    directory = RunDirectory(path, {**(config or CONFIG), **shard.to_dict()}, resume=False)
    directory.write_problems(PROBLEMS)
    if records is None:
        records = [record(problem.id, purpose=p) for p in ("pool", "greedy") for problem in shard.problems(PROBLEMS)]
    directory.append(records)
    return path


def three(directory: Path) -> list[Path]:
    return [shard_of(directory / f"part{number}", Shard(number, 3)) for number in (1, 2, 3)]


@pytest.mark.parametrize(("text", "shard"), [("1/1", Shard(1, 1)), ("2/8", Shard(2, 8)), ("8/8", Shard(8, 8))])
def test_a_shard_is_written_as_it_is_read(text: str, shard: Shard) -> None:
    assert parse_shard(text) == shard
    assert shard.to_dict() == {"shard": text}


@pytest.mark.parametrize(
    "text", ["", "2", "0/8", "9/8", "2/0", "-1/8", "2/8/1", "a/b", "1.0/2", " 1/2", "02/8", "1/2\n"]
)
def test_what_is_no_shard_is_one_line(text: str) -> None:
    with pytest.raises(UsageError, match=r"is not allowed: I/N such as 2/8") as error:
        parse_shard(text)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("of", [1, 2, 3, 7, 9])
def test_every_problem_is_in_one_shard_and_they_are_about_equal(of: int) -> None:
    parts = [Shard(number, of).problems(PROBLEMS) for number in range(1, of + 1)]
    assert sorted(problem.id for part in parts for problem in part) == sorted(problem.id for problem in PROBLEMS)
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_shards_become_one_run_in_any_order(tmp_path: Path) -> None:
    parts = three(tmp_path)
    before = {file: file.read_bytes() for part in parts for file in part.iterdir()}
    assert merge([parts[2], parts[0], parts[1]], tmp_path / "out") == 14
    whole = RunDirectory(tmp_path / "out", CONFIG, resume=True)
    expected = [record(problem.id, purpose=purpose) for purpose in ("pool", "greedy") for problem in PROBLEMS]
    assert whole.read() == {record_key(one): one for one in expected}
    assert len(list(read_records(tmp_path / "out"))) == 14
    assert (tmp_path / "out" / "problems.jsonl").read_bytes() == (parts[0] / "problems.jsonl").read_bytes()
    assert {file: file.read_bytes() for part in parts for file in part.iterdir()} == before
    assert not (tmp_path / "out.tmp").exists()


def test_a_torn_last_line_is_passed_over(tmp_path: Path) -> None:
    parts = three(tmp_path)
    with (parts[1] / "records.jsonl").open("ab") as file:
        file.write(b'{"purpose":"pool","mod')
    assert merge(parts, tmp_path / "out") == 14


def test_equal_records_are_kept_once(tmp_path: Path) -> None:
    parts = three(tmp_path)
    again = shard_of(tmp_path / "again", Shard(1, 3))
    assert merge([*parts, again], tmp_path / "out") == 14
    assert len(list(read_records(tmp_path / "out"))) == 14


def test_different_records_of_one_key_are_refused_by_name(tmp_path: Path) -> None:
    parts = three(tmp_path)
    other = shard_of(tmp_path / "other", Shard(1, 3), [record("sums/3", value=0.6)])
    with pytest.raises(RunError, match=r"part1 and .*other have different records of pool, model, .*, 0, sums/3$"):
        merge([*parts, other], tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("first", [True, False])
def test_a_success_is_kept_and_not_a_failure(tmp_path: Path, first: bool) -> None:
    parts = three(tmp_path)
    failed = shard_of(tmp_path / "failed", Shard(1, 3), [record("sums/3", error="the server is gone")])
    merge([failed, *parts] if first else [*parts, failed], tmp_path / "out")
    assert not any(one.error for one in read_records(tmp_path / "out"))


def test_a_failure_tried_again_in_its_shard_is_a_success(tmp_path: Path) -> None:
    problems = Shard(1, 2).problems(PROBLEMS)
    lost = [record(problem.id, error="the server is gone") for problem in problems]
    one = shard_of(tmp_path / "one", Shard(1, 2), [*lost, *(record(problem.id) for problem in problems[1:])])
    other = shard_of(tmp_path / "other", Shard(2, 2), [record(one.id) for one in Shard(2, 2).problems(PROBLEMS)])
    assert merge([one, other], tmp_path / "out") == 7
    assert [one.problem for one in read_records(tmp_path / "out") if one.error] == [problems[0].id]


def refused(runs: Sequence[Path], out: Path, because: str, kind: type[Exception] = RunError) -> None:
    with pytest.raises(kind, match=because) as error:
        merge(runs, out)
    assert "\n" not in str(error.value)


def test_what_is_no_whole_is_refused_by_name(tmp_path: Path) -> None:
    parts, out = three(tmp_path), tmp_path / "out"
    refused([], out, "name the run directories", UsageError)
    refused(parts[1:2], out, "shards are missing: 1/3, 3/3$")
    refused([*parts, tmp_path / "nothing"], out, "nothing is no run directory")
    two = shard_of(tmp_path / "two", Shard(1, 2))
    refused([*parts, two], out, "two belongs to another study than .*part1: number of shards differ")
    other = shard_of(tmp_path / "other", Shard(1, 3), config={**CONFIG, "problems": 8, "seed": 1})
    refused([*parts, other], out, "other belongs to another study than .*part1: problems, seed differ")
    whole = tmp_path / "whole"
    RunDirectory(whole, CONFIG, resume=False)
    refused([*parts, whole], out, "whole is no shard: it was run without --shard")
    unfinished = shard_of(tmp_path / "unfinished", Shard(2, 3), [record("sums/1"), record("sums/1", purpose="greedy")])
    refused(
        [parts[0], unfinished, parts[2]], out, r"unfinished is not finished \(2 of 4 are missing\): go on with --res"
    )
    RunDirectory(parts[1], {**CONFIG, "shard": "2/3"}, resume=True).write_problems(PROBLEMS[1:])
    refused(parts, out, "part2 belongs to another study than .*part1: problems.jsonl differ")
    assert not out.exists()


def test_nothing_is_written_over(tmp_path: Path) -> None:
    parts = three(tmp_path)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("do not touch")
    refused(parts, tmp_path / "out", "out is not empty: name another --out")
    refused(parts, parts[0], "part1 is not empty")
    refused(parts, parts[0] / "config.json", "config.json is not empty")
    refused(parts, parts[0] / "config.json" / "out", "cannot")
    (tmp_path / "new.tmp").mkdir()
    refused(parts, tmp_path / "new", r"new\.tmp was left by an interrupted merge")
    assert (tmp_path / "new.tmp").exists()
    (tmp_path / "empty").mkdir()
    assert merge(parts, tmp_path / "empty") == 14


def test_a_merge_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = three(tmp_path)

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("computewise.runs.os.fsync", full)
    refused(parts, tmp_path / "out", "No space left on device")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["part1", "part2", "part3"]


def test_a_study_in_shards_is_the_study(tmp_path: Path) -> None:
    config = StudyConfig(problems=15, budgets=(1, 4), difficulty_samples=8, repeats=3)
    source = SimulatedSource(of_models=("large",))
    problems = source.task().problems("test", config.problems, config.seed)

    def measured(name: str, mine: list[Problem], more: dict[str, object]) -> Path:
        directory = RunDirectory(tmp_path / name, {**source.to_dict(), **config.to_dict(), **more}, resume=False)
        directory.write_problems(problems)
        runs = plan(config, source.roles())
        measure(runs, source, mine, directory, executor=executor_for(source), progress=lambda *told: None)
        return tmp_path / name

    parts = [
        measured(str(shard.number), shard.problems(problems), shard.to_dict()) for shard in (Shard(1, 2), Shard(2, 2))
    ]
    alone = measured("alone", problems, {})
    merge(parts, tmp_path / "merged")
    lines = (tmp_path / "merged" / "records.jsonl").read_bytes().splitlines()
    assert sorted(lines) == sorted((alone / "records.jsonl").read_bytes().splitlines())
    assert (tmp_path / "merged" / "config.json").read_bytes() == (alone / "config.json").read_bytes()
    told: list[int] = []
    count = lambda what, done, total: told.append(total - done)  # noqa: E731
    with quick_controllers():
        run_study(config, tmp_path / "merged", source=source, resume=True, progress=count)
    assert told == [0]
    assert (tmp_path / "merged" / "records.jsonl").read_bytes().splitlines() == lines
