"""The rows of a file, each with where it stands."""

from __future__ import annotations

import csv
import gzip
import io
import json
import zlib
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

from computewise.errors import RunError, UsageError

RawRow = dict[str, Any]
Rows = Iterator[tuple[str, RawRow]]


def is_file_of_rows(name: str) -> bool:
    """Whether a name ends like a file that can be read."""
    return name.endswith(tuple(_FORMATS))


def read_rows(path: Path) -> Rows:
    """Each row with where it stands: "line 3"."""
    for ending, read in _FORMATS.items():
        if path.name.endswith(ending):
            return read(path)
    raise UsageError(f"cannot read {path}: allowed are files that end in {', '.join(_FORMATS)}")


def _json_lines(path: Path) -> Rows:
    number = 0
    try:
        with (gzip.open if path.suffix == ".gz" else open)(path, "rb") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    yield f"line {number}", _decode(path, number, line)
    except (OSError, EOFError, zlib.error) as error:
        where = f" after line {number}" if number else ""
        raise RunError(f"cannot read {path}{where}: {_reason(error)}") from None


def _decode(path: Path, number: int, line: bytes) -> RawRow:
    try:
        row = json.loads(line)  # unlike msgspec's, it reads the NaN that Python writes
    except (ValueError, RecursionError) as error:
        raise RunError(f"{path}, line {number} is not JSON: {_reason(error)}") from None
    if not isinstance(row, dict):
        raise RunError(f"{path}, line {number} is a {type(row).__name__}: each line must be an object")
    return row


def _csv(path: Path) -> Rows:
    number = 0
    try:
        with (gzip.open if path.suffix == ".gz" else open)(path, "rb") as file:
            reader = csv.DictReader(io.TextIOWrapper(file, encoding="utf-8-sig", newline=""), strict=True)
            for row in reader:
                number = reader.line_num
                if None in row or None in row.values():
                    held = len(reader.fieldnames or ())
                    raise RunError(f"{path}, line {number} is malformed: it has not as many values as columns, {held}")
                yield f"line {number}", dict(row)
    except (OSError, EOFError, zlib.error, csv.Error, UnicodeDecodeError) as error:
        where = f" after line {number}" if number else ""
        raise RunError(f"cannot read {path}{where}: {_reason(error)}") from None


def _parquet(path: Path) -> Rows:
    try:
        from pyarrow import ArrowException
        from pyarrow.parquet import ParquetFile
    except ImportError:
        raise UsageError("reading Parquet needs pyarrow: pip install 'computewise[parquet]'") from None
    try:
        with ParquetFile(path) as file:
            rows = chain.from_iterable(batch.to_pylist() for batch in file.iter_batches(batch_size=16))
            for number, row in enumerate(rows, 1):
                yield f"row {number}", row
    except (OSError, ArrowException) as error:
        raise RunError(f"cannot read {path}: {_reason(error)}") from None


def _reason(error: Exception) -> str:
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return str(text).splitlines()[0]


_FORMATS: dict[str, Callable[[Path], Rows]] = {
    ".jsonl": _json_lines,
    ".jsonl.gz": _json_lines,
    ".parquet": _parquet,
    ".csv": _csv,
    ".csv.gz": _csv,
}
