"""Shards: parts of a study for machines without a common file system, and the merge of their run directories."""

from __future__ import annotations

import hashlib
import re
import shutil
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from computewise.core import Problem
from computewise.errors import RunError, UsageError
from computewise.runs import (
    Key,
    Record,
    RunDirectory,
    differing_settings,
    last_records,
    read_config,
    read_problems,
    record_key,
)

TOGETHER = 256
"""Number of records that are written at a time."""


@dataclass(frozen=True, slots=True)
class Shard:
    """Part `number`, counted from 1, of `of` parts of a study's problems."""

    number: int
    of: int

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"

    def to_dict(self) -> dict[str, object]:
        """The entry that its configuration has in addition to that of the whole study."""
        return {"shard": str(self)}

    def problems(self, all: Sequence[Problem]) -> list[Problem]:
        """Every `of`-th problem."""
        return list(all[self.number - 1 :: self.of])


def parse_shard(text: str) -> Shard:
    """For "2/8", the second of eight parts."""
    match = re.fullmatch(r"([1-9][0-9]{0,5})/([1-9][0-9]{0,5})", text)
    if match is None or int(match[1]) > int(match[2]):
        raise UsageError(f"shard {text!r} is not allowed: I/N such as 2/8, the second of eight parts")
    return Shard(int(match[1]), int(match[2]))


class _Part(NamedTuple):
    path: Path
    shard: Shard
    config: dict[str, Any]
    problems: dict[str, Problem]


class _Seen(NamedTuple):
    """The record that is merged for a key: the part it is from, and what tells it from another record."""

    part: int
    digest: bytes
    failed: bool


def merge(runs: Sequence[Path], out: Path) -> int:
    """Merge all shards of a study into the run directory `out`; returns the number of records.

    `runs` are not changed, and `out` is written completely or not at all. Where shards overlap, equal records are kept
    once, and a success is kept in place of a failure. Raises `RunError` where shards are missing, unfinished or of
    another configuration, and where two records of one key differ.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise RunError(f"{out} is not empty: name another --out")
    parts = [_read(path) for path in runs]
    _check(parts)
    chosen = _choose(parts)
    for part in parts:
        _check_finished(part, chosen)
    _write(out, parts, chosen)
    return len(chosen)


def _write(out: Path, parts: Sequence[_Part], chosen: Mapping[Key, _Seen]) -> None:
    """Write beside `out`, then rename: half a run would look like a run to resume."""
    aside = out.with_name(out.name + ".tmp")
    if aside.exists():
        raise RunError(f"{aside} was left by an interrupted merge: delete it")
    try:
        whole = RunDirectory(aside, parts[0].config, resume=False)
        whole.write_problems(parts[0].problems.values())
        records = _chosen(parts, chosen)
        while together := list(islice(records, TOGETHER)):
            whole.append(together)
        if out.exists():
            out.rmdir()
        aside.rename(out)
    except OSError as error:
        raise RunError(f"cannot write {out}: {error.strerror or error}") from None
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _read(path: Path) -> _Part:
    config = read_config(path)
    shard = config.pop("shard", None)
    if shard is None:
        raise RunError(f"{path} is no shard: it was run without --shard")
    return _Part(path, parse_shard(str(shard)), config, read_problems(path))


def _check(parts: Sequence[_Part]) -> None:
    """Check that they are all the parts of one study."""
    if not parts:
        raise UsageError("name the run directories of all shards")
    first = parts[0]
    for part in parts[1:]:
        differing = differing_settings(part.config, first.config)
        differing += ["number of shards"] if part.shard.of != first.shard.of else []
        differing += ["problems.jsonl"] if part.problems != first.problems else []
        if differing:
            raise RunError(f"{part.path} belongs to another study than {first.path}: {', '.join(differing)} differ")
    missing = set(range(1, first.shard.of + 1)) - {part.shard.number for part in parts}
    if missing:
        named = ", ".join(str(Shard(number, first.shard.of)) for number in sorted(missing))
        raise RunError(f"shards are missing: {named}")


def _choose(parts: Sequence[_Part]) -> dict[Key, _Seen]:
    """For every key, the record to take and the part that it is from."""
    chosen: dict[Key, _Seen] = {}
    for number, part in enumerate(parts):
        for record in last_records(part.path):
            key, seen = record_key(record), _seen(number, record)
            held = chosen.setdefault(key, seen)
            if held.failed and not seen.failed:
                chosen[key] = seen
            elif held.digest != seen.digest and not seen.failed:
                where = f"{parts[held.part].path} and {part.path}"
                raise RunError(f"{where} have different records of {', '.join(map(str, key))}")
    return chosen


def _seen(part: int, record: Record) -> _Seen:
    return _Seen(part, hashlib.blake2b(msgspec.json.encode(record), digest_size=16).digest(), record.error is not None)


def _check_finished(part: _Part, chosen: Mapping[Key, _Seen]) -> None:
    """Check that the part has a record of each of its problems for every run that any shard has."""
    runs: defaultdict[tuple[object, ...], set[str]] = defaultdict(set)
    for *run, problem in chosen:
        runs[tuple(run)].add(problem)
    mine = part.shard.problems(list(part.problems.values()))
    missing = sum(problem.id not in done for done in runs.values() for problem in mine)
    if missing:
        raise RunError(
            f"{part.path} is not finished ({missing} of {len(mine) * len(runs)} are missing): go on with --resume"
        )


def _chosen(parts: Sequence[_Part], chosen: Mapping[Key, _Seen]) -> Iterator[Record]:
    for number, part in enumerate(parts):
        yield from (record for record in last_records(part.path) if chosen[record_key(record)].part == number)
