"""A study that is killed: what it recorded is kept, its workers end, and the resumed run has the same numbers."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

FLAGS = ["--problems", "10", "--budgets", "1", "4", "--difficulty-samples", "8", "--repeats", "5"]
ENTRY = [sys.executable, "-m", "computewise", "study", *FLAGS, "--workers", "2"]


def test_killed_again_and_again_it_ends_with_the_same_numbers(tmp_path: Path) -> None:
    """SIGKILL to the whole process group whenever something new was recorded, then --resume; nothing is redone."""
    out, finished = tmp_path / "killed", tmp_path / "finished"
    subprocess.run([*ENTRY, "--out", str(finished)], check=True, stdout=subprocess.DEVNULL)
    records = out / "records.jsonl"
    kept = b""
    for _ in range(2):
        process = subprocess.Popen(
            [*ENTRY, "--out", str(out), *(["--resume"] if out.exists() else [])],
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )
        while process.poll() is None and (not records.exists() or records.stat().st_size <= len(kept) + 1):
            time.sleep(0.02)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        now = records.read_bytes()
        assert now.startswith(kept), "what was recorded is not touched again"
        kept = now[: now.rfind(b"\n") + 1]
    subprocess.run([*ENTRY, "--out", str(out), "--resume"], check=True, stdout=subprocess.DEVNULL)
    assert records.read_bytes().startswith(kept)
    assert json.loads((out / "summary.json").read_text()) == json.loads((finished / "summary.json").read_text())
    one, other = (sorted((path / "records.jsonl").read_text().splitlines()) for path in (out, finished))
    assert one == other


def test_a_request_to_end_ends_everything_and_says_how_to_go_on(tmp_path: Path) -> None:
    records = tmp_path / "run" / "records.jsonl"
    process = subprocess.Popen(
        [*ENTRY, "--out", str(tmp_path / "run")], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    while process.poll() is None and not records.exists():
        time.sleep(0.02)
    process.terminate()
    said = process.communicate()[1].splitlines()
    assert said[0].startswith(f"run directory: {tmp_path / 'run'}; 0 of ")
    assert said[1:] == [f"go on with --out {tmp_path / 'run'} --resume"]


def test_workers_end_with_a_killed_parent(tmp_path: Path) -> None:
    records = tmp_path / "run" / "records.jsonl"
    process = subprocess.Popen(
        [*ENTRY, "--out", str(tmp_path / "run")], stdout=subprocess.DEVNULL, start_new_session=True
    )
    while process.poll() is None and not records.exists():
        time.sleep(0.02)
    process.kill()
    process.wait()
    for _ in range(200):
        try:
            os.killpg(process.pid, 0)
        except ProcessLookupError:
            return
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    raise AssertionError("a worker outlived its parent")
