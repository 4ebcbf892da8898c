"""Executors run the jobs of a study, in processes or as coroutines: its problems are solved, graded and recorded."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import threading
from collections.abc import Generator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import active_children, connection, get_context, parent_process
from statistics import fmean
from typing import Protocol

from computewise.core import Candidate, Model, Problem, Result, Role, Task, Verifier
from computewise.errors import ModelError, ProblemError, RunError, at_least_one
from computewise.models.embedded.engine import one_thread
from computewise.runs import CandidateRecord, NodeRecord, Record, StrategyParams
from computewise.samples import recorded_probabilities
from computewise.session import Ledger, gather
from computewise.setups.base import IN_FLIGHT, Setup, SetupSpec
from computewise.solver import extract_answers, solve
from computewise.strategies import strategy_to_dict
from computewise.study.plan import TREE_OF, Job, Run, strategy_of

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


def start_worker() -> None:
    """Ignore Ctrl-C, which the parent handles; compute on one core; end when the parent ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_the_parent, daemon=True).start()
    one_thread()


def _end_with_the_parent() -> None:
    """A parent that was killed closes nothing, and its workers would wait for their next job for ever."""
    parent = parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)


def run_job(source: SetupSpec, job: Job) -> list[Record]:
    """Open the setup, solve the job's problems together, and close it."""
    records = asyncio.run(_run_job(source, job))
    # The engine holds hundreds of megabytes in a reference cycle of few objects, which the collector does not notice.
    gc.collect()
    return records


async def _run_job(source: SetupSpec, job: Job) -> list[Record]:
    async with source.open() as opened:
        return await solve_job(source, opened, job)


async def solve_job(source: SetupSpec, opened: Setup, job: Job) -> list[Record]:
    """Solve the job's problems together; a problem that fails becomes a record with its error.

    Any other error is raised and ends the run.
    """
    verifier = opened.verifier() if job.run.verified else None
    model = opened.model(job.run.role)
    return await gather(_record(source, job.run, problem, model, verifier) for problem in job.problems)


async def _record(source: SetupSpec, run: Run, problem: Problem, model: Model, verifier: Verifier | None) -> Record:
    task, strategy = source.task(), strategy_of(run)
    record = Record(run.purpose, run.role, run.strategy, run.seed, problem.id)
    ledger = Ledger()
    try:
        result = await solve(
            problem,
            strategy,
            model,
            verifier,
            task,
            seed=run.seed,
            temperature=source.temperature(),
            limits=source.limits(),
            ledger=ledger,
        )
    except (ModelError, ProblemError) as error:
        return Record(*_identity(record), error=str(error))
    graded = record, result, task, problem, verifier, ledger
    return await asyncio.to_thread(_graded, *graded) if source.slow_grader() else _graded(*graded)


def _graded(
    record: Record, result: Result, task: Task, problem: Problem, verifier: Verifier | None, ledger: Ledger
) -> Record:
    recorded = record.strategy == strategy_to_dict(TREE_OF)
    verdicts = {answer: _verdict(task, problem, answer) for answer in {result.answers[c.id] for c in result.candidates}}
    unread = {id: (False, why) for id, why in ledger.ungraded.items()}
    probabilities = recorded_probabilities(result.candidates)
    return Record(
        *_identity(record),
        usage=result.usage,
        candidates=[
            _outcome(
                c,
                result,
                unread.get(c.id, verdicts[result.answers[c.id]]),
                verifier,
                probability,
                ledger.notes.get(c.id, ()),
            )
            for c, probability in zip(result.candidates, probabilities, strict=True)
        ],
        tree=_tree(result, extract_answers(result.tree, task, ledger)) if recorded else None,
        sequential=_sequential(result),
    )


def _identity(record: Record) -> tuple[str, Role, StrategyParams, int, str]:
    return record.purpose, record.role, record.strategy, record.seed, record.problem


def _verdict(task: Task, problem: Problem, answer: str | None) -> tuple[bool, str]:
    """Whether an answer is right, and why it could not be graded; one that could not is wrong.

    The problem stays in the study: a model that writes what a grader cannot read would lose its failures otherwise.
    """
    try:
        return task.correct(problem, answer), ""
    except ProblemError as error:
        return False, str(error)


def _outcome(
    candidate: Candidate,
    result: Result,
    verdict: tuple[bool, str],
    verifier: Verifier | None,
    probability: float,
    notes: tuple[str, ...],
) -> CandidateRecord:
    answer, cost = result.answers[candidate.id], result.costs[candidate.id]
    correct, ungraded = verdict
    return CandidateRecord(
        answer=answer,
        value=verifier.value(candidate.scores) if verifier else 0.0,
        mean_token_prob=probability,
        tokens=candidate.tokens,
        correct=correct,
        chain=candidate.chain,
        uncached_prompt_tokens=cost.prompt_tokens - cost.cached_prompt_tokens,
        completion_tokens=cost.completion_tokens,
        score_mean=fmean(candidate.scores) if candidate.scores else 0.0,
        score_min=min(candidate.scores, default=0.0),
        text=candidate.text,
        scores=candidate.scores,
        thinking=candidate.thinking,
        ungraded=ungraded,
        notes=notes,
    )


def _sequential(result: Result) -> int:
    """Tokens of the longest path: a child is sampled after its parent, siblings at the same time."""
    parents = {c.id: c.parent for c in result.tree}
    until: dict[str | None, int] = {None: 0}

    def tokens(id: str | None) -> int:
        if id not in until:
            until[id] = tokens(parents[id or ""]) + result.costs[id or ""].completion_tokens
        return until[id]

    return max(map(tokens, parents), default=0)


def _tree(result: Result, answers: Mapping[str, str | None]) -> list[NodeRecord]:
    return [
        NodeRecord(
            id=c.id,
            parent=c.parent,
            step=c.steps[-1].text.strip() if c.steps else "",
            score=c.scores[-1] if len(c.scores) == len(c.steps) and c.scores else None,
            end=c.end,
            answer=answers[c.id],
        )
        for c in result.tree
    ]
