"""Running what is planned: what is not recorded is worked off and recorded. This is the only writer."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import closing

from computewise.core import Problem
from computewise.errors import CeilingError, RunError
from computewise.records import Key, Record, RunDirectory, key_of
from computewise.study.executors import KEPT, Done, Executor
from computewise.study.plan import Job, Run, jobs
from computewise.study.source import Source

Progress = Callable[[str, int, int], None]
"""Called with what was just recorded, how many problem runs are done, and how many there are."""

GIVE_UP = 32
"""Failures in a row after which a model is taken to be gone, not to be failed by its problems."""


def measure(
    runs: Sequence[Run],
    source: Source,
    problems: list[Problem],
    directory: RunDirectory,
    *,
    executor: Executor,
    progress: Progress,
) -> list[Record]:
    """Run what `directory` does not hold, or holds only an error of; every record of the runs, in their order."""
    held = {key: record for key, record in directory.read().items() if not record.error}
    planned = [job for run in runs for job in jobs(run, problems, source.size(run))]
    # A job whose append a kill has torn is run again whole, since its numbers are those of its problems together; what
    # stood of it is kept.
    missing = [job for job in planned if any(_key(job, problem.id) not in held for problem in job.problems)]
    # The largest first, so that none is left alone at last.
    missing.sort(key=lambda job: -job.run.budget)
    total = len(runs) * len(problems)
    done = sum(_key(job, problem.id) in held for job in planned for problem in job.problems)
    progress("recorded before", done, total)
    with closing(_batches(executor, source, missing)) as batches:
        for batch in batches:
            new = [(job, one) for job, records in batch for one in records if _key(job, one.problem) not in held]
            directory.append(record for _, record in new)
            held.update({_key(job, record.problem): record for job, record in new})
            done += len(new)
            progress(f"{batch[-1][0].run.purpose}, {batch[-1][0].run.model}", done, total)
    return [held[_key(job, problem.id)] for job in planned for problem in job.problems]


def _batches(executor: Executor, source: Source, missing: list[Job]) -> Generator[list[Done], None, None]:
    """What is done, as it is done; gives up where nothing but failures comes."""
    failures = 0
    try:
        with closing(executor.work_off(source, missing)) as found:
            for batch in found if missing else ():
                if batch:
                    yield batch
                for record in (record for _, records in batch for record in records):
                    failures = failures + 1 if record.error else 0
                    if failures == GIVE_UP:
                        raise RunError(f"{GIVE_UP} problems in a row failed, the last: {record.error}; {KEPT}")
    except CeilingError as error:
        raise CeilingError(f"{error}; {KEPT}") from None


def _key(job: Job, problem: str) -> Key:
    return key_of(job.run.purpose, job.run.model, job.run.strategy, job.run.seed, problem)
