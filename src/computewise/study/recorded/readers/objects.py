"""Rows of a problem with a list of objects, one a sample: our own schema, trajectories, and cassettes with traces."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from computewise.study.recorded.readers.cells import (
    NAMES,
    SAMPLE_ROLES,
    DraftProblem,
    Notes,
    Reading,
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
