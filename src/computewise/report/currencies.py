"""Costs as a person reads them, and the fine print: which prices and speeds were assumed."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from computewise.report.words import count, number, quantity
from computewise.study.currencies import BATCH, BYTES_A_NUMBER, PRICES, SPEEDS

MILLION = 1_000_000


class Shown(NamedTuple):
    """How one currency is written: the label of an axis, its ticks, a cost, and what was assumed."""

    axis: str
    tick: Callable[[float], str]
    cost: Callable[[float], str]
    assumed: Callable[[], str]


def _dollars(cost: float) -> str:
    return f"${quantity(MILLION * cost)} per million problems"


def _seconds(cost: float) -> str:
    return f"{number(cost, 3)} s"


def _operations() -> str:
    return (
        "2 FLOPs for every parameter and token, of the models and of the verifier, what a prefix cache holds left out; "
        "attention is not counted."
    )


def _traffic() -> str:
    return (
        f"Nominal: {BYTES_A_NUMBER} bytes a number, {BATCH} rows, of whatever problems, to one pass over the weights. "
        "Small batches make every token dearer, for the large model most."
    )


def _prices() -> str:
    each = [
        f"the {name} model {held.input:g} for what it reads ({held.cached_input:g} from a cache) and {held.output:g} "
        f"for what it writes, its verifier {held.verifier:g}"
        for name, held in PRICES.items()
    ]
    return f"Nominal, in dollars a million tokens: {'; '.join(each)}. Nobody hosts these models."


def _speeds() -> str:
    each = [
        f"the {name} model writes {1 / held.decoded:.0f} and reads {count(1 / held.read)}, its verifier reads "
        f"{count(1 / held.verified)}"
        for name, held in SPEEDS.items()
    ]
    return (
        f"Nominal, in tokens a second: {'; '.join(each)}. What is sampled side by side takes as long as the longest of "
        "it. The controller draws one after another and looks in between, so it waits for everything it draws; the "
        "samples of best-of-N wait for none but the longest."
    )


SHOWN = {
    "flops": Shown("FLOPs a problem (log scale)", quantity, lambda cost: quantity(cost, "FLOPs"), _operations),
    "bytes": Shown("bytes moved a problem (log scale)", quantity, lambda cost: quantity(cost, "B"), _traffic),
    "dollars": Shown(
        "dollars for a million problems (log scale)", lambda tick: f"{MILLION * tick:g}", _dollars, _prices
    ),
    "seconds": Shown("seconds until the answer (log scale)", lambda tick: f"{tick:g}", _seconds, _speeds),
}
"""By the column the currency is kept in; see `study.currencies`."""
