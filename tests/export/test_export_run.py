"""What is exported is what was recorded, and a replay of it finds the same answers right."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from computewise.core import LARGE, MODEL, Problem, Role, Usage
from computewise.errors import RunError, UsageError
from computewise.export import export_run
from computewise.export.runs import Format
from computewise.runs import FORMAT, CandidateRecord, NodeRecord, Record, RunDirectory, StrategyParams
from computewise.study.recorded.read import read_recording

CONFIG = {"task": "sums", "problems": 3}
PROBLEMS = [Problem(f"sums/{number}", f"What is {number} + {number}?", str(2 * number)) for number in range(3)]
POOL: StrategyParams = {"name": "best_of_n", "n": 6}


def outcome(number: int, answer: int | None, value: float, *, boxed: bool = True) -> CandidateRecord:
    """Two steps; the second answers or is cut off."""
    end = "and so on" if answer is None else f"It is \\boxed{{{answer}}}." if boxed else f"It is {answer}."
    text = f"Let us add {number} to itself: é, {value}.\n\n{end}"
    correct = answer == 2 * number
    name = None if answer is None else str(answer)
    return CandidateRecord(
        name, value, 0.9, 7, correct, "0", 3, 7, (0.5 + value) / 2, min(0.5, value), text, (0.5, value)
    )


def pool(number: int, seed: int = 0, role: Role = "model", *, boxed: bool = True) -> Record:
    """The right answer has the most votes, a wrong one the best sample, none of the first two are right."""
    votes = [(7, 0.2), (None, 0.99), (9, 0.9), (2 * number, 0.6), (2 * number, 0.5), (2 * number, 0.1)]
    found = [outcome(number, answer, value, boxed=boxed) for answer, value in votes]
    usage = Usage(6, 60, 50, 42, 30, 3)
    return Record("pool", role, POOL, seed, f"sums/{number}", usage, found, sequential=7)


OTHERS = [
    Record("beam search, M = 4", "model", {"name": "beam_search", "n": 4, "width": 4}, 0, "sums/0", tree=[]),
    Record(
        "beam search, M = 4",
        "model",
        {"name": "beam_search", "n": 4, "width": 4},
        0,
        "sums/1",
        candidates=[outcome(1, 2, 0.5)],
        tree=[NodeRecord("0", None, "first", 0.5, None, None), NodeRecord("0.0", "0", "second", None, "stop", "2")],
    ),
    Record("greedy", "model", {"name": "greedy"}, 0, "sums/0", candidates=[outcome(0, 0, 0.0)]),
]


def run_of(path: Path, records: list[Record]) -> Path:
    directory = RunDirectory(path, CONFIG, resume=False)
    directory.write_problems(PROBLEMS)
    directory.append(records)
    return path


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run of one pool, one of whose problems failed at first, and other strategies; killed while it wrote."""
    failed = Record("pool", "model", POOL, 0, "sums/1", error="the server is gone")
    lost = Record("pool", "model", POOL, 0, "sums/2", error="the server is gone")
    path = run_of(tmp_path / "run", [failed, pool(0), *OTHERS, lost, pool(1)])
    with (path / "records.jsonl").open("ab") as file:
        file.write(b'{"purpose": "po')
    return path


def rows_of(path: Path) -> tuple[list[dict[str, Any]], dict[bytes, bytes]]:
    """The rows and the metadata of a Parquet file."""
    from pyarrow.parquet import read_table

    table = read_table(path)
    return table.to_pylist(), table.schema.metadata


def test_parquet_holds_every_record_with_all_its_fields(run: Path, tmp_path: Path) -> None:
    before = {path: path.read_bytes() for path in run.iterdir()}
    out = export_run(run, "parquet", tmp_path / "new" / "run.parquet")
    assert out == tmp_path / "new" / "run.parquet"
    rows, metadata = rows_of(out)
    assert json.loads(metadata[b"computewise.config"]) == {"format": FORMAT, **CONFIG}
    lost = Record("pool", "model", POOL, 0, "sums/2", error="the server is gone")
    expected = [pool(0), *OTHERS, lost, pool(1)]
    assert len(rows) == len(expected)
    for row, record in zip(rows, expected, strict=True):
        problem = PROBLEMS[int(record.problem[-1])]
        assert (row.pop("prompt"), row.pop("answer")) == (problem.prompt, problem.answer)
        assert row.pop("strategy") == record.strategy["name"]
        row["strategy"] = json.loads(row.pop("settings"))
        plain = json.loads(msgspec.json.encode(record))
        plain["candidates"] = [
            {**msgspec.structs.asdict(one), "scores": list(one.scores), "notes": list(one.notes)}
            for one in record.candidates
        ]
        assert row == plain
    assert {path: path.read_bytes() for path in run.iterdir()} == before
    assert [path.name for path in out.parent.iterdir()] == ["run.parquet"]


def test_a_run_without_its_problems_is_exported_without_prompts(run: Path, tmp_path: Path) -> None:
    (run / "problems.jsonl").unlink()
    rows, _ = rows_of(export_run(run, "parquet", tmp_path / "run.parquet"))
    assert {(row["problem"], row["prompt"], row["answer"]) for row in rows} == {
        (f"sums/{number}", None, None) for number in range(3)
    }


def test_search_and_learn_has_its_columns(run: Path, tmp_path: Path) -> None:
    out = export_run(run, "search-and-learn", tmp_path / "pool.jsonl")
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [row["unique_id"] for row in rows] == ["sums/0", "sums/1"]
    (_, row), found = rows, pool(1).candidates
    assert (row["problem"], row["answer"]) == ("What is 1 + 1?", "2")
    assert row["completions"] == [candidate.text for candidate in found]
    assert row["scores"] == [[0.5, candidate.value] for candidate in found]
    assert row["agg_scores"] == [0.2, 0.99, 0.9, 0.6, 0.5, 0.1]
    assert row["completion_tokens"] == [7] * 6
    assert row["pred"] == found[2].text
    predicted = {name: value for name, value in row.items() if name.startswith("pred_")}
    boxed = {"naive": [7, 7, 9, 9], "weighted": [7, 7, 9, 2], "maj": [7, 7, 7, 2]}
    assert predicted == {
        f"pred_{name}@{k}": f"\\boxed{{{answer}}}"
        for name, answers in boxed.items()
        for k, answer in zip((1, 2, 4, 6), answers, strict=True)
    }


def test_where_nothing_is_answered_nothing_is_predicted(tmp_path: Path) -> None:
    silent = Record("pool", "model", {"name": "best_of_n", "n": 1}, 0, "sums/1", candidates=[outcome(1, None, 0.5)])
    out = export_run(run_of(tmp_path / "run", [silent]), "search-and-learn", tmp_path / "pool.jsonl")
    (row,) = [json.loads(line) for line in out.read_text().splitlines()]
    assert (row["pred"], row["pred_maj@1"], row["answers"]) == ("", "\\boxed{}", [None])


@pytest.mark.parametrize("ending", ["jsonl", "parquet"])
@pytest.mark.parametrize("boxed", [True, False], ids=["boxed", "a task that boxes nothing"])
def test_a_replay_finds_the_same_right(tmp_path: Path, ending: str, boxed: bool) -> None:
    path = run_of(tmp_path / "run", [pool(number, boxed=boxed) for number in range(3)])
    recording = read_recording(export_run(path, "search-and-learn", tmp_path / f"pool.{ending}"))
    for number, problem in enumerate(recording.problems):
        found = pool(number, boxed=boxed).candidates
        assert (problem.id, problem.prompt, problem.answer) == tuple(asdict(PROBLEMS[number]).values())
        assert [sample.correct for sample in problem.samples] == [candidate.correct for candidate in found]
        assert [sample.answer for sample in problem.samples] == [candidate.answer for candidate in found]
        assert [sample.text for sample in problem.samples] == [candidate.text for candidate in found]
        assert [sample.step_scores for sample in problem.samples] == [candidate.scores for candidate in found]
        assert [sample.tokens for sample in problem.samples] == [7] * 6


def test_each_pool_has_its_file(tmp_path: Path) -> None:
    records = [pool(number, seed, role) for seed in (0, 1) for role in (MODEL, LARGE) for number in (0, 1)]
    path = run_of(tmp_path / "run", [*records, *OTHERS])
    directory = export_run(path, "search-and-learn", tmp_path / "out" / "pools.parquet")
    assert directory == tmp_path / "out"
    assert sorted(file.name for file in directory.iterdir()) == [
        f"pools-{role}-n6-seed{seed}.parquet" for role in ("large", "model") for seed in (0, 1)
    ]
    rows, metadata = rows_of(directory / "pools-large-n6-seed1.parquet")
    assert len(rows) == 2
    assert json.loads(metadata[b"computewise.pool"]) == {"role": "large", "n": 6, "seed": 1}
    assert json.loads(metadata[b"computewise.config"]) == {"format": FORMAT, **CONFIG}


def test_what_cannot_be_exported_is_one_line(run: Path, tmp_path: Path) -> None:
    def refused(path: Path, format: Any, out: str, because: str, kind: type[Exception] = RunError) -> None:
        with pytest.raises(kind, match=because) as error:
            export_run(path, format, tmp_path / out)
        assert "\n" not in str(error.value)

    refused(run, "parquet", "run.csv", r"allowed is a file that ends in \.parquet", UsageError)
    refused(run, "search-and-learn", "run.csv", r"allowed are files that end in \.jsonl, \.parquet", UsageError)
    refused(run, "eval", "run.parquet", "unknown format 'eval'", UsageError)
    refused(tmp_path, "parquet", "run.parquet", "no run directory")
    refused(run, "parquet", "run/config.json/run.parquet", "cannot write")
    mute = replace_all(pool(0), text="")
    refused(run_of(tmp_path / "mute", [mute]), "search-and-learn", "a.jsonl", "without the texts")
    refused(run_of(tmp_path / "other", OTHERS), "search-and-learn", "a.jsonl", "no pool of independent samples")
    (run / "problems.jsonl").unlink()
    refused(run, "search-and-learn", "a.jsonl", r"cannot read .*problems\.jsonl")
    RunDirectory(run, CONFIG, resume=True).write_problems([replace(problem, answer=None) for problem in PROBLEMS])
    refused(run, "search-and-learn", "a.jsonl", "no reference answer for the problem 'sums/0'")
    assert not list(tmp_path.glob("*.tmp"))
    assert not (tmp_path / "a.jsonl").exists()


def replace_all(record: Record, **changes: Any) -> Record:
    candidates = [msgspec.structs.replace(candidate, **changes) for candidate in record.candidates]
    return msgspec.structs.replace(record, candidates=candidates)


def test_without_pyarrow_the_extra_is_named(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    formats: list[Format] = ["parquet", "search-and-learn"]
    for format in formats:
        with pytest.raises(UsageError, match=r"computewise\[parquet\]"):
            export_run(run, format, tmp_path / "run.parquet")
    assert export_run(run, "search-and-learn", tmp_path / "run.jsonl").exists()
