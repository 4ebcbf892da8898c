"""Writing a file of rows, whole or not at all."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

from computewise.errors import RunError, UsageError

Row = Mapping[str, Any]
GROUP = 256
"""Rows written at a time: a row holds all texts of a problem."""


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
    """A file beside `path` that takes its place once it is whole, and goes where it does not become so."""
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
