"""`computewise study`."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.prompt import Confirm
from rich.table import Table

from computewise.cli import open_console, say
from computewise.cli._flags import SERVER, TASK, ServerFlags, TaskFlags, with_setup
from computewise.cli._setup import CHOICES, NO_VERIFIER, embedded_setup, server_setup, temperature_notes
from computewise.core import LARGE
from computewise.errors import UsageError
from computewise.report import write_report
from computewise.setups.base import SetupSpec
from computewise.setups.embedded import EmbeddedSpec
from computewise.setups.server import ServerSpec
from computewise.study.estimate import duration, estimate
from computewise.study.executors import Executor, ProcessExecutor, executor_for
from computewise.study.plan import Job, StudyConfig
from computewise.study.ray import RayExecutor
from computewise.study.run import Approve, StudyResult, run_shard, run_study
from computewise.study.run import Progress as ProgressCall
from computewise.study.shards import parse_shard
from computewise.tasks.load import QUESTION


def study(
    config: Annotated[StudyConfig, Parameter(name="*")] = StudyConfig(),
    *,
    out: Path = Path("runs/study"),
    resume: bool = False,
    workers: int | None = None,
    shard: str | None = None,
    ray: str | None = None,
    yes: bool = False,
    problem_set: Annotated[TaskFlags, Parameter(name="*", group=TASK)] = TaskFlags(),
    serving: Annotated[ServerFlags, Parameter(name="*", group=SERVER)] = ServerFlags(),
) -> None:
    """Measure how test-time compute is best spent on problems of each difficulty; write a controller and a report.

    Without arguments: the embedded models on the embedded task, a few minutes on two cores.

    Parameters
    ----------
    out:
        The run directory, for records, summary, controller, figures and report.
    resume:
        Continue the run in that directory; what is recorded is not computed again.
    workers:
        Processes for the embedded models, one thread each (default one for each core).
    shard:
        Measure only that part of the problems, such as 2/8, and leave the analysis to `computewise merge`.
    ray:
        Spread the work over a Ray cluster: auto for the running one, local, or ray://HOST:PORT (extra ray).
    yes:
        Do not ask in a terminal before a server is sent what the study will cost.

    """
    source = _source(serving, problem_set)
    part = None if shard is None else parse_shard(shard)
    executor = _executor(source, workers, ray)
    console = open_console(stderr=True)
    for finding in source.task().warnings if isinstance(source, ServerSpec) else ():
        console.print(finding, style="yellow")
    approve = _approval(source, console, yes=yes) if isinstance(source, ServerSpec) else None
    with _ended_cleanly(), _progress(console, out) as progress:
        settings: dict[str, Any] = {"executor": executor, "resume": resume, "progress": progress, "approve": approve}
        try:
            if part is not None:
                count = run_shard(config, out, part, source=source, **settings)
                say(f"{out}: {count} records of shard {part}; all shards together: computewise merge DIR... --out OUT")
                return
            outcome = run_study(config, out, source=source, **settings)
        except KeyboardInterrupt:
            console.print(f"go on with --out {out} --resume", soft_wrap=True)
            raise
    show_outcome(outcome, out)


def _approval(source: ServerSpec, console: Console, *, yes: bool) -> Approve:
    """Say what the study will cost and, in a terminal, ask before it starts."""

    def approve(missing: Sequence[Job]) -> None:
        console.print(f"this study: {estimate(missing, source)}", soft_wrap=True)
        if yes or not (sys.stdin.isatty() and sys.stderr.isatty()):
            return
        if not Confirm.ask("start?", console=console, default=False):
            raise UsageError("nothing was started; fewer --problems, --budgets or --seeds cost less")

    return approve


EVERY = 60.0
"""Seconds between two lines of progress where there is no terminal to draw in."""


@contextmanager
def _ended_cleanly() -> Iterator[None]:
    """Take a request to end, as `kill` sends it, as Ctrl-C, so that the worker processes and their locks end too."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _progress(console: Console, out: Path) -> Iterator[ProgressCall]:
    """Say where the run is; draw a bar in a terminal, elsewhere say once a minute how far it is and what is left."""
    if console.is_terminal:
        columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn())
        bar = Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=console)
        shown = bar.add_task("starting", total=None)

        def draw(what: str, done: int, total: int) -> None:
            if not bar.live.is_started:
                console.print(f"run directory: {out}", soft_wrap=True)
            bar.start()  # not before: a question may be asked first
            bar.update(shown, description=what, completed=done, total=total)

        try:
            yield draw
        finally:
            bar.stop()
        return
    begun, said, before = time.monotonic(), time.monotonic(), None

    def line(what: str, done: int, total: int) -> None:
        nonlocal said, before
        if before is None:
            before = done
            console.print(f"run directory: {out}; {done:,} of {total:,} runs are recorded", soft_wrap=True)
        now = time.monotonic()
        if now - said < EVERY or done == before:
            return
        said = now
        left = duration((total - done) * (now - begun) / (done - before))
        console.print(f"{done:,} of {total:,} runs ({done / total:.0%}), {left} left")

    yield line


def _source(serving: ServerFlags, problem_set: TaskFlags) -> EmbeddedSpec | ServerSpec:
    serving, problem_set = with_setup(serving, problem_set)
    serving.check()
    if serving.base_url is not None:
        if problem_set.task == QUESTION or (problem_set.task is None and problem_set.data is None):
            raise UsageError("name the problems: --task math500 --data FILE, --task reasoning_gym:NAME, or --data FILE")
        if serving.verifier in (None, NO_VERIFIER):
            raise UsageError(f"a study needs a verifier: name one by --verifier, such as {CHOICES}")
        spec = server_setup(serving, problem_set.named("problems"))
        for note in temperature_notes(spec):
            say(f"computewise: {note}", stderr=True)
        return spec
    if replace(serving, setup=None) != ServerFlags():
        raise UsageError("a study of the embedded models has its own models, verifier and temperature")
    return embedded_setup(serving, problem_set)


def _executor(source: SetupSpec, workers: int | None, ray: str | None) -> Executor:
    if workers is not None and ray is not None:
        raise UsageError("--workers and --ray exclude each other: a cluster has its own workers")
    if workers is not None and isinstance(source, ServerSpec):
        raise UsageError("--workers is for the embedded models: with --base-url it is --in-flight")
    if ray is not None:
        return RayExecutor(ray)
    return executor_for(source) if workers is None else ProcessExecutor(workers)


def show_outcome(outcome: StudyResult, out: Path) -> None:
    """Print the short table, write the report and print its path."""
    summary = outcome.summary
    table = Table(
        title=f"{summary['problems']} problems of {summary['task']}: accuracy in %, 95 % interval, FLOPs a problem"
    )
    table.add_column("strategy")
    budgets = [row["n"] for row in summary["best_fixed"]]
    for budget in budgets:
        table.add_column(f"N = {budget}", justify="right")
    for name, rows in outcome.headline().items():
        table.add_row(name, *(_cell(rows.get(budget)) for budget in budgets))
    console = open_console(width=140)
    console.print(table)
    if summary["large"]:
        console.print(f"{summary['models'][LARGE]['label']}, greedy: {_cell(summary['large'])}")
    for sentence in summary["left_out"]:
        say(sentence)
    if summary["failed"]:
        console.print(f"{len(summary['failed'])} runs failed and their problems were left out: see summary.json")
    say(f"report: {write_report(out)}")


def _cell(row: dict[str, object] | None) -> str:
    if row is None:
        return ""
    low, high = (100 * end for end in row["ci95"])  # type: ignore[attr-defined]
    return f"{100 * row['accuracy']:.1f} [{low:.0f}, {high:.0f}] {row['usage']['flops']:.1e}"  # type: ignore[operator,index]
