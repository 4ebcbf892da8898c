"""The figures of the section on revisions, one function each."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from computewise.report.axes import WIDE, bin_names, name_ends, new_axes, new_figure, percent_axis
from computewise.report.families import MOST_SPLITS, Entry, ratio_name, ratios, split_budgets
from computewise.report.style import BLUE, INK, LOOKS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DARKEST = 0.75
"""Opacity of the best cell: the page's ink can be read on it, and on all that are lighter, in light and in dark."""
LEAST_SPAN = 0.1
"""Accuracy below the best of its column at which a cell has no colour, or more where cells lie further apart."""


def heat_map(summary: Entry) -> Figure:
    """Accuracy by ratio of sequential to parallel (down) and difficulty (across), a panel for each large budget."""
    panels = [ratios(summary, n) for n in split_budgets(summary)[-MOST_SPLITS:]]
    figure = new_figure((WIDE[0], 0.9 + sum(0.55 + 0.27 * len(rows) for rows in panels)))
    grid = figure.subplots(
        len(panels), 1, squeeze=False, gridspec_kw={"height_ratios": [len(p) for p in panels], "hspace": 0.15}
    )
    values = [np.array([[row["accuracy"], *row["by_bin"]] for row in rows]) for rows in panels]
    span = max(LEAST_SPAN, *(float(np.max(each.max(0) - each)) for each in values))
    for axes, rows, cells in zip(grid[:, 0], panels, values, strict=True):
        _panel(axes, rows, cells, span)
    grid[-1, 0].set_xlabel("difficulty bin (oracle)", color=INK)
    return figure


def _panel(axes: Axes, rows: list[Entry], cells: np.ndarray, span: float) -> None:
    from matplotlib.patches import Rectangle

    for (y, x), share in np.ndenumerate(cells):
        below = cells[:, x].max() - share
        opacity = DARKEST * (1 - below / span)
        axes.add_patch(Rectangle((x - 0.47, y - 0.46), 0.94, 0.92, color=BLUE, alpha=opacity, linewidth=0))
        best = below < 1e-9 and np.ptp(cells[:, x]) > 1e-9
        if best:
            axes.add_patch(Rectangle((x - 0.47, y - 0.46), 0.94, 0.92, fill=False, edgecolor=INK, linewidth=1.6))
        weight = "bold" if best else "normal"
        axes.text(x, y, f"{100 * share:.1f}", ha="center", va="center", color=INK, fontweight=weight)
    axes.set_facecolor("none")
    axes.set_xlim(-0.5, cells.shape[1] - 0.5)
    axes.set_ylim(len(rows) - 0.45, -0.55)
    axes.set_xticks(range(cells.shape[1]), ["all", *bin_names(cells.shape[1] - 1)])
    axes.set_yticks(range(len(rows)), [ratio_name(row) for row in rows])
    axes.set_title(f"budget {rows[0]['n']} generations, chains x length", loc="left", fontsize=11, color=INK)
    axes.tick_params(length=0, colors=INK)
    for side in axes.spines.values():
        side.set_visible(False)


def along(summary: Entry) -> Figure:
    """The share of right attempts along a chain, and of gated chains by then, with bands."""
    figure, axes = new_axes((WIDE[0], 3.2))
    axes.set_xscale("log", base=2)
    attempts = [each["attempt"] for each in summary["along"]]
    ends = []
    for name, key, look in (
        ("the attempt itself", "right", LOOKS["revisions"]),
        ("chain that ends when trusted", "gated", LOOKS["step revisions"]),
    ):
        y = np.array([100 * each[key]["value"] for each in summary["along"]])
        low, high = 100 * np.array([each[key]["ci95"] for each in summary["along"]]).T
        axes.fill_between(attempts, low, high, color=look.colour, alpha=0.13, linewidth=0)
        axes.plot(attempts, y, color=look.colour, marker=look.marker, linewidth=1.8, markersize=5)
        ends.append((float(attempts[-1]), float(y[-1]), name, look))
    name_ends(axes, ends)
    axes.set_xticks(attempts, [str(attempt) for attempt in attempts])
    axes.minorticks_off()
    axes.set_xlabel("attempt of the chain (log scale)")
    percent_axis(axes)
    return figure
