"""`computewise study`."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from computewise.cli._flags import SERVER, TASK, ServerFlags, TaskFlags, with_setup
from computewise.cli._setup import CHOICES, NO_VERIFIER, embedded_setup, server_setup
from computewise.core import LARGE
from computewise.errors import UsageError
from computewise.report import write_report
from computewise.setups.base import SetupSpec
from computewise.setups.embedded import EmbeddedSpec
from computewise.setups.server import ServerSpec
from computewise.study.executors import Executor, ProcessExecutor, executor_for
from computewise.study.plan import StudyConfig
from computewise.study.ray import RayExecutor
from computewise.study.run import StudyResult, run_shard, run_study
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

    """
    source = _source(serving, problem_set)
    part = None if shard is None else parse_shard(shard)
    executor = _executor(source, workers, ray)
    console = Console(stderr=True)
    for finding in source.task().warnings if isinstance(source, ServerSpec) else ():
        console.print(finding, style="yellow", markup=False, highlight=False)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, TimeRemainingColumn(), console=console, disable=not sys.stderr.isatty()) as bar:
        shown = bar.add_task("starting", total=None)

        def progress(what: str, done: int, total: int) -> None:
            bar.update(shown, description=what, completed=done, total=total)

        try:
            if part is not None:
                count = run_shard(config, out, part, source=source, executor=executor, resume=resume, progress=progress)
                print(
                    f"{out}: {count} records of shard {part}; all shards together: computewise merge DIR... --out OUT"
                )
                return
            outcome = run_study(config, out, source=source, executor=executor, resume=resume, progress=progress)
        except KeyboardInterrupt:
            console.print(f"go on with --out {out} --resume", soft_wrap=True)
            raise
    show_outcome(outcome, out)


def _source(serving: ServerFlags, problem_set: TaskFlags) -> EmbeddedSpec | ServerSpec:
    serving, problem_set = with_setup(serving, problem_set)
    serving.check()
    if serving.base_url is not None:
        if problem_set.task == QUESTION or (problem_set.task is None and problem_set.data is None):
            raise UsageError("name the problems: --task math500 --data FILE, --task reasoning_gym:NAME, or --data FILE")
        if serving.verifier in (None, NO_VERIFIER):
            raise UsageError(f"a study needs a verifier: name one by --verifier, such as {CHOICES}")
        return server_setup(serving, problem_set.named("problems"))
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
    console = Console(width=None if sys.stdout.isatty() else 140)
    console.print(table)
    if summary["large"]:
        console.print(f"{summary['models'][LARGE]['label']}, greedy: {_cell(summary['large'])}")
    for sentence in summary["left_out"]:
        console.print(sentence)
    if summary["failed"]:
        console.print(f"{len(summary['failed'])} runs failed and their problems were left out: see summary.json")
    console.print(f"report: {write_report(out)}", soft_wrap=True)


def _cell(row: dict[str, object] | None) -> str:
    if row is None:
        return ""
    low, high = (100 * end for end in row["ci95"])  # type: ignore[attr-defined]
    return f"{100 * row['accuracy']:.1f} [{low:.0f}, {high:.0f}] {row['usage']['flops']:.1e}"  # type: ignore[operator,index]
