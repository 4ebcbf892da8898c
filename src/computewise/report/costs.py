"""Costs in readable units, and the assumptions about prices and speeds."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from computewise.report.lookup import Entry
from computewise.report.text import Names, count, number, quantity

MILLION = 1_000_000


class CostDisplay(NamedTuple):
    """How one cost metric is written: the label of an axis, its ticks, a cost, and the assumptions."""

    axis: str
    tick: Callable[[float], str]
    cost: Callable[[float], str]
    assumed: Callable[[Entry], str]


def _dollars(cost: float) -> str:
    return f"${quantity(MILLION * cost)} per million problems"


def _seconds(cost: float) -> str:
    return f"{number(cost, 3)} s"


def _operations(summary: Entry) -> str:
    return (
        "2 FLOPs for every parameter and token, of the models and of the verifier, what a prefix cache holds left out; "
        "attention is not counted."
    )


def _traffic(summary: Entry) -> str:
    held, names = summary["assumed"], Names.of(summary)
    most = f", for {names.the('large')} most" if summary["large"] else ""
    return (
        f"{_begun(summary, '')}{held['bytes_per_number']:g} bytes a number, {held['batch']} rows, of whatever "
        f"problems, to one pass over the weights. Small batches make every token dearer{most}."
    )


def _prices(summary: Entry) -> str:
    names = Names.of(summary)
    each = [
        f"{names.the(role)} {held['input']:g} for what it reads ({held['cached_input']:g} from a cache) and "
        f"{held['output']:g} for what it writes, its verifier {held['verifier']:g}"
        for role, held in summary["assumed"]["prices"].items()
    ]
    nobody = " Nobody hosts these models." if summary["assumed"]["nominal"] else ""
    return f"{_begun(summary, 'in dollars a million tokens')}{'; '.join(each)}.{nobody}"


def _speeds(summary: Entry) -> str:
    names = Names.of(summary)
    each = [
        f"{names.the(role)} writes {1 / held['decoded']:.0f} and reads {count(1 / held['read'])}, its verifier reads "
        f"{count(1 / held['verified'])}"
        for role, held in summary["assumed"]["speeds"].items()
    ]
    return (
        f"{_begun(summary, 'in tokens a second')}{'; '.join(each)}. What is sampled side by side takes as long as "
        "the longest of it. The controller draws one after another and looks in between, so it waits for everything it "
        "draws; the samples of best-of-N wait for none but the longest."
    )


def _begun(summary: Entry, unit: str) -> str:
    """The beginning of a list of assumptions."""
    start = ", ".join(part for part in ("Nominal" if summary["assumed"]["nominal"] else "", unit) if part)
    return f"{start[:1].upper()}{start[1:]}: " if start else ""


SHOWN = {
    "flops": CostDisplay("FLOPs a problem (log scale)", quantity, lambda cost: quantity(cost, "FLOPs"), _operations),
    "bytes": CostDisplay("bytes moved a problem (log scale)", quantity, lambda cost: quantity(cost, "B"), _traffic),
    "dollars": CostDisplay(
        "dollars for a million problems (log scale)", lambda tick: f"{MILLION * tick:g}", _dollars, _prices
    ),
    "seconds": CostDisplay("seconds until the answer (log scale)", lambda tick: f"{tick:g}", _seconds, _speeds),
}
"""By the column of the cost metric; see `study.analysis.tables.cost_metrics`."""
