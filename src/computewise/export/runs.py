"""Write a run directory as Parquet, or in the columns of search-and-learn."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import msgspec

from computewise.core import Problem
from computewise.errors import RunError, UsageError
from computewise.runs import CandidateRecord, Record, last_records, read_config, read_problems
from computewise.selection import Ballot, best, majority, weighted

PREDICTIONS = {"naive": best, "weighted": weighted, "maj": majority}


class ExportedPool(NamedTuple):
    """The samples of one pool, which are written to one file."""

    role: str
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
        name = out.stem if len(pools) == 1 else f"{out.stem}-{pool.role}-n{pool.n}-seed{pool.seed}"
        mine = (record for record in last_records(run) if _exported(record) and _pool(record) == pool)
        _write(out.with_name(name + out.suffix), (_columns_row(run, record, problems) for record in mine), pool, config)
    return out if len(pools) == 1 else out.parent


def _exported(record: Record) -> bool:
    return record.purpose == "pool" and not record.error


def _pool(record: Record) -> ExportedPool:
    return ExportedPool(record.role, int(record.strategy["n"]), record.seed)


def _write(path: Path, rows: Iterable[Row], pool: ExportedPool, config: Mapping[str, Any]) -> None:
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
        # Not in search-and-learn's files, whose readers grade again; a task need not put its answers in boxes.
        "answers": [candidate.answer for candidate in found],
        "correct": [candidate.correct for candidate in found],
        **_predictions(found, ballots, _pool(record).n),
    }


def _predictions(found: Sequence[CandidateRecord], ballots: Sequence[Ballot], n: int) -> dict[str, str]:
    """Predictions from the first k samples, for each power of two and for all, in boxes as in search-and-learn."""
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


def write_rows(run: Path, out: Path) -> Path:
    """One row for each (problem, strategy, seed); the configuration is in the file's metadata, as JSON."""
    if out.suffix != ".parquet":
        raise UsageError(f"cannot write {out}: allowed is a file that ends in .parquet")
    schema = _schema(import_pyarrow())
    config = read_config(run)
    known = read_problems(run) if (run / "problems.jsonl").exists() else {}
    write_parquet(out, _rows(run, known), schema, {"computewise.config": json.dumps(config)})
    return out


def _rows(run: Path, known: Mapping[str, Problem]) -> Iterator[Row]:
    for record in last_records(run):
        yield _row(record, known.get(record.problem))


def _row(record: Record, problem: Problem | None) -> Row:
    return {
        "problem": record.problem,
        "prompt": problem and problem.prompt,
        "answer": problem and problem.answer,
        "purpose": record.purpose,
        "role": record.role,
        "strategy": record.strategy.get("name"),
        "settings": json.dumps(record.strategy, sort_keys=True),
        "seed": record.seed,
        "usage": asdict(record.usage),
        "candidates": [msgspec.structs.asdict(candidate) for candidate in record.candidates],
        "tree": None if record.tree is None else [msgspec.structs.asdict(node) for node in record.tree],
        "sequential": record.sequential,
        "error": record.error,
    }


def _schema(pyarrow: Any) -> Any:
    text, whole, real = pyarrow.string(), pyarrow.int64(), pyarrow.float64()
    candidate = {
        "answer": text,
        "value": real,
        "mean_token_prob": real,
        "tokens": whole,
        "correct": pyarrow.bool_(),
        "chain": text,
        "uncached_prompt_tokens": whole,
        "completion_tokens": whole,
        "score_mean": real,
        "score_min": real,
        "text": text,
        "scores": pyarrow.list_(real),
        "thinking": text,
        "ungraded": text,
        "notes": pyarrow.list_(text),
    }
    node = {"id": text, "parent": text, "step": text, "score": real, "end": text, "answer": text}
    spent = ("samples", "prompt_tokens", "cached_prompt_tokens", "completion_tokens")
    usage = dict.fromkeys((*spent, "verifier_tokens", "cached_verifier_tokens"), whole)
    columns = {
        "problem": text,
        "prompt": text,
        "answer": text,
        "purpose": text,
        "role": text,
        "strategy": text,
        "settings": text,
        "seed": whole,
        "usage": pyarrow.struct(list(usage.items())),
        "candidates": pyarrow.list_(pyarrow.struct(list(candidate.items()))),
        "tree": pyarrow.list_(pyarrow.struct(list(node.items()))),
        "sequential": whole,
        "error": text,
    }
    return pyarrow.schema(list(columns.items()))


Row = Mapping[str, Any]

GROUP = 256

"""Number of rows that are written at a time: a row holds all texts of a problem."""


def write_json_lines(path: Path, rows: Iterable[Row]) -> None:
    """One JSON object a line."""
    with _aside(path) as aside, aside.open("w", encoding="utf-8") as file:
        for row in rows:
            file.write(json.dumps(row) + "\n")


def write_parquet(path: Path, rows: Iterable[Row], schema: Any, metadata: Mapping[str, str]) -> None:
    """Compressed Parquet of an Arrow schema, with `metadata` in the file's own."""
    pyarrow = import_pyarrow()
    from pyarrow.parquet import ParquetWriter

    schema = schema.with_metadata(dict(metadata))
    with _aside(path) as aside:
        try:
            with ParquetWriter(aside, schema, compression="zstd") as writer:
                left = iter(rows)
                while group := list(islice(left, GROUP)):
                    writer.write_table(pyarrow.Table.from_pylist(group, schema))
        except pyarrow.ArrowException as error:
            raise RunError(f"cannot write {path}: {str(error).splitlines()[0]}") from None


def import_pyarrow() -> Any:
    """The library that writes Parquet; raises `UsageError` without it."""
    try:
        import pyarrow
    except ImportError:
        raise UsageError("writing Parquet needs pyarrow: pip install 'computewise[parquet]'") from None
    return pyarrow


@contextmanager
def _aside(path: Path) -> Iterator[Path]:
    """A file beside `path`; it replaces `path` at the end, and is deleted after an error."""
    aside = path.with_name(path.name + ".tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield aside
            os.replace(aside, path)
        finally:
            aside.unlink(missing_ok=True)
    except OSError as error:
        raise RunError(f"cannot write {path}: {error.strerror or error}") from None


Format = Literal["parquet", "search-and-learn"]


def export_run(run: Path, format: Format, out: Path) -> Path:
    """Write `run` to `out`; returns where it was written. The run directory is not changed.

    "parquet": one row for every record, with all its fields. "search-and-learn": the pools of independent samples in
    the columns of huggingface/search-and-learn, which `computewise replay` reads, as JSON lines or Parquet by the
    ending of `out`. Where there are several pools, each has a file with role, n and seed before the ending, and their
    directory is returned.
    """
    if format == "parquet":
        return write_rows(run, out)
    if format == "search-and-learn":
        return write_columns(run, out)
    raise UsageError(f"unknown format {format!r}: allowed are {', '.join(get_args(Format))}")
