"""The figures of a study's page and of a replay's page."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from computewise.report.plotting import (
    BLUE,
    GREEN,
    GREY,
    INK,
    LOOKS,
    ORANGE,
    VERMILION,
    WIDE,
    Look,
    bin_names,
    decimal_ticks,
    name_ends,
    new_axes,
    percent_axis,
)
from computewise.report.text import (
    BEAM,
    BEST_OF_N,
    CEILING_LABEL,
    FIXED_LABEL,
    POLICY_LABELS,
    Entry,
    Names,
    best_ratio,
    best_search,
    best_step_revisions,
    budgets,
    curve,
    family,
    find,
    quantity,
    split_budgets,
)
from computewise.study.analysis.analyse import OVERSPENT

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


class Series(NamedTuple):
    """One curve: its name, its look, and one row for each point."""

    name: str
    look: Look
    rows: list[Entry]


class Axis(NamedTuple):
    """The x axis, which is always logarithmic."""

    label: str
    base: int
    of: Callable[[Entry], float]


GENERATIONS = Axis(
    "sampled tokens a problem, in generations (log scale)", 2, lambda row: float(row["usage"]["generations"])
)

FLOPS = Axis("FLOPs a problem, verifier included (log scale)", 10, lambda row: float(row["usage"]["flops"]))


def methods(summary: Entry) -> list[Series]:
    """The curves of strategies and selections that are the same for every problem."""
    step = best_step_revisions(summary)
    found = [
        Series("best-of-N weighted", LOOKS["best-of-N"], curve(summary, BEST_OF_N)),
        Series("majority", LOOKS["majority"], curve(summary, "best-of-N, majority")),
        Series("beam search, M = 4", LOOKS["beam search, M = 4"], curve(summary, BEAM)),
        Series(family(step or ""), LOOKS["step revisions"], curve(summary, step or "")),
        Series("revisions, best ratio", LOOKS["revisions"], _best_ratios(summary)),
        Series("pass@N (coverage)", LOOKS["coverage"], _coverage(summary)),
    ]
    return [each for each in found if each.rows]


def against_compute(summary: Entry) -> dict[str, Figure]:
    """Figures by name: methods, and rules that choose among them, against sampled tokens and against all FLOPs."""
    each, chosen = methods(summary), choices(summary)
    return {
        "methods_generations": accuracy(summary, each, GENERATIONS),
        "choices_generations": accuracy(summary, chosen, GENERATIONS),
        "methods_flops": accuracy(summary, each, FLOPS),
        "choices_flops": accuracy(summary, chosen, FLOPS),
    }


def _best_ratios(summary: Entry) -> list[Entry]:
    """The best ratio at each budget, from a single attempt on; empty where there was no choice of ratio."""
    return [row for n in budgets(summary) if split_budgets(summary) and (row := best_ratio(summary, n))]


def choices(summary: Entry) -> list[Series]:
    """The curves of rules that choose among strategies, and of best-of-N."""
    return [
        Series("best-of-N weighted", LOOKS["best-of-N"], curve(summary, BEST_OF_N)),
        Series(FIXED_LABEL, LOOKS["fixed"], summary["best_fixed"]),
        *(Series(POLICY_LABELS[kind], LOOKS[kind], summary["policy"][kind]) for kind in ("oracle", "predicted")),
        Series(f"{CEILING_LABEL} (with luck)", LOOKS["ceiling"], summary["oracle_per_problem"]),
    ]


def _coverage(summary: Entry) -> list[Entry]:
    """Coverage as rows; its usage is that of the majority vote, since no verifier is needed."""
    rows = []
    for point in summary["coverage"]:
        sampled = find(summary["curves"], "best-of-N, majority", point["n"]) or find(
            summary["curves"], "single sample", point["n"]
        )
        if sampled:
            rows.append({**point, "usage": sampled["usage"]})
    return rows


def accuracy(summary: Entry, series: list[Series], axis: Axis) -> Figure:
    """Accuracy against compute: lines with 95 % bands and names at their ends; the large model as a level."""
    figure, axes = new_axes(WIDE)
    axes.set_xscale("log", base=axis.base)
    ends = []
    for each in series:
        x, y = [axis.of(row) for row in each.rows], np.array([100 * row["accuracy"] for row in each.rows])
        low, high = 100 * np.array([row["ci95"] for row in each.rows]).T
        colour, marker, dash = each.look
        if marker:
            axes.fill_between(x, low, high, color=colour, alpha=0.13, linewidth=0)
        axes.plot(x, y, color=colour, marker=marker or "None", linestyle=dash, linewidth=1.8, markersize=5)
        ends.append((x[-1], float(y[-1]), each.name, each.look))
    right = max(end[0] for end in ends)
    if summary["large"]:
        level = _level(axes, summary["large"], axis)
        ends.append((right, level, f"{Names.of(summary).model('large')}, greedy", LOOKS["greedy"]))
    ticks = budgets(summary) if axis.base == 2 else decimal_ticks(*axes.get_xlim())
    axes.set_xticks(ticks, [f"{tick}" if axis.base == 2 else quantity(tick) for tick in ticks])
    axes.minorticks_off()
    name_ends(axes, ends)
    axes.set_xlabel(axis.label)
    percent_axis(axes)
    return figure


def _level(axes: Axes, large: Entry, axis: Axis) -> float:
    """Draw the large model's accuracy as a line, and its cost as a star; returns the line's height."""
    level, look = 100 * float(large["accuracy"]), LOOKS["greedy"]
    axes.axhline(level, color=look.colour, linestyle=look.dash, linewidth=1)
    if axis.base == 10:
        axes.plot(axis.of(large), level, color=look.colour, marker="*", markersize=10, linestyle="None")
    return level


def bars(summary: Entry, n: int) -> list[Series]:
    """The methods that are shown by bin at one budget: one row each."""
    search, step = best_search(summary), best_step_revisions(summary)
    ratio = best_ratio(summary, n)
    found = [
        ("single sample", "single sample", find(summary["curves"], "single sample", budgets(summary)[0])),
        ("majority", "majority", find(summary["curves"], "best-of-N, majority", n)),
        ("best-of-N weighted", "best-of-N", find(summary["curves"], BEST_OF_N, n)),
        ("beam search, M = 4", "beam search, M = 4", find(summary["curves"], BEAM, n)),
        (family(search or ""), "search", find(summary["curves"], search or "", n)),
        (family(step or ""), "step revisions", find(summary["curves"], step or "", n)),
        (family(ratio["label"] if ratio else ""), "revisions", ratio),
    ]
    return [Series(name, LOOKS[look], [row]) for name, look, row in found if row]


def by_bin(summary: Entry, n: int) -> Figure:
    """Accuracy in each bin of oracle difficulty at one budget: a bar with its interval for every method."""
    figure, axes = new_axes(WIDE)
    shown = bars(summary, n)
    bins = len(shown[0].rows[0]["by_bin"])
    width = 0.8 / len(shown)
    for index, (name, look, (row,)) in enumerate(shown):
        x = np.arange(bins) + 1 + (index - (len(shown) - 1) / 2) * width
        value = 100 * np.array(row["by_bin"])
        low, high = 100 * np.array(row["by_bin_ci95"]).T
        spent = row["usage"]["generations"]
        label = f"{name} (spent {spent:.1f})" if row["n"] == n and not 0.9 * n <= spent <= OVERSPENT * n else name
        axes.bar(x, value, 0.92 * width, color=look.colour, alpha=0.75, label=label)
        axes.vlines(x, low, high, color=INK, linewidth=0.9)
    axes.set_ylim(0, 104)
    axes.set_xticks(range(1, bins + 1), bin_names(bins))
    axes.set_xlabel("difficulty bin (oracle)")
    axes.set_title(f"budget {n} generations", loc="left", fontsize=11, color=INK)
    axes.tick_params(axis="x", length=0)
    percent_axis(axes)
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False, labelcolor=INK, fontsize=8.5)
    return figure


def exchange(summary: Entry) -> Figure:
    """The small model with its policy minus the large one's greedy answer, in points, overall and by bin, at each R."""
    return exchange_points(summary["exchange"], Names.of(summary))


def exchange_points(entries: list[Entry], names: Names) -> Figure:
    """The same for any rule that spends what the small model saves."""
    figure, axes = new_axes(WIDE)
    bins = len(entries[0]["by_bin"])
    looks = ((BLUE, "o"), (VERMILION, "^"), (GREEN, "D"), (ORANGE, "s"))
    for index, entry in enumerate(entries):
        colour, marker = looks[index % len(looks)]
        sides = [entry, *entry["by_bin"]]
        x = np.arange(bins + 1) + (index - (len(entries) - 1) / 2) * 0.16
        y = 100 * np.array([side["small"] - side["large"] for side in sides])
        low, high = 100 * np.array([side["difference_ci95"] for side in sides]).T
        name = f"R = {entry['R']:g}{' (held)' if entry['beyond_measured'] else ''}"
        axes.vlines(x, low, high, color=colour, linewidth=1.8)
        axes.plot(x, y, color=colour, marker=marker, linestyle="None", markersize=6, label=name)
    axes.axhline(0, color=INK, linewidth=1)
    axes.axvline(0.5, color=GREY, linewidth=0.8, linestyle=":")
    axes.set_xticks(range(bins + 1), ["all", *bin_names(bins)])
    axes.set_xlabel("difficulty bin (oracle)")
    axes.set_ylabel(f"{names.short('model')} minus {names.short('large')}, points")
    axes.tick_params(axis="x", length=0)
    figure.legend(loc="outside lower center", ncols=4, frameon=False, labelcolor=INK, fontsize=8.5)
    return figure


SIZE = (8.0, 4.4)

"""Size in inches; names stand on the right."""

RULES = {
    "uniform": ("uniform", "best-of-N"),
    "adaptive_consistency": ("Adaptive-Consistency", "how much"),
    "doubt_per_draw": ("doubt per draw", "step revisions"),
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
    """Accuracy against what was spent: every rule with its band."""
    held = summary["frontier"] | summary["rules"]
    curves = {name: (held[rule], look) for rule, (name, look) in RULES.items()}
    return _curves(curves, "mean_cost", f"mean {summary['cost']} a problem (log scale)")


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
