"""A larger model to ask, measured on recorded samples of both models at equal FLOPs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from computewise.controller.frontier import StoppingPath
from computewise.controller.ladder import RuleFitter
from computewise.controller.orders import SampleOrders
from computewise.controller.replay import RecordedPool
from computewise.difficulty import rank_bins
from computewise.flops_matched import from_curve
from computewise.metrics import Floats
from computewise.samples import ProblemSamples, SampleArrays
from computewise.study.recorded.evaluate import Measured, accuracy_of, difference_of, evaluate_rules

PerProblem = tuple[Floats, Floats]

"""Accuracy, ([splits,] problems), and mean cost, (problems,)."""

SMALL, LARGE = "samples", "large"


def in_samples_of_small(problems: Sequence[ProblemSamples], parameters: tuple[float, float]) -> list[ProblemSamples]:
    """The same problems with costs in FLOPs, in units of a mean sample of the small model.

    2 operations for each parameter and token. The cost of prompts is left out, since recordings do not contain it.
    """
    unit = parameters[0] * np.concatenate([problem.arms[SMALL].tokens for problem in problems]).mean()
    weights = dict(zip((SMALL, LARGE), parameters, strict=True))

    def priced(name: str, draws: SampleArrays) -> SampleArrays:
        return replace(draws, costs=draws.tokens * weights[name] / unit)

    return [
        replace(problem, arms={name: priced(name, draws) for name, draws in problem.arms.items()})
        for problem in problems
    ]


def escalation(
    fit: Sequence[ProblemSamples],
    evaluate: Sequence[ProblemSamples] | None,
    parameters: tuple[float, float],
    *,
    orders: int,
    splits: int,
    seed: int,
) -> dict[str, Any]:
    """The controller with escalation, the large model alone and the small model alone, at equal FLOPs."""
    fit_on = in_samples_of_small(fit, parameters)
    held = None if evaluate is None else in_samples_of_small(evaluate, parameters)
    estimator = RuleFitter(larger=(LARGE,), seed=seed)
    both = _measure(fit_on, held, (SMALL, LARGE), estimator, orders, splits)
    alone = _measure(fit_on, held, (SMALL,), estimator, orders, splits)
    large = SampleOrders.of(_workload(held or fit_on, (LARGE,)), repeats=orders, seed=seed)
    larger = {n: _uniform(large, n) for n in range(1, int(large.lengths.max()) + 1)}
    one = larger[1]
    return {
        "parameters": list(parameters),
        "problems": len(held or fit_on),
        "unit": "mean samples of the small model, in FLOPs",
        "large_alone": [{"samples": n, **_escalated(outcome)} for n, outcome in larger.items()],
        "at_equal_cost": [_beside(n, outcome, both, alone) for n, outcome in larger.items()],
        "exchange": _exchange(alone, [problem.id for problem in held or fit_on], one[0], parameters),
    }


def _measure(
    fit: list[ProblemSamples],
    evaluate: list[ProblemSamples] | None,
    arms: tuple[str, ...],
    estimator: RuleFitter,
    orders: int,
    splits: int,
) -> Measured:
    held = None if evaluate is None else _workload(evaluate, arms)
    return evaluate_rules(_workload(fit, arms), held, estimator, orders=orders, splits=splits)


def _workload(problems: list[ProblemSamples], arms: tuple[str, ...]) -> RecordedPool:
    return RecordedPool([replace(problem, arms={arm: problem.arms[arm] for arm in arms}) for problem in problems])


def _beside(n: int, large: PerProblem, both: Measured, alone: Measured) -> dict[str, Any]:
    """The rules at no more than the cost of `n` samples of the large model."""
    cost = float(large[1].mean())
    escalating, staying = _spend(both, cost), _spend(alone, cost)
    return {
        "large_samples": n,
        "escalating": {**_escalated(escalating), "minus_large": difference_of(escalating[0], large[0])},
        "small_alone": {**_escalated(staying), "minus_large": difference_of(staying[0], large[0])},
        "escalated": float(np.mean([_took(split.path, 1, cost) for split in both.splits])),
    }


def _spend(measured: Measured, budget: float) -> PerProblem:
    """The controller at a mean cost of at most `budget`, with one price for all problems, mean over the splits."""
    each = [split.path.at(split.path.price(budget)) for split in measured.splits]
    accuracy, cost = zip(*each, strict=True)
    return np.stack(accuracy), np.mean(cost, 0)


def _took(path: StoppingPath, arm: int, budget: float) -> float:
    """The share of problems that an arm draws for."""
    drawn = np.arange(path.arms.shape[1]) < path.stops(path.price(budget))[:, None]
    return float(((path.arms == arm) & drawn).any(1).mean())


def _uniform(orders: SampleOrders, samples: int) -> PerProblem:
    outcome = orders.uniform(samples)
    return outcome.accuracy, outcome.cost


def _escalated(outcome: PerProblem) -> dict[str, Any]:
    accuracy, cost = outcome
    return {"cost": float(cost.mean()), **accuracy_of(accuracy)}


def _exchange(alone: Measured, ids: Sequence[str], large: Floats, parameters: tuple[float, float]) -> dict[str, Any]:
    """Over R, by quintiles of the small model's own pass@1; the large model answers once."""
    ease = alone.orders.uniform(1).accuracy
    bins = rank_bins(ease.tolist(), ids)
    most = float(alone.orders.path.spent[:, -1].mean())
    budgets = np.unique(np.clip(np.geomspace(1.0, most, 12), 1.0, None))
    curve = [_spend(alone, float(budget)) for budget in budgets]
    spent = np.array([float(cost.mean()) for _, cost in curve])
    kept = np.flatnonzero(np.diff(spent, prepend=0.0) > 1e-9)
    return from_curve(parameters, [curve[index] for index in kept], large, bins).to_dict()
