"""Rows of a problem with a list a column: search-and-learn, Large Language Monkeys, and Qwen2.5-Math's evaluation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from computewise.study.recorded.readers.cells import (
    DraftProblem,
    Notes,
    Reading,
    count_of,
    draft,
    problem_of,
    shown,
)


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
