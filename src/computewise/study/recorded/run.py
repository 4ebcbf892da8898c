"""The study of recorded samples from start to end: read, check, fit, measure, write."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from computewise.controller.controller import UNNAMED, Controller
from computewise.controller.file import ControllerArm
from computewise.controller.guarantee import check_promise
from computewise.controller.ladder import RuleFitter
from computewise.controller.replay import RecordedPool
from computewise.controller.rule import check_splittable
from computewise.costs import MILLION
from computewise.difficulty.evaluate import compare_estimators
from computewise.errors import UsageError
from computewise.runs import FORMAT, RunDirectory
from computewise.samples import ProblemSamples
from computewise.selection import check_aggregation
from computewise.study.recorded.escalation import LARGE, SMALL, Sizes, escalation
from computewise.study.recorded.evaluate import Watch, evaluate_rules, frontier, promised, sentence
from computewise.study.recorded.policies import policies
from computewise.study.recorded.read import join, read_recording
from computewise.study.recorded.readers.cells import Reading
from computewise.study.recorded.rows import (
    RECORDED_CHARACTERS_A_TOKEN,
    Finding,
    RecordedProblem,
    Recording,
    counted,
    to_drawn,
    to_draws,
)

COSTS = ("samples", "tokens", "dollars")


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
    verifier_parameters: float | None = None
    "Parameters of the verifier that gave the scores; None leaves its FLOPs out."
    reading: Reading = field(default_factory=Reading)
    "How the files are read."
    large_only: Mapping[str, str] | None = None
    "The rows of the larger model's file; None for those of `reading`."
    model: str | None = None
    "The name that `solve` and `serve` know the model by: the controller is for it."
    verifier: str | None = None
    "Likewise the verifier's; \"none\" leaves the file's scores out, so that every sample is one vote."
    task: str = "question"
    "The task that the controller is for."
    cost: str | None = None
    "What a sample costs: one of `COSTS`; None for tokens where the file counts those of every sample, else samples."
    prices: tuple[float, float] | None = None
    "Dollars for a million tokens of input and of output."
    aggregation: str = "last"
    "What the verifier's scores of a solution's steps come to: last, min, prod or mean."
    lose_at_most: float | None = None
    "The accuracy that may be lost against always drawing all samples: adds the cheapest price that promises it."
    confidence: float = 0.9
    "Of that promise."
    orders: int = 20
    "Random orders of each problem's samples."
    splits: int = 2
    "Random partitions into five parts, where there is no file to measure on."
    seed: int = 0
    "Of orders and partitions."

    def check(self) -> None:
        """Raise `UsageError` for what cannot be run."""
        check_aggregation(self.aggregation)
        self.reading.check()
        if self.cost is not None and self.cost not in COSTS:
            raise UsageError(f"unknown cost {self.cost!r}: allowed are {', '.join(COSTS)}")
        if (self.cost == "dollars") != (self.prices is not None):
            raise UsageError(
                "--cost dollars and --prices INPUT OUTPUT, in dollars for a million tokens, need each other"
            )
        if self.prices is not None and not all(0 <= price < math.inf for price in self.prices):
            raise UsageError(f"prices {self.prices} are not allowed: at least 0 and finite")
        for name in ("orders", "splits"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} = {getattr(self, name)} is not allowed: at least 1")
        if self.lose_at_most is not None:
            check_promise(self.lose_at_most, self.confidence)
        if self.seed < 0:
            raise UsageError(f"seed = {self.seed} is not allowed: at least 0")
        if self.verifier_parameters is not None:
            if self.large is None:
                raise UsageError("--verifier-parameters counts with --large FILE alone: the cost is in FLOPs there")
            if not 0 < self.verifier_parameters < math.inf:
                raise UsageError(f"verifier_parameters = {self.verifier_parameters} is not allowed: above 0 and finite")
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
            "verifier_parameters": self.verifier_parameters,
            "reading": asdict(self.reading),
            "large_only": self.large_only and dict(self.large_only),
            "model": self.model,
            "verifier": self.verifier,
            "task": self.task,
            "cost": self.cost,
            "prices": self.prices and list(self.prices),
            "aggregation": self.aggregation,
            "lose_at_most": self.lose_at_most,
            "confidence": self.confidence,
            "orders": self.orders,
            "splits": self.splits,
            "seed": self.seed,
        }


def run_replay(config: ReplayConfig, out: Path, *, watch: Watch = lambda doing: None) -> dict[str, Any]:
    """Write `summary.json` and `controller.json` into `out`; returns the summary.

    `watch` is called with what is done now, for a person who waits.
    """
    config.check()
    watch("reading")
    fit, evaluate, larger = _read(config, watch)
    _check_scores(config, fit)
    both = [] if larger is None else [_both(part, larger, config.aggregation) for part in (fit, evaluate) if part]
    if evaluate is None:
        for problems in (fit.problems, *(problems for problems, _ in both)):
            check_splittable(len(problems))
    directory = RunDirectory(out, config.to_dict(), resume=True)
    findings = [*_found("fit", fit), *(() if evaluate is None else _found("evaluate", evaluate))]
    if evaluate is not None:
        findings += _overlap(fit, evaluate)
    cost = config.cost or _cost_of([fit, *([evaluate] if evaluate else [])])
    fit_on = [_priced(problem, cost, config) for problem in fit.problems]
    held = None if evaluate is None else [_priced(problem, cost, config) for problem in evaluate.problems]
    # What counts is the length of a sample where it decides what the sample costs.
    estimator = RuleFitter(seed=config.seed, by_length=cost != "samples")
    workload = RecordedPool(fit_on)
    measured_on = None if held is None else RecordedPool(held)
    measured = evaluate_rules(
        workload,
        measured_on,
        estimator,
        orders=config.orders,
        splits=config.splits,
        token_cost=_token_cost(cost, config),
        watch=watch,
    )
    watch("measuring")
    summary: dict[str, Any] = {
        "format": FORMAT,
        **config.to_dict(),
        "cost": cost,
        "problems": {"fit": len(fit_on), "evaluate": len(fit_on if held is None else held)},
        "samples": _samples(fit_on if held is None else held),
        "scored": _scored(evaluate or fit),
        **frontier(measured),
        "difficulty": _difficulty(fit_on if held is None else held, config.seed),
    }
    if config.lose_at_most is not None:
        summary["promise"] = promised(measured, config.lose_at_most, config.confidence)
    summary["sentence"] = sentence(summary)
    if larger is not None and config.parameters is not None:
        watch("measuring the larger model")
        findings += _found("large", larger)
        findings += [finding for _, found in both for finding in found]
        together = [problems for problems, _ in both]
        summary["escalation"] = escalation(
            together[0],
            together[1] if evaluate else None,
            Sizes(*config.parameters, (config.verifier_parameters or 0.0) if summary["scored"] else 0.0),
            orders=config.orders,
            splits=config.splits,
            seed=config.seed,
        )
    summary["findings"] = findings
    watch("fitting the controller")
    fitted = _fitted(estimator, workload, cost, config, _scored(fit))
    summary |= policies(fitted.rule, measured, estimator, workload, measured_on, orders=config.orders)
    directory.write("controller.json", fitted.to_json())
    directory.write("summary.json", json.dumps(summary, indent=1) + "\n")
    return summary


def _read(config: ReplayConfig, watch: Watch) -> tuple[Recording, Recording | None, Recording | None]:
    """Read all files before anything is measured or written."""
    found = []
    larger_rows = replace(config.reading, only=config.reading.only if config.large_only is None else config.large_only)
    for path, reading in (
        (config.fit, config.reading),
        (config.evaluate, config.reading),
        (config.large, larger_rows),
    ):
        held = None if path is None else read_recording(path, reading, watch)
        found.append(_unscored(held) if held and config.verifier == "none" else held)
    fit, evaluate, larger = found
    assert fit is not None
    return fit, evaluate, larger


def _unscored(recording: Recording) -> Recording:
    """Without scores: every sample is one vote."""
    problems = [
        replace(problem, samples=tuple(replace(sample, step_scores=()) for sample in problem.samples))
        for problem in recording.problems
    ]
    return replace(recording, problems=tuple(problems))


def _scored(recording: Recording) -> bool:
    return any(sample.step_scores for problem in recording.problems for sample in problem.samples)


def _check_scores(config: ReplayConfig, fit: Recording) -> None:
    if config.verifier not in (None, "none") and not _scored(fit):
        raise UsageError(
            f"{config.fit} holds no scores, so nothing can be learned about the verifier {config.verifier!r}: "
            "leave --verifier out, or say --verifier none"
        )


def _cost_of(recordings: Sequence[Recording]) -> str:
    """Tokens where somebody counted those of every sample."""
    samples = (sample for one in recordings for problem in one.problems for sample in problem.samples)
    return "tokens" if all(map(counted, samples)) else "samples"


def _priced(problem: RecordedProblem, cost: str, config: ReplayConfig) -> ProblemSamples:
    """The problem with what each of its samples costs; in dollars every sample pays for its prompt."""
    held = to_drawn(problem, config.aggregation)
    drawn = held.arms[SMALL]
    if cost == "tokens":
        drawn = replace(drawn, costs=np.maximum(drawn.tokens, 1.0))
    if config.prices is not None:
        asked, sampled = (price / MILLION for price in config.prices)
        prompt = len(problem.prompt) / RECORDED_CHARACTERS_A_TOKEN
        drawn = replace(drawn, costs=np.maximum(drawn.tokens, 1.0) * sampled + prompt * asked)
    return replace(held, arms={SMALL: drawn})


def _token_cost(cost: str, config: ReplayConfig) -> float:
    """What a token that is not sampled saves."""
    if config.prices is not None:
        return config.prices[1] / MILLION
    return 1.0 if cost == "tokens" else 0.0


def _both(small: Recording, large: Recording, aggregation: str) -> tuple[list[ProblemSamples], list[dict[str, object]]]:
    """The problems that both models were recorded on, with a common numbering of their answers."""
    joined = join(small, large)
    problems = [
        ProblemSamples(
            one.id,
            one.prompt if one.prompted else "",
            {SMALL: to_draws(one, aggregation), LARGE: to_draws(other, aggregation)},
        )
        for one, other in joined.pairs
    ]
    return problems, [_plain("large", finding) for finding in joined.findings]


def _fitted(estimator: RuleFitter, workload: RecordedPool, cost: str, config: ReplayConfig, scored: bool) -> Controller:
    samples = workload.arms[0]
    return Controller(
        estimator.fit(workload),
        arms=(ControllerArm(samples.name, config.model or UNNAMED, {"name": "single"}, int(samples.lengths.max())),),
        verifier=(config.verifier or UNNAMED) if scored else None,
        task=config.task,
        currency=cost,
        unit=samples.mean_cost,
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
