"""The section on revisions: sentences, tables and figures."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from computewise.intervals import Verdict, verdict
from computewise.report.plotting import BLUE, INK, LOOKS, WIDE, bin_names, name_ends, new_axes, new_figure, percent_axis
from computewise.report.tables import Table, exchange_table
from computewise.report.template import RunFiles, Section
from computewise.report.text import (
    MOST_SPLITS,
    NONE,
    Entry,
    Names,
    estimate,
    family,
    judged,
    number,
    overspent,
    points,
    ratio_name,
    ratios,
    split_budgets,
    underspent,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def _context(source: RunFiles) -> dict[str, Any]:
    summary, names = source.summary, Names.of(source.summary)

    def text(*parts: Iterator[str]) -> str:
        return " ".join(sentence for part in parts for sentence in part)

    return {
        "revisions": {
            "splitting": text(splitting(summary), parallel_sampler(summary)),
            "along": text(along_a_chain(summary), at_the_gate(summary)),
            "halves": text(halves(summary)),
            "ratios": ratios_table(summary),
            "bins": ratio_bins_table(summary),
            "flips": along_table(summary),
            "exchange": {
                name: exchange_table(entries, names, HALVES.get(name, name))
                for name, entries in summary["exchange_halves"].items()
            },
        }
    }


def _figures(summary: Entry) -> dict[str, Figure]:
    drawn = {"ratios": heat_map(summary)}
    return drawn | {"along": along(summary)} if len(summary["along"]) > 1 else drawn


SECTION = Section(
    "revisions",
    "Revisions: sequential against parallel",
    needs=lambda summary: bool(split_budgets(summary)),
    context=_context,
    figures=_figures,
)

HALVES = {"sampling and search": "sampling and search alone", "revisions": "revisions alone"}

_ALONG = {
    Verdict.BETTER: "rises from {first} to {last}",
    Verdict.WORSE: "falls from {first} to {last}",
    Verdict.OPEN: "goes from {first} to {last}, which is not distinguishable",
    Verdict.TOO_FEW: f"goes from {{first}} to {{last}}, {Verdict.TOO_FEW.value}",
}

_SPLIT = {
    Verdict.BETTER: "sequential is better",
    Verdict.WORSE: "parallel is better",
    Verdict.OPEN: Verdict.OPEN.value,
    Verdict.TOO_FEW: Verdict.TOO_FEW.value,
}

_GATE = {
    Verdict.BETTER: "better than its first attempt",
    Verdict.WORSE: "worse than its first attempt",
    Verdict.OPEN: "not distinguishable from its first attempt",
    Verdict.TOO_FEW: Verdict.TOO_FEW.value,
}


def along_a_chain(summary: Entry) -> Iterator[str]:
    """Whether a later attempt is right more often than the first; nothing where no chain was long enough."""
    if len(summary["along"]) < 2:
        return
    first, last = summary["along"][0], summary["along"][-1]
    paired = summary["along_change"]["right"]
    change = _ALONG[verdict(paired["ci95"], summary["problems"])].format(
        first=f"{_rate(first['right'])} at the first", last=f"{_rate(last['right'])} at attempt {last['attempt']}"
    )
    yield (
        f"Along a chain of revisions the share of right attempts (pass@1) {change}: "
        f"{points(paired['difference'], paired['ci95'])}, paired."
    )


def at_the_gate(summary: Entry) -> Iterator[str]:
    """The same for chains that end at an attempt the verifier trusts."""
    if len(summary["along"]) < 2:
        return
    last, paired = summary["along"][-1], summary["along_change"]["gated"]
    says = f"{_GATE[verdict(paired['ci95'], summary['problems'])]} ({points(paired['difference'], paired['ci95'])})"
    yield (
        f"A chain that ends at its first attempt worth {summary['trust']:g} or more to the verifier is right in "
        f"{_rate(last['gated'])} after at most {last['attempt']} attempts, {says}."
    )


def splitting(summary: Entry) -> Iterator[str]:
    """All sequential against all parallel at the largest budget; nothing where one of them is missing."""
    n = max(split_budgets(summary), default=0)
    rows = ratios(summary, n)
    sequential = next((row for row in rows if row["chains"] == 1), None)
    parallel = next((row for row in rows if row["chain_length"] == 1), None)
    if not sequential or not parallel:
        return
    paired = sequential["minus_parallel"]
    parts = [_split("over all problems", paired["difference"], paired["ci95"], summary["problems"])]
    for where, place in (("on the easiest fifth", 0), ("on the hardest", -1)):
        size = summary["bin_sizes"][place]
        parts.append(_split(where, paired["by_bin"][place], paired["by_bin_ci95"][place], size))
    yield (
        f"One chain of {n} attempts minus {n} parallel first attempts, both selected by the verifier, for "
        f"{number(paired['flops_ratio'])} times the FLOPs: {'; '.join(parts)}."
    )


def parallel_sampler(summary: Entry) -> Iterator[str]:
    """Says that the parallel end of a chain is the reviser as a plain sampler, not the small model."""
    rows = [row for row in ratios(summary, max(split_budgets(summary), default=0)) if row["chain_length"] == 1]
    for row in rows:
        yield (
            f"{row['chains']} x 1 is {Names.of(summary).the('reviser')} as a plain parallel sampler, which never sees "
            "an earlier attempt: against it a chain is not credited with what the fine-tuning did."
        )


def halves(summary: Entry) -> Iterator[str]:
    """The small model against the large one, with one mechanism at a time."""
    names = Names.of(summary)
    for name, entries in summary["exchange_halves"].items():
        differences = [
            (f"R = {each['R']:g}", each["small"] - each["large"], each["difference_ci95"]) for each in entries
        ]
        says = judged(differences, names.the("large"), summary["problems"])
        yield f"With {HALVES.get(name, name)} {names.the('model')} is {says}."


def spending(summary: Entry, n: int) -> Iterator[str]:
    """How much less or more than their budget some methods spend; nothing where all spend theirs."""
    less, more = underspent(summary, n), overspent(summary, n)
    if less:
        yield f"N is a number of samples or beams, and some methods stop earlier: {_spent(less, n)}."
    if more:
        yield (
            f"Where the solutions of a problem are not equally long, a search may sample more than N of them: "
            f"{_spent(more, n)}. The rules that choose do not choose those."
        )
    if less or more:
        yield "Every curve is drawn at what was spent, not at N."


def _spent(rows: list[Entry], n: int) -> str:
    ends = [f"{number(row['usage']['generations'], 1)} ({family(row['label'])})" for row in (rows[0], rows[-1])]
    span = f"from {ends[0]} to {ends[1]}" if len(rows) > 1 else ends[0]
    return f"at N = {n}, {len(rows)} of them spent {span} generations"


def _split(where: str, difference: float, bounds: list[float], problems: int) -> str:
    return f"{where} {points(difference, bounds)}, {_SPLIT[verdict(bounds, problems)]}"


def _rate(rate: Entry) -> str:
    return estimate(rate["value"], rate["ci95"])


DARKEST = 0.75

"""Opacity of the best cell: text on it can still be read, in light and in dark mode."""

LEAST_SPAN = 0.1

"""A cell this far below the best of its column has no colour; the scale widens where cells differ more."""


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
    """The share of right attempts along a chain, and of gated chains that have ended, with bands."""
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


WAYS = (("by verifier", "hierarchical", False), ("by majority", "majority", False), ("gated", "hierarchical", True))

"""The ways to find a ratio's answer: name, selection, and whether chains end at a trusted attempt."""


def ratios_table(summary: Entry) -> Table:
    """Every ratio at every budget, over all problems."""
    rows = []
    for n in split_budgets(summary):
        held = {name: {row["chains"]: row for row in ratios(summary, n, how, gated=gated)} for name, how, gated in WAYS}
        for chains, row in held["by verifier"].items():
            found = [ways.get(chains) for ways in held.values()]
            spent = number(found[-1]["usage"]["generations"], 1) if found[-1] else NONE
            cells = [estimate(each["accuracy"], each["ci95"]) if each else NONE for each in found]
            rows.append([ratio_name(row), str(n), *cells, spent])
    head = ["Chains x length", "Budget", *(name.capitalize() for name, _, _ in WAYS), "Gated: generations spent"]
    return Table("Accuracy by ratio of sequential to parallel, with 95 % intervals.", head, rows)


def ratio_bins_table(summary: Entry) -> Table:
    """The same by difficulty: what the heat map shows, with intervals."""
    rows = []
    for n in split_budgets(summary):
        for name, how, gated in WAYS:
            for row in ratios(summary, n, how, gated=gated):
                cells = [estimate(share, ci) for share, ci in zip(row["by_bin"], row["by_bin_ci95"], strict=True)]
                rows.append([ratio_name(row), name, str(n), *cells])
    head = ["Chains x length", "Selected", "Budget", *(f"Bin {bin}" for bin in range(1, len(rows[0]) - 2))]
    return Table("Accuracy by ratio and bin of oracle difficulty, 1 the easiest, with 95 % intervals.", head, rows, 2)


def along_table(summary: Entry) -> Table:
    """Flips along a chain."""
    columns = ("right", "mended", "broken", "gated")
    rows = [[str(each["attempt"]), *(_table_rate(each[name]) for name in columns)] for each in summary["along"]]
    head = [
        "Attempt",
        "Right",
        "Mended: right, if wrong before",
        "Broken: wrong, if right before",
        "Right, gated chain",
    ]
    return Table(
        "Attempts along a chain and how they change, over all chains and problems, with 95 % intervals.", head, rows
    )


def _table_rate(rate: Entry | None) -> str:
    return estimate(rate["value"], rate["ci95"]) if rate else NONE
