"""`computewise replay`."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

from rich.table import Table

from computewise.cli import open_console, say
from computewise.errors import UsageError
from computewise.models.embedded.engine import one_thread
from computewise.report.replay_page import write_replay_report
from computewise.study.recorded.readers.cells import Reading
from computewise.study.recorded.run import ReplayConfig, run_replay
from computewise.tasks.load import read_columns

RIVALS = {"uniform": "uniform", "controller": "controller", "oracle": "per-problem oracle"}

RULES = {
    "adaptive_consistency": "Adaptive-Consistency, {threshold:g}",
    "esc": "ESC, windows of {window}",
    "short_m_at_k": "short-{m}@{k}",
    "its_hub": "its_hub's Beta rule, {threshold:g} of {k}",
    "normal": "stop when ahead, {threshold:g}",
}

"""The published rules and how a setting of theirs is named."""

WIDTH = 8

"""Of the rules that start several samples at once, so many and the most are printed."""


MINUTE = 60.0


class _EachMinute:
    """Says on standard error what is done, once a minute, where that is no terminal."""

    def __init__(self) -> None:
        self._last = time.monotonic()

    def __call__(self, doing: str) -> None:
        if time.monotonic() - self._last >= MINUTE:
            self._last = time.monotonic()
            say(doing, stderr=True)


def replay(
    file: Path | None = None,
    *,
    fit: Path | None = None,
    evaluate: Path | None = None,
    large: Path | None = None,
    parameters: tuple[float, float] | None = None,
    format: str | None = None,
    columns: str | None = None,
    only: list[str] | None = None,
    large_only: list[str] | None = None,
    scores: str = "probability",
    grader: str = "math",
    equal_texts: str = "all",
    model: str | None = None,
    verifier: str | None = None,
    task: str = "question",
    cost: str | None = None,
    prices: tuple[float, float] | None = None,
    verifier_parameters: float | None = None,
    aggregation: str = "last",
    lose_at_most: float | None = None,
    confidence: float = 0.9,
    orders: int = 20,
    splits: int = 2,
    seed: int = 0,
    out: Path = Path("runs/replay"),
) -> None:
    """Fit a controller to recorded samples and measure it on problems it was not fitted on; no model is run.

    Parameters
    ----------
    file:
        Recorded samples, in JSON, JSONL, CSV, Parquet or an Inspect log, also gzipped (docs/replay.md).
    fit:
        The same file, as a flag.
    evaluate:
        Recorded samples of other problems, to measure on. Without it the file is split by problem, repeatedly.
    large:
        Recorded samples of a larger model on the same problems: adds escalation, and compares both at equal FLOPs.
    parameters:
        The numbers of parameters of the model and the larger one, such as 1.2e9 8e9.
    format:
        The schema: inspect, lm-eval, samples, trajectories, cassette, monkeys, search-and-learn, qwen-math or rows.
        Without it the columns decide.
    columns:
        The columns of roles, such as id=task,text=reply,reference=gold,correct=ok,tokens=length.
    only:
        COLUMN=VALUE: the rows to read of a file that holds several runs or models. May be given several times.
    large_only:
        The same for --large; without it --only holds there too.
    scores:
        What scores are: probability, or logit for raw rewards.
    grader:
        What reads and compares answers where the file does not: math, choice, exact or module:function.
    equal_texts:
        Whether a sample whose text another of its problem has counts too (all), or not (once).
    model:
        The model's name, as solve and serve know it: controller.json is for it.
    verifier:
        Likewise the name of the verifier that gave the scores; "none" leaves scores out: each sample is one vote.
    task:
        The task that controller.json is for.
    cost:
        What a sample costs: samples (1 each), tokens or dollars. By default tokens where the file counts them.
    prices:
        For --cost dollars: dollars for a million tokens of input and of output.
    verifier_parameters:
        With --large, the number of parameters of the verifier that gave the scores: it reads every sample of both.
    aggregation:
        How the verifier's scores of the steps become the solution's: last, min, prod or mean.
    lose_at_most:
        How much accuracy may be lost against always drawing all samples, such as 0.02: says the least mean cost that
        promises it.
    confidence:
        The confidence of that promise.
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
    reading = Reading(
        format=format,
        columns=read_columns(columns) if columns is not None else {},
        only=_pairs(only),
        scores=scores,
        grader=grader,
        equal_texts=equal_texts,
    )
    config = ReplayConfig(
        fit=file or fit or Path(),
        evaluate=evaluate,
        large=large,
        parameters=parameters,
        reading=reading,
        large_only=None if large_only is None else _pairs(large_only),
        model=model,
        verifier=verifier,
        task=task,
        cost=cost,
        prices=prices,
        verifier_parameters=verifier_parameters,
        aggregation=aggregation,
        lose_at_most=lose_at_most,
        confidence=confidence,
        orders=orders,
        splits=splits,
        seed=seed,
    )
    if sys.stderr.isatty():
        with open_console(stderr=True).status("reading") as status:
            summary = run_replay(config, out, watch=status.update)
    else:
        summary = run_replay(config, out, watch=_EachMinute())
    _print(summary, model)
    page = write_replay_report(out)
    say(f"report: {page}")


def _pairs(given: list[str] | None) -> dict[str, str]:
    pairs = [one.partition("=") for one in given or ()]
    for column, equals, _ in pairs:
        if not column or not equals:
            raise UsageError(f"--only {column!r} is not understood: write it as COLUMN=VALUE")
    return {column: value for column, _, value in pairs}


def _print(summary: dict[str, Any], model: str | None) -> None:
    console = open_console(width=140)
    for finding in summary["findings"]:
        console.print(f"{finding['file']}: {finding['text']}", style="yellow")
    unit = "" if summary["cost"] == "samples" else f", mean {summary['cost']}"
    table = Table(
        title=f"{summary['problems']['evaluate']} problems: accuracy in %, 95 % interval, mean samples{unit}",
    )
    table.add_column("cost of so many samples", justify="right")
    for name in RIVALS.values():
        table.add_column(name, justify="right")
    for points in zip(*(summary["frontier"][rule] for rule in RIVALS), strict=True):
        table.add_row(f"{points[0]['budget']:g}", *(_cell(point, summary["cost"]) for point in points))
    console.print(table)
    console.print(_rules(summary))
    console.print(summary["sentence"])
    if "promise" in summary:
        console.print(summary["promise"]["sentence"])
    if model is None:
        text = "controller.json names no model: solve and serve need --model NAME and --verifier NAME|none here."
        console.print(text)


def _rules(summary: dict[str, Any]) -> Table:
    table = Table(title="rules that nobody fits, at settings that their authors recommend")
    table.add_column("rule")
    table.add_column("accuracy, mean samples", justify="right")
    table.add_column("controller minus it", justify="right")
    for rule, name in RULES.items():
        widest = max((point.get("k", 0) for point in summary["rules"][rule]), default=0)
        for point in summary["rules"][rule]:
            if point["published"] and point.get("k", widest) in (WIDTH, widest):
                found = point["controller_minus_rule"]
                low, high = (100 * end for end in found["ci95"])
                beside = f"{_signed(100 * found['difference'])} [{_signed(low)}, {_signed(high)}]"
                table.add_row(name.format(**point), _cell(point, summary["cost"]), beside)
    return table


def _signed(points: float) -> str:
    return f"{round(points, 1) + 0.0:+.1f}"  # no minus before 0.0


def _cell(point: dict[str, Any], cost: str) -> str:
    low, high = (100 * end for end in point["ci95"])
    spent = f"{point['mean_samples']:.1f}"
    if cost == "tokens":
        spent += f", {point['mean_tokens']:,.0f}"
    elif cost == "dollars":
        spent += f", ${point['mean_cost']:.3g}"
    return f"{100 * point['accuracy']:.1f} [{low:.0f}, {high:.0f}] {spent}"
