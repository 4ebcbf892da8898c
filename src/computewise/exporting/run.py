"""A study's run directory as a file that other tools read."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, get_args

from computewise.errors import UsageError
from computewise.exporting.columns import write_columns
from computewise.exporting.rows import write_rows

Format = Literal["parquet", "search-and-learn"]


def export_run(run: Path, format: Format, out: Path) -> Path:
    """Write `run` to `out` and say where; the run directory is left as it is, an older file is replaced whole.

    "parquet": every record, a row each, with all it holds. "search-and-learn": the pools of independent samples in the
    columns of huggingface/search-and-learn, which `computewise replay` reads; JSON lines or Parquet by the ending of
    `out`. Where there are several pools, each has a file, with model, n and seed before the ending, and their directory
    is returned.
    """
    if format == "parquet":
        return write_rows(run, out)
    if format == "search-and-learn":
        return write_columns(run, out)
    raise UsageError(f"unknown format {format!r}: allowed are {', '.join(get_args(Format))}")
