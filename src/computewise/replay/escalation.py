"""Two recorded models on the same problems: when to hand over to the larger, and what the smaller is worth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from computewise.difficulty import rank_bins
from computewise.draws import Drawn, Draws, Floats
from computewise.exchange import Pretrained, by_flops, from_problems
from computewise.metrics import bootstrap
from computewise.policy.baselines import always, uniform
from computewise.policy.compute_optimal import ComputeOptimal
from computewise.policy.workload import Workload
from computewise.replay.rules import Measured, Outcome, measure
from computewise.replay.summary import difference

SMALL, LARGE = "samples", "large"


def in_samples_of_small(problems: Sequence[Drawn], parameters: tuple[float, float]) -> list[Drawn]:
    """The same problems, costs counted in FLOPs and given in mean samples of the small model.

    2 operations a parameter and token; what prompts take is left out, since nobody recorded it.
    """
    unit = parameters[0] * np.concatenate([problem.arms[SMALL].tokens for problem in problems]).mean()
    weights = dict(zip((SMALL, LARGE), parameters, strict=True))

    def priced(name: str, draws: Draws) -> Draws:
        return replace(draws, costs=draws.tokens * weights[name] / unit)

    return [
        replace(problem, arms={name: priced(name, draws) for name, draws in problem.arms.items()})
        for problem in problems
    ]


def escalation(
    fit: Sequence[Drawn],
    evaluate: Sequence[Drawn] | None,
    parameters: tuple[float, float],
    *,
    orders: int,
    splits: int,
    seed: int,
) -> dict[str, Any]:
    """The controller that may escalate beside the large model alone and the small one alone, at equal FLOPs."""
    fit_on = in_samples_of_small(fit, parameters)
    held = None if evaluate is None else in_samples_of_small(evaluate, parameters)
    estimator = ComputeOptimal(larger=(LARGE,), seed=seed)
    both = _measure(fit_on, held, (SMALL, LARGE), estimator, orders, splits)
    alone = _measure(fit_on, held, (SMALL,), estimator, orders, splits)
    large = always(_workload(held or fit_on, (LARGE,)), repeats=orders, seed=seed)
    most = int((large.arms >= 0).sum(1).max()) + 1
    larger = {n: uniform(large, n) for n in range(1, most + 1)}
    one = larger[1]
    return {
        "parameters": list(parameters),
        "problems": len(held or fit_on),
        "unit": "mean samples of the small model, in FLOPs",
        "large_alone": [{"samples": n, **_point(outcome)} for n, outcome in larger.items()],
        "at_equal_cost": [_beside(n, outcome, both, alone) for n, outcome in larger.items()],
        "exchange": _exchange(alone, one[0], parameters),
    }


def _measure(
    fit: list[Drawn],
    evaluate: list[Drawn] | None,
    arms: tuple[str, ...],
    estimator: ComputeOptimal,
    orders: int,
    splits: int,
) -> Measured:
    held = None if evaluate is None else _workload(evaluate, arms)
    return measure(_workload(fit, arms), held, estimator, orders=orders, splits=splits)


def _workload(problems: list[Drawn], arms: tuple[str, ...]) -> Workload:
    return Workload([replace(problem, arms={arm: problem.arms[arm] for arm in arms}) for problem in problems])


def _beside(n: int, large: Outcome, both: Measured, alone: Measured) -> dict[str, Any]:
    """At no more than `n` samples of the large model cost."""
    cost = float(large[1].mean())
    escalating, staying = both.controller(cost), alone.controller(cost)
    return {
        "large_samples": n,
        "escalating": {**_point(escalating), "minus_large": difference(escalating, large)},
        "small_alone": {**_point(staying), "minus_large": difference(staying, large)},
        "escalated": both.share_of(1, cost),
    }


def _point(outcome: Outcome) -> dict[str, Any]:
    accuracy, cost = outcome
    return {"cost": float(cost.mean()), "accuracy": float(accuracy.mean()), "ci95": list(bootstrap(accuracy))}


def _exchange(alone: Measured, large: Floats, parameters: tuple[float, float]) -> dict[str, Any]:
    """Over R, by quintiles of the small model's own pass@1; both pretrained on as many tokens, the large one once."""
    ease = uniform(alone.always, 1)[0]
    bins = rank_bins(ease.tolist(), alone.problems.ids)
    budgets = np.unique(np.clip(np.geomspace(1.0, float(alone.always.spent.max(1).mean()), 12), 1.0, None))
    curve = [alone.controller(float(budget)) for budget in budgets]
    spent = np.array([float(cost.mean()) for _, cost in curve])
    kept = np.flatnonzero(np.diff(spent, prepend=0.0) > 1e-9)
    small = np.stack([curve[index][0] for index in kept], 1)
    rate = by_flops(Pretrained(parameters[0], 1.0), Pretrained(parameters[1], 1.0))
    found = from_problems(rate, spent[kept], small, large, bins)
    return found.plain()
