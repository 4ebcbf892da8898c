"""The tables of a replay's report: one function each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from computewise.report.families import Entry
from computewise.report.tables import Table
from computewise.report.words import NONE, Verdict, count, estimate, interval, number, percent, signed, verdict

_SAYS = {Verdict.BETTER: " better", Verdict.WORSE: " worse", Verdict.OPEN: ""}


def frontier_table(summary: Entry) -> Table:
    """The four rules at every budget."""
    rules = summary["frontier"]
    differences = {one["mean_samples"]: one for one in summary["controller_minus_uniform"]}
    rows = [
        [
            f"{uniform['budget']:g}",
            _spending(uniform),
            _spending(controller),
            _difference(differences[uniform["budget"]]),
            _spending(plain),
            _spending(oracle),
        ]
        for uniform, controller, plain, oracle in zip(
            *(rules[rule] for rule in ("uniform", "controller", "plain_rule", "oracle")), strict=True
        )
    ]
    head = [
        "Mean samples, at most",
        "Uniform",
        "Controller",
        "Controller minus uniform, points",
        "Plain rule",
        "Per-problem oracle",
    ]
    caption = "Accuracy in %, with 95 % intervals, and after @ the mean samples spent; differences are paired."
    return Table(caption, head, rows)


def half_table(summary: Entry) -> Table:
    """The controller with half the samples."""
    rows = [
        [f"{one['uniform_samples']:g}", f"{one['uniform_samples'] / 2:g}", _difference(one)]
        for one in summary["controller_at_half_minus_uniform"]
    ]
    head = ["Uniform, samples", "Controller, mean samples at most", "Difference, points"]
    return Table("The controller at half the samples minus uniform, paired, with 95 % intervals.", head, rows)


def price_table(summary: Entry) -> Table:
    """What a price solved on the problems fitted on came to on others."""
    rows = [
        [f"{one['budget']:g}", number(one["mean_samples"]), _accuracy(one)]
        for one in summary["controller_at_fitted_price"]
    ]
    head = ["Mean samples asked for", "Mean samples spent", "Accuracy, %"]
    return Table("The price solved on the problems fitted on, used as it is on the problems measured.", head, rows)


def reached_table(summary: Entry) -> Table:
    """What each number of samples for everybody is matched by."""
    rows = [
        [
            f"{one['uniform_samples']:g}",
            percent(one["accuracy"]),
            _number(one["controller_mean_samples"], "not reached"),
            _number(one["times_fewer"]),
        ]
        for one in summary["reached"]
    ]
    head = ["Samples for everybody", "Their accuracy", "Controller's mean samples for it", "Times fewer"]
    return Table("The least mean samples from which on the controller is at least as accurate as uniform.", head, rows)


def difficulty_table(estimates: Sequence[Entry], caption: str) -> Table:
    """How well each estimate of difficulty predicts it."""
    rows = [
        [
            one["estimate"],
            _interval(one["spearman"], 1),
            _interval(one["exact"], 100),
            _interval(one["within_one"], 100),
            _interval(one["brier"], 1),
            _number(one["calibration_error"], digits=3),
            number(one["draws"], 1),
            count(one["tokens"]),
        ]
        for one in estimates
    ]
    head = [
        "Estimate",
        "Spearman",
        "Exact bin, %",
        "Within one bin, %",
        "Brier score",
        "Calibration error",
        "Samples it takes",
        "Tokens it takes",
    ]
    return Table(caption, head, rows)


def equal_cost_table(escalation: Entry) -> Table:
    """At the cost of so many samples of the large model."""
    rows = []
    for large, one in zip(escalation["large_alone"], escalation["at_equal_cost"], strict=True):
        cells = [
            cell
            for rule in ("escalating", "small_alone")
            for cell in (_accuracy(one[rule]), _difference(one[rule]["minus_large"]))
        ]
        rows.append(
            [
                f"{large['samples']:g}",
                number(large["cost"], 1),
                _accuracy(large),
                *cells,
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
        "Problems escalated",
    ]
    return Table("Accuracy in %, with 95 % intervals, at no more than equal FLOPs; differences are paired.", head, rows)


def _accuracy(point: Entry) -> str:
    return estimate(point["accuracy"], point["ci95"]).replace(" %", "")


def _spending(point: Entry) -> str:
    return f"{_accuracy(point)} @ {number(point['mean_samples'], 1)}"


def _difference(found: Entry) -> str:
    return f"{signed(found['difference'])} {interval(found['ci95'])}{_SAYS[verdict(found['ci95'])]}"


def _interval(found: Entry, scale: int) -> str:
    """None, or an interval with no bound, is what too few problems leave."""
    if found["value"] is None:
        return NONE
    digits = 1 if scale > 1 else 2
    text = number(scale * found["value"], digits)
    bounds: list[float | None] | None = found["ci95"]
    if not bounds or None in bounds:
        return text
    return f"{text} [{', '.join(number(scale * bound, digits) for bound in bounds if bound is not None)}]"


def _number(value: Any, missing: str = NONE, digits: int = 1) -> str:
    return missing if value is None else number(value, digits)
