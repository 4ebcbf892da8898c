"""Every rung of the ladder as a rival of the policy that it chose, and what `summary.json` says of the choice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from computewise.controller.ladder import RuleFitter, available, curve
from computewise.controller.replay import RecordedPool
from computewise.controller.rule import StoppingRule
from computewise.intervals import Floats, difference, proportion, simultaneous
from computewise.study.analysis.controller import (
    ESCALATING,
    LARGER,
    ORDERS,
    SCOPES,
    Baselines,
    BudgetPoint,
    ControllerEvaluation,
    Runs,
    drawn,
)
from computewise.study.analysis.tables import CostMetric, StrategyRow

FLOPS = "flops"


def by_rung(
    seeds: Sequence[Mapping[str, Runs]], metric: CostMetric, uniform: Sequence[StrategyRow], rivals: Baselines
) -> dict[str, Floats]:
    """(budgets, problems): accuracy of each rung alone, over all arms, at exactly the FLOPs of best-of-N.

    Its numbers are chosen and fitted on the parts that the policy is fitted on. A budget that does not pay for the
    rung's first draw has 0.
    """
    if uniform[-1].n == 1:
        return {}
    arms = [name for name in ESCALATING if all(name in each for each in seeds)]
    held = [{name: each[name] for name in arms} for each in seeds]
    pool = RecordedPool([problem for each in held for problem in drawn(each, metric)])
    part = np.tile(rivals.parts[0], len(seeds))
    costs = [float(row.usage[FLOPS].mean()) for row in uniform]
    fitter, found = RuleFitter(larger=LARGER, seed=rivals.seed), {}
    for rung in available(pool, fitter):
        rules = replace(fitter, rungs=(rung,)).cross_fit(pool, part)
        accuracy = curve(rules.follow(pool, repeats=ORDERS // 2, seed=rivals.seed), costs)
        found[rung] = accuracy.reshape(len(costs), len(seeds), -1).mean(1)
    return found


def chosen_plain(rule: StoppingRule) -> dict[str, str]:
    """The rung, the rule in words, and the reason."""
    return {"rung": rule.rung, "rule": str(rule), "why": rule.why}


def policy_plain(one: ControllerEvaluation, rungs: Mapping[str, Floats]) -> dict[str, Any]:
    """`chosen_minus_best_fixed`, at the best fixed strategy's own cost, and `rivals`, at each budget, in FLOPs.

    The differences at the budgets share one simultaneous band. A larger budget that the best fixed strategy does not
    use adds no comparison.
    """
    scope = [name for name in SCOPES if name in one.budgets[0].best_fixed][-1]
    both = list(_different(one.budgets, scope))
    apart = [at.at_rivals_cost[scope].accuracy - at.best_fixed[scope].accuracy for at in both]
    paired = np.stack(apart) if apart else None
    each = [] if paired is None else simultaneous(paired)
    named: dict[str, list[tuple[float, Floats]]] = {
        "best-of-N": [(at.budget, at.uniform.accuracy) for at in one.budgets],
        "best fixed strategy": [(at.budget, at.best_fixed[scope].accuracy) for at in one.budgets],
        "chosen policy": [(at.budget, at.controllers[scope].accuracy) for at in one.budgets],
    }
    for rung, accuracy in rungs.items():
        points = zip(one.budgets, accuracy, strict=True)
        named[rung] = [(at.budget, values) for at, values in points if values.any()]
    return {
        "chosen_minus_best_fixed": {
            "mean": None if paired is None else list(difference(paired.mean(0))),
            "budgets": [
                {"cost": float(at.best_fixed[scope].cost.mean()), "difference": list(found)}
                for at, found in zip(both, each, strict=True)
            ],
        },
        "rivals": {
            name: [
                {"cost": cost, "accuracy": found.value, "ci95": list(found.interval)}
                for cost, found in ((cost, proportion(accuracy)) for cost, accuracy in points)
            ]
            for name, points in named.items()
        },
    }


def _different(budgets: Sequence[BudgetPoint], scope: str) -> list[BudgetPoint]:
    """The budgets where both exist, without those that the rival does not use."""
    both: list[BudgetPoint] = []
    for at in budgets:
        used = at.best_fixed[scope].cost.mean()
        if scope in at.at_rivals_cost and not (both and used <= 1.01 * both[-1].best_fixed[scope].cost.mean()):
            both.append(at)
    return both
