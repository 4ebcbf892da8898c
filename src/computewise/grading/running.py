"""Running a program that a model wrote, with limits. This is no sandbox: see `run_program`."""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from functools import cache
from multiprocessing.connection import wait

MEMORY = 1 << 30
FILE = 16 << 20
PROCESSES = 64

_RUNNER = """
import json, os, resource, signal, sys
given = json.loads(sys.stdin.read())
for name, limit in given.pop("limits").items():
    resource.setrlimit(getattr(resource, name), (limit, limit))
signal.setitimer(signal.ITIMER_REAL, given.pop("seconds") + 1)
token, passed = given.pop("token"), os.dup(1)
nowhere = os.open(os.devnull, os.O_RDWR)
for number in range(3):
    os.dup2(nowhere, number)
names = {"__name__": "__main__"}
for part, text in given.items():
    exec(compile(text, part, "exec"), names)
os.write(passed, token.encode())
"""

_ISOLATIONS = (
    ("unshare", "--map-root-user", "--net", "--pid", "--fork", "--kill-child"),
    ("unshare", "--net", "--pid", "--fork", "--kill-child"),
    ("unshare", "--map-root-user", "--net"),
    ("unshare", "--net"),
)


def run_program(program: str, tests: str, seconds: float) -> bool:
    """Whether `program` and then `tests` run to their end, in one namespace, without an exception.

    It runs in a process of its own with limits to time, memory, size of files and number of processes, an empty
    environment and an empty directory, in a session that is killed afterwards; with no network, and no other process in
    sight, where this system lets `unshare` do that. That stops accidents. It does not stop an attack: the process has
    the rights of whoever runs this, reads what they can read, and could forge its verdict.
    """
    token = secrets.token_hex(16)
    given = {"limits": _limits(seconds), "seconds": seconds, "token": token, "program": program, "tests": tests}
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as directory,
        subprocess.Popen(
            [*_ended_after(seconds + 1), *isolation(), sys.executable, "-I", "-c", _RUNNER],
            cwd=directory,
            env={},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        ) as process,
    ):
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            with suppress(BrokenPipeError):
                process.stdin.write(json.dumps(given).encode())
                process.stdin.close()
            return _read(process.stdout.fileno(), len(token), seconds) == token.encode()
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def _ended_after(seconds: float) -> tuple[str, ...]:
    # If this process is killed, nothing ends the first process of a namespace: it hears no alarm.
    return ("timeout", "--signal=KILL", str(seconds)) if isolation() else ()


def _limits(seconds: float) -> dict[str, int]:
    return {
        "RLIMIT_CPU": int(seconds) + 1,
        "RLIMIT_AS": MEMORY,
        "RLIMIT_FSIZE": FILE,
        "RLIMIT_NPROC": PROCESSES,
        "RLIMIT_CORE": 0,
    }


def _read(source: int, length: int, seconds: float) -> bytes:
    """Up to `length` bytes: children that a program leaves behind may keep the pipe open."""
    heard, until = b"", time.monotonic() + seconds
    while len(heard) < length and wait([source], max(0.0, until - time.monotonic())):
        received = os.read(source, length - len(heard))
        if not received:
            break
        heard += received
    return heard


@cache
def isolation() -> tuple[str, ...]:
    """The command that takes the network, and sight of other processes, away; empty where none works here."""
    for command in _ISOLATIONS:
        with suppress(OSError):
            if subprocess.run([*command, "true"], capture_output=True, check=False).returncode == 0:
                return command
    return ()
