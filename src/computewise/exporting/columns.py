"""Pools of samples in the columns of huggingface/search-and-learn."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from computewise.core import Problem
from computewise.errors import RunError, UsageError
from computewise.exporting.files import Row, import_pyarrow, write_json_lines, write_parquet
from computewise.records import Outcome, Record, last_records, read_config, read_problems
from computewise.selection import Ballot, best, majority, weighted

PREDICTIONS = {"naive": best, "weighted": weighted, "maj": majority}


class Pool(NamedTuple):
    """What makes a file of its own."""

    model: str
    n: int
    seed: int


def write_columns(run: Path, out: Path) -> Path:
    """One row for each problem; problems that failed are left out."""
    if out.suffix not in (".jsonl", ".parquet"):
        raise UsageError(f"cannot write {out}: allowed are files that end in .jsonl, .parquet")
    config, problems = read_config(run), read_problems(run)
    pools = sorted({_pool(record) for record in last_records(run) if _exported(record)})
    if not pools:
        raise RunError(f"{run} holds no pool of independent samples to export")
    for pool in pools:
        name = out.stem if len(pools) == 1 else f"{out.stem}-{pool.model}-n{pool.n}-seed{pool.seed}"
        mine = (record for record in last_records(run) if _exported(record) and _pool(record) == pool)
        _write(out.with_name(name + out.suffix), (_columns_row(run, record, problems) for record in mine), pool, config)
    return out if len(pools) == 1 else out.parent


def _exported(record: Record) -> bool:
    return record.purpose == "pool" and not record.error


def _pool(record: Record) -> Pool:
    return Pool(record.model, int(record.strategy["n"]), record.seed)


def _write(path: Path, rows: Iterable[Row], pool: Pool, config: Mapping[str, Any]) -> None:
    if path.suffix == ".jsonl":
        write_json_lines(path, rows)
        return
    metadata = {"computewise.config": json.dumps(config), "computewise.pool": json.dumps(pool._asdict())}
    write_parquet(path, rows, _columns_schema(import_pyarrow(), pool.n), metadata)


def _columns_row(run: Path, record: Record, problems: Mapping[str, Problem]) -> Row:
    found = record.candidates
    if any(candidate.tokens and not candidate.text for candidate in found):
        raise RunError(f"{run} was recorded without the texts of its solutions: there is nothing to export")
    problem = problems.get(record.problem)
    if problem is None or problem.answer is None:
        raise RunError(f"{run / 'problems.jsonl'} has no reference answer for the problem {record.problem!r}")
    ballots = [Ballot(candidate.answer, candidate.value) for candidate in found]
    first = best(ballots)
    return {
        "problem": problem.prompt,
        "answer": problem.answer,
        "unique_id": problem.id,
        "completions": [candidate.text for candidate in found],
        "scores": [list(candidate.scores) for candidate in found],
        "agg_scores": [candidate.value for candidate in found],
        "pred": "" if first is None else found[first].text,
        "completion_tokens": [candidate.tokens for candidate in found],
        # Not search-and-learn's: who reads its files would grade again, and a task need not put its answers in boxes.
        "answers": [candidate.answer for candidate in found],
        "correct": [candidate.correct for candidate in found],
        **_predictions(found, ballots, _pool(record).n),
    }


def _predictions(found: Sequence[Outcome], ballots: Sequence[Ballot], n: int) -> dict[str, str]:
    """Of the first k samples, for every power of two and for all; as search-and-learn has them, in a box."""
    named = {}
    for k in _sizes(n):
        for name, select in PREDICTIONS.items():
            chosen = select(ballots[:k])
            named[f"pred_{name}@{k}"] = f"\\boxed{{{'' if chosen is None else found[chosen].answer}}}"
    return named


def _sizes(n: int) -> list[int]:
    return sorted({*(2**power for power in range(n.bit_length())), n})


def _columns_schema(pyarrow: Any, n: int) -> Any:
    text, real = pyarrow.string(), pyarrow.float64()
    columns = {
        "problem": text,
        "answer": text,
        "unique_id": text,
        "completions": pyarrow.list_(text),
        "scores": pyarrow.list_(pyarrow.list_(real)),
        "agg_scores": pyarrow.list_(real),
        "pred": text,
        "completion_tokens": pyarrow.list_(pyarrow.int64()),
        "answers": pyarrow.list_(text),
        "correct": pyarrow.list_(pyarrow.bool_()),
    }
    columns |= {f"pred_{name}@{k}": text for k in _sizes(n) for name in PREDICTIONS}
    return pyarrow.schema(list(columns.items()))
