"""What a replay came to, as plain data: `summary.json`."""

from __future__ import annotations

from typing import Any

import numpy as np

from computewise.draws import Floats
from computewise.metrics import bootstrap
from computewise.policy.baselines import oracle, uniform
from computewise.replay.rules import Measured, Outcome, reached, steps

BUDGETS = (1, 2, 3, 4, 6, 8, 12, 16)
"""Mean draws a problem that every rule is compared at."""
CONFIDENCE = 0.9
"""At which the plain rule is shown as it is commonly set."""
SUFFICES = 0.95
"""The share of a budget that was recorded, from which on its numbers are about that budget."""


def frontier(measured: Measured) -> dict[str, Any]:
    """Accuracy against mean draws of each rule, with what the controller saves and what it gains."""
    curve = [measured.controller(budget) for budget in steps(BUDGETS[-1])]
    known = oracle(measured.always, [float(budget) for budget in BUDGETS])
    same = {budget: uniform(measured.always, budget) for budget in BUDGETS}
    controller = {budget: measured.controller(budget) for budget in BUDGETS}
    return {
        "frontier": {
            "uniform": [_point(budget, same[budget]) for budget in BUDGETS],
            "controller": [_point(budget, controller[budget]) for budget in BUDGETS],
            "plain_rule": [_point(budget, measured.plain_rule(budget)) for budget in BUDGETS],
            "oracle": [_point(budget, outcome) for budget, outcome in zip(BUDGETS, known, strict=True)],
        },
        "controller_at_fitted_price": [
            _point(budget, measured.controller_at_fitted_price(budget)) for budget in BUDGETS
        ],
        "plain_rule_at_0.9": point(measured.plain.at(1 - CONFIDENCE)),
        "controller_minus_uniform": [
            {"mean_samples": budget, **difference(controller[budget], same[budget])} for budget in BUDGETS
        ],
        "controller_at_half_minus_uniform": [
            {"uniform_samples": budget, **difference(measured.controller(budget / 2), same[budget])}
            for budget in BUDGETS
            if budget > 1
        ],
        "reached": [_saved(curve, budget, same[budget]) for budget in BUDGETS if budget > 1],
    }


def _point(budget: int, outcome: Outcome) -> dict[str, Any]:
    return {"budget": budget, **point(outcome)}


def point(outcome: Outcome) -> dict[str, Any]:
    """One point of a curve."""
    accuracy, cost = outcome
    return {
        "mean_samples": float(cost.mean()),
        "accuracy": float(accuracy.mean()),
        "ci95": list(bootstrap(accuracy)),
    }


def difference(outcome: Outcome, rival: Outcome) -> dict[str, Any]:
    """Paired, of accuracies."""
    paired: Floats = outcome[0] - rival[0]
    return {"difference": float(paired.mean()), "ci95": list(bootstrap(paired))}


def _saved(curve: list[Outcome], budget: int, rival: Outcome) -> dict[str, Any]:
    """The controller's mean draws for the accuracy of that many draws for everybody."""
    needed = reached(curve, float(rival[0].mean()))
    spent = None if needed is None else float(needed[1].mean())
    return {
        "uniform_samples": budget,
        "uniform_mean_samples": float(rival[1].mean()),
        "accuracy": float(rival[0].mean()),
        "controller_mean_samples": spent,
        "times_fewer": None if spent is None else float(rival[1].mean()) / spent,
    }


def sentence(summary: dict[str, Any]) -> str:
    """What adaptivity bought, in one sentence, at the budgets that the recorded samples suffice for."""
    recorded = [
        one["budget"] for one in summary["frontier"]["uniform"] if one["mean_samples"] > SUFFICES * one["budget"]
    ]
    highest = max(2, *recorded)
    gains = [one for one in summary["controller_minus_uniform"] if 1 < one["mean_samples"] <= highest]
    mean = np.mean([one["difference"] for one in gains])
    best = max(
        (one for one in summary["reached"] if one["uniform_samples"] <= highest), key=lambda one: one["uniform_samples"]
    )
    text = (
        f"At equal mean draws the controller is {100 * mean:+.1f} points from uniform on average over "
        f"{gains[0]['mean_samples']} to {gains[-1]['mean_samples']} draws a problem"
    )
    if best["times_fewer"] is None:
        return f"{text}; it does not reach the accuracy of {best['uniform_samples']} draws for everybody."
    return (
        f"{text}; it reaches the accuracy of {best['uniform_samples']} draws for everybody with "
        f"{best['controller_mean_samples']:.1f} on average, {best['times_fewer']:.1f} times fewer."
    )
