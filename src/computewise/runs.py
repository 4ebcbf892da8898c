"""The run directory: the system of record. One line a record, appended, never rewritten."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from computewise.core import Problem, Role, Usage
from computewise.errors import RunError

WHERE = "servers"
"""The part of a configuration that says where something is."""

StrategyParams = dict[str, int | float | str]
T = TypeVar("T")


class CandidateRecord(msgspec.Struct, frozen=True, omit_defaults=True):
    """One candidate, as far as any selection needs it."""

    answer: str | None
    value: float
    mean_token_prob: float
    tokens: int
    correct: bool
    chain: str = ""
    uncached_prompt_tokens: int = 0
    """Prompt tokens before it that no cache held."""
    completion_tokens: int = 0
    """Tokens of it that were sampled, not kept from an earlier attempt."""
    score_mean: float = 0.0
    score_min: float = 0.0
    """Mean and least of its steps' scores."""
    text: str = ""
    """The solution itself, where the run keeps it."""
    scores: tuple[float, ...] = ()
    """Its steps' scores, where the run keeps them."""
    thinking: str = ""
    """What a reasoning model thought before it."""


class NodeRecord(msgspec.Struct, frozen=True):
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
    role: Role
    strategy: StrategyParams
    seed: int
    problem: str
    usage: Usage = Usage()
    candidates: list[CandidateRecord] = []
    tree: list[NodeRecord] | None = None
    error: str | None = None
    sequential: int = 0
    """Tokens that were sampled one after another: along the longest path through what was explored."""


Key = tuple[str, str, str, int, str]
_RENAMED = {"ratio_pool": "revision_pool"}
"""Strategies that older runs name otherwise, with their names of today."""


def make_key(purpose: str, model: str, strategy: Mapping[str, int | float | str], seed: int, problem: str) -> Key:
    """What a record is found by."""
    name = str(strategy["name"])
    return purpose, model, json.dumps({**strategy, "name": _RENAMED.get(name, name)}, sort_keys=True), seed, problem


def record_key(record: Record) -> Key:
    """What this record is found by."""
    return make_key(record.purpose, record.role, record.strategy, record.seed, record.problem)


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
            held = read_config(self.path)
            differing = differing_settings(config, held)
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
        """All records by their keys; of several of one key the last, a failed attempt tried again."""
        return {record_key(record): record for record in read_records(self.path)}

    def write_problems(self, problems: Iterable[Problem]) -> Path:
        """Keep prompts and reference answers, of which a record holds the id alone."""
        return self.write("problems.jsonl", "".join(msgspec.json.encode(one).decode() + "\n" for one in problems))

    def write(self, name: str, text: str) -> Path:
        """Write a result file in place of an older one, whole or not at all."""
        path = self.path / name
        try:
            write_atomically(path, text)
        except OSError as error:
            raise RunError(f"cannot write {path}: {error.strerror or error}; what is recorded is kept") from None
        return path


def differing_settings(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """The names of two configurations' settings that differ; where servers are is none, since they may move."""
    return sorted(name for name in one.keys() | other.keys() if name != WHERE and one.get(name) != other.get(name))


def read_config(run: Path) -> dict[str, Any]:
    """The configuration of a run directory, which is left as it is."""
    path = run / "config.json"
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
    except OSError as error:
        raise RunError(f"{run} is no run directory: cannot read {path.name}: {error.strerror or error}") from None
    except (msgspec.MsgspecError, UnicodeDecodeError):
        raise RunError(f"{path} is no configuration") from None


def read_records(run: Path) -> Iterator[Record]:
    """The records of a run directory, which is left as it is, in their order; none where nothing is recorded yet."""
    path = run / "records.jsonl"
    return _lines(path, Record, "record") if path.exists() else iter(())


def last_records(run: Path) -> Iterator[Record]:
    """As `read_records`, of several of one key the last; one record at a time is held in memory."""
    last = {record_key(record): number for number, record in enumerate(read_records(run))}
    numbers = set(last.values())
    return (record for number, record in enumerate(read_records(run)) if number in numbers)


def read_problems(run: Path) -> dict[str, Problem]:
    """The problems of a run directory by their ids."""
    return {problem.id: problem for problem in _lines(run / "problems.jsonl", Problem, "problem")}


def _lines(path: Path, type: type[T], kind: str) -> Iterator[T]:
    """Whole lines only: what follows the last newline is what a kill has torn."""
    decoder = msgspec.json.Decoder(type)
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                if line.endswith(b"\n"):
                    try:
                        yield decoder.decode(line)
                    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
                        raise RunError(f"{path}, line {number} is no {kind}: {error}") from None
    except OSError as error:
        raise RunError(f"cannot read {path}: {error.strerror or error}") from None


def write_atomically(path: Path, text: str) -> None:
    """Write aside, then rename."""
    aside = path.with_name(path.name + ".tmp")
    aside.write_text(text)
    os.replace(aside, path)
