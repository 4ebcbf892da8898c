"""The curves of a summary by what a reader calls them."""

from __future__ import annotations

from typing import Any

Entry = dict[str, Any]

POLICY_LABELS = {"oracle": "compute-optimal, oracle bins", "predicted": "compute-optimal, predicted bins"}
CEILING_LABEL = "per-problem oracle"
FIXED_LABEL = "best fixed strategy"


def budgets(summary: Entry) -> list[int]:
    """The measured budgets in generations, rising."""
    return [point["n"] for point in summary["coverage"]]


def find(entries: list[Entry], label: str, n: int) -> Entry | None:
    """The row of that label at that budget."""
    return next((row for row in entries if row["label"] == label and row["n"] == n), None)


def curve(summary: Entry, label: str) -> list[Entry]:
    """The rows of that label by rising budget. One sample and its answer is where every way to sample more begins."""
    rows = [row for row in summary["curves"] if row["label"] == label]
    if label.startswith("best-of-N"):
        rows += [row for row in summary["curves"] if row["label"] == "single sample"]
    return sorted(rows, key=lambda row: int(row["n"]))


def search_labels(summary: Entry) -> list[str]:
    """Every search that was run, by the selection the paper uses, in the order of the summary."""
    labels = dict.fromkeys(row["label"] for row in summary["curves"] if row["label"].endswith(", weighted"))
    return [label for label in labels if not label.startswith("best-of-N")]


def best_search(summary: Entry) -> str | None:
    """The search that leads the others at the most budgets; equals go to the earlier. None where none was run."""
    labels = search_labels(summary)
    leads = dict.fromkeys(labels, 0)
    for n in budgets(summary):
        rows = [row for label in labels if (row := find(summary["curves"], label, n))]
        if rows:
            leads[max(rows, key=lambda row: float(row["accuracy"]))["label"]] += 1
    return max(leads, key=leads.__getitem__, default=None)
