"""What a controller is compared with where everything is drawn by one arm."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from computewise.draws import Floats, Ints
from computewise.policy.allocation import allocate
from computewise.policy.path import Path, follow
from computewise.policy.tally import doubt
from computewise.policy.workload import Walk, Workload


def always(workload: Workload, *, repeats: int, seed: int) -> Path:
    """Draw by the probe arm whatever comes: where it stops says how many draws every problem gets."""
    return follow(_whatever, [0], Walk(workload, repeats, seed))


def plain_rule(workload: Workload, *, repeats: int, seed: int) -> Path:
    """Stop where the leading answer's weight is ahead, by the normal approximation, with some confidence.

    A step is worth one minus that confidence: a price of 0.1 stops at a confidence of 0.9.
    """
    return follow(_doubt, [0], Walk(workload, repeats, seed))


def uniform(path: Path, draws: int) -> tuple[Floats, Floats]:
    """(problems,) each: accuracy and mean cost where every problem gets so many draws, or all it has."""
    last = np.minimum(draws, (path.arms >= 0).sum(1) + 1) - 1
    rows = np.arange(len(last))
    return path.by_problem(path.right[rows, last]), path.by_problem(path.spent[rows, last])


def oracle(path: Path, budgets: Sequence[float]) -> list[tuple[Floats, Floats]]:
    """The per-problem oracle: it knows each problem's accuracy at each number of draws, though not which are right."""
    curves = [uniform(path, draws) for draws in range(1, path.right.shape[1] + 1)]
    accuracy, cost = (np.stack(part, 1) for part in zip(*curves, strict=True))
    shares = [allocate(accuracy, cost, budget) for budget in budgets]
    return [((share * accuracy).sum(1), (share * cost).sum(1)) for share in shares]


def _whatever(features: Floats, left: Ints) -> tuple[Floats, Ints]:
    return np.ones(len(left)), np.where(left[:, 0] > 0, 0, -1)


def _doubt(features: Floats, left: Ints) -> tuple[Floats, Ints]:
    return doubt(features), np.where(left[:, 0] > 0, 0, -1)
