"""The policy that the ladder chose, beside equal samples and beside every other rung, on recorded samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from computewise.controller.ladder import RuleFitter, available, curve
from computewise.controller.replay import RecordedPool
from computewise.controller.rule import StoppingRule
from computewise.intervals import Floats, difference, proportion, simultaneous
from computewise.study.recorded.evaluate import Measured, budgets


def policies(
    rule: StoppingRule,
    measured: Measured,
    estimator: RuleFitter,
    fit: RecordedPool,
    evaluate: RecordedPool | None,
    *,
    orders: int,
) -> dict[str, Any]:
    """What `summary.json` says of the choice: `policy_chosen`, `chosen_minus_best_fixed` and `rivals`.

    A fixed strategy is here a number of samples for everybody, so the best at a cost is what the cost pays for.
    Differences are between means over problems outside the fit; those at the budgets share one simultaneous band. Every
    rival is fitted, and its numbers are chosen, on the same parts of the problems as the policy in the first partition.
    """
    counts = [n for n in budgets(measured.orders) if n > 1]
    fixed = [measured.orders.uniform(n) for n in counts]
    costs = [float(outcome.cost.mean()) for outcome in fixed]
    if not counts:
        return {**chosen(rule, np.zeros((0, 1, 0)), []), "rivals": {}}
    ours = np.stack([curve(split.path, costs) for split in measured.splits], 1)
    paired = ours - np.stack([outcome.accuracy for outcome in fixed])[:, None]
    rivals = {"equal samples": np.stack([outcome.accuracy for outcome in fixed])[:, None]}
    for rung in available(fit, estimator):
        if rung != "uniform":
            rivals[rung] = _alone(replace(estimator, rungs=(rung,)), measured, fit, evaluate, costs, orders)
    return {**chosen(rule, paired, costs), "rivals": rows_of(rivals, costs)}


def chosen(rule: StoppingRule, paired: Floats, costs: Sequence[float]) -> dict[str, Any]:
    """The rung and its reason; and the policy minus the best fixed strategy, (budgets, partitions, problems)."""
    each = [list(one) for one in simultaneous(paired)] if costs else []
    mean = list(difference(paired.mean(0))) if costs else None
    return {
        "policy_chosen": {"rung": rule.rung, "rule": str(rule), "why": rule.why},
        "chosen_minus_best_fixed": {
            "mean": mean,
            "budgets": [{"cost": cost, "difference": one} for cost, one in zip(costs, each, strict=True)],
        },
    }


def rows_of(rivals: Mapping[str, Floats], costs: Sequence[float]) -> dict[str, list[dict[str, Any]]]:
    """By rival, whose accuracies are (budgets, partitions, problems); a budget that does not pay for it is left out."""
    found: dict[str, list[dict[str, Any]]] = {}
    for name, accuracy in rivals.items():
        estimates = [(cost, proportion(each)) for cost, each in zip(costs, accuracy, strict=True) if each.any()]
        found[name] = [
            {"cost": cost, "accuracy": estimate.value, "ci95": list(estimate.interval)} for cost, estimate in estimates
        ]
    return found


def _alone(
    estimator: RuleFitter,
    measured: Measured,
    fit: RecordedPool,
    evaluate: RecordedPool | None,
    costs: Sequence[float],
    orders: int,
) -> Floats:
    """(budgets, 1, problems): accuracy of one rung, fitted on the same parts as the policy in the first partition."""
    found = []
    for split in measured.splits[:1]:
        if evaluate is None:
            part = np.zeros(len(fit), np.int64)
            for number, entries in enumerate(split.fitted.parts):
                part[entries] = number
            path = estimator.cross_fit(fit, part).follow(fit, repeats=orders, seed=estimator.seed)
        else:
            path = estimator.fit(fit).follow(evaluate, repeats=orders, seed=estimator.seed)
        found.append(curve(path, costs))
    return np.stack(found, 1)
