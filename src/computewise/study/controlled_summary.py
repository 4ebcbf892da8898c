"""The comparison of the controller with the fixed rules as plain data."""

from __future__ import annotations

from typing import Any

import numpy as np

from computewise.metrics import bootstrap
from computewise.study.controlled import AtBudget, Controlled, Spent
from computewise.study.tables import Row


def controller_plain(one: Controlled, large: Row | None, column: str) -> dict[str, Any]:
    """One currency: accuracies in [0, 1], costs a problem in the currency's unit."""
    scopes = list(one.draws)
    held: dict[str, Any] = {
        "name": one.currency.name,
        "unit": one.currency.unit,
        "budgets": [
            _at(at, {scope: one.draws[scope][index] for scope in scopes}) for index, at in enumerate(one.budgets)
        ],
        "mean_minus_best_fixed": {scope: _mean(one.budgets, scope) for scope in scopes},
        "beside_large": _beside(one.beside_large, Spent(large.accuracy, large.usage[column]))
        if large and one.beside_large
        else None,
        "needed": {
            scope: None if needed is None else {"cost": needed, "share": needed / one.budgets[-1].budget}
            for scope, needed in one.needed.items()
        },
    }
    return {**held, "sentence": sentence(held)}


def _beside(controller: Spent, large: Spent) -> dict[str, Any]:
    return {"controller": _point(controller), "large": _point(large), **_controller_difference(controller, large)}


def _at(at: AtBudget, draws: dict[str, dict[str, float]]) -> dict[str, Any]:
    return {
        "n": at.n,
        "budget": at.budget,
        "uniform": _point(at.uniform),
        "controllers": {scope: _point(spent) for scope, spent in at.controllers.items()},
        "best_fixed": {scope: _point(spent) for scope, spent in at.best_fixed.items()},
        "minus_best_fixed": {
            scope: {**_point(spent), **_controller_difference(spent, at.best_fixed[scope])}
            for scope, spent in at.at_rivals_cost.items()
        },
        "minus_uniform": {scope: _controller_difference(spent, at.uniform) for scope, spent in at.controllers.items()},
        "tables": {kind: _point(spent) for kind, spent in at.tables.items()},
        "ceiling": _point(at.ceiling),
        "draws": draws,
    }


def _point(spent: Spent) -> dict[str, Any]:
    return {
        "cost": float(spent.cost.mean()),
        "accuracy": float(spent.accuracy.mean()),
        "ci95": list(bootstrap(spent.accuracy)),
    }


def _controller_difference(spent: Spent, rival: Spent) -> dict[str, Any]:
    paired = spent.accuracy - rival.accuracy
    return {"difference": float(paired.mean()), "difference_ci95": list(bootstrap(paired))}


def _mean(budgets: list[AtBudget], scope: str) -> dict[str, Any] | None:
    """Over all budgets where both can be had, so that none is picked: controller minus best fixed at the same cost.

    A larger budget of which the rival has no use is no further comparison.
    """
    both: list[tuple[Spent, Spent]] = []
    for at in budgets:
        rival = at.best_fixed[scope]
        if scope in at.at_rivals_cost and not (both and rival.cost.mean() <= 1.01 * both[-1][1].cost.mean()):
            both.append((at.at_rivals_cost[scope], rival))
    if not both:
        return None
    paired = np.mean([spent.accuracy - rival.accuracy for spent, rival in both], axis=0)
    return {"difference": float(paired.mean()), "difference_ci95": list(bootstrap(paired))}


def sentence(held: dict[str, Any]) -> str:
    """What adaptivity bought, counted so."""
    parts = []
    for scope, mean in held["mean_minus_best_fixed"].items():
        if mean is None:
            continue
        low, high = mean["difference_ci95"]
        shown = "" if low > 0 or high < 0 else ", which cannot be told from nothing"
        parts.append(f"{scope}: {100 * mean['difference']:+.1f} points [{100 * low:.1f}, {100 * high:.1f}]{shown}")
    if not parts:
        return f"Counted in {held['name']}, the controller costs more than every rival."
    return (
        f"Counted in {held['name']}, at equal cost and on average over the budgets, deciding problem by problem "
        f"changed accuracy against the best fixed strategy by: {'; '.join(parts)}."
    )
