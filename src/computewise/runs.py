"""The run directory: the system of record. One line holds one record; records are appended."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from computewise.core import LARGE, MODEL, REVISER, VERIFIER, Problem, Role, Usage
from computewise.errors import RunError

FORMAT = 2
"""The version of a run directory's files. In version 1, which is still read, roles and some fields had other names."""
_ROLES_OF_1: dict[str, Role] = {"small": MODEL, "large": LARGE, "prm": VERIFIER, "revision": REVISER}
_FIELDS_OF_1 = {
    "logprob": "mean_token_prob",
    "read": "uncached_prompt_tokens",
    "sampled": "completion_tokens",
    "mean": "score_mean",
    "low": "score_min",
}
_STRATEGIES_OF_1 = {"ratio_pool": "revision_pool"}

WHERE = "servers"
"""The part of a configuration that holds the addresses of servers."""

StrategyParams = dict[str, int | float | str]
T = TypeVar("T")


class CandidateRecord(msgspec.Struct, frozen=True, omit_defaults=True):
    """One candidate, with everything that a selection needs."""

    answer: str | None
    value: float
    mean_token_prob: float
    tokens: int
    correct: bool
    chain: str = ""
    uncached_prompt_tokens: int = 0
    """Tokens before the candidate that were not in the prefix cache."""
    completion_tokens: int = 0
    """Tokens that were sampled, without those kept from an earlier attempt."""
    score_mean: float = 0.0
    score_min: float = 0.0
    """Mean and minimum of its steps' scores."""
    text: str = ""
    """The solution itself, where the run keeps it."""
    scores: tuple[float, ...] = ()
    """Its steps' scores, where the run keeps them."""
    thinking: str = ""
    """The reasoning text before the solution, where the model writes one."""
    ungraded: str = ""
    """Why its answer could not be graded, where it could not: it counts as wrong."""
    notes: tuple[str, ...] = ()
    """What of the server's answer could not be right and was replaced."""


class NodeRecord(msgspec.Struct, frozen=True):
    """One node of a recorded search tree: its last step and that step's score."""

    id: str
    parent: str | None
    step: str
    score: float | None
    end: str | None
    answer: str | None


class Record(msgspec.Struct, frozen=True):
    """The result of one strategy on one problem with one seed; `error` is the reason of a failure."""

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
    """The number of tokens on the longest path of the search: they had to be sampled one after another."""


Key = tuple[str, str, str, int, str]


def make_key(purpose: str, role: str, strategy: Mapping[str, int | float | str], seed: int, problem: str) -> Key:
    """The key that a record is found by."""
    return purpose, role, json.dumps(strategy, sort_keys=True), seed, problem


def record_key(record: Record) -> Key:
    """The key of this record."""
    return make_key(record.purpose, record.role, record.strategy, record.seed, record.problem)


class RunDirectory:
    """A directory with `config.json` and `records.jsonl`, opened to append.

    A torn last line, which a kill leaves behind, is dropped. A directory of version 1 is rewritten in the current
    format.
    """

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
        config = {"format": FORMAT, **config}
        if saved.exists():
            held = read_config(self.path)
            differing = differing_settings(config, held)
            if differing:
                raise RunError(
                    f"the run directory {self.path} has another configuration ({', '.join(differing)} differ): "
                    "name another --out"
                )
            if not resume and self._records.exists():
                raise RunError(f"the run directory {self.path} holds a run: go on with --resume, or name another --out")
            if read_json(saved, "configuration").get("format") != FORMAT:
                self._upgrade(held)
        elif any(path.suffix != ".tmp" for path in self.path.iterdir()):
            raise RunError(f"{self.path} is not empty and no run directory: name another --out")
        else:
            write_atomically(saved, _json(config))
        if self._records.exists():
            self._drop_torn_line()

    def _drop_torn_line(self) -> None:
        with self._records.open("r+b") as file:
            data = file.read()
            file.truncate(data.rfind(b"\n") + 1)

    def _upgrade(self, config: Mapping[str, Any]) -> None:
        """Rewrite the records, then the configuration: a kill in between leaves what can still be read."""
        if self._records.exists():
            write_atomically(self._records, _lines_of(read_records(self.path)).decode())
        write_atomically(self.path / "config.json", _json(config))

    def append(self, records: Iterable[Record]) -> None:
        """Append in one write and wait until it is on the disk; a failed write leaves the file as it was."""
        data = _lines_of(records)
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
        """All records by their keys; of several of one key the last, since a problem that failed is tried again."""
        return {record_key(record): record for record in read_records(self.path)}

    def write_problems(self, problems: Iterable[Problem]) -> Path:
        """Write prompts and reference answers; a record holds only a problem's id."""
        return self.write("problems.jsonl", "".join(msgspec.json.encode(one).decode() + "\n" for one in problems))

    def write(self, name: str, text: str) -> Path:
        """Write a result file, replacing an older one, whole or not at all."""
        path = self.path / name
        try:
            write_atomically(path, text)
        except OSError as error:
            raise RunError(f"cannot write {path}: {error.strerror or error}; what is recorded is kept") from None
        return path


def differing_settings(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """The names of the settings that differ in two configurations; where servers are does not count: they may move."""
    return sorted(name for name in one.keys() | other.keys() if name != WHERE and one.get(name) != other.get(name))


def read_config(run: Path) -> dict[str, Any]:
    """The configuration of a run directory, with the names of today; the directory is not changed."""
    path = run / "config.json"
    try:
        held = read_json(path, "configuration")
    except OSError as error:
        raise RunError(f"{run} is no run directory: cannot read {path.name}: {error.strerror or error}") from None
    return upgrade_config(held, path)


def upgrade_config(held: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """What `path` holds with the names of today; raises `RunError` for a version that is not known."""
    if not is_old(held, path):
        return dict(held)
    by_role = {name: _by_role(held[name]) for name in ("models", "prices", WHERE) if name in held}
    return {"format": FORMAT, **held, **by_role}


def upgrade_summary(held: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """A study's summary with the names of today; raises `RunError` for a version that is not known."""
    if not is_old(held, path):
        return dict(held)
    assumed = held.get("assumed", {})
    found: dict[str, Any] = {"format": FORMAT, **held, "assumed": {**assumed}}
    for part, name in ((held, "models"), (held, "verifiers"), (assumed, "prices"), (assumed, "speeds")):
        if name in part:
            (found if part is held else found["assumed"])[name] = _by_role(part[name])
    for name in ("curves", "best_fixed", "oracle_per_problem", "ratios"):
        found[name] = [_row_by_role(row) for row in held.get(name, [])]
    found["policy"] = {kind: [_row_by_role(row) for row in rows] for kind, rows in held.get("policy", {}).items()}
    found["large"] = held.get("large") and _row_by_role(held["large"])
    return found


def is_old(held: Mapping[str, Any], path: Path) -> bool:
    """Whether a file of that content is of version 1; raises `RunError` for a version that is not known."""
    version = held.get("format", 1)
    if version not in (1, FORMAT):
        raise RunError(
            f"{path} has the format {version!r}, which this computewise cannot read: it knows 1 and {FORMAT}"
        )
    return bool(version == 1)


def _by_role(held: Mapping[str, Any]) -> dict[str, Any]:
    return {_ROLES_OF_1.get(name, name): value for name, value in held.items()}


def _row_by_role(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of a summary, or a record."""
    return {"role": _ROLES_OF_1[row["model"]], **{name: value for name, value in row.items() if name != "model"}}


def read_json(path: Path, kind: str) -> dict[str, Any]:
    """The object in a file; raises `RunError` where it holds none, `OSError` where it cannot be read."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
    except (msgspec.MsgspecError, UnicodeDecodeError):
        raise RunError(f"{path} is no {kind}") from None


def read_records(run: Path) -> Iterator[Record]:
    """The records of a run directory, which is not changed, in their order; none where nothing is recorded yet."""
    path = run / "records.jsonl"
    return _lines(path, "record", _decode_record) if path.exists() else iter(())


_RECORD = msgspec.json.Decoder(Record)


def _decode_record(line: bytes) -> Record:
    """Of either version: a kill may leave records of this one beside a configuration of the one before."""
    try:
        return _RECORD.decode(line)
    except msgspec.ValidationError as error:
        try:
            held = _upgrade_record(msgspec.json.decode(line))
        except (AttributeError, KeyError, TypeError):
            raise error from None
        return msgspec.convert(held, Record)


def _upgrade_record(held: Mapping[str, Any]) -> dict[str, Any]:
    candidates = [
        {_FIELDS_OF_1.get(name, name): value for name, value in candidate.items()}
        for candidate in held.get("candidates", [])
    ]
    strategy = held["strategy"]
    name = _STRATEGIES_OF_1.get(strategy["name"], strategy["name"])
    return {**_row_by_role(held), "strategy": {**strategy, "name": name}, "candidates": candidates}


def last_records(run: Path) -> Iterator[Record]:
    """As `read_records`, but of several of one key only the last; one record at a time is held in memory."""
    last = {record_key(record): number for number, record in enumerate(read_records(run))}
    numbers = set(last.values())
    return (record for number, record in enumerate(read_records(run)) if number in numbers)


def read_problems(run: Path) -> dict[str, Problem]:
    """The problems of a run directory by their ids."""
    return {problem.id: problem for problem in _lines(run / "problems.jsonl", "problem", _PROBLEM.decode)}


_PROBLEM = msgspec.json.Decoder(Problem)


def _lines(path: Path, kind: str, decode: Callable[[bytes], T]) -> Iterator[T]:
    """Whole lines only: a kill may have torn what follows the last newline."""
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                if line.endswith(b"\n"):
                    try:
                        yield decode(line)
                    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
                        raise RunError(f"{path}, line {number} is no {kind}: {error}") from None
    except OSError as error:
        raise RunError(f"cannot read {path}: {error.strerror or error}") from None


def _lines_of(records: Iterable[Record]) -> bytes:
    return b"".join(msgspec.json.encode(record) + b"\n" for record in records)


def _json(config: Mapping[str, Any]) -> str:
    return json.dumps(config, indent=2) + "\n"


def write_atomically(path: Path, text: str) -> None:
    """Write a file beside `path`, then rename it."""
    aside = path.with_name(path.name + ".tmp")
    aside.write_text(text)
    os.replace(aside, path)
