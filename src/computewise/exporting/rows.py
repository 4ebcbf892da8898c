"""Every record of a run as a row of a Parquet file."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import msgspec

from computewise.core import Problem
from computewise.errors import UsageError
from computewise.exporting.files import Row, import_pyarrow, write_parquet
from computewise.records import Record, last_records, read_config, read_problems


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
        "model": record.model,
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
        "logprob": real,
        "tokens": whole,
        "correct": pyarrow.bool_(),
        "chain": text,
        "read": whole,
        "sampled": whole,
        "mean": real,
        "low": real,
        "text": text,
        "scores": pyarrow.list_(real),
        "thinking": text,
    }
    node = {"id": text, "parent": text, "step": text, "score": real, "end": text, "answer": text}
    spent = ("samples", "prompt_tokens", "cached_prompt_tokens", "completion_tokens")
    usage = dict.fromkeys((*spent, "verifier_tokens", "cached_verifier_tokens"), whole)
    columns = {
        "problem": text,
        "prompt": text,
        "answer": text,
        "purpose": text,
        "model": text,
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
