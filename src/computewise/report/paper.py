"""The section on the paper's other figures: one mechanism at a time, aggregation, samples saved, a worse verifier."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from computewise.report.figures import GENERATIONS, Series, accuracy, exchange_points
from computewise.report.plotting import BLUE, GREEN, INK, LOOKS, ORANGE, VERMILION, WIDE, new_axes
from computewise.report.tables import Table
from computewise.report.template import RunFiles, Section
from computewise.report.text import (
    BEAM,
    BEST_OF_N,
    NONE,
    Entry,
    Names,
    budgets,
    curve,
    estimate,
    family,
    interval,
    number,
    percent,
    ratios,
    signed,
    split_budgets,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

HALF_FIGURES = {"sampling and search": "exchange_search", "revisions": "exchange_revisions"}
"""The figure of the comparison with the larger model, by the mechanism that the model has."""


def _context(source: RunFiles) -> dict[str, Any]:
    summary, names = source.summary, Names.of(source.summary)
    return {
        "paper": {
            "saved": " ".join(saved(summary)),
            "saved_table": saved_table(summary),
            "aggregations": aggregations_table(summary),
            "quality": quality_table(summary, names) if summary["verifier_quality"] else None,
            "halves": [(name, HALF_FIGURES[name]) for name in summary["exchange_halves"] if name in HALF_FIGURES],
        }
    }


def _figures(summary: Entry) -> dict[str, Figure]:
    names = Names.of(summary)
    drawn = {"mechanism_search": accuracy(summary, search_alone(summary), GENERATIONS)}
    if split_budgets(summary):
        drawn["mechanism_revisions"] = accuracy(summary, revisions_alone(summary), GENERATIONS)
        drawn["sequential_parallel"] = accuracy(summary, sequential_against_parallel(summary), GENERATIONS)
    for name, entries in summary["exchange_halves"].items():
        if name in HALF_FIGURES and entries:
            drawn[HALF_FIGURES[name]] = exchange_points(entries, names)
    if any(each["exchange"] for each in summary["verifier_quality"]):
        drawn["verifier_quality"] = quality(summary["verifier_quality"], names)
    return drawn


SECTION = Section(
    "paper",
    "The paper's figures, one mechanism at a time",
    needs=lambda summary: budgets(summary)[-1] > 1,
    context=_context,
    figures=_figures,
)


def search_alone(summary: Entry) -> list[Series]:
    """Figure 4: the policy among samples and searches alone."""
    held = summary["mechanisms"]["search"]
    found = [
        Series("best-of-N weighted", LOOKS["best-of-N"], curve(summary, BEST_OF_N)),
        Series("majority", LOOKS["majority"], curve(summary, "best-of-N, majority")),
        Series("compute-optimal search, oracle bins", LOOKS["oracle"], held["oracle"]),
        Series("compute-optimal search, predicted bins", LOOKS["predicted"], held["predicted"]),
    ]
    return [each for each in found if each.rows]


def revisions_alone(summary: Entry) -> list[Series]:
    """Figure 8: the policy among the ratios of sequential to parallel alone, by verifier and by majority."""
    verified, voted = (summary["mechanisms"][f"revisions, by {how}"] for how in ("verifier", "majority"))
    return [
        Series("parallel, by verifier", LOOKS["best-of-N"], _end(summary, "hierarchical", "chain_length")),
        Series("compute-optimal, oracle bins", LOOKS["oracle"], verified["oracle"]),
        Series("compute-optimal, predicted bins", LOOKS["predicted"], verified["predicted"]),
        Series("parallel, by majority", LOOKS["majority"], _end(summary, "majority", "chain_length")),
        Series("compute-optimal, by majority, oracle bins", LOOKS["revisions"], voted["oracle"]),
    ]


def sequential_against_parallel(summary: Entry) -> list[Series]:
    """Figure 6, right."""
    return [
        Series("sequential, by verifier", LOOKS["revisions"], _end(summary, "hierarchical", "chains")),
        Series("parallel, by verifier", LOOKS["best-of-N"], _end(summary, "hierarchical", "chain_length")),
        Series("sequential, by majority", LOOKS["step revisions"], _end(summary, "majority", "chains")),
        Series("parallel, by majority", LOOKS["majority"], _end(summary, "majority", "chain_length")),
    ]


def _end(summary: Entry, selection: str, one: str) -> list[Entry]:
    """The ratios with a single chain, or with chains of a single attempt, by rising budget."""
    return [row for n in budgets(summary) for row in ratios(summary, n, selection) if row[one] == 1]


def saved(summary: Entry) -> Iterator[str]:
    """How many samples beam search saves; nothing where it was not run."""
    rows = [each for each in summary["samples_saved"] if each["label"] == BEAM]
    if not rows:
        return
    parts = [f"{_samples(each['samples'], each)} {_span(each)} at N = {each['n']}" for each in rows]
    yield (
        "To be as accurate as beam search (M = 4), best-of-N weighted takes this many samples: "
        f"{'; '.join(parts)}. The paper's fourfold saving is of this kind: a search against best-of-N."
    )


def saved_table(summary: Entry) -> Table:
    """The same for every search."""
    rows = [
        [
            family(each["label"]),
            str(each["n"]),
            number(each["generations"], 1),
            percent(each["accuracy"]),
            _samples(each["samples"], each),
            _span(each),
            NONE if each["times"] is None else f"{number(each['times'], 1)} ×",
            *(f"{signed(each[one])} {interval(each[f'{one}_ci95'])}" for one in ("difference", "easy", "hard")),
        ]
        for each in summary["samples_saved"]
    ]
    head = [
        "Search",
        "N",
        "Generations sampled",
        "Accuracy",
        "Best-of-N takes",
        "95 % interval",
        "Over what the search sampled",
        "Minus best-of-N at as many tokens",
        "The same, bins 1 and 2",
        "Bins 3 to 5",
    ]
    return Table(
        "The number of samples at which best-of-N weighted is as accurate as a search, and both at equal tokens.",
        head,
        rows,
    )


def _samples(value: float | None, entry: Entry) -> str:
    return f"over {entry['largest']}" if value is None else number(value, 1)


def _span(entry: Entry) -> str:
    return f"[{', '.join(_samples(bound, entry) for bound in entry['ci95'])}]"


_WAYS = {
    "last": "last step",
    "min": "least step",
    "prod": "product of the steps",
    "mean": "mean of the steps",
    "majority": "majority, no verifier",
}


def aggregations_table(summary: Entry) -> Table | None:
    """Best-of-N weighted by each way to make a solution's value of its steps' scores; None where none was recorded."""
    held = summary["aggregations"]
    if not held:
        return None
    rows = [
        [
            _WAYS[each["name"]],
            NONE if each["auroc_within_problem"] is None else number(each["auroc_within_problem"], 3),
            *(estimate(at["accuracy"], at["ci95"]) for at in each["at"]),
        ]
        for each in held
    ]
    head = ["Value of a solution", "AUROC within problem", *(f"N = {at['n']}" for at in held[0]["at"])]
    return Table("Best-of-N weighted from the same samples, by what a solution's value is.", head, rows)


def quality_table(summary: Entry, names: Names) -> Table:
    """Best-of-N, and its difference to the larger model, by the share of the verifier's values that is flipped."""
    rows = []
    held = summary["verifier_quality"]
    for each in held:
        last = each["at"][-1]
        cells = [
            f"{signed(point['small'] - point['large'])} {interval(point['difference_ci95'])}"
            for point in each["exchange"]
        ]
        auroc = number(each["auroc_within_problem"], 3)
        rows.append([percent(each["share"]), auroc, estimate(last["accuracy"], last["ci95"]), *cells])
    shares = [f"Minus {names.short('large')}, R = {point['R']:g}" for point in held[0]["exchange"]]
    head = ["Values flipped", "AUROC within problem", f"Best-of-{held[0]['at'][-1]['n']} weighted", *shares]
    return Table(
        "What a worse verifier leaves of best-of-N weighted, and of its comparison with the larger model.", head, rows
    )


def quality(entries: list[Entry], names: Names) -> Figure:
    """Small minus large in points against the share of flipped values, at each R."""
    figure, axes = new_axes(WIDE)
    looks = ((BLUE, "o"), (VERMILION, "^"), (GREEN, "D"), (ORANGE, "s"))
    x = 100 * np.array([each["share"] for each in entries])
    for index, (colour, marker) in enumerate(looks[: len(entries[0]["exchange"])]):
        points = [each["exchange"][index] for each in entries]
        shifted = x + (index - 1.5) * 0.35
        low, high = 100 * np.array([point["difference_ci95"] for point in points]).T
        axes.vlines(shifted, low, high, color=colour, linewidth=1.4)
        axes.plot(
            shifted,
            [100 * (point["small"] - point["large"]) for point in points],
            color=colour,
            marker=marker,
            linewidth=1.4,
            markersize=6,
            label=f"R = {points[0]['R']:g}",
        )
    axes.axhline(0, color=INK, linewidth=1)
    ticks = [f"{share:.0f} %\n{number(each['auroc_within_problem'])}" for share, each in zip(x, entries, strict=True)]
    axes.set_xticks(x, ticks)
    axes.set_xlabel("the verifier's values that are flipped, and its AUROC within a problem")
    axes.set_ylabel(f"{names.short('model')} minus {names.short('large')}, points")
    figure.legend(loc="outside lower center", ncols=4, frameon=False, labelcolor=INK, fontsize=8.5)
    return figure
