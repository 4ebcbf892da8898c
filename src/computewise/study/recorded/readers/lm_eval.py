"""Samples of the LM Evaluation Harness (samples_*.jsonl): the repeats of a document are its samples."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from computewise.study.recorded.readers.cells import (
    NAMES,
    DraftProblem,
    Notes,
    Reading,
    draft,
    name_of,
    problem_of,
    shown,
)

_NOTHING = "[invalid]"
"""What a filter writes that finds no answer."""


@dataclass(frozen=True, slots=True)
class HarnessRow:
    """A row has doc, target and resps; each filter repeats it with the same texts."""

    name: str = "lm-eval"
    example: str = "doc_id, doc, target, resps (a list of lists of texts), filter and its metric"

    def fits(self, row: Mapping[str, Any], reading: Reading) -> bool:
        """Whether the row has them."""
        return isinstance(row.get("resps"), list) and "doc" in row

    def has_columns(self, row: Mapping[str, Any], reading: Reading) -> bool:
        """Whether the row has texts, whatever is in them."""
        return "resps" in row

    def read(self, where: str, row: Mapping[str, Any], notes: Notes, reading: Reading) -> Iterator[DraftProblem]:
        """The row's problem. A filter's answer and metric count where `--only filter=NAME` chooses one."""
        filtered = reading.only.get("filter")
        texts = [(f".resps[{i}][{j}]", text) for i, j, text in _flat(row.get("resps"))]
        if not texts:
            notes.seen += 1
            notes.lose(where, f".resps is {shown(row.get('resps'))}, expected a list of lists of texts")
            return
        found = []
        for place, (column, text) in enumerate(texts):
            if isinstance(text, list):
                notes.seen += 1
                notes.lose(where, f"{column} is {shown(text)}, expected a text; log-likelihoods are no samples")
                continue
            cells = {"text": (column, text)}
            if filtered is not None and len(texts) == 1:
                cells |= _graded(row, text)
            read = draft(f"{where}, repeat {place + 1}" if len(texts) > 1 else where, cells, notes, reading)
            if read is not None:
                found.append(read)
        doc = row.get("doc")
        asked = next((doc[name] for name in NAMES["prompt"] if name in doc), None) if isinstance(doc, dict) else None
        target = row.get("target")
        if target is None and isinstance(doc, dict):
            target = next((doc[name] for name in NAMES["reference"] if name in doc), None)
        beside = {
            "id": row.get("doc_id"),
            "prompt": asked if isinstance(asked, str) else _argument(row.get("arguments")),
            "reference": target,
        }
        yield problem_of(where, row, found, notes, reading, beside=beside)


def _flat(resps: object) -> Iterator[tuple[int, int, object]]:
    if isinstance(resps, list):
        for i, repeats in enumerate(resps):
            for j, text in enumerate(repeats if isinstance(repeats, list) else [repeats]):
                yield i, j, text


def _graded(row: Mapping[str, Any], text: object) -> dict[str, tuple[str, Any]]:
    """What the row's filter made of its only text: an answer where it cut one out, and the metric."""
    cells: dict[str, tuple[str, Any]] = {}
    held = row.get("filtered_resps")
    while isinstance(held, list) and len(held) == 1:
        [held] = held
    if isinstance(held, str) and held != text:
        cells["answer"] = (".filtered_resps", None if held == _NOTHING else held)
    names = row.get("metrics")
    metrics = [name for name in names if isinstance(name, str)] if isinstance(names, list) else ["exact_match", "acc"]
    if (metric := next((name for name in metrics if name in row), None)) is not None:
        cells["correct"] = (f".{metric}", row[metric])
    return cells


def _argument(arguments: object) -> str | None:
    """The prompt that was sent."""
    while isinstance(arguments, (list, dict)) and arguments:
        arguments = arguments[0] if isinstance(arguments, list) else next(iter(arguments.values()))
    return arguments if isinstance(arguments, str) else None


class FirstFilter:
    """Tells the rows that repeat a document's texts under another filter than the document's first."""

    def __init__(self) -> None:
        self._first: dict[str, str] = {}
        self.filters: dict[str, None] = {}

    def repeats(self, row: Mapping[str, Any]) -> bool:
        """Whether the row's texts were read already."""
        own = name_of(row.get("filter"))
        self.filters[own] = None
        return self._first.setdefault(name_of(row.get("doc_id")), own) != own


HARNESS = HarnessRow()
