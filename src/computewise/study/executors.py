"""Executors run the jobs of a study: in processes of this machine, or as coroutines of this process."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Generator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import active_children, get_context
from typing import Protocol

from computewise.errors import RunError
from computewise.runs import Record
from computewise.session import gather
from computewise.setups.base import IN_FLIGHT, Setup, SetupSpec
from computewise.strategies._common import at_least_one
from computewise.study.plan import Job
from computewise.study.worker import run_job, solve_job, start_worker

Done = tuple[Job, list[Record]]
RESUME_HINT = "what is recorded is kept, go on with --resume"
POLL_SECONDS = 0.1
"""Seconds between two writes of finished jobs to the record, each of which waits for the disk."""


class WorkerError(RunError):
    """A worker process ended before its job did."""


class Executor(Protocol):
    """Solves problems and yields their records; it writes nothing, so that a run directory has one writer."""

    def run(self, source: SetupSpec, missing: Sequence[Job]) -> Generator[list[Done], None, None]:
        """Yield every job once with its records: each list holds those that finished since the last, and may be empty.

        Jobs are started in their order. An error of a job ends the run: it is raised here after the jobs that had
        finished were yielded. A generator that is closed early leaves nothing running.
        """
        ...


@dataclass(frozen=True, slots=True)
class ProcessExecutor:
    """`workers` processes, each of which runs one job at a time and opens the setup for it."""

    workers: int

    def __post_init__(self) -> None:
        at_least_one(workers=self.workers)

    def run(self, source: SetupSpec, missing: Sequence[Job]) -> Generator[list[Done], None, None]:
        """See `Executor.run`."""
        pool = ProcessPoolExecutor(self.workers, mp_context=get_context("spawn"), initializer=start_worker)
        try:
            waiting: dict[Future[list[Record]], Job] = {pool.submit(run_job, source, job): job for job in missing}
            while waiting:
                over = wait(waiting, return_when=FIRST_COMPLETED).done
                yield [(waiting[future], future.result()) for future in over if not future.exception()]
                for future in over:
                    del waiting[future]
                    future.result()
        except BaseException as error:
            # Workers ignore Ctrl-C, and Python would wait for results that are no longer needed.
            for worker in active_children():
                worker.terminate()
            if not isinstance(error, BrokenProcessPool):
                raise
            raise WorkerError(f"a worker process died; {RESUME_HINT}") from None
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


@dataclass(frozen=True, slots=True)
class AsyncExecutor:
    """All jobs in one event loop of this process with one open setup, at most `in_flight` problems at once."""

    in_flight: int = IN_FLIGHT

    def __post_init__(self) -> None:
        at_least_one(in_flight=self.in_flight)

    def run(self, source: SetupSpec, missing: Sequence[Job]) -> Generator[list[Done], None, None]:
        """See `Executor.run`. The event loop runs only while the caller waits for the next list."""
        done: list[Done] = []
        with asyncio.Runner() as runner:
            working = runner.get_loop().create_task(self._work(source, missing, done))
            try:
                while not working.done():
                    runner.run(asyncio.wait([working], timeout=POLL_SECONDS))
                    yield _taken(done)
                working.result()
            except KeyboardInterrupt:
                yield _taken(done)
                raise
            finally:
                working.cancel()
                runner.run(asyncio.wait([working]))

    async def _work(self, source: SetupSpec, missing: Sequence[Job], done: list[Done]) -> None:
        left = iter(missing)
        lanes = max(1, self.in_flight // max(len(job.problems) for job in missing))

        async def lane(opened: Setup) -> None:
            for job in left:
                records = await solve_job(source, opened, job)
                done.append((job, records))

        async with source.open() as opened:
            await gather(lane(opened) for _ in range(min(lanes, len(missing))))


def executor_for(source: SetupSpec) -> Executor:
    """The default executor of a setup: a process for each core where it computes, one event loop where it waits."""
    return ProcessExecutor(default_workers()) if source.kind() == "compute" else AsyncExecutor(source.in_flight())


def _taken(done: list[Done]) -> list[Done]:
    taken = done.copy()
    done.clear()
    return taken


def default_workers() -> int:
    """One for each core this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
