"""The figures, one function each; matplotlib is imported inside, so that importing this module is cheap."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from computewise.report.families import (
    CEILING_LABEL,
    FIXED_LABEL,
    POLICY_LABELS,
    Entry,
    best_search,
    budgets,
    curve,
    find,
)
from computewise.report.style import BLUE, GREEN, GREY, INK, LOOKS, ORANGE, PAPER, VERMILION, Look

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDE = (6.3, 4.1)
"""Inches; a point of type on the page is then about the size it has here."""


class Series(NamedTuple):
    """One curve: its name, its look, and a row a point."""

    name: str
    look: Look
    rows: list[Entry]


class Axis(NamedTuple):
    """What is on the x axis, always logarithmic."""

    label: str
    base: int
    of: Callable[[Entry], float]


GENERATIONS = Axis(
    "sampled tokens a problem, in generations (log scale)", 2, lambda row: float(row["usage"]["generations"])
)
FLOPS = Axis("FLOPs a problem, verifier included (log scale)", 10, lambda row: float(row["usage"]["flops"]))


def methods(summary: Entry) -> list[Series]:
    """Ways to spend and select, the same for every problem."""
    found = [
        Series("best-of-N weighted", LOOKS["best-of-N"], curve(summary, "best-of-N, weighted")),
        Series("majority", LOOKS["majority"], curve(summary, "best-of-N, majority")),
    ]
    lookup = dict.fromkeys(["beam search, M = 4, weighted", best_search(summary)])
    for label in (label for label in lookup if label):
        family = label.removesuffix(", weighted")
        rows = curve(summary, label)
        if rows:
            found.append(Series(family, LOOKS.get(family, LOOKS["fixed"]), rows))
    found.append(Series("pass@N (coverage)", LOOKS["coverage"], _coverage(summary)))
    return found


def choices(summary: Entry) -> list[Series]:
    """Ways to choose among those, beside best-of-N."""
    return [
        Series("best-of-N weighted", LOOKS["best-of-N"], curve(summary, "best-of-N, weighted")),
        Series(FIXED_LABEL, LOOKS["fixed"], summary["best_fixed"]),
        *(Series(POLICY_LABELS[kind], LOOKS[kind], summary["policy"][kind]) for kind in ("oracle", "predicted")),
        Series(f"{CEILING_LABEL} (with luck)", LOOKS["ceiling"], summary["oracle_per_problem"]),
    ]


def _coverage(summary: Entry) -> list[Entry]:
    """Coverage costs what sampling costs: the majority vote's usage, as no verifier reads anything."""
    rows = []
    for point in summary["coverage"]:
        sampled = find(summary["curves"], "best-of-N, majority", point["n"]) or find(
            summary["curves"], "single sample", point["n"]
        )
        if sampled:
            rows.append({**point, "usage": sampled["usage"]})
    return rows


def accuracy(summary: Entry, series: list[Series], axis: Axis) -> Figure:
    """Accuracy against compute: lines with 95 % bands, named at their ends; the large model as a level."""
    figure, axes = _new(WIDE)
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
    large = summary["large"]
    level = 100 * large["accuracy"]
    look = LOOKS["greedy"]
    axes.axhline(level, color=look.colour, linestyle=look.dash, linewidth=1)
    if axis.base == 10:
        axes.plot(axis.of(large), level, color=look.colour, marker="*", markersize=10, linestyle="None")
    if axis.base == 2:
        axes.set_xticks(budgets(summary), [str(n) for n in budgets(summary)])
        axes.minorticks_off()
    right = max(end[0] for end in ends)
    ends.append((right, level, "large model, greedy", look))
    _name_ends(axes, ends)
    axes.set_xlabel(axis.label)
    _percent_axis(axes)
    return figure


def _name_ends(axes: Axes, ends: list[tuple[float, float, str, Look]]) -> None:
    """Names in a column to the right, in the order of the curves' ends, moved apart, each led to in its colour."""
    bottom, top = axes.get_ylim()
    least = 0.062 * (top - bottom)
    ends = sorted(ends, key=lambda end: end[1])
    places = apart([end[1] for end in ends], least)
    shift = min(0.0, top - places[-1])
    for (x, y, name, look), place in zip(ends, places, strict=True):
        axes.annotate(
            name,
            xy=(x, y),
            xytext=(1.06, place + shift),
            textcoords=axes.get_yaxis_transform(),
            va="center",
            color=INK,
            annotation_clip=False,
            arrowprops={
                "arrowstyle": "-",
                "relpos": (0, 0.5),
                "color": look.colour,
                "linewidth": 1,
                "shrinkA": 2,
                "shrinkB": 3,
            },
        )
    axes.set_ylim(bottom, top)


def apart(wanted: list[float], least: float) -> list[float]:
    """The places nearest to the `wanted` rising ones, in squares, that are `least` apart (pool adjacent violators)."""
    blocks: list[list[float]] = []
    for index, place in enumerate(wanted):
        blocks.append([place - index * least])
        while len(blocks) > 1 and sum(blocks[-2]) / len(blocks[-2]) > sum(blocks[-1]) / len(blocks[-1]):
            last = blocks.pop()
            blocks[-1] += last
    means = [sum(block) / len(block) for block in blocks for _ in block]
    return [mean + index * least for index, mean in enumerate(means)]


BARS = (
    ("single sample", "single sample"),
    ("best-of-N, majority", "majority"),
    ("best-of-N, weighted", "best-of-N"),
    ("beam search, M = 4, weighted", "beam search, M = 4"),
    ("DVTS, M = 4, weighted", "DVTS, M = 4"),
    ("lookahead, k = 1, weighted", "lookahead, k = 1"),
    ("lookahead, k = 3, weighted", "lookahead, k = 3"),
)


def by_bin(summary: Entry, n: int) -> Figure:
    """Accuracy in each bin of oracle difficulty at one budget: a point and its interval for every method."""
    figure, axes = _new(WIDE)
    first = budgets(summary)[0]
    rows = [
        (label, look, row)
        for label, look in BARS
        if (row := find(summary["curves"], label, first if label == "single sample" else n))
    ]
    bins = len(rows[0][2]["by_bin"])
    width = 0.8 / len(rows)
    for index, (label, look, row) in enumerate(rows):
        x = np.arange(bins) + 1 + (index - (len(rows) - 1) / 2) * width
        value = 100 * np.array(row["by_bin"])
        low, high = 100 * np.array(row["by_bin_ci95"]).T
        name = label.replace("best-of-N, weighted", "best-of-N weighted").removesuffix(", weighted")
        name = name.removeprefix("best-of-N, ")
        axes.bar(x, value, 0.92 * width, color=LOOKS[look].colour, alpha=0.75, label=name)
        axes.vlines(x, low, high, color=INK, linewidth=0.9)
    axes.set_ylim(0, 104)
    axes.set_xticks(range(1, bins + 1), _bin_names(bins))
    axes.set_xlabel("difficulty bin (oracle)")
    axes.set_title(f"{n} generations", loc="left", fontsize=11, color=INK)
    axes.tick_params(axis="x", length=0)
    _percent_axis(axes)
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False, labelcolor=INK, fontsize=8.5)
    return figure


def exchange(summary: Entry) -> Figure:
    """Small with policy minus large greedy, in points, for all problems and by bin, one mark for each R."""
    figure, axes = _new(WIDE)
    entries = summary["exchange"]
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
    axes.set_xticks(range(bins + 1), ["all", *_bin_names(bins)])
    axes.set_xlabel("difficulty bin (oracle)")
    axes.set_ylabel("small minus large, points")
    axes.tick_params(axis="x", length=0)
    figure.legend(loc="outside lower center", ncols=4, frameon=False, labelcolor=INK, fontsize=8.5)
    return figure


def _bin_names(bins: int) -> list[str]:
    return ["1 easiest", *map(str, range(2, bins)), f"{bins} hardest"]


def _percent_axis(axes: Axes) -> None:
    axes.set_ylabel("accuracy, %")


def _new(size: tuple[float, float]) -> tuple[Figure, Axes]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, facecolor=PAPER, layout="constrained")
    axes = figure.add_subplot(facecolor="none")
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(GREY)
    axes.tick_params(colors=INK, which="both", color=GREY)
    axes.grid(axis="y", color=GREY, alpha=0.25, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.xaxis.label.set_color(INK)
    axes.yaxis.label.set_color(INK)
    return figure, axes
