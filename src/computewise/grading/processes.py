"""Grading in processes that can be killed: one call, and a pool of workers."""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import threading
import time
import weakref
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from multiprocessing.connection import wait
from typing import IO, Any, Literal, cast

from computewise.errors import ProblemError, RunError

PROGRAM_MEMORY = 1 << 30

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

    They run in a process of their own, with limits on time, memory, file size and the number of processes, in an empty
    directory and environment, in a session that is killed afterwards. Where the system permits `unshare`, the process
    has no network and sees no other process. This prevents accidents, not attacks: the process has the rights of the
    user, can read the user's files, and could forge its verdict.
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
    # The first process of a namespace ignores the alarm signal, so nothing would end it if this process were killed.
    return ("timeout", "--signal=KILL", str(seconds)) if isolation() else ()


def _limits(seconds: float) -> dict[str, int]:
    return {
        "RLIMIT_CPU": int(seconds) + 1,
        "RLIMIT_AS": PROGRAM_MEMORY,
        "RLIMIT_FSIZE": FILE,
        "RLIMIT_NPROC": PROCESSES,
        "RLIMIT_CORE": 0,
    }


def _read(source: int, length: int, seconds: float) -> bytes:
    """Read up to `length` bytes; does not wait for the end, since children of the program may keep the pipe open."""
    heard, until = b"", time.monotonic() + seconds
    while len(heard) < length and wait([source], max(0.0, until - time.monotonic())):
        received = os.read(source, length - len(heard))
        if not received:
            break
        heard += received
    return heard


@cache
def isolation() -> tuple[str, ...]:
    """The command that removes the network and hides other processes; empty where none works on this system."""
    for command in _ISOLATIONS:
        with suppress(OSError):
            if subprocess.run([*command, "true"], capture_output=True, check=False).returncode == 0:
                return command
    return ()


_NO_START: dict[WorkerKind, str] = {
    "math": "math-verify does not start: reinstall it, or uninstall it to compare answers as text only",
    "scorer": "the process that grades does not start: grade with math, choice or exact instead",
}

SCORING_SECONDS = 20.0
"""What one question to a scorer may take, a first import included; an answer that takes longer is not right."""


def ask_scorer(question: Sequence[object], seconds: float = SCORING_SECONDS) -> Any:
    """What code that is not ours says about an answer, asked in a worker process that is killed after `seconds`.

    None where it said nothing in time, or ended its process. Raises `ProblemError` for an exception of that code.
    """
    answered, said = _scorers().ask(question, seconds)
    if isinstance(said, dict):
        raise ProblemError(said["error"])
    return said if answered else None


@cache
def _scorers() -> WorkerPool:
    return WorkerPool(os.cpu_count() or 1, "scorer")


_STARTING = 120.0

"""Seconds a worker may take to import SymPy on a busy machine."""


WorkerKind = Literal["math", "scorer"]


class WorkerPool:
    """At most `size` worker processes of a kind, started on demand; any number of threads may share the pool."""

    def __init__(self, size: int, kind: WorkerKind = "math") -> None:
        self._kind: WorkerKind = kind
        self._free = threading.BoundedSemaphore(size)
        self._lock = threading.Lock()
        self._idle: list[_Worker] = []
        self._end = weakref.finalize(self, _kill_all, self._idle)

    def ask(self, question: Sequence[object], seconds: float) -> tuple[bool, Any]:
        """Whether an answer came within `seconds`, and the answer; a worker without an answer is killed."""
        with self._free:
            worker = self._living() or _Worker(self._kind)
            answered, answer = False, None
            try:
                answered, answer = worker.ask(question, seconds)
            finally:
                if answered:
                    with self._lock:
                        self._idle.append(worker)
                else:
                    worker.kill()
            return answered, answer

    def _living(self) -> _Worker | None:
        with self._lock:
            while self._idle:
                worker = self._idle.pop()
                if worker.alive:
                    return worker
                worker.kill()
        return None

    def close(self) -> None:
        """End the idle workers; later questions start new ones."""
        with self._lock:
            _kill_all(self._idle)

    @property
    def pids(self) -> list[int]:
        """The process ids of the idle workers."""
        with self._lock:
            return [worker.pid for worker in self._idle]


def _kill_all(workers: list[_Worker]) -> None:
    while workers:
        workers.pop().kill()


class _Worker:
    """A worker process. multiprocessing is not used, because it runs the main script again, which may be unguarded."""

    def __init__(self, kind: WorkerKind) -> None:
        # In a session of its own, so that Ctrl-C reaches only the parent; the worker ends when its input ends.
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "computewise.grading.worker", kind],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            start_new_session=True,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )
        if self._heard(_STARTING) != (True, True):
            self.kill()
            raise RunError(_NO_START[kind])

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def ask(self, question: Sequence[object], seconds: float) -> tuple[bool, Any]:
        kind, *rest = question
        try:
            self._stdin.write(json.dumps([kind, seconds, *rest]).encode() + b"\n")
        except OSError:  # the worker was killed in the meantime
            return False, None
        return self._heard(seconds)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
        self._stdin.close()
        self._stdout.close()

    @property
    def _stdin(self) -> IO[bytes]:
        return cast("IO[bytes]", self._process.stdin)

    @property
    def _stdout(self) -> IO[bytes]:
        return cast("IO[bytes]", self._process.stdout)

    def _heard(self, seconds: float) -> tuple[bool, Any]:
        if not wait([self._stdout.fileno()], seconds):
            return False, None
        line = self._stdout.readline()  # a reply is written in one piece
        return (True, json.loads(line)) if line.endswith(b"\n") else (False, None)  # else the worker died
