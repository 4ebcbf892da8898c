"""Worker processes that may be killed at any time, lent to one thread each."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import weakref
from collections.abc import Sequence
from multiprocessing.connection import wait
from typing import IO, Any, cast

from computewise.errors import RunError

_STARTING = 120.0
"""Seconds a worker may take to import SymPy on a busy machine."""


class WorkerPool:
    """At most `size` workers, started as they are needed; any number of threads may ask, and wait for a free one."""

    def __init__(self, size: int) -> None:
        self._free = threading.BoundedSemaphore(size)
        self._lock = threading.Lock()
        self._idle: list[_Worker] = []
        self._end = weakref.finalize(self, _kill_all, self._idle)

    def ask(self, question: Sequence[object], seconds: float) -> tuple[bool, Any]:
        """Whether an answer came in time, and the answer; a worker that gave none is killed."""
        with self._free:
            worker = self._living() or _Worker()
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
        """End the idle workers; the next question starts new ones."""
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
    """Not multiprocessing's: that runs the caller's script again, which need not be guarded against it."""

    def __init__(self) -> None:
        # A session of its own, so that Ctrl-C reaches only the process that asks; without it, the input ends.
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "computewise.grading.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            start_new_session=True,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )
        if self._heard(_STARTING) != (True, True):
            self.kill()
            raise RunError("math-verify does not start: reinstall it, or uninstall it to compare answers as text")

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
        except OSError:  # it was killed meanwhile
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
        line = self._stdout.readline()  # written at once
        return (True, json.loads(line)) if line.endswith(b"\n") else (False, None)  # else it died of it
