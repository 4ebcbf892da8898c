"""FLOPs-matched: `small` against `large`'s greedy answer (Snell et al. 2024, section 7), over R."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from computewise.flops_matched import Exchange, Pretrained, by_flops, from_problems
from computewise.metrics import Floats, Ints

SHARES = (0.16, 0.79, 4.0, 22.0)
"""R, inference tokens over pretraining tokens: the paper's three and one between."""


def exchange(
    parameters: tuple[int, int],
    greedy: tuple[Floats, Floats],
    curve: Sequence[tuple[Floats, Floats]],
    large: Floats,
    bins: Ints,
) -> tuple[float, Exchange]:
    """What one greedy answer by `small` costs, and the exchange of `small` for `large`.

    `greedy` and the points of `curve` are accuracy and FLOPs, (problems,) each; both models were pretrained on as many
    tokens.
    """
    unit = float(greedy[1].mean())
    points = {float(cost.mean()) / unit: accuracy for accuracy, cost in (greedy, *curve)}
    budgets = sorted(points)
    rate = by_flops(Pretrained(parameters[0], 1.0), Pretrained(parameters[1], 1.0))
    return unit, from_problems(rate, np.array(budgets), np.stack([points[b] for b in budgets], 1), large, bins)
