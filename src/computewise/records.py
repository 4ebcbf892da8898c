"""The run directory: the system of record. One line a record, appended, never rewritten."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from computewise.core import Usage
from computewise.errors import RunError

Settings = dict[str, int | float | str]


class Outcome(msgspec.Struct, frozen=True, omit_defaults=True):
    """One candidate, as far as any selection needs it."""

    answer: str | None
    value: float
    logprob: float
    tokens: int
    correct: bool
    chain: str = ""
    read: int = 0
    """Prompt tokens before it that no cache held."""
    sampled: int = 0
    """Tokens of it that were sampled, not kept from an earlier attempt."""
    mean: float = 0.0
    low: float = 0.0
    """Mean and least of its steps' scores."""


class Node(msgspec.Struct, frozen=True):
    """One node of a recorded search tree: its last step and that step's score."""

    id: str
    parent: str | None
    step: str
    score: float | None
    end: str | None
    answer: str | None


class Record(msgspec.Struct, frozen=True):
    """What one strategy made of one problem with one seed; `error` says why there is nothing else."""

    purpose: str
    model: str
    strategy: Settings
    seed: int
    problem: str
    usage: Usage = Usage()
    candidates: list[Outcome] = []
    tree: list[Node] | None = None
    error: str | None = None
    sequential: int = 0
    """Tokens that were sampled one after another: along the longest path through what was explored."""


Key = tuple[str, str, str, int, str]


def key_of(purpose: str, model: str, strategy: Mapping[str, int | float | str], seed: int, problem: str) -> Key:
    """What a record is found by."""
    return purpose, model, json.dumps(strategy, sort_keys=True), seed, problem


class RunDirectory:
    """A directory with `config.json` and `records.jsonl`; a torn last line, as a kill leaves it, is dropped."""

    def __init__(self, path: Path, config: Mapping[str, Any], *, resume: bool) -> None:
        self.path = path
        self._records = path / "records.jsonl"
        try:
            path.mkdir(parents=True, exist_ok=True)
            self._open(config, resume)
        except OSError as error:
            raise RunError(f"cannot use the run directory {path}: {error.strerror or error}") from None

    def _open(self, config: Mapping[str, Any], resume: bool) -> None:
        saved = self.path / "config.json"
        if saved.exists():
            try:
                held = msgspec.json.decode(saved.read_bytes(), type=dict[str, Any])
            except (msgspec.MsgspecError, UnicodeDecodeError):
                raise RunError(f"{saved} is no configuration: name another --out") from None
            differing = sorted(name for name in config.keys() | held.keys() if config.get(name) != held.get(name))
            if differing:
                raise RunError(
                    f"the run directory {self.path} is of another configuration ({', '.join(differing)} differ): "
                    "name another --out"
                )
            if not resume and self._records.exists():
                raise RunError(f"the run directory {self.path} holds a run: go on with --resume, or name another --out")
        elif any(path.suffix != ".tmp" for path in self.path.iterdir()):
            raise RunError(f"{self.path} is not empty and no run directory: name another --out")
        else:
            write_atomically(saved, json.dumps(config, indent=2) + "\n")
        if self._records.exists():
            self._drop_torn_line()

    def _drop_torn_line(self) -> None:
        with self._records.open("r+b") as file:
            data = file.read()
            file.truncate(data.rfind(b"\n") + 1)

    def append(self, records: Iterable[Record]) -> None:
        """Append in one write, and wait until it is on the disk; a failed write leaves only what stood before."""
        data = b"".join(msgspec.json.encode(record) + b"\n" for record in records)
        try:
            with self._records.open("ab") as file:
                before = file.tell()
                try:
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
                except OSError:
                    os.truncate(self._records, before)
                    raise
        except OSError as error:
            raise RunError(
                f"cannot write {self._records}: {error.strerror or error}; the rest is kept, go on with --resume"
            ) from None

    def read(self) -> dict[Key, Record]:
        """All records by their keys."""
        if not self._records.exists():
            return {}
        decoder = msgspec.json.Decoder(Record)
        found = {}
        with self._records.open("rb") as file:
            for number, line in enumerate(file, 1):
                try:
                    record = decoder.decode(line)
                except msgspec.MsgspecError as error:
                    raise RunError(f"{self._records}, line {number} is no record: {error}") from None
                found[key_of(record.purpose, record.model, record.strategy, record.seed, record.problem)] = record
        return found

    def write(self, name: str, text: str) -> Path:
        """Write a result file in place of an older one, whole or not at all."""
        path = self.path / name
        try:
            write_atomically(path, text)
        except OSError as error:
            raise RunError(f"cannot write {path}: {error.strerror or error}; what is recorded is kept") from None
        return path


def write_atomically(path: Path, text: str) -> None:
    """Write aside, then rename."""
    aside = path.with_name(path.name + ".tmp")
    aside.write_text(text)
    os.replace(aside, path)
