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
from functools import cache, lru_cache
from multiprocessing.connection import wait
from typing import IO, Any, cast

from computewise.errors import ComputewiseError, ProblemError, RunError
from computewise.registry import reason

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


_STARTING = 120.0

"""Seconds a worker may take to start on a busy machine: it imports SymPy, reasoning-gym or a module of the user's."""

MOST_WORKERS = 8

MATHEMATICS = "computewise.grading.worker:open_mathematics"

_LONGEST_REPLY = 1 << 20

"""Bytes."""


NO_REPLY = "took too long, or ended its process"

_REMEMBERED = 100_000

_UNANSWERED: set[tuple[object, ...]] = set()


def ask_worker(service: Sequence[str], question: Sequence[object], seconds: float) -> Any:
    """What code that is not ours says about an answer, asked in a worker process that is killed after `seconds`.

    `service` is ``module:function`` and its arguments, as `computewise.grading.worker` calls it when a worker starts,
    which does not count. Raises `ProblemError` where that code raised, took longer, or ended its process; what took too
    long or ended its process once is not asked again.
    """
    asked = (*service, *question)
    if asked in _UNANSWERED:
        raise ProblemError(NO_REPLY)
    answered, said = _workers(tuple(sys.path), os.getcwd(), *service).ask(question, seconds)
    if not answered or (isinstance(said, dict) and said.get("answered") is False):
        if len(_UNANSWERED) < _REMEMBERED:
            _UNANSWERED.add(asked)
        raise ProblemError(NO_REPLY)
    if isinstance(said, dict):
        raise ProblemError(str(said.get("error")))
    return said


def failure(error: Exception) -> dict[str, str]:
    """What is answered for an exception: one line."""
    said = " ".join(str(error).split()) if isinstance(error, ComputewiseError) else reason(error)
    return {"error": f"failed: {said}"}


@lru_cache(maxsize=8)
def _workers(path: tuple[str, ...], directory: str, *service: str) -> WorkerPool:
    """Of each service the workers that find the same modules."""
    return WorkerPool(min(os.cpu_count() or 1, MOST_WORKERS), *service)


class WorkerPool:
    """At most `size` worker processes of one service, started on demand; any number of threads may share the pool."""

    def __init__(self, size: int, *service: str) -> None:
        self._service = service or (MATHEMATICS,)
        self._free = threading.BoundedSemaphore(size)
        self._lock = threading.Lock()
        self._idle: list[_Worker] = []
        self._end = weakref.finalize(self, _kill_all, self._idle)

    def ask(self, question: Sequence[object], seconds: float) -> tuple[bool, Any]:
        """Whether an answer came within `seconds`, and the answer; a worker without an answer is killed."""
        with self._free:
            worker = self._living() or _Worker(self._service)
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


def _without_keys() -> dict[str, str]:
    """The environment without the keys of servers, which no grader needs."""
    return {name: value for name, value in os.environ.items() if not name.startswith("COMPUTEWISE_")}


class _Worker:
    """A worker process. multiprocessing is not used, because it runs the main script again, which may be unguarded."""

    def __init__(self, service: Sequence[str]) -> None:
        # In a session of its own, so that Ctrl-C reaches only the parent; the worker ends when its input ends.
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "computewise.grading.worker", *service],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            start_new_session=True,
            env=_without_keys() | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )
        answered, said = self._heard(_STARTING)
        if (answered, said) != (True, True):
            self.kill()
            if service[0] == MATHEMATICS:
                raise RunError("math-verify does not start: reinstall it, or uninstall it to compare answers as text")
            why = said["error"] if isinstance(said, dict) else "ended while it started"
            raise RunError(f"the process that grades by {service[1]} does not start, it {why}")

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def ask(self, question: Sequence[object], seconds: float) -> tuple[bool, Any]:
        if wait([self._stdout.fileno()], 0):  # what nobody asked for is no answer to this
            return False, None
        try:
            self._stdin.write(json.dumps([seconds, *question]).encode() + b"\n")
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
        return read_reply(self._stdout.fileno(), seconds)


def read_reply(source: int, seconds: float) -> tuple[bool, Any]:
    """Whether one line of JSON came within `seconds`, and nothing beside it; and what it says.

    What evaluates an answer may write anything, anywhere, so that nothing is believed of the other end.
    """
    heard, until = b"", time.monotonic() + seconds
    while len(heard) < _LONGEST_REPLY and wait([source], max(0.0, until - time.monotonic())):
        received = os.read(source, _LONGEST_REPLY)
        heard += received
        if not received or received.endswith(b"\n"):
            break
    if not heard.endswith(b"\n") or heard.count(b"\n") > 1:
        return False, None
    try:
        return True, json.loads(heard)
    except (ValueError, RecursionError):
        return False, None
