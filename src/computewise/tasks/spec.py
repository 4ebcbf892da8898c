"""What names a task, in plain data that can be pickled, written to JSON and typed on a command line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from computewise.errors import UsageError

COLUMNS = ("prompt", "answer", "id")


@dataclass(frozen=True, slots=True)
class TaskSpec:
    """A task by name, and what differs from that name's defaults; None is the default.

    `name` is `expressions`, `stories`, `math500`, `gsm8k`, `aime`, `reasoning_gym:DATASET`, or any other name, or a
    path, for a data set of your own. `path` is a .jsonl, .csv or .parquet file (the first two also .gz), or
    `hf:OWNER/NAME[/CONFIG][:SPLIT]` on the Hugging Face hub. `columns` says what prompt, answer and id are called.
    `grader` is `math`, `choice`, `exact`, `code` or `module:function`.
    """

    name: str
    path: str | None = None
    columns: Mapping[str, str] = field(default_factory=dict, hash=False)
    grader: str | None = None
    delimiter: str | None = None
    instruction: str | None = None
    allow_code_execution: bool = False

    def __post_init__(self) -> None:
        unknown = [name for name in self.columns if name not in COLUMNS]
        if unknown:
            raise UsageError(f"unknown column {unknown[0]!r}: allowed are {', '.join(COLUMNS)}")
        if self.delimiter == "":
            raise UsageError("the delimiter must not be empty: it ends a step")

    def plain(self) -> dict[str, Any]:
        """For JSON; `TaskSpec(**plain)` is the same again."""
        return asdict(self)


def read_columns(text: str) -> dict[str, str]:
    """The columns in "prompt=question,answer=gold"."""
    pairs = [pair.partition("=") for pair in text.split(",")]
    if not all(name.strip() and column.strip() for name, _, column in pairs):
        raise UsageError(f"columns {text!r} are not understood: allowed are such as prompt=question,answer=gold")
    return {name.strip(): column.strip() for name, _, column in pairs}
