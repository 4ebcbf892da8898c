"""`computewise study`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from computewise.report import write_report
from computewise.study.config import StudyConfig
from computewise.study.run import default_workers
from computewise.study.study import Outcome, run_study


def study(
    config: Annotated[StudyConfig, Parameter(name="*")] = StudyConfig(),
    *,
    out: Path = Path("runs/study"),
    resume: bool = False,
    workers: int = 0,
) -> None:
    """Find out how test-time compute is best spent on each difficulty of problem, and write the policy and the report.

    Without arguments: the embedded models on the embedded task, a few minutes on two cores.

    Parameters
    ----------
    out:
        The run directory: records, summary, policy, figures and report.
    resume:
        Go on with the run in that directory; nothing recorded is computed again.
    workers:
        Processes, one thread each; 0 means one for each core.

    """
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, TimeRemainingColumn(), console=console, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task("starting the workers", total=None)
        outcome = run_study(
            config,
            out,
            resume=resume,
            workers=workers or default_workers(),
            progress=lambda what, done, total: bar.update(task, description=what, completed=done, total=total),
        )
    _print(outcome)
    Console(width=None if sys.stdout.isatty() else 140).print(f"report: {write_report(out)}", soft_wrap=True)


def _print(outcome: Outcome) -> None:
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
    large = summary["large"]
    console.print(f"large, greedy: {_cell(large)}")
    if summary["failed"]:
        console.print(f"{len(summary['failed'])} runs failed and their problems were left out: see summary.json")


def _cell(row: dict[str, object] | None) -> str:
    if row is None:
        return ""
    low, high = (100 * end for end in row["ci95"])  # type: ignore[attr-defined]
    return f"{100 * row['accuracy']:.1f} [{low:.0f}, {high:.0f}] {row['usage']['flops']:.1e}"  # type: ignore[operator,index]
