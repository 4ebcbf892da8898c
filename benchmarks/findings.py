"""What a study must show, measured on its records: small's spread, the verifier, best-of-N, searches, both models.

    computewise study && python benchmarks/findings.py runs/study
    computewise study --problems 1000 --seeds 3 --budgets 1 4 16 --out runs/wide
    python benchmarks/findings.py runs/wide

Every difference is paired by problem, with its 95 % interval. Without a run of its own it measures nothing.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

from computewise.intervals import Estimate, difference, proportion
from computewise.metrics import Floats, pass_at_k
from computewise.runs import last_records
from computewise.setups.embedded import embedded_roles
from computewise.study.analysis.analyse import Analysis, analyse
from computewise.study.analysis.tables import StrategyRow
from computewise.study.plan import plan, restore_config

MIDDLE = (1, 2, 3)
"""Bins 2 to 4 of 5."""


def main(directory: Path) -> None:
    """Print one line for each finding."""
    analysis = read(directory)
    correct = np.concatenate([pool.correct for pool in analysis.pools], 1)
    bins = analysis.difficulty.bins["oracle"]
    single = pass_at_k(correct, 1)
    print(f"{len(analysis.problems)} test problems of {directory}")
    print(f"small, pass@1: {estimate(single)}")
    print("  by oracle quintile:", " ".join(f"{single[bins == bin].mean():.3f}" for bin in range(5)))
    print(f"large, greedy: {estimate(analysis.large.accuracy)}")
    print(f"small, greedy: {estimate(find(analysis, 'greedy', 1).accuracy)}")
    for name, aurocs in analysis.aurocs.items():
        print(f"AUROC within a problem, {name}: {estimate(aurocs)} ({len(aurocs)} problems)")
    print(f"  prm minus logprob: {change(analysis.aurocs['verifier'] - analysis.aurocs['logprob'])}")
    budgets = sorted({row.n for row in analysis.rows if row.family == "best-of-N"})
    weighted, majority = (find(analysis, f"best-of-N, {name}", budgets[-1]) for name in ("weighted", "majority"))
    print(f"best-of-{budgets[-1]} weighted: {estimate(weighted.accuracy)}")
    print(f"  minus pass@1: {change(weighted.accuracy - single)}")
    print(f"  minus majority: {change(weighted.accuracy - majority.accuracy)}")
    for n in budgets:
        rival = find(analysis, "best-of-N, weighted", n)
        for row in analysis.rows:
            if row.n == n and row.selection in ("weighted", "hierarchical") and row is not rival:
                compare(f"N = {n}, {row.label} minus best-of-N", row, rival, bins)
    for choice, fixed in zip(analysis.policies["predicted"], analysis.best_fixed, strict=True):
        paired = choice.row.accuracy - fixed.row.accuracy
        print(f"compute-optimal (predicted bins) minus best fixed, N = {choice.row.n}: {change(paired)}")


def read(directory: Path) -> Analysis:
    """The analysis of a finished run."""
    config = restore_config(json.loads((directory / "config.json").read_text()))
    return analyse(config, plan(config, embedded_roles()), list(last_records(directory)), embedded_roles())


def find(analysis: Analysis, label: str, n: int) -> StrategyRow:
    """The row with that label and budget."""
    return next(row for row in analysis.rows if row.label == label and row.n == n)


def compare(name: str, one: StrategyRow, other: StrategyRow, bins: np.ndarray) -> None:
    """The difference over all problems and over the middle bins, and the ratio of sampled tokens."""
    paired, middle = one.accuracy - other.accuracy, np.isin(bins, MIDDLE)
    tokens = one.usage["completion_tokens"].mean() / other.usage["completion_tokens"].mean()
    print(f"{name}: {change(paired)}; bins 2-4 {change(paired[middle])}; tokens {tokens:.2f} times")


def estimate(per_problem: Floats) -> str:
    """A mean in [0, 1] and its interval as text."""
    return _text(proportion(per_problem))


def change(paired: Floats) -> str:
    """A mean difference and its interval as text."""
    return _text(difference(paired))


def _text(found: Estimate) -> str:
    return f"{found.value:+.3f} [{found.low:+.3f}, {found.high:+.3f}]"


if __name__ == "__main__":
    if len(sys.argv) != 2 or not (Path(sys.argv[1]) / "summary.json").exists():
        sys.exit("usage: python benchmarks/findings.py RUN, the directory of a finished study")
    main(Path(sys.argv[1]))
