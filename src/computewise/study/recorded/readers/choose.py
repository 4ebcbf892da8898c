"""Which schema a file of recorded samples is in, and which of its rows are wanted."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

from computewise.errors import RunError, UsageError
from computewise.study.recorded.readers.cells import DraftProblem, Notes, Reading, Unreadable, name_of, printable
from computewise.study.recorded.readers.containers import PlacedRow, Progress, read_rows
from computewise.study.recorded.readers.harness_logs import HARNESS, INSPECT, FirstFilter
from computewise.study.recorded.readers.schemas import (
    CASSETTE,
    MONKEYS,
    QWEN_MATH,
    ROWS,
    SAMPLES,
    SEARCH_AND_LEARN,
    TRAJECTORIES,
)
from computewise.study.recorded.rows import Finding

Watch = Callable[[str], None]
"""Called with what is done now, for a person who waits."""

LOOKED_AT = 20
"""So many rows are looked at to find out the schema."""

TELL_APART = ("run_id", "model", "model_name", "model_id", "config", "configuration", "reasoning_effort", "temperature")
"""Columns that say what was sampled from: samples of different ones are not mixed."""

LISTED = 60
"""So many choices are listed."""

EVERY_SECONDS = 0.5
"""How often a person who waits is told."""

ANY = "*"


class Schema(Protocol):
    """A layout of recorded samples; `example` names its columns for a person."""

    @property
    def name(self) -> str:
        """What `--format` calls it."""
        ...

    @property
    def example(self) -> str:
        """The columns that it needs, and those that it reads where they are there."""
        ...

    def fits(self, row: Mapping[str, Any], reading: Reading) -> bool:
        """Whether the row is in it, by its columns and the types of what they hold."""
        ...

    def has_columns(self, row: Mapping[str, Any], reading: Reading) -> bool:
        """Whether the row has its columns."""
        ...

    def read(self, where: str, row: Mapping[str, Any], notes: Notes, reading: Reading) -> Iterator[DraftProblem]:
        """The problems of a row, with the samples that can be read; the others are noted as lost."""
        ...


SCHEMAS: tuple[Schema, ...] = (
    INSPECT,
    HARNESS,
    SAMPLES,
    TRAJECTORIES,
    CASSETTE,
    MONKEYS,
    SEARCH_AND_LEARN,
    QWEN_MATH,
    ROWS,
)
"""In the order in which they are tried."""


def schema_of(row: Mapping[str, Any], reading: Reading, *, strict: bool) -> Schema | None:
    """The schema of a row; unless `strict`, by its columns alone. None where it is in none."""
    if strict:
        return next((schema for schema in SCHEMAS if schema.fits(row, reading)), None)
    return next((schema for schema in SCHEMAS if schema.has_columns(row, reading)), None)


class Seldom:
    """Passes on what is done, but not more often than a person can read."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self._last = -EVERY_SECONDS

    def __call__(self, doing: str) -> None:
        """Pass it on, or not."""
        if time.monotonic() - self._last >= EVERY_SECONDS:
            self._last = time.monotonic()
            self._watch(doing)


class FileRows:
    """The rows of a file that are wanted, with their schema, and what else was seen of it."""

    def __init__(self, path: Path, reading: Reading, watch: Watch) -> None:
        told = Seldom(watch)

        def tell(progress: Progress) -> None:
            told(f"reading {path.name}: {progress.done / max(progress.size, 1):.0%}")

        self.path, self._reading = path, reading
        self._held = read_rows(path, tell)
        self._begun = list(islice(self._held, LOOKED_AT))
        self.schema = self._find_schema()
        self.example = f"expected are {self.schema.example}"
        self._columns: dict[str, None] = {}
        self._values: dict[str, Counter[str]] = {name: Counter() for name in reading.only}
        self._sources: Counter[tuple[str, ...]] = Counter()
        self._wanted = 0
        self._filters = FirstFilter()
        self._repeated = 0

    def _find_schema(self) -> Schema:
        if self._reading.format is not None:
            return _schema_named(self._reading.format)
        rows = [(where, row) for where, row in self._begun if isinstance(row, dict)]
        for strict in (True, False):
            for _, row in rows:
                if (found := schema_of(row, self._reading, strict=strict)) is not None:
                    return found
        if not self._begun:
            raise RunError(f"{self.path} holds no problems")
        where, row = rows[0] if rows else self._begun[0]
        if isinstance(row, Unreadable):
            raise RunError(f"{self.path}, {where}{row.reason}")
        listed = "; ".join(f"{schema.name}: {schema.example}" for schema in SCHEMAS)
        raise UsageError(
            f"{self.path}, {where}: columns {printable(', '.join(row)) or '(none)'} are not understood: name their "
            f"roles by --columns, such as prompt=COLUMN,text=COLUMN, or needed are those of one schema ({listed})"
        )

    def __iter__(self) -> Iterator[PlacedRow]:
        for where, row in self._each():
            if isinstance(row, dict):
                self._columns.update(dict.fromkeys(row))
                if not self._is_wanted(row):
                    continue
                self._wanted += 1
                self._sources[tuple(name_of(row.get(name)) for name in TELL_APART)] += 1
                if self.schema is HARNESS and self._filters.repeats(row):
                    self._repeated += 1
                    continue
            yield where, row

    def _each(self) -> Iterator[PlacedRow]:
        while self._begun:
            yield self._begun.pop(0)
        yield from self._held

    def _is_wanted(self, row: Mapping[str, Any]) -> bool:
        for name, wanted in self._reading.only.items():
            if name in row:
                own = name_of(row[name])
                self._values[name][own] += 1
                if wanted not in (own, ANY):
                    return False
        return True

    def check(self) -> None:
        """Raise `UsageError` where `only` names what is not there, or where samples of several sources are mixed."""
        for name in self._reading.only:
            if name not in self._columns and name != "scorer":
                raise UsageError(
                    f"{self.path} has no column {name} for --only: it has {printable(', '.join(self._columns))}"
                )
        if not self._wanted and self._reading.only:
            listed = "; ".join(f"{name}={_listed(values)}" for name, values in self._values.items())
            raise UsageError(f"{self.path} has no row that --only chooses: it has {listed}")
        mixed = {}
        for place, name in enumerate(TELL_APART):
            values = Counter[str]()
            for source, count in self._sources.items():
                values[source[place]] += count
            # A name of its own for each row, or nearly, is the sample's.
            if self._reading.only.get(name) != ANY and 1 < len(values) <= max(2, self._wanted / 2):
                mixed[name] = values
        if not mixed:
            return
        name = max(mixed, key=lambda one: len(mixed[one]))
        others = [other for other in mixed if other != name]
        choices = []
        for value, count in mixed[name].items():
            beside = {
                source[TELL_APART.index(other)]
                for other in others
                for source in self._sources
                if source[TELL_APART.index(name)] == value
            }
            choices.append(f"{name}={value} ({', '.join([*sorted(beside), f'{count:,} rows'])})")
        more = f"; and {len(choices) - LISTED} more" if len(choices) > LISTED else ""
        raise UsageError(
            f"{self.path} holds samples of {len(choices)} sources, which are not one distribution: choose one by "
            f"--only {name}=VALUE, or mix them by --only {name}={ANY}. It has {'; '.join(choices[:LISTED])}{more}"
        )

    def findings(self) -> list[Finding]:
        """What the rows themselves are known for."""
        if not self._repeated:
            return []
        listed = ", ".join(self._filters.filters)
        text = (
            f"{self._repeated:,} rows repeat a document under another filter ({listed}): its samples are read once "
            "and graded here. --only filter=NAME takes that filter's answers and metric."
        )
        return [Finding("filters", self._repeated, None, text)]


def _listed(values: Counter[str]) -> str:
    return ", ".join(islice(values, LISTED)) + (", ..." if len(values) > LISTED else "")


def _schema_named(name: str) -> Schema:
    for schema in SCHEMAS:
        if schema.name == name:
            return schema
    raise UsageError(f"unknown format {name!r}: allowed are {', '.join(schema.name for schema in SCHEMAS)}")
