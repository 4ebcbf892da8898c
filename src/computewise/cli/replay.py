"""`computewise replay`."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from computewise.errors import UsageError
from computewise.models.embedded.engine import one_thread
from computewise.report.replay_page import write_replay_report
from computewise.study.recorded.run import ReplayConfig, run_replay

RULES = {
    "uniform": "uniform",
    "controller": "controller",
    "plain_rule": "stop when ahead",
    "oracle": "per-problem oracle",
}


def replay(
    file: Path | None = None,
    *,
    fit: Path | None = None,
    evaluate: Path | None = None,
    large: Path | None = None,
    parameters: tuple[float, float] | None = None,
    aggregation: str = "last",
    orders: int = 20,
    splits: int = 4,
    seed: int = 0,
    out: Path = Path("runs/replay"),
) -> None:
    """Fit a controller to recorded samples and measure it on problems it was not fitted on; no model is run.

    Parameters
    ----------
    file:
        Recorded samples, JSONL (also .gz) or Parquet: a row a problem with its samples, or search-and-learn's columns.
    fit:
        The same file, as a flag.
    evaluate:
        Recorded samples of other problems, to measure on. Without it the file is split by problem, repeatedly.
    large:
        Recorded samples of a larger model on the same problems: adds escalation, and compares both at equal FLOPs.
    parameters:
        The numbers of parameters of the model and the larger one, such as 1.2e9 8e9.
    aggregation:
        How the verifier's scores of the steps become the solution's: last, min, prod or mean.
    orders:
        Random orders of each problem's samples that every rule is measured in.
    splits:
        Random partitions into five parts, where there is no --evaluate.
    seed:
        The seed of orders and partitions.
    out:
        Directory for summary.json, controller.json and report.html.

    """
    if (file is None) == (fit is None):
        raise UsageError("name one file to fit on: computewise replay FILE, or --fit FILE")
    one_thread()
    config = ReplayConfig(
        fit=file or fit or Path(),
        evaluate=evaluate,
        large=large,
        parameters=parameters,
        aggregation=aggregation,
        orders=orders,
        splits=splits,
        seed=seed,
    )
    with Console(stderr=True).status("reading, fitting, measuring") if sys.stderr.isatty() else nullcontext():
        summary = run_replay(config, out)
    _print(summary)
    page = write_replay_report(out)
    Console(width=None if sys.stdout.isatty() else 140).print(f"report: {page}", soft_wrap=True, markup=False)


def _print(summary: dict[str, Any]) -> None:
    console = Console(width=None if sys.stdout.isatty() else 140)
    for finding in summary["findings"]:
        console.print(f"{finding['file']}: {finding['text']}", style="yellow", markup=False)
    table = Table(title=f"{summary['problems']['evaluate']} problems: accuracy in %, 95 % interval, mean samples")
    table.add_column("mean samples at most", justify="right")
    for name in RULES.values():
        table.add_column(name, justify="right")
    for points in zip(*(summary["frontier"][rule] for rule in RULES), strict=True):
        table.add_row(f"{points[0]['budget']:g}", *(_cell(point) for point in points))
    console.print(table)
    console.print(summary["sentence"], markup=False)


def _cell(point: dict[str, Any]) -> str:
    low, high = (100 * end for end in point["ci95"])
    return f"{100 * point['accuracy']:.1f} [{low:.0f}, {high:.0f}] {point['mean_samples']:.1f}"
