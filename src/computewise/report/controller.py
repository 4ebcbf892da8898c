"""The controller's section: sentences, tables and figures."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from computewise.controller.rule import FOLDS
from computewise.intervals import verdict
from computewise.report.plotting import GREY, INK, LOOKS, SHOWN, Look, decimal_ticks, name_ends, new_axes, percent_axis
from computewise.report.tables import Table
from computewise.report.template import RunFiles, Section
from computewise.report.text import (
    FIXED_LABEL,
    MINUS,
    NONE,
    Entry,
    Names,
    compared,
    estimate,
    judged_difference,
    number,
    percent,
    points,
    rival,
    scope_name,
    times,
)
from computewise.study.analysis.controller import ORDERS, SHIPPED_SCOPE
from computewise.study.plan import SEARCH

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def _context(source: RunFiles) -> dict[str, Any]:
    summary, names = source.summary, Names.of(source.summary)
    return {
        "controller": [_counted(column, held, summary, names) for column, held in summary["controller"].items()],
        "validated": {"folds": FOLDS, "orders": ORDERS, "search": SEARCH.n},
        "SHIPPED": SHIPPED_SCOPE,
    }


def _counted(column: str, held: Entry, summary: Entry, names: Names) -> dict[str, Any]:
    """What the section says and shows by one cost metric."""
    return {
        "column": column,
        "name": held["name"],
        "scopes": list(held["mean_minus_best_fixed"]),
        "sentence": controller_sentence(held),
        "needed": needed(held, column),
        "beside": beside_large(held, column, names),
        "assumed": SHOWN[column].assumed(summary),
        "accuracy": accuracy_table(held, column),
        "minus_fixed": minus_fixed_table(held) if compared(held) else None,
        "minus_uniform": minus_uniform_table(held),
        "draws": draws_table(held, names),
    }


def _figures(summary: Entry) -> dict[str, Figure]:
    drawn = {}
    for column, held in summary["controller"].items():
        drawn[f"controller_{column}"] = accuracy(held, column, Names.of(summary))
        if compared(held):
            drawn[f"controller_{column}_difference"] = differences(held)
    return drawn


SECTION = Section(
    "controller",
    "What deciding problem by problem buys",
    needs=lambda summary: bool(summary["controller"]),
    context=_context,
    figures=_figures,
)


def controller_sentence(held: Entry) -> str:
    """The sentence of the summary about one cost metric, with typographic minus signs."""
    return re.sub(r"-(?=\d)", MINUS, held["sentence"])


def beside_large(held: Entry, column: str, names: Names) -> str:
    """The controller with escalation beside one greedy answer of the large model, at no more than its cost.

    Empty where there is no large model.
    """
    if not held["beside_large"]:
        return ""
    beside, cost = held["beside_large"], SHOWN[column].cost
    name = "the shipped policy" if SHIPPED_SCOPE in held["needed"] else "the controller with escalation"
    controller, large = beside["controller"], beside["large"]
    return (
        f"Beside one greedy answer of {names.the('large')} ({cost(large['cost'])}), {name} is right in "
        f"{estimate(controller['accuracy'], controller['ci95'])} for {cost(controller['cost'])}, "
        f"{names.the('large')} in {estimate(large['accuracy'], large['ci95'])}: "
        f"{points(beside['difference'], beside['difference_ci95'])}, "
        f"{verdict(beside['difference_ci95'], held['problems']).value}."
    )


def needed(held: Entry, column: str) -> str:
    """The budget from which on each controller is as accurate as best-of-N weighted at the largest."""
    most = held["budgets"][-1]
    each = [
        f"{scope_name(scope)}: {percent(found['share'])} ({SHOWN[column].cost(found['cost'])}), "
        f"{times(*found['times_fewer'])} times fewer"
        if found
        else f"{scope_name(scope)}: not for all of it"
        for scope, found in held["needed"].items()
    ]
    return (
        f"For what share of its cost the controller is as accurate as best-of-{most['n']} weighted "
        f"({percent(most['uniform']['accuracy'])} for {SHOWN[column].cost(most['budget'])}), with 95 % intervals: "
        f"{'; '.join(each)}."
    )


def deciding(summary: Entry) -> Iterator[str]:
    """The controller's sentences for the top of the page, in FLOPs; none where there was no choice to make."""
    if held := summary["controller"].get("flops"):
        yield controller_sentence(held)
        if beside := beside_large(held, "flops", Names.of(summary)):
            yield beside


BESIDE = (8.0, 4.6), (4.7, 4.6)

"""Sizes in inches of the two figures that stand side by side."""

BANDED = ("which and how much", "fixed")

"""The looks whose interval is drawn: readers cannot tell more than two bands apart."""


def accuracy(held: Entry, column: str, names: Names) -> Figure:
    """Accuracy against the whole cost: controllers in heavy lines, rivals in light ones, the large model as a point."""
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
    """Draw a curve; returns its end."""
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
    """Controller minus best fixed strategy at equal cost: the mean over the budgets, then each budget, by scope."""
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


def accuracy_table(held: Entry, column: str) -> Table:
    """Every rule at every budget."""
    rows = []
    for at in held["budgets"]:
        points = [at["uniform"], rival(at, escalating=False), *at["tables"].values(), *at["controllers"].values()]
        cells = [estimate(point["accuracy"], point["ci95"]).replace(" %", "") for point in points]
        rows.append([str(at["n"]), SHOWN[column].cost(at["budget"]), *cells])
    first = held["budgets"][0]
    head = [
        "Budget, samples",
        "Its cost",
        "Uniform: best-of-N weighted",
        FIXED_LABEL.capitalize(),
        *(f"Table, {kind} bins" for kind in first["tables"]),
        *(f"Controller, {scope_name(scope)}" for scope in first["controllers"]),
    ]
    return Table(f"Accuracy in %, with 95 % intervals, within each budget counted in {held['name']}.", head, rows)


def minus_fixed_table(held: Entry) -> Table:
    """Controller minus best fixed strategy at equal cost: the mean over the budgets, then each budget."""
    means = held["mean_minus_best_fixed"]
    many = held["problems"]
    rows = [["mean", *(_difference(means[scope], many) for scope in means)]]
    rows += [
        [str(at["n"]), *(_difference(at["minus_best_fixed"].get(scope), many) for scope in means)]
        for at in held["budgets"]
    ]
    return _differences("the best fixed strategy", held, rows)


def minus_uniform_table(held: Entry) -> Table:
    """Controller minus best-of-N weighted at each budget."""
    rows = [
        [
            str(at["n"]),
            *(_difference(at["minus_uniform"][scope], held["problems"]) for scope in held["mean_minus_best_fixed"]),
        ]
        for at in held["budgets"]
    ]
    return _differences("best-of-N weighted", held, rows)


def _differences(rival: str, held: Entry, rows: list[list[str]]) -> Table:
    head = ["Budget, samples", *(scope_name(scope).capitalize() for scope in held["mean_minus_best_fixed"])]
    caption = f"Controller minus {rival} at equal cost, paired, in points with 95 % intervals, in {held['name']}."
    return Table(caption, head, rows)


def draws_table(held: Entry, names: Names) -> Table:
    """The mean draws of each controller by each arm at each budget."""
    scopes = held["budgets"][0]["draws"]
    head = [
        "Budget, samples",
        *(f"{scope_name(scope).capitalize()}: {_arm(arm, names)}" for scope, arms in scopes.items() for arm in arms),
    ]
    rows = [
        [str(at["n"]), *(number(drawn) for arms in at["draws"].values() for drawn in arms.values())]
        for at in held["budgets"]
    ]
    return Table(f"Where the draws went, a problem on average, counted in {held['name']}.", head, rows)


def _arm(arm: str, names: Names) -> str:
    """An arm for a column's head, with the larger model's name."""
    return f"{names.short('large')},{arm.removeprefix('large,')}" if arm.startswith("large,") else arm


def _difference(found: Entry | None, problems: int) -> str:
    if not found:
        return NONE
    return judged_difference(found["difference"], found["difference_ci95"], problems)
