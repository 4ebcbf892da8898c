"""The figures of a replay's report, one function for each."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from computewise.report.lookup import Entry
from computewise.report.plotting import LOOKS, decimal_ticks, name_ends, new_axes, percent_axis

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SIZE = (8.0, 4.4)
"""Size in inches; names stand on the right."""
RULES = {
    "uniform": ("uniform", "best-of-N"),
    "plain_rule": ("plain rule", "how much"),
    "oracle": ("per-problem oracle", "ceiling"),
    "controller": ("controller", "which and how much"),
}
MODELS = {
    "large_alone": ("large alone", "fixed"),
    "small_alone": ("small alone, controller", "which and how much"),
    "escalating": ("escalating controller", "with escalation"),
}
"""Names and looks, the most important drawn last."""


def frontier(summary: Entry) -> Figure:
    """Accuracy against mean samples: every rule with its band."""
    curves = {name: (summary["frontier"][rule], look) for rule, (name, look) in RULES.items()}
    return _curves(curves, "mean_samples", "mean samples a problem (log scale)")


def escalation(held: Entry) -> Figure:
    """Accuracy against FLOPs: the large model, the small one, and a controller that has both."""
    points = {
        "large_alone": held["large_alone"],
        **{rule: [one[rule] for one in held["at_equal_cost"]] for rule in ("small_alone", "escalating")},
    }
    curves = {name: (points[rule], look) for rule, (name, look) in MODELS.items()}
    return _curves(curves, "cost", "FLOPs a problem, in samples of the small model (log scale)")


def _curves(curves: dict[str, tuple[list[Entry], str]], cost: str, label: str) -> Figure:
    figure, axes = new_axes(SIZE)
    axes.set_xscale("log")
    ends = [(*_curve(axes, points, cost, look), name, LOOKS[look]) for name, (points, look) in curves.items()]
    ticks = decimal_ticks(*axes.get_xlim())
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    name_ends(axes, ends)
    axes.set_xlabel(label)
    percent_axis(axes)
    return figure


def _curve(axes: Axes, points: list[Entry], cost: str, name: str) -> tuple[float, float]:
    """Draw a curve; returns its end."""
    look, first = LOOKS[name], name == "which and how much"
    x, y = [one[cost] for one in points], [100 * one["accuracy"] for one in points]
    low, high = 100 * np.array([one["ci95"] for one in points]).T
    axes.fill_between(x, low, high, color=look.colour, alpha=0.08, linewidth=0)
    axes.plot(
        x,
        y,
        color=look.colour,
        marker=look.marker or "None",
        linestyle=look.dash,
        linewidth=2.4 if first else 1.4,
        markersize=5,
    )
    return x[-1], y[-1]
