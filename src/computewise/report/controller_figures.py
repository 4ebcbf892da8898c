"""The figures of the section on the controller, one function each, of one currency."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from computewise.report.axes import decimal_ticks, name_ends, new_axes, percent_axis
from computewise.report.currencies import SHOWN
from computewise.report.families import FIXED_LABEL, Entry, rival, scope_name
from computewise.report.names import Names
from computewise.report.style import GREY, INK, LOOKS, Look

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BESIDE = (8.0, 4.6), (4.7, 4.6)
"""Inches of the two figures, which stand side by side."""
BANDED = ("which and how much", "fixed")
"""Of which looks the interval is drawn: more bands than two could not be told apart."""


def accuracy(held: Entry, column: str, names: Names) -> Figure:
    """Accuracy against everything spent: controllers heavy, rivals light, the large model's answer as a point."""
    figure, axes = new_axes(BESIDE[0])
    axes.set_xscale("log")
    at = held["budgets"]
    alone, allowed = ([rival(one, escalating=large) for one in at] for large in (False, True))
    curves = [
        ("ceiling, in hindsight", LOOKS["ceiling"], 1.2, [one["ceiling"] for one in at]),
        ("best-of-N weighted", LOOKS["best-of-N"], 1.2, [one["uniform"] for one in at]),
        *((f"table, {kind} bins", LOOKS[kind], 1.2, [one["tables"][kind] for one in at]) for kind in at[0]["tables"]),
        (FIXED_LABEL, LOOKS["fixed"], 1.2, alone),
        *(
            (f"controller, {scope_name(scope)}", LOOKS[scope], 2.4, [one["controllers"][scope] for one in at])
            for scope in at[0]["controllers"]
        ),
    ]
    if allowed != alone:
        look = LOOKS["fixed"]._replace(marker="", dash="--")
        curves.insert(-len(at[0]["controllers"]), (f"{FIXED_LABEL}, or {names.short('large')}", look, 1.2, allowed))
    ends = [(*_curve(axes, look, width, rows), name, look) for name, look, width, rows in curves]
    if held["beside_large"]:
        end = _large(axes, held["beside_large"]["large"])
        ends.append((*end, f"{names.model('large')}, greedy", LOOKS["greedy"]))
    ticks = decimal_ticks(*axes.get_xlim())
    axes.set_xticks(ticks, [SHOWN[column].tick(tick) for tick in ticks])
    axes.minorticks_off()
    name_ends(axes, ends)
    axes.set_xlabel(SHOWN[column].axis)
    percent_axis(axes)
    return figure


def _curve(axes: Axes, look: Look, width: float, rows: list[Entry]) -> tuple[float, float]:
    """Draw it; where it ends."""
    x, y = [row["cost"] for row in rows], [100 * row["accuracy"] for row in rows]
    if look in [LOOKS[name] for name in BANDED]:
        low, high = 100 * np.array([row["ci95"] for row in rows]).T
        axes.fill_between(x, low, high, color=look.colour, alpha=0.1, linewidth=0)
    marker = look.marker or "None"
    axes.plot(x, y, color=look.colour, marker=marker, linestyle=look.dash, linewidth=width, markersize=width + 3)
    return x[-1], y[-1]


def _large(axes: Axes, large: Entry) -> tuple[float, float]:
    level = 100 * large["accuracy"]
    axes.plot(large["cost"], level, color=INK, marker="*", markersize=11, linestyle="None", zorder=3)
    right = axes.get_xlim()[1]
    axes.plot([large["cost"], right], [level, level], color=INK, linestyle="-.", linewidth=0.8)
    return right, level


def differences(held: Entry) -> Figure:
    """Controller minus best fixed at equal cost: the mean over the budgets, then each, a mark for every scope."""
    figure, axes = new_axes(BESIDE[1])
    at, means = held["budgets"], held["mean_minus_best_fixed"]
    step = 0.6 / len(means)
    for index, scope in enumerate(means):
        found = [means[scope], *(one["minus_best_fixed"].get(scope) for one in at)]
        places = [place for place, one in enumerate(found) if one]
        x = np.array(places) + (index - (len(means) - 1) / 2) * step
        low, high = 100 * np.array([found[place]["difference_ci95"] for place in places]).reshape(-1, 2).T
        y = [100 * found[place]["difference"] for place in places]
        look = LOOKS[scope]
        axes.vlines(x, low, high, color=look.colour, linewidth=1.8)
        axes.plot(x, y, color=look.colour, marker=look.marker, linestyle="None", markersize=6, label=scope_name(scope))
    axes.axhline(0, color=INK, linewidth=1)
    axes.axvline(0.5, color=GREY, linewidth=0.8, linestyle=":")
    axes.set_xticks(range(len(at) + 1), ["mean", *(str(one["n"]) for one in at)])
    axes.set_xlabel("budget: the cost of so many samples")
    axes.set_ylabel("controller minus best fixed, points")
    axes.tick_params(axis="x", length=0)
    columns = 3 if len(means) == 3 else 2
    figure.legend(loc="outside lower center", ncols=columns, frameon=False, labelcolor=INK, fontsize=8.5)
    return figure
