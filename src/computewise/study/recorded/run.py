"""The study of recorded samples from start to end: read, check, fit, measure, write."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from computewise.controller.controller import Controller
from computewise.controller.file import ControllerArm
from computewise.controller.replay import RecordedPool
from computewise.controller.rule import RuleFitter, check_splittable
from computewise.difficulty.evaluate import compare_estimators
from computewise.errors import UsageError
from computewise.runs import FORMAT, RunDirectory
from computewise.samples import ProblemSamples
from computewise.selection import check_aggregation
from computewise.study.recorded.evaluate import LARGE, SMALL, escalation, evaluate_rules, frontier, frontier_sentence
from computewise.study.recorded.read import join, read_recording
from computewise.study.recorded.rows import Finding, Recording, to_drawn, to_draws


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayConfig:
    """The settings that decide the numbers."""

    fit: Path
    "Recorded samples to fit on."
    evaluate: Path | None = None
    "Recorded samples of other problems to measure on; without it, the first are split by problem, repeatedly."
    large: Path | None = None
    "Recorded samples of a larger model on the same problems."
    parameters: tuple[float, float] | None = None
    "Parameters of the model and of the larger one."
    aggregation: str = "last"
    "What the verifier's scores of a solution's steps come to: last, min, prod or mean."
    orders: int = 20
    "Random orders of each problem's samples."
    splits: int = 4
    "Random partitions into five parts, where there is no file to measure on."
    seed: int = 0
    "Of orders and partitions."

    def check(self) -> None:
        """Raise `UsageError` for what cannot be run."""
        check_aggregation(self.aggregation)
        for name in ("orders", "splits"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} = {getattr(self, name)} is not allowed: at least 1")
        if self.seed < 0:
            raise UsageError(f"seed = {self.seed} is not allowed: at least 0")
        if (self.large is None) != (self.parameters is None):
            raise UsageError("a larger model's samples need --parameters SMALL LARGE, and those need --large FILE")
        if self.parameters is not None and not 0 < self.parameters[0] <= self.parameters[1] < math.inf:
            raise UsageError(
                f"parameters {self.parameters} are not allowed: above 0 and finite, the larger model's second"
            )

    def to_dict(self) -> dict[str, object]:
        """As plain data for JSON."""
        return {
            "kind": "replay",
            "fit": str(self.fit),
            "evaluate": self.evaluate and str(self.evaluate),
            "large": self.large and str(self.large),
            "parameters": self.parameters and list(self.parameters),
            "aggregation": self.aggregation,
            "orders": self.orders,
            "splits": self.splits,
            "seed": self.seed,
        }


def run_replay(config: ReplayConfig, out: Path) -> dict[str, Any]:
    """Write `summary.json` and `controller.json` into `out`; returns the summary."""
    config.check()
    fit, evaluate, larger = _read(config)
    both = [] if larger is None else [_both(part, larger, config.aggregation) for part in (fit, evaluate) if part]
    if evaluate is None:
        for problems in (fit.problems, *(problems for problems, _ in both)):
            check_splittable(len(problems))
    directory = RunDirectory(out, config.to_dict(), resume=True)
    findings = [*_found("fit", fit), *(() if evaluate is None else _found("evaluate", evaluate))]
    if evaluate is not None:
        findings += _overlap(fit, evaluate)
    fit_on = [to_drawn(problem, config.aggregation) for problem in fit.problems]
    held = None if evaluate is None else [to_drawn(problem, config.aggregation) for problem in evaluate.problems]
    estimator = RuleFitter(seed=config.seed)
    workload = RecordedPool(fit_on)
    measured = evaluate_rules(
        workload, None if held is None else RecordedPool(held), estimator, orders=config.orders, splits=config.splits
    )
    summary: dict[str, Any] = {
        "format": FORMAT,
        **config.to_dict(),
        "problems": {"fit": len(fit_on), "evaluate": len(fit_on if held is None else held)},
        "samples": _samples(fit_on if held is None else held),
        **frontier(measured),
        "difficulty": _difficulty(fit_on if held is None else held, config.seed),
    }
    summary["sentence"] = frontier_sentence(summary)
    if larger is not None and config.parameters is not None:
        findings += _found("large", larger)
        findings += [finding for _, found in both for finding in found]
        together = [problems for problems, _ in both]
        summary["escalation"] = escalation(
            together[0],
            together[1] if evaluate else None,
            config.parameters,
            orders=config.orders,
            splits=config.splits,
            seed=config.seed,
        )
    summary["findings"] = findings
    directory.write("summary.json", json.dumps(summary, indent=1) + "\n")
    directory.write("controller.json", _fitted(estimator, workload, config).to_json())
    return summary


def _read(config: ReplayConfig) -> tuple[Recording, Recording | None, Recording | None]:
    """Read all files before anything is measured or written."""
    fit = read_recording(config.fit)
    evaluate, larger = (None if path is None else read_recording(path) for path in (config.evaluate, config.large))
    return fit, evaluate, larger


def _both(small: Recording, large: Recording, aggregation: str) -> tuple[list[ProblemSamples], list[dict[str, object]]]:
    """The problems that both models were recorded on, with a common numbering of their answers."""
    joined = join(small, large)
    problems = [
        ProblemSamples(one.id, one.prompt, {SMALL: to_draws(one, aggregation), LARGE: to_draws(other, aggregation)})
        for one, other in joined.pairs
    ]
    return problems, [_plain("large", finding) for finding in joined.findings]


def _fitted(estimator: RuleFitter, workload: RecordedPool, config: ReplayConfig) -> Controller:
    samples = workload.arms[0]
    return Controller(
        estimator.fit(workload),
        arms=(ControllerArm(samples.name, config.fit.name, {"name": "single"}, int(samples.lengths.max())),),
        verifier=f"recorded, {config.aggregation}",
        task=config.fit.name,
        currency="samples",
        unit=1.0,
    )


def _difficulty(problems: Sequence[ProblemSamples], seed: int) -> list[dict[str, Any]]:
    """Estimates of difficulty from the first half of each problem's samples, against pass@1 over the other half."""
    halves = [len(problem.arms[SMALL]) // 2 for problem in problems]
    first = [
        replace(problem, arms={SMALL: problem.arms[SMALL].take(np.arange(half))})
        for problem, half in zip(problems, halves, strict=True)
    ]
    if min(halves) < 1:
        return []
    ease = [problem.arms[SMALL].correct[half:].mean() for problem, half in zip(problems, halves, strict=True)]
    return compare_estimators(first, np.array(ease), seed)


def _samples(problems: Sequence[ProblemSamples]) -> dict[str, float]:
    counts = [len(problem.arms[SMALL]) for problem in problems]
    return {"least": min(counts), "median": float(np.median(counts)), "most": max(counts)}


def _found(file: str, recording: Recording) -> list[dict[str, object]]:
    return [_plain(file, finding) for finding in recording.findings]


def _overlap(fit: Recording, evaluate: Recording) -> list[dict[str, object]]:
    """The problems that are in both files: measurements on them prove nothing."""
    known = {problem.prompt for problem in fit.problems}
    both = [problem.id for problem in evaluate.problems if problem.prompt in known]
    if not both:
        return []
    text = f"{len(both)} problems are in both files, for example {both[0]}: what is measured on those proves nothing"
    return [_plain("evaluate", Finding("overlap", len(both), both[0], text))]


def _plain(file: str, finding: Finding) -> dict[str, object]:
    return {
        "file": file,
        "kind": finding.kind,
        "count": finding.count,
        "example": finding.example,
        "text": finding.text,
    }
