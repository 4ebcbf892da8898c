"""SIGKILL at any moment: nothing that was recorded or kept is lost, done twice or paid for twice."""

from __future__ import annotations

import random
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from contextlib import closing
from pathlib import Path

import msgspec
import pytest
from kill_driver import IN_FLIGHT, PROBLEMS, STRATEGIES, WIDTH, record_of

from computewise.core import Completion
from computewise.runs import Record, RunDirectory, read_records, record_key
from computewise.session import derive_seed
from computewise.testing import SimulatedModel, SimulatedPRM

pytestmark = pytest.mark.slow

KILLS = 20
DRIVER = Path(__file__).parents[1] / "support" / "kill_driver.py"


def start(directory: Path) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, str(DRIVER), str(directory)], stdout=subprocess.PIPE, text=True)


def kill(process: subprocess.Popen[str], dice: random.Random) -> None:
    """Mostly at work, sometimes while it starts."""
    if dice.random() < 0.8:
        assert process.stdout is not None
        assert process.stdout.readline() == "started\n"
        time.sleep(dice.uniform(0, 0.15))
    else:
        time.sleep(dice.uniform(0, 0.5))
    assert process.poll() is None, "it was done before it could be killed"
    process.kill()


def paid(directory: Path) -> list[str]:
    """The names of all samples that were ever paid for, in their order."""
    log = directory / "paid.log"
    return log.read_text().splitlines() if log.exists() else []


def kept(directory: Path) -> set[str]:
    """The names of the samples that the cache holds."""
    path = directory / "cache.db"
    if not path.exists():
        return set()
    with closing(sqlite3.connect(path)) as connection:
        tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        rows = connection.execute("SELECT value FROM held").fetchall() if tables else []
    values = [msgspec.msgpack.decode(row[0]) for row in rows]
    return {msgspec.convert(value, Completion).thinking for value in values if isinstance(value, dict)}


def whole_lines(directory: Path) -> bytes:
    records = directory / "run" / "records.jsonl"
    data = records.read_bytes() if records.exists() else b""
    return data[: data.rfind(b"\n") + 1]


def records_of(lines: bytes) -> list[Record]:
    return [msgspec.json.decode(line, type=Record) for line in lines.splitlines()]


def samples_of(record: Record) -> list[str]:
    """The names of what best-of-N drew."""
    if record.strategy["name"] != "best_of_n":
        return []
    return [f"{derive_seed(0, record.problem, str(number))} to None" for number in range(int(record.strategy["n"]))]


async def test_twenty_kills_lose_nothing_and_pay_for_nothing_kept_again(tmp_path: Path) -> None:
    dice = random.Random(1)
    recorded, held, bills = b"", set[str](), 0
    for life in range(KILLS + 1):
        process = start(tmp_path)
        with process:
            if life < KILLS:
                kill(process, dice)
            else:
                assert process.wait() == 0
        bill = paid(tmp_path)
        now_recorded, now_held = whole_lines(tmp_path), kept(tmp_path)
        assert now_recorded.startswith(recorded)
        assert held <= now_held
        assert not held & set(bill[bills:])
        assert now_held <= set(bill)
        assert {name for record in records_of(now_recorded) for name in samples_of(record)} <= now_held
        assert len(set(bill[bills:]) - now_held) <= IN_FLIGHT * WIDTH
        recorded, held, bills = now_recorded, now_held, len(bill)
    assert held == set(paid(tmp_path))
    assert max(Counter(paid(tmp_path)).values()) <= KILLS
    records = list(read_records(tmp_path / "run"))
    bare = [
        await record_of(p, s, SimulatedModel(name="paid"), SimulatedPRM(noise=0.2))
        for p in PROBLEMS
        for s in STRATEGIES
    ]
    assert len(records) == len(bare)
    assert {record_key(record): record for record in records} == {record_key(record): record for record in bare}
    assert RunDirectory(tmp_path / "run", {"problems": len(PROBLEMS)}, resume=True).read().keys() == {
        record_key(record) for record in bare
    }
