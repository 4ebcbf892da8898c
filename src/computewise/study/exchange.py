"""FLOPs-matched: `small` with its policy against `large`'s greedy answer (Snell et al. 2024, section 7)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from computewise.compute import exchange_rate
from computewise.metrics import Interval, bootstrap
from computewise.study.analysis import Analysis, Choice
from computewise.study.tables import Floats

SHARES = (0.16, 0.79, 4.0, 22.0)
"""R, inference tokens over pretraining tokens: the paper's three and one between."""


@dataclass(frozen=True, slots=True)
class Matched:
    """One R: accuracies per problem of `small` with its policy, at k times one generation's FLOPs, and of `large`."""

    share: float
    k: float
    small: Floats
    large: Floats
    flops: float
    """What the small model may spend a problem, verifier included."""
    beyond: bool
    """Whether that is more than the largest budget measured, at which `small` is then held."""

    @property
    def difference(self) -> Interval:
        """Interval of small minus large."""
        return bootstrap(self.small - self.large)


def matched(analysis: Analysis, choices: list[Choice]) -> list[Matched]:
    """For each R; between two budgets of `choices` the accuracy is interpolated on log FLOPs, per problem."""
    ratio = analysis.sizes.large / analysis.sizes.small
    one = next(row for row in analysis.rows if row.family == "greedy")
    unit = float(one.usage["flops"].mean())
    found = []
    for share in SHARES:
        k = exchange_rate(ratio, share)
        small, beyond = _interpolate(one.accuracy, choices, k * unit)
        found.append(Matched(share, k, small, analysis.large.accuracy, k * unit, beyond))
    return found


def _interpolate(greedy: Floats, choices: list[Choice], budget: float) -> tuple[Floats, bool]:
    """Held at the largest budget above it (then True), at the greedy answer below the smallest."""
    choices = sorted(choices, key=lambda choice: float(choice.row.usage["flops"].mean()))
    spent = [float(choice.row.usage["flops"].mean()) for choice in choices]
    above = int(np.searchsorted(spent, budget))
    if above == len(choices):
        return choices[-1].row.accuracy, True
    if above == 0:
        return greedy, False
    low, high = np.log(spent[above - 1]), np.log(spent[above])
    weight = (np.log(budget) - low) / (high - low)
    return (1 - weight) * choices[above - 1].row.accuracy + weight * choices[above].row.accuracy, False
