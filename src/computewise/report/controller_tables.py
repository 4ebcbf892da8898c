"""The tables of the section on the controller: one function each, of one currency."""

from __future__ import annotations

from computewise.report.currencies import SHOWN
from computewise.report.families import FIXED_LABEL, Entry, rival, scope_name
from computewise.report.names import Names
from computewise.report.tables import Table
from computewise.report.words import NONE, Verdict, estimate, interval, number, signed, verdict

_SAYS = {Verdict.BETTER: " better", Verdict.WORSE: " worse", Verdict.OPEN: ""}


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
    """Controller minus best fixed at equal cost: the mean over the budgets, then each."""
    means = held["mean_minus_best_fixed"]
    rows = [["mean", *(_difference(means[scope]) for scope in means)]]
    rows += [
        [str(at["n"]), *(_difference(at["minus_best_fixed"].get(scope)) for scope in means)] for at in held["budgets"]
    ]
    return _differences("the best fixed strategy", held, rows)


def minus_uniform_table(held: Entry) -> Table:
    """Controller minus best-of-N weighted at each budget."""
    rows = [
        [str(at["n"]), *(_difference(at["minus_uniform"][scope]) for scope in held["mean_minus_best_fixed"])]
        for at in held["budgets"]
    ]
    return _differences("best-of-N weighted", held, rows)


def _differences(rival: str, held: Entry, rows: list[list[str]]) -> Table:
    head = ["Budget, samples", *(scope_name(scope).capitalize() for scope in held["mean_minus_best_fixed"])]
    caption = f"Controller minus {rival} at equal cost, paired, in points with 95 % intervals, in {held['name']}."
    return Table(caption, head, rows)


def draws_table(held: Entry, names: Names) -> Table:
    """What each controller drew by at each budget."""
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
    """The larger model by its name."""
    return f"{names.short('large')},{arm.removeprefix('large,')}" if arm.startswith("large,") else arm


def _difference(found: Entry | None) -> str:
    if not found:
        return NONE
    bounds = found["difference_ci95"]
    return f"{signed(found['difference'])} {interval(bounds)}{_SAYS[verdict(bounds)]}"
