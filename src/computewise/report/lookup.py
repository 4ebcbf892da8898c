"""Find rows of a summary by the names that readers see."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from computewise.study.analysis.analyse import OVERSPENT
from computewise.study.analysis.controller import SHIPPED_SCOPE, widest_alone

Entry = dict[str, Any]

POLICY_LABELS = {"oracle": "compute-optimal, oracle bins", "predicted": "compute-optimal, predicted bins"}
CEILING_LABEL = "per-problem oracle"
FIXED_LABEL = "best fixed strategy"
BEAM = "beam search, M = 4, weighted"
BEST_OF_N = "best-of-N, weighted"

_SELECTIONS = (", weighted", ", hierarchical")
"""The selection of a search's answer in the figures: the weighted vote, hierarchical for chains."""
MOST_SPLITS = 3
"""Number of budgets whose ratios of sequential to parallel are drawn."""


def budgets(summary: Entry) -> list[int]:
    """The measured budgets in generations, rising."""
    return [point["n"] for point in summary["coverage"]]


def find(entries: list[Entry], label: str, n: int) -> Entry | None:
    """The row of that label at that budget."""
    return next((row for row in entries if row["label"] == label and row["n"] == n), None)


def curve(summary: Entry, label: str) -> list[Entry]:
    """The rows of that label by rising budget. Curves of best-of-N begin at the single sample."""
    rows = [row for row in summary["curves"] if row["label"] == label]
    if label.startswith("best-of-N"):
        rows += [row for row in summary["curves"] if row["label"] == "single sample"]
    return sorted(rows, key=lambda row: int(row["n"]))


def family(label: str) -> str:
    """The label without the selection that the figures take for granted."""
    return label.removesuffix(_SELECTIONS[0]).removesuffix(_SELECTIONS[1])


def search_labels(summary: Entry) -> list[str]:
    """Every search over steps that was run, by the selection the paper uses, in the order of the summary."""
    labels = dict.fromkeys(row["label"] for row in summary["curves"] if row["selection"] == "weighted")
    return [label for label in labels if not label.startswith("best-of-N")]


def step_revision_labels(summary: Entry) -> list[str]:
    """The kinds of revisions inside the search that were run."""
    labels = dict.fromkeys(row["label"] for row in summary["curves"] if row["strategy"] == "step_revisions")
    return list(labels)


def best_search(summary: Entry) -> str | None:
    """The leading search over steps other than beam search with M = 4, which is always drawn; None if there is none."""
    return leader(summary, [label for label in search_labels(summary) if label != BEAM])


def best_step_revisions(summary: Entry) -> str | None:
    """The leading kind of step revisions; None where none was run."""
    return leader(summary, step_revision_labels(summary))


def leader(summary: Entry, labels: Sequence[str]) -> str | None:
    """The label that leads the others at the most budgets; of equals, the earlier."""
    leads = dict.fromkeys(labels, 0)
    for n in budgets(summary):
        rows = [row for label in labels if (row := find(summary["curves"], label, n))]
        if rows:
            leads[max(rows, key=lambda row: float(row["accuracy"]))["label"]] += 1
    return max(leads, key=leads.__getitem__, default=None)


def ratios(summary: Entry, n: int, selection: str = "hierarchical", *, gated: bool = False) -> list[Entry]:
    """The ways to split that budget into chains, the most sequential first."""
    rows = [row for row in summary["ratios"] if (row["n"], row["selection"], row["gated"]) == (n, selection, gated)]
    return sorted(rows, key=lambda row: int(row["chains"]))


def best_ratio(summary: Entry, n: int) -> Entry | None:
    """The most accurate ratio by verifier; of equals, the more sequential."""
    return max(ratios(summary, n), key=lambda row: float(row["accuracy"]), default=None)


def ratio_name(row: Entry) -> str:
    """Chains times length: `1 x 16 (all sequential)`."""
    extreme = " (all parallel)" if row["chain_length"] == 1 else " (all sequential)" if row["chains"] == 1 else ""
    return f"{row['chains']} x {row['chain_length']}{extreme}"


def split_budgets(summary: Entry) -> list[int]:
    """The budgets at which there is a choice of ratio."""
    return sorted({row["n"] for row in summary["ratios"] if row["chain_length"] > 1})


def rival(at: Entry, *, escalating: bool) -> Entry:
    """A controller's rival at a budget: the best fixed strategy, with or without answers of the large model."""
    scopes = at["best_fixed"]
    found: Entry = scopes["with escalation" if escalating and "with escalation" in scopes else widest_alone(scopes)]
    return found


def compared(held: Entry) -> bool:
    """Whether any controller could spend what its rival spent: a greedy answer may cost less than a first draw."""
    return any(held["mean_minus_best_fixed"].values())


def scope_name(scope: str) -> str:
    """The name of a scope, short enough to stand beside a curve."""
    return "shipped policy" if scope == SHIPPED_SCOPE else scope


def overspent(summary: Entry, n: int) -> list[Entry]:
    """The rows that spent more of that budget than a rule may choose, the least excess first."""
    rows = [row for row in summary["curves"] if row["n"] == n and row["usage"]["generations"] > OVERSPENT * n]
    return sorted(rows, key=lambda row: float(row["usage"]["generations"]))


def underspent(summary: Entry, n: int) -> list[Entry]:
    """The rows that left at least a tenth of that budget unspent, the largest rest first."""
    rows = [row for row in summary["curves"] if row["n"] == n and row["usage"]["generations"] < 0.9 * n]
    return sorted(rows, key=lambda row: float(row["usage"]["generations"]))
