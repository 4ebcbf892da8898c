"""Pretraining against inference compute: tables and figures."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np

from computewise.core import LARGE, MODEL, Role
from computewise.intervals import LEAST_PROBLEMS, Verdict, verdict
from computewise.report.figures import exchange as by_share
from computewise.report.plotting import INK, LOOKS, WIDE, bin_names, dress, new_figure
from computewise.report.tables import Table, exchange_table
from computewise.report.template import RunFiles, Section
from computewise.report.text import NONE, Entry, Names, capitalize, interval, listed, percent, signed
from computewise.study.analysis.controller import widest_alone

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def _context(source: RunFiles) -> dict[str, Any]:
    summary, names = source.summary, Names.of(source.summary)
    found: dict[str, Any] = {"exchange": exchange_table(summary["exchange"], names)}
    if not summary["controller"]:
        return found
    held = summary["exchange_over_R"]
    return {
        **found,
        "over": " ".join(meaning(held, names)),
        "with_training": with_training(held, names),
        "over_table": break_even_table(held, names),
        "alone": widest_alone(summary["controller"]["flops"]["mean_minus_best_fixed"]),
    }


def _figures(summary: Entry) -> dict[str, Figure]:
    drawn = {"exchange": by_share(summary)} if summary["exchange"] else {}
    if summary["controller"]:
        drawn["exchange_over_R"] = over(summary["exchange_over_R"], Names.of(summary))
    return drawn


SECTION = Section(
    "sizes",
    lambda names: f"{capitalize(names.model(MODEL))} against {names.short(LARGE)}",
    needs=lambda summary: bool(summary["large"]),
    context=_context,
    figures=_figures,
)

_OTHER = {"small": "large", "large": "small", "tie": "tie"}

_ROLES: dict[str, Role] = {"small": MODEL, "large": LARGE}

_SHOWN: dict[Verdict, Role] = {Verdict.BETTER: MODEL, Verdict.WORSE: LARGE}


def with_training(over: Entry, names: Names) -> str:
    """What is left where the training of the verifier is charged too; empty where it is not known."""
    if all(one["verifier_pretrained"]["k"] == one["k"] for one in over["at"]):
        return ""
    each = [
        f"{signed(one['verifier_pretrained']['difference'])} {interval(one['verifier_pretrained']['difference_ci95'])} "
        f"in place of {signed(one['difference'])} at R = {share(one['R'])}"
        for one in over["at"]
    ]
    return f"Where the training of the verifier is paid for by {names.the('model')} too, it is {listed(each)}."


def groups(over: Entry) -> dict[str, str]:
    """The keys of the curves with their names: all problems, then bins from the easiest."""
    return {name: "all" if name == "overall" else name for name in over["curve"]}


def meaning(over: Entry, names: Names) -> Iterator[str]:
    """Which model is ahead over all problems at which R, and what the intervals show of it."""
    curve, ends = over["curve"]["overall"], over["break_even"]["overall"]
    span = f"R = {share(curve[0]['R'])} to {share(curve[-1]['R'])}"
    if ends["R"]:
        first = _first(curve)
        yield (
            f"From {span} the lead changes at R = {listed([share(one) for one in ends['R']])}: "
            f"{names.the(_ROLES[first])} is ahead below{'' if len(ends['R']) == 1 else ' the first'}, "
            f"{names.the(_ROLES[_OTHER[first]])} above"
            f"{'' if len(ends['R']) == 1 else ' it, and so on in turn'}."
        )
    else:
        throughout = {
            "small": f"{names.the('model')} with its controller is never behind",
            "large": f"{names.the('large')} is never behind",
            "tie": "the two are level",
        }
        yield f"From {span} {throughout[ends['wins_everywhere']]}, by point estimates."
    shown = [
        f"that {names.the(role)} wins for R = {listed(found)}"
        for kind, role in _SHOWN.items()
        if (found := _stretches(curve, kind))
    ]
    if shown:
        undecided = _stretches(curve, Verdict.OPEN)
        yield (
            f"A 95 % band for all R at once shows {' and '.join(shown)}"
            f"{f'; for R = {listed(undecided)} it holds zero' if undecided else ''}."
        )
    elif curve[0]["problems"] < LEAST_PROBLEMS:
        yield f"But these are {Verdict.TOO_FEW.value}."
    else:
        yield "But a 95 % band for all R at once holds zero everywhere: this run cannot tell which of the two to make."
    held = [point["R"] for point in curve if point["beyond_measured"]]
    if held:
        best = curve[0]["small"]
        yield (
            f"Up to R = {share(max(held))} {names.the('model')} might spend more than the largest budget measured and "
            f"is held there, at {percent(best)}."
        )


def break_even_table(over: Entry, names: Names) -> Table:
    """Which model is ahead at which R, for all problems and in each bin, with the differences at some R."""
    rows = []
    for place, (group, name) in enumerate(groups(over).items()):
        curve, ends = over["curve"][group], over["break_even"][group]
        sides = [one if place == 0 else one["by_bin"][place - 1] for one in over["at"]]
        cells = [f"{signed(one['difference'])} {interval(one['difference_ci95'])}" for one in sides]
        at = listed([share(one) for one in ends["R"]]) or NONE
        rows.append([name, _lead(curve, ends, names), at, _undecided(curve, ends["undecided"]), *cells])
    head = [
        "Bin",
        "Ahead, as R rises",
        "Break-even R",
        "Interval holds zero for R",
        *(f"Difference at R = {at['R']:g}" for at in over["at"]),
    ]
    caption = (
        f"{capitalize(names.model('model'))} with its controller minus "
        f"{names.model('large')} over R, in percentage points, "
        "at equal total FLOPs."
    )
    return Table(caption, head, rows, 4)


def share(value: float) -> str:
    """An R with two digits: `0.43`."""
    return f"{value:.2g}" if value < 10 else f"{value:.0f}"


def _first(curve: list[Entry]) -> str:
    """The model that is ahead at the least R at which one is ahead."""
    return next((str(point["winner"]) for point in curve if point["winner"] != "tie"), "tie")


def _lead(curve: list[Entry], ends: Entry, names: Names) -> str:
    if not ends["R"]:
        ahead = ends["wins_everywhere"]
        return "neither" if ahead == "tie" else f"{names.short(_ROLES[ahead])}, never behind"
    winners = [_first(curve)]
    for _ in ends["R"]:
        winners.append(_OTHER[winners[-1]])
    return ", then ".join(names.short(_ROLES[winner]) for winner in winners)


def _undecided(curve: list[Entry], stretches: list[list[float]]) -> str:
    if not stretches:
        return NONE
    low, high = stretches[0]
    if math.isclose(low, curve[0]["R"]) and math.isclose(high, curve[-1]["R"]):
        return "all"
    return listed([_stretch(*one) for one in stretches])


def _stretches(curve: list[Entry], kind: Verdict) -> list[str]:
    """The stretches of R with this verdict by the band for all R at once: a stretch is a claim about many."""
    found = []
    for says, members in groupby(curve, key=lambda point: verdict(point["difference_band95"], point["problems"])):
        if says is kind:
            held = list(members)
            found.append(_stretch(held[0]["R"], held[-1]["R"]))
    return found


def _stretch(low: float, high: float) -> str:
    return share(low) if share(low) == share(high) else f"{share(low)} to {share(high)}"


def over(exchange: Entry, names: Names) -> Figure:
    """Small minus large in points against R: all problems above, a small plot for each bin below."""
    figure = new_figure((WIDE[0], 5.2))
    overall, *bins = exchange["curve"]
    layout = [[overall] * len(bins), bins]
    plots = figure.subplot_mosaic(layout, height_ratios=[1.5, 1])
    for name, axes in plots.items():
        _plot(axes, exchange["curve"][name], exchange["break_even"][name]["R"], named=name == overall)
    top = plots[overall]
    top.set_ylabel(f"{names.short('model')} minus {names.short('large')}, points", color=INK)
    top.set_title("all problems", loc="left", fontsize=11, color=INK)
    _ticks(top, [0.01, 0.1, 1, 10, 100])
    for edge, text, up in (
        (0.97, f"{names.short('model')} better", True),
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
    """Draw one curve: dotted beyond the largest measured budget, with a ring where the lead changes."""
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
