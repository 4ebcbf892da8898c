"""How well each estimate of difficulty predicts it, and what it costs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

from computewise.difficulty.estimator import Cost
from computewise.difficulty.pooled import OracleDifficulty, PredictedDifficulty
from computewise.difficulty.probe import ProbeDifficulty
from computewise.difficulty.prompt import PromptDifficulty
from computewise.difficulty.quality import Quality, cross_predict, quality
from computewise.draws import Drawn, Floats
from computewise.metrics import Interval

PROBES = (2, 4, 8)
FOLDS = 5


def compare_estimators(problems: Sequence[Drawn], ease: Floats, seed: int) -> list[dict[str, Any]]:
    """One row an estimate: of problems it was not fitted on, against `ease`, pass@1 over samples it never saw."""
    draws = [next(iter(problem.arms.values())) for problem in problems]
    prompts, ids = [problem.prompt for problem in problems], [problem.id for problem in problems]
    own = OracleDifficulty().predict(draws)
    rows = []
    for name, estimator in (
        ("oracle: pass@1", OracleDifficulty()),
        ("predicted: mean value", PredictedDifficulty()),
    ):
        rows.append(_row(name, quality(estimator.predict(draws), ease, ids), estimator.cost(draws)))
    for probe in PROBES:
        if probe < min(map(len, draws)):
            predicted = cross_predict(partial(ProbeDifficulty, probe), draws, own, FOLDS, seed)
            rows.append(_row(f"probe of {probe}", quality(predicted, ease, ids), ProbeDifficulty(probe).cost(draws)))
    predicted = cross_predict(PromptDifficulty, prompts, own, FOLDS, seed)
    rows.append(_row("prompt alone", quality(predicted, ease, ids), PromptDifficulty().cost(prompts)))
    return rows


def _row(name: str, found: Quality, cost: Cost) -> dict[str, Any]:
    scalars = {"spearman": found.spearman, "exact": found.exact, "within_one": found.within_one, "brier": found.brier}
    return {
        "estimate": name,
        **{key: {"value": _number(one.value), "ci95": _bounds(one.interval)} for key, one in scalars.items()},
        "calibration_error": found.calibration_error,
        "reliability": [
            {"predicted": one.predicted, "true": one.true, "ci95": _bounds(one.interval), "problems": one.problems}
            for one in found.reliability
        ],
        "draws": cost.draws,
        "tokens": cost.tokens,
        "flops": cost.cost,
    }


def _number(value: float) -> float | None:
    """None where too few problems, or all alike, leave nothing to estimate: JSON has no NaN."""
    return None if math.isnan(value) else value


def _bounds(interval: Interval) -> list[float] | None:
    return None if math.isnan(interval.low) else list(interval)
