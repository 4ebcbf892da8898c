"""The tables of the section on revisions: one function each."""

from __future__ import annotations

from computewise.report.families import Entry, ratio_name, ratios, split_budgets
from computewise.report.tables import Table
from computewise.report.words import NONE, estimate, number

WAYS = (("by verifier", "hierarchical", False), ("by majority", "majority", False), ("gated", "hierarchical", True))
"""How a ratio's answer is found: the name, the selection, and whether chains end at a trusted attempt."""


def ratios_table(summary: Entry) -> Table:
    """Every ratio at every budget, all problems."""
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
