"""Schemas of recorded samples: a row a problem, with a list of objects or a list a column, and a row a sample."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from computewise.study.recorded.readers.cells import (
    NAMES,
    SAMPLE_ROLES,
    DraftProblem,
    Notes,
    Reading,
    count_of,
    draft,
    problem_of,
    shown,
)


@dataclass(frozen=True, slots=True)
class ListOfObjects:
    """A schema whose samples stand in the column `samples`."""

    name: str
    example: str
    samples: str

    def fits(self, row: Mapping[str, Any], reading: Reading) -> bool:
        """Whether the row has the samples, one of them an object."""
        held = row.get(self.samples)
        return isinstance(held, list) and any(isinstance(one, dict) for one in held)

    def has_columns(self, row: Mapping[str, Any], reading: Reading) -> bool:
        """Whether the row has the column, whatever is in it."""
        return self.samples in row

    def read(self, where: str, row: Mapping[str, Any], notes: Notes, reading: Reading) -> Iterator[DraftProblem]:
        """The row's problem."""
        held = row.get(self.samples)
        if not isinstance(held, list) or not held:
            notes.seen += 1
            notes.lose(where, f".{self.samples} is {shown(held)}, expected a list of objects")
            return
        found = []
        for place, sample in enumerate(held):
            at = f"{where}, {self.samples}[{place}]"
            if not isinstance(sample, dict):
                notes.seen += 1
                notes.lose(at, f" is {shown(sample)}, expected an object")
            elif (read := draft(at, cells_of(sample, reading), notes, reading)) is not None:
                found.append(read)
        yield problem_of(where, row, found, notes, reading)


def cells_of(sample: Mapping[str, Any], reading: Reading) -> dict[str, tuple[str, Any]]:
    """The cells of an object that is a sample, by role."""
    found = {}
    for role in SAMPLE_ROLES:
        column = reading.columns.get(role)
        names = NAMES[role] if column is None else (column,)
        if (name := next((name for name in names if name in sample), None)) is not None:
            found[role] = (f".{name}", sample[name])
    return found


SAMPLES = ListOfObjects(
    "samples",
    "problem, answer, samples (a list of objects with text and, where known, step_scores, answer, correct, tokens)",
    "samples",
)

TRAJECTORIES = ListOfObjects(
    "trajectories",
    "question, gold, trajectories (a list of objects with text and, where known, answer, logprob, n_tokens)",
    "trajectories",
)

CASSETTE = ListOfObjects(
    "cassette",
    "problem_id, gold, traces (a list of objects with text and, where known, correct, tokens, prm_score)",
    "traces",
)


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


@dataclass(frozen=True, slots=True)
class ListColumns:
    """A schema whose `lists` give the column of each role, the texts' first."""

    name: str
    example: str
    lists: Mapping[str, tuple[str, ...]]
    reference: tuple[str, ...] = ("answer",)

    def fits(self, row: Mapping[str, Any], reading: Reading) -> bool:
        """Whether the row has the texts, one of them a text."""
        texts = row.get(self._column("text", row, reading) or "")
        return isinstance(texts, list) and any(isinstance(one, str) for one in texts)

    def has_columns(self, row: Mapping[str, Any], reading: Reading) -> bool:
        """Whether the row has a column of texts, whatever is in it."""
        return self._column("text", row, reading) is not None

    def read(self, where: str, row: Mapping[str, Any], notes: Notes, reading: Reading) -> Iterator[DraftProblem]:
        """The row's problem; a row whose lists differ in length is lost, since nothing says what belongs together."""
        columns = {role: self._column(role, row, reading) for role in self.lists}
        held = {role: (column, row[column]) for role, column in columns.items() if column is not None}
        column, texts = held.pop("text")
        if not isinstance(texts, list) or not texts:
            notes.seen += 1
            notes.lose(where, f".{column} is {shown(texts)}, expected a list of texts")
            return
        lists = {"text": (column, texts)}
        for role, (column, values) in held.items():
            if role == "tokens" and not isinstance(values, (list, type(None))):
                values = _shared_out(f"{where}.{column}", values, len(texts), notes)
            if isinstance(values, list):
                lists[role] = (column, values)
            elif values is not None:
                notes.ignore(where, f".{column} is {shown(values)}, expected a list")
        lengths = {column: len(values) for column, values in lists.values()}
        if len(set(lengths.values())) > 1:
            said = ", ".join(f"{column} {length}" for column, length in lengths.items())
            notes.seen += len(texts)
            notes.lose(where, f" holds lists of unequal length: {said}", len(texts))
            return
        found = []
        for place in range(len(texts)):
            cells = {role: (f".{column}[{place}]", values[place]) for role, (column, values) in lists.items()}
            if (sample := draft(where, cells, notes, reading)) is not None:
                found.append(replace(sample, where=f"{where}, sample {place + 1}"))
        reference = next((name for name in self.reference if name in row), None)
        beside = {} if reference is None or "reference" in reading.columns else {"reference": row[reference]}
        yield problem_of(where, row, found, notes, reading, beside=beside)

    def _column(self, role: str, row: Mapping[str, Any], reading: Reading) -> str | None:
        wanted = (reading.columns[role],) if role in reading.columns else self.lists[role]
        return next((name for name in wanted if name in row), None)


def _shared_out(where: str, value: object, samples: int, notes: Notes) -> list[int] | None:
    """The tokens of all samples together, shared out; DVTS writes -1."""
    try:
        tokens = count_of(value)
    except ValueError as error:
        notes.ignore(where, f" is {shown(value)}, expected {error}")
        return None
    return None if tokens is None else [round(tokens / samples)] * samples


SEARCH_AND_LEARN = ListColumns(
    "search-and-learn",
    "problem, answer, completions (a list of texts), scores, completion_tokens",
    {
        "text": ("completions",),
        "scores": ("scores", "agg_scores"),
        "tokens": ("completion_tokens",),
        "answer": ("answers",),
        "correct": ("correct",),
    },
)

MONKEYS = ListColumns(
    "monkeys",
    "question, gt_answer, samples (a list of texts), is_corrects",
    {"text": ("samples",), "correct": ("is_corrects",), "answer": ("answers",), "scores": ("scores",)},
    reference=("gt_answer", "answer"),
)

QWEN_MATH = ListColumns(
    "qwen-math",
    "question, gt, code (a list of texts), pred, score, pred_score",
    {"text": ("code",), "answer": ("pred",), "correct": ("score",), "scores": ("pred_score",)},
    reference=("gt", "answer"),
)
