"""Many small calls done as few large ones."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

A = TypeVar("A")
B = TypeVar("B")


class Grouped(Generic[A, B]):
    """Calls `work`, in a thread of its own, with all that was asked for while it was at work.

    For a database, that is group commit: a thousand entries that come together are one transaction. What was asked for
    is done, even if whoever asked is cancelled; an error is raised to all whose calls were done together.
    """

    def __init__(self, work: Callable[[list[A]], Sequence[B]]) -> None:
        self._work = work
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="computewise-cache")
        self._lock = threading.Lock()
        self._waiting: list[A] = []
        self._batch: Future[Sequence[B]] = Future()

    async def __call__(self, argument: A) -> B:
        """One result; any event loop may ask."""
        batch, index = self._join(argument)
        return (await asyncio.shield(asyncio.wrap_future(batch)))[index]

    def _join(self, argument: A) -> tuple[Future[Sequence[B]], int]:
        with self._lock:
            self._waiting.append(argument)
            if len(self._waiting) == 1:
                self._batch = self._thread.submit(self._do)
            return self._batch, len(self._waiting) - 1

    def _do(self) -> Sequence[B]:
        with self._lock:
            waiting, self._waiting = self._waiting, []
        return self._work(waiting)

    def close(self) -> None:
        """Do what has been asked for, then end."""
        self._thread.shutdown()
