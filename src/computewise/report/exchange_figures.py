"""Small with its controller against large, over all R, as a figure."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from computewise.report.axes import WIDE, bin_names, dress, new_figure
from computewise.report.exchange_over import share
from computewise.report.families import Entry
from computewise.report.names import Names
from computewise.report.style import INK, LOOKS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def over(exchange: Entry, names: Names) -> Figure:
    """Small minus large in points against R: all problems above, a small plot for each bin below."""
    figure = new_figure((WIDE[0], 5.2))
    overall, *bins = exchange["curve"]
    layout = [[overall] * len(bins), bins]
    plots = figure.subplot_mosaic(layout, height_ratios=[1.5, 1])
    for name, axes in plots.items():
        _plot(axes, exchange["curve"][name], exchange["break_even"][name]["R"], named=name == overall)
    top = plots[overall]
    top.set_ylabel(f"{names.short('small')} minus {names.short('large')}, points", color=INK)
    top.set_title("all problems", loc="left", fontsize=11, color=INK)
    _ticks(top, [0.01, 0.1, 1, 10, 100])
    for edge, text, up in (
        (0.97, f"{names.short('small')} better", True),
        (0.03, f"{names.short('large')} better", False),
    ):
        top.text(0.99, edge, text, transform=top.transAxes, ha="right", va="top" if up else "bottom", color=INK)
    bottom = min(plots[name].get_ylim()[0] for name in bins)
    highest = max(plots[name].get_ylim()[1] for name in bins)
    for name, title in zip(bins, bin_names(len(bins)), strict=True):
        axes = plots[name]
        axes.set_ylim(bottom, highest)
        axes.set_title(title, loc="left", fontsize=10, color=INK)
        _ticks(axes, [0.1, 1, 10])
        if name != bins[0]:
            axes.tick_params(labelleft=False)
    figure.supxlabel("R, inference tokens over pretraining tokens (log scale)", color=INK, fontsize=10)
    return figure


def _plot(axes: Axes, curve: list[Entry], break_even: list[float], *, named: bool) -> None:
    """Dotted where the small model is held at the largest budget; a ring where the lead changes."""
    dress(axes)
    axes.set_xscale("log")
    look = LOOKS["which and how much"]
    x = np.array([point["R"] for point in curve])
    y = 100 * np.array([point["difference"] for point in curve])
    low, high = 100 * np.array([point["difference_ci95"] for point in curve]).T
    axes.fill_between(x, low, high, color=look.colour, alpha=0.13, linewidth=0)
    axes.axhline(0, color=INK, linewidth=1)
    axes.plot(x, y, color=look.colour, linestyle=":", linewidth=1.8)
    measured = np.where([point["beyond_measured"] for point in curve], np.nan, y)
    axes.plot(x, measured, color=look.colour, linewidth=1.8)
    for at in break_even:
        axes.plot(at, 0, color=INK, marker="o", markersize=7, markerfacecolor="none", markeredgewidth=1.6)
        if named:
            axes.annotate(f"R = {share(at)}", (at, 0), (8, 6), textcoords="offset points", color=INK)


def _ticks(axes: Axes, ticks: list[float]) -> None:
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
