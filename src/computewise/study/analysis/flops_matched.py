"""FLOPs-matched: the model against one greedy answer of the larger model (Snell et al. 2024, section 7), over R."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from computewise.core import LARGE, MODEL
from computewise.flops_matched import from_curve
from computewise.metrics import Floats
from computewise.study.analysis.analyse import Analysis, BinChoice
from computewise.study.analysis.controller import widest_alone
from computewise.study.analysis.tables import StrategyRow

SHARES = (0.16, 0.79, 4.0, 22.0)
"""R, inference tokens over pretraining tokens: the paper's three and one between."""

Curve = list[tuple[Floats, Floats]]
"""Accuracy, ([partitions,] problems), and FLOPs, (problems,), at every point."""


def exchanges(analysis: Analysis) -> dict[str, Any]:
    """For the summary, by the rule that spends what the model saves; empty without a larger model."""
    large = analysis.large
    if not large:
        return {"exchange": [], "exchange_halves": {}, "exchange_over_R": None}
    return {
        "exchange": exchange_of(analysis, large, _of_choices(analysis.policies["predicted"]))["at"],
        "exchange_halves": {
            name: exchange_of(analysis, large, _of_choices(choices))["at"] for name, choices in analysis.halves.items()
        },
        "exchange_over_R": exchange_of(analysis, large, _of_controller(analysis)),
    }


def _of_choices(choices: Sequence[BinChoice]) -> Curve:
    return [(choice.row.accuracy, choice.row.usage["flops"]) for choice in choices]


def _of_controller(analysis: Analysis) -> Curve:
    budgets = analysis.controller["flops"].budgets if analysis.controller else []
    each = [at.controllers[widest_alone(at.controllers)] for at in budgets]
    return [(one.accuracy, one.cost) for one in each]


def exchange_of(analysis: Analysis, large: StrategyRow, curve: Curve) -> dict[str, Any]:
    """A curve of the model against the larger one: the greedy answer is its first point, and the unit of budgets."""
    greedy = next(row for row in analysis.rows if row.family == "greedy")
    unit = float(greedy.usage["flops"].mean())
    sizes = analysis.models.sizes
    found = from_curve(
        (sizes[MODEL], sizes[LARGE]),
        [(greedy.accuracy, greedy.usage["flops"]), *curve],
        large.accuracy,
        analysis.difficulty.bins["oracle"],
        unit,
    )
    at = [
        {
            **found.overall.at(share).to_dict(),
            "small_flops": found.overall.at(share).k * unit,
            "by_bin": [match.at(share).to_dict() for _, match in sorted(found.bins.items())],
        }
        for share in SHARES
    ]
    return {"unit_flops": unit, "at": at, **found.to_dict()}
