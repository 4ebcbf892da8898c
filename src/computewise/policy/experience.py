"""What a controller learns from: states that random walks came to, and what lay ahead of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from computewise.draws import Floats, Ints
from computewise.errors import UsageError
from computewise.policy.actions import AMOUNTS
from computewise.policy.workload import Walk, Workload

MOMENTS = (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 18, 20, 24, 28, 32, 40, 48, 56, 64, 80, 96, 128)
"""After how many increments a walk is looked at."""
MOST_REPEATS = 20


@dataclass(frozen=True, slots=True)
class Experience:
    """States, (states, ..) each: features, whether stopping is right, and for each option by how much more so it would
    be after it, what it would cost, and what the probe's draws of the problem have cost on average.
    """

    options: list[tuple[int, int]]
    """Arm and amount."""
    problems: Ints
    features: Floats
    right: Floats
    gains: Floats
    costs: Floats
    units: Floats

    def of(self, problems: Ints, most: int) -> Experience:
        """Those of some problems, evenly thinned to `most` or a few more."""
        kept = np.flatnonzero(np.isin(self.problems, problems))
        kept = kept[:: max(1, len(kept) // most)]
        return Experience(
            self.options,
            self.problems[kept],
            self.features[kept],
            self.right[kept],
            self.gains[kept],
            self.costs[kept],
            self.units[kept],
        )


def gather(workload: Workload, problems: Ints, numbers: int, seed: int) -> Experience:
    """Draw at random, mostly going on with the arm that drew last, and look ahead at certain moments.

    In 20 orders of each problem, or fewer, so that states times options are about `numbers`.
    """
    amounts = [
        [a for a in AMOUNTS if a <= int(arm.lengths.max()) - (index == 0)] for index, arm in enumerate(workload.arms)
    ]
    options = [(arm, amount) for arm, each in enumerate(amounts) for amount in each]
    increments = sum(arm.lengths[problems].mean() for arm in workload.arms)
    looks = max(1, sum(moment < increments for moment in MOMENTS))
    repeats = int(np.clip(numbers // (len(problems) * looks * max(1, len(options))), 1, MOST_REPEATS))
    walk, rng = Walk(workload, repeats, seed, problems), np.random.default_rng(seed)
    arm, seen = np.zeros(len(walk.problems), np.int64), []
    for moment in range(1, MOMENTS[-1] + 1):
        for each in range(len(workload.arms)):
            walk.draw(each, np.flatnonzero((arm == each) & (walk.left[:, each] > 0)))
        left = walk.left
        rows = np.flatnonzero((left > 0).any(1) & (walk.drawn.sum(1) == moment))
        if not len(rows):
            break
        if moment in MOMENTS:
            seen.append(_look(walk, amounts, rows))
        arm = _next_arm(arm, left, rng)
    if not seen:
        raise UsageError("there is nothing to fit on: no problem has more than one draw")
    return Experience(options, *(np.concatenate(part) for part in zip(*seen, strict=True)))


def _look(walk: Walk, amounts: list[list[int]], rows: Ints) -> tuple[Ints, Floats, Floats, Floats, Floats, Floats]:
    now = walk.right()[rows].astype(float)
    ahead = [walk.ahead(arm, each, rows) for arm, each in enumerate(amounts)]
    after = np.concatenate([right for right, _ in ahead], 1)
    costs = np.concatenate([cost for _, cost in ahead], 1)
    return walk.problems[rows], walk.tally.features(rows), now, after - now[:, None], costs, walk.unit[rows]


def _next_arm(arm: Ints, left: Ints, rng: np.random.Generator) -> Ints:
    """Mostly the same; else the probe or any other alike; where nothing is left of it, one that has something."""
    other = np.where(rng.random(len(arm)) < 0.5, 0, rng.integers(left.shape[1], size=len(arm)))
    chosen = np.where(rng.random(len(arm)) < 0.8, arm, other)
    spent = left[np.arange(len(arm)), chosen] == 0
    return np.where(spent, (left > 0).argmax(1), chosen)
