"""Running what is planned: work off what is not recorded."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import active_children, get_context

from computewise.core import Problem
from computewise.errors import RunError
from computewise.records import Record, RunDirectory, key_of
from computewise.study.plan import Job, Run, jobs
from computewise.study.worker import run_job, start_worker

Progress = Callable[[str, int, int], None]
"""Called with what was just recorded, how many problem runs are done, and how many there are."""


def measure(
    runs: Sequence[Run],
    task: str,
    problems: list[Problem],
    directory: RunDirectory,
    *,
    workers: int,
    progress: Progress,
) -> list[Record]:
    """Run what `directory` does not hold; every record of the runs, in their order."""
    held = directory.read()

    def key(job: Job, problem_id: str) -> tuple[str, str, str, int, str]:
        return key_of(job.run.purpose, job.run.model, job.run.strategy, job.run.seed, problem_id)

    planned = [job for run in runs for job in jobs(run, task, problems)]
    # A job whose append a kill has torn is run again whole, since its numbers are those of its problems together; what
    # stood of it is kept.
    missing = [job for job in planned if any(key(job, problem.id) not in held for problem in job.problems)]
    total = len(runs) * len(problems)
    done = sum(key(job, problem.id) in held for job in planned for problem in job.problems)
    progress("recorded before", done, total)
    for job, found in _work_off(missing, workers):
        records = [record for record in found if key(job, record.problem) not in held]
        directory.append(records)
        done += len(records)
        progress(f"{job.run.purpose}, {job.run.model}", done, total)
        held.update({key(job, record.problem): record for record in records})
    return [held[key(job, problem.id)] for job in planned for problem in job.problems]


def _work_off(missing: list[Job], workers: int) -> Iterator[tuple[Job, list[Record]]]:
    """Jobs with their records, as they are done; the largest budgets first, so that none is left alone at last."""
    if not missing:
        return
    order = sorted(missing, key=lambda job: -job.run.budget)
    pool = ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=start_worker)
    try:
        waiting: dict[Future[list[Record]], Job] = {pool.submit(run_job, job): job for job in order}
        while waiting:
            for future in wait(waiting, return_when=FIRST_COMPLETED).done:
                yield waiting.pop(future), future.result()
    except BaseException as error:
        # Workers ignore Ctrl-C, and Python would wait for what they still compute, only to throw it away.
        for worker in active_children():
            worker.terminate()
        if not isinstance(error, BrokenProcessPool):
            raise
        raise RunError("a worker process died; what is recorded is kept, go on with --resume") from None
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def default_workers() -> int:
    """One for each core this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
