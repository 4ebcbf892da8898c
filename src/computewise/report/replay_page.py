"""The page of a replay."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from computewise.controller.rule import FOLDS
from computewise.errors import RunError
from computewise.report import exchange, figures
from computewise.report.plotting import render
from computewise.report.tables import Table, difficulty_table
from computewise.report.template import fill, markup, read_json
from computewise.report.text import (
    MINUS,
    NONE,
    PLAIN,
    Entry,
    estimate,
    judged_difference,
    number,
    percent,
    points,
    times,
)
from computewise.runs import is_old, write_atomically

FILES = {"fit": "The file", "evaluate": "The file measured on", "large": "The larger model's file"}


def findings(summary: Entry) -> list[dict[str, str]]:
    """The findings, each with the file that it is about."""
    return [
        {
            "about": f"{FILES[one['file']]}, {Path(summary[one['file']]).name}",
            "text": one["text"],
            "example": "" if one["example"] is None else str(one["example"]),
        }
        for one in summary["findings"]
    ]


def replay_sentence(summary: Entry) -> str:
    """The summary's sentences, with typographic minus signs."""
    return re.sub(r"(?<=[ \[])-(?=\d)", MINUS, str(summary["sentence"]))


def validated(summary: Entry) -> str:
    """The problems on which everything was measured."""
    orders = f"in {summary['orders']} random order{'s' * (summary['orders'] > 1)} of each problem's samples"
    if summary["evaluate"] is not None:
        return (
            f"Fitted on the {summary['problems']['fit']} problems of one file and measured on the "
            f"{summary['problems']['evaluate']} of another, {orders}."
        )
    splits = summary["splits"]
    times = "once" if splits == 1 else f"{splits} times anew"
    return (
        f"Split by problem, {times} at random, into {FOLDS} parts: each part is measured with what was fitted on the "
        f"other {FOLDS - 1}, so no problem is measured by a policy that saw it, {orders}."
    )


RULES = {
    "adaptive_consistency": "Adaptive-Consistency, threshold {threshold:.3g}",
    "esc": "ESC, windows of {window}",
    "short_m_at_k": "short-{m}@{k}",
    "its_hub": "its_hub's Beta rule, threshold {threshold:g}, {k} at once",
    "normal": "Stop when ahead, confidence {threshold:.3g}",
    "doubt_per_draw": "Doubt per draw, price {price:.3g}",
}

"""The rules that nobody fits, each with how a setting of it is named."""


def rules_table(summary: Entry) -> Table:
    """Rules that nobody fits: every setting on the rule's own frontier, and those that their authors recommend."""
    rows: list[list[str]] = []
    for rule, name in RULES.items():
        points = summary["rules"][rule]
        best = _frontier(points)
        rows.extend(
            [
                name.format(**point) + (" (recommended)" if point["published"] else ""),
                number(point["mean_samples"], 1),
                number(point["mean_tokens"], 0),
                _accuracy(point),
                _difference(point["controller_minus_rule"]),
            ]
            for point in points
            if point["published"] or point in best
        )
    head = ["Rule", "Mean samples", "Mean tokens", "Accuracy, %", "Controller minus it, points"]
    caption = "Rules that nobody fits, and the controller at no more than the cost of each; differences are paired."
    return Table(caption, head, rows)


def _frontier(points: list[Entry]) -> list[Entry]:
    """The points that no cheaper point of the rule is as accurate as, at most `SHOWN_POINTS` of them."""
    best: list[Entry] = []
    for point in sorted(points, key=lambda one: (one["mean_cost"], -one["accuracy"])):
        if not best or point["accuracy"] > best[-1]["accuracy"]:
            best.append(point)
    step = max(1, math.ceil(len(best) / SHOWN_POINTS))
    return best[::-1][::step]


SHOWN_POINTS = 6


def equal_cost(escalation: Entry) -> Iterator[str]:
    """The rules at the cost of one answer of the large model."""
    one = escalation["at_equal_cost"][0]
    moved, stays = one["escalating"]["minus_large"], one["small_alone"]["minus_large"]
    cost = escalation["large_alone"][0]["cost"]
    small, large = escalation["pass_at_1"]
    yield (
        f"One sample is right {percent(small)} of the time by the small model and {percent(large)} by the large one, "
        f"which costs as much as {number(cost, 1)} of the small one."
    )
    yield (
        f"At no more than that, the controller that may escalate is {points(moved['difference'], moved['ci95'])} from "
        f"the large model, and asks it about {percent(one['escalated'])} of problems; the small model alone with "
        f"its controller is {points(stays['difference'], stays['ci95'])} from it."
    )
    yield from _beside_own(escalation)
    if escalation["verifier_parameters"] is None:
        yield "The verifier is not charged: --verifier-parameters charges it for every sample of both models."
    yield "Attention is left out, since the models' layers and widths are not known."


def _beside_own(escalation: Entry) -> Iterator[str]:
    """The escalating controller against the large model with a controller of its own, over all budgets."""
    each = [one["escalating"]["minus_large_controller"] for one in escalation["at_equal_cost"]]
    largest = max(each, key=lambda one: abs(one["difference"]))
    yield (
        f"Against the large model with a controller of its own, at the same costs, it is at most "
        f"{points(largest['difference'], largest['ci95'])} away."
    )


def frontier_table(summary: Entry) -> Table:
    """Equal samples, the controller and the oracle at every budget."""
    rules = summary["frontier"]
    differences = {one["budget"]: one for one in summary["controller_minus_uniform"]}
    rows = [
        [
            f"{uniform['budget']:g}",
            _spending(uniform),
            _spending(controller),
            _difference(differences[uniform["budget"]]),
            _spending(oracle),
        ]
        for uniform, controller, oracle in zip(
            *(rules[rule] for rule in ("uniform", "controller", "oracle")), strict=True
        )
    ]
    head = ["The cost of so many samples", "Uniform", "Controller", "minus uniform, points", "Per-problem oracle"]
    caption = "Accuracy in %, with 95 % intervals, and after @ the mean samples drawn; differences are paired."
    return Table(caption, head, rows)


def half_table(summary: Entry) -> Table:
    """The controller at half the cost."""
    rows = [[f"{one['budget']:g}", _difference(one)] for one in summary["controller_at_half_minus_uniform"]]
    head = ["Uniform, samples", "Difference, points"]
    return Table("The controller at half their cost minus uniform, paired, with 95 % intervals.", head, rows)


def price_table(summary: Entry) -> Table:
    """The costs of prices on other problems than those they were chosen on."""
    asked = summary["frontier"]["uniform"]
    rows = [
        [
            f"{one['budget']:g}",
            number(one["mean_cost"] / same["mean_cost"] * same["mean_samples"]),
            _accuracy(one),
        ]
        for one, same in zip(summary["controller_at_fitted_price"], asked, strict=True)
    ]
    head = ["The cost asked for, in samples", "The cost spent, in samples", "Accuracy, %"]
    return Table("The price that came to a cost on other problems, used as it is on those measured.", head, rows)


def reached_table(summary: Entry) -> Table:
    """What the controller saves for the accuracy of each number of samples for every problem."""
    rows = []
    for one in summary["reached"]:
        fewer = NONE if one["times_fewer"] is None else times(one["times_fewer"], *one["ci95"])
        rows.append(
            [
                f"{one['uniform_samples']:g}",
                percent(one["accuracy"]),
                _cost(one["uniform_mean_cost"], summary),
                _cost(one["controller_mean_cost"], summary),
                fewer,
            ]
        )
    unit = summary["cost"]
    head = [
        "Samples for everybody",
        "Their accuracy",
        f"Least equal {unit} for it",
        f"Controller's {unit}",
        "Times fewer",
    ]
    caption = (
        "The least mean cost from which on each stays as accurate as so many samples for everybody, and their ratio "
        "with its 95 % interval; a ratio of 1 saves nothing."
    )
    return Table(caption, head, rows)


def _cost(value: float | None, summary: Entry) -> str:
    if value is None:
        return "not reached"
    return number(value, {"samples": 1, "tokens": 0, "dollars": 6}[summary["cost"]])


def equal_cost_table(escalation: Entry) -> Table:
    """The rules at the cost of a number of samples of the large model."""
    rows = []
    for large, one in zip(escalation["large_alone"], escalation["at_equal_cost"], strict=True):
        cells = [
            cell
            for rule in ("escalating", "small_alone", "large_controller")
            for cell in (_accuracy(one[rule]), _difference(one[rule]["minus_large"]))
        ]
        own = _difference(one["escalating"]["minus_large_controller"])
        rows.append(
            [
                f"{large['samples']:g}",
                number(large["cost"], 1),
                _accuracy(large),
                *cells,
                own,
                percent(one["escalated"]),
            ]
        )
    head = [
        "Large samples",
        "Their cost, small samples",
        "Large alone",
        "Escalating controller",
        "minus large, points",
        "Small alone, controller",
        "minus large, points",
        "Large alone, controller",
        "minus large, points",
        "Escalating minus that",
        "Problems escalated",
    ]
    return Table("Accuracy in %, with 95 % intervals, at no more than equal FLOPs; differences are paired.", head, rows)


def _accuracy(point: Entry) -> str:
    return estimate(point["accuracy"], point["ci95"]).replace(" %", "")


def _spending(point: Entry) -> str:
    return f"{_accuracy(point)} @ {number(point['mean_samples'], 1)}"


def _difference(found: Entry) -> str:
    return judged_difference(found["difference"], found["ci95"], found["problems"])


SHOWN = (0.1, 1.0, 10.0)

"""The values of R in the table of differences."""


HALVES = "Estimates from the first half of each problem's samples against the other half."


def write_replay_report(out: Path) -> Path:
    """Write `report.html`, and `figures/` as PNG and SVG, beside `summary.json` in `out`; the path of the page.

    Raises `RunError` where the summary is missing, unreadable or of another version, or nothing can be written.
    """
    from jinja2 import UndefinedError

    path = out / "summary.json"
    summary = read_json(path)
    is_old(summary, path)  # raises for an unknown version; a replay's summary is the same in both versions
    page = out / "report.html"
    try:
        folder = out / "figures"
        folder.mkdir(exist_ok=True)
        figures = {name: render(figure, name, folder) for name, figure in _figures(summary).items()}
        write_atomically(page, fill("replay.html.j2", figures=markup(figures), **_context(summary)))
    except (KeyError, UndefinedError) as error:
        raise RunError(f"the summary in {out} has no {error}: replay again, into another --out") from None
    except OSError as error:
        raise RunError(f"cannot write the report in {out}: {error.strerror or error}") from None
    return page


def chosen(summary: Entry) -> str:
    """Which rung of the ladder the policy is, and why."""
    held = summary["policy_chosen"]
    rule = "" if held["rung"] == "forest" else f": {held['rule']}"
    return (
        f"The policy in controller.json is of the kind “{held['rung']}”{rule}. Reason: {held['why']}. Kinds with fewer "
        "fitted numbers go first, and one that does better by less than a standard error is not taken."
    )


def rivals_table(summary: Entry) -> Table | None:
    """Every rung of the ladder at each cost; None where one sample is all there is."""
    held = summary["rivals"]
    if not held:
        return None
    columns = [point["cost"] for point in held["equal samples"]]
    heads = ["Policy", *(_cost(cost, summary) for cost in columns)]
    rows = []
    for name, row in held.items():
        at = {point["cost"]: _accuracy(point) for point in row}
        rows.append([name, *(at.get(cost, NONE) for cost in columns)])
    caption = (
        "Accuracy in %, with 95 % intervals, at exactly the cost of so many samples for everybody, on problems outside "
        "the fit. Every row but the first was chosen and fitted on the same parts of the problems."
    )
    return Table(caption, heads, rows)


def dial(summary: Entry) -> str | None:
    """What a running price comes to; None where nothing can be chosen."""
    held = summary["controller_dial"]
    if not held:
        return None
    worst = max(held, key=lambda one: one["furthest"])
    return (
        f"With a running price, as serve has it, what {worst['requests']} problems in random order cost was at most "
        f"{percent(worst['furthest'])} from what was asked, at any of these costs."
    )


def _figures(summary: Entry) -> dict[str, Any]:
    drawn = {"frontier": figures.frontier(summary)}
    held = summary.get("escalation")
    if held is not None:
        drawn["escalation"] = figures.escalation(held)
        drawn["exchange_over_R"] = exchange.over(held["exchange"], PLAIN)
    return drawn


def _context(summary: Entry) -> dict[str, Any]:
    held = summary.get("escalation")
    return {
        "summary": summary,
        "names": {key: Path(summary[key]).name for key in ("fit", "evaluate", "large") if summary[key] is not None},
        "sentence": replay_sentence(summary),
        "findings": findings(summary),
        "validated": validated(summary),
        "unit": summary["cost"],
        "chosen": chosen(summary),
        "promise": summary.get("promise"),
        "rivals": rivals_table(summary),
        "dial": dial(summary),
        "rules": rules_table(summary),
        "frontier": frontier_table(summary),
        "half": half_table(summary),
        "price": price_table(summary),
        "reached": reached_table(summary),
        "difficulty": difficulty_table(summary["difficulty"], HALVES) if summary["difficulty"] else None,
        "escalation": None if held is None else _escalation(held),
    }


def _escalation(held: Entry) -> dict[str, Any]:
    found = held["exchange"]
    return {
        "sentence": " ".join(equal_cost(held)),
        "table": equal_cost_table(held),
        "over": " ".join(exchange.meaning(found, PLAIN)),
        "over_table": exchange.break_even_table(found | {"at": _at(found["curve"])}, PLAIN),
    }


def _at(curve: Entry) -> list[Entry]:
    """The points of the curves at `SHOWN`, in the form that `break_even_table` takes."""

    def point(group: str, share: float) -> Entry:
        return next(one for one in curve[group] if math.isclose(one["R"], share))

    bins = [group for group in curve if group != "overall"]
    return [point("overall", share) | {"by_bin": [point(group, share) for group in bins]} for share in SHOWN]
