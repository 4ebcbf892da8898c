"""Tables of one row a sample, whatever their columns are called."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from computewise.study.recorded.readers.cells import NAMES, DraftProblem, Notes, Reading, draft, problem_of
from computewise.study.recorded.readers.objects import cells_of

_SAYS_SOMETHING = ("text", "answer")

_IDENTIFIES = ("id", "prompt")


@dataclass(frozen=True, slots=True)
class SampleRows:
    """A row has the problem's id or text, its reference or the sample's grade, and a text or an answer."""

    name: str = "rows"
    example: str = "problem_id or problem, target or correct, text or answer, and where known tokens, epoch, score"

    def fits(self, row: Mapping[str, Any], reading: Reading) -> bool:
        """Whether the row has them."""
        cells, reference = _split(row, reading)
        identified = any(reading.named(role, row) for role in _IDENTIFIES)
        return (
            identified
            and any(role in cells for role in _SAYS_SOMETHING)
            and (reference is not None or "correct" in cells)
        )

    def has_columns(self, row: Mapping[str, Any], reading: Reading) -> bool:
        """As `fits`: the columns are all that it looks at."""
        return self.fits(row, reading)

    def read(self, where: str, row: Mapping[str, Any], notes: Notes, reading: Reading) -> Iterator[DraftProblem]:
        """The problem with the row's sample."""
        cells, reference = _split(row, reading)
        read = draft(where, cells, notes, reading)
        beside = {"reference": row[reference] if reference else None}
        samples = () if read is None else (read,)
        yield problem_of(where, row, samples, notes, reading, beside=beside, row_is_sample=True)


def _split(row: Mapping[str, Any], reading: Reading) -> tuple[dict[str, tuple[str, Any]], str | None]:
    """The sample's cells, and the column of the reference; "answer" is that where nothing else can be."""
    cells = cells_of(row, reading)
    if "reference" in reading.columns:
        column = reading.named("reference", row)
    else:
        column = next((name for name in NAMES["reference"] if name in row and name != "answer"), None)
        taken = cells.get("answer", ("", None))[0]
        if (
            column is None
            and "answer" in row
            and ("text" in cells or taken != ".answer")
            and "answer" not in (reading.columns)
        ):
            column = "answer"
            other = next((name for name in NAMES["answer"][1:] if name in row), None)
            cells.pop("answer", None)
            if other is not None:
                cells["answer"] = (f".{other}", row[other])
    used = {reading.named(role, row) for role in _IDENTIFIES} | {column}
    return {role: cell for role, cell in cells.items() if cell[0][1:] not in used}, column


ROWS = SampleRows()
