"""Whether two answers are mathematically equal, decided in a process that can be killed: LaTeX can hang a grader."""

from __future__ import annotations

import logging
import signal
from collections import Counter
from functools import lru_cache
from importlib.util import find_spec
from multiprocessing import get_context
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Any

from computewise.errors import RunError
from computewise.replay.answers import canonical

PATIENCE = 5.0
"""Seconds a comparison may take."""
_STARTING = 120.0
"""Seconds a worker may take to import SymPy on a busy machine."""
_LONGEST = 500
"""Characters; no grader makes sense of a longer answer, and parsing it takes seconds."""


class Equality:
    """Compares answers by math-verify where it is installed, by their canonical text where it is not.

    To be used in a `with`, which ends the worker process. A comparison that takes longer than `patience` seconds, or
    kills its worker, counts as not equal.
    """

    def __init__(self, patience: float = PATIENCE) -> None:
        self.by_mathematics = find_spec("math_verify") is not None
        self.asked = 0
        self.given_up = 0
        self._patience = patience
        self._strikes: Counter[str] = Counter()
        self._worker: _Worker | None = None

    def __enter__(self) -> Equality:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._end_worker()

    def __call__(self, gold: str, answer: str) -> bool:
        """Whether they are equal; `gold` is the reference, or what represents a class."""
        self.asked += 1
        one, other = canonical(gold), canonical(answer)
        if one == other:
            return True
        if not self.by_mathematics or (_whole(one) and _whole(other)) or self._hopeless(gold) or self._hopeless(answer):
            return False
        if self._worker is None:
            self._worker = _Worker()
        verdict = self._worker.ask(gold, answer, self._patience)
        if verdict is None:
            self.given_up += 1
            self._strikes.update((gold, answer))
            self._end_worker()
        return bool(verdict)

    def _hopeless(self, answer: str) -> bool:
        # One strike may be the other answer's fault.
        return len(answer) > _LONGEST or self._strikes[answer] > 1

    def _end_worker(self) -> None:
        if self._worker is not None:
            self._worker.kill()
            self._worker = None


def _whole(text: str) -> bool:
    return text.removeprefix("-").isdecimal()


class _Worker:
    def __init__(self) -> None:
        context = get_context("spawn")
        self._here, there = context.Pipe()
        self._process = context.Process(target=_serve, args=(there,), daemon=True)
        self._process.start()
        there.close()
        if self._heard(_STARTING) is None:
            self.kill()
            raise RunError("math-verify does not start: reinstall it, or uninstall it to compare answers as text")

    def ask(self, gold: str, answer: str, patience: float) -> bool | None:
        """None where no verdict came in time."""
        try:
            self._here.send((gold, answer))
        except OSError:  # it was killed meanwhile
            return None
        return self._heard(patience)

    def kill(self) -> None:
        self._process.kill()
        self._process.join()
        self._here.close()

    def _heard(self, patience: float) -> bool | None:
        try:
            return bool(self._here.recv()) if self._here.poll(patience) else None
        except (EOFError, OSError):  # the worker died of it
            return None


def _serve(there: Connection) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's, who ends this process
    from math_verify import parse, verify

    logging.disable()  # math-verify warns that the timeouts are now ours to keep

    @lru_cache(maxsize=4096)
    def parsed(answer: str) -> list[Any]:
        return list(parse(f"${answer}$", parsing_timeout=None))

    there.send(True)
    while True:
        try:
            gold, answer = there.recv()
        except EOFError:
            return
        there.send(verify(parsed(gold), parsed(answer), timeout_seconds=None))
