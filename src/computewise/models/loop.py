"""One driver for all that computes in this process: it lets coroutines submit, then advances who is ready."""

from __future__ import annotations

import asyncio
from typing import Protocol


class Stage(Protocol):
    """Something that works off a queue in batches."""

    @property
    def busy(self) -> bool:
        """Whether anything is left to do."""
        ...

    @property
    def ready(self) -> bool:
        """Whether a batch worth computing has gathered; a busy stage is advanced unready where no other is ready."""
        ...

    def advance(self) -> None:
        """Compute one batch and resolve what it completes."""
        ...

    def fail(self, error: BaseException) -> None:
        """Give up everything queued."""
        ...


class EngineLoop:
    """Runs while there is work and ends with it, so that no task outlives the requests."""

    def __init__(self) -> None:
        self._stages: list[Stage] = []
        self._task: asyncio.Task[None] | None = None

    def add(self, stage: Stage) -> None:
        """Register; an earlier stage goes first where several are ready."""
        self._stages.append(stage)

    def wake(self) -> None:
        """Call after queueing work."""
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._run())
            self._task.add_done_callback(self._ended)

    async def _run(self) -> None:
        while True:
            # A result travels up through solve's coroutines and comes back as the next request within a few turns.
            for _ in range(4):
                await asyncio.sleep(0)
            busy = [stage for stage in self._stages if stage.busy]
            if not busy:
                return
            next((stage for stage in busy if stage.ready), busy[0]).advance()

    def _ended(self, task: asyncio.Task[None]) -> None:
        error: BaseException | None = asyncio.CancelledError() if task.cancelled() else task.exception()
        if error is not None:
            for stage in self._stages:
                stage.fail(error)
