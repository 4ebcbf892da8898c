"""What is known of one problem while it is being solved: what `Policy.choose` is asked about."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from computewise.draws import Floats, Ints
from computewise.metrics import UNANSWERED
from computewise.policy.tally import Ballots, Tally

ROOM = 16
"""Distinct answers that there is room for at first."""


class Solution(NamedTuple):
    """One drawn solution, as far as a controller looks at it; see `Draws` for what the numbers are."""

    answer: str | None
    value: float
    mean: float
    low: float
    logprob: float
    tokens: int


class State:
    """Draws as they come. `limits` says how many increments each arm may draw, the probe first."""

    def __init__(self, limits: Mapping[str, int]) -> None:
        self.arms = list(limits)
        self.last: str | None = None
        self._limits = np.array([list(limits.values())])
        self._numbers: dict[str, int] = {}
        self._best: dict[tuple[str, str, int], float] = {}
        self._tally = Tally.none(1, ROOM, len(limits))

    @property
    def left(self) -> Ints:
        """(1, arms): increments still allowed."""
        return self._limits - self._tally.drawn.astype(np.int64)

    @property
    def leader(self) -> str | None:
        """The answer that would be given now; None where nothing has answered."""
        number = int(self._tally.votes.leaders()[0])
        return None if number == UNANSWERED else list(self._numbers)[number]

    def features(self) -> Floats:
        """(1, features)."""
        return self._tally.features(ROW)

    def add(self, arm: str, solutions: Sequence[Solution], *, chain: str | None = None) -> None:
        """One increment of an arm; `chain` names the chain of the arm's revisions that it goes on with."""
        for solution in solutions:
            number = self._number(solution.answer)
            weight = solution.value
            if chain is not None:
                best = self._best.get((arm, chain, number), 0.0)
                weight = max(0.0, solution.value - best)
                self._best[arm, chain, number] = max(best, solution.value)
            seen = solution.value, weight, solution.mean, solution.low, solution.logprob, solution.tokens
            self._tally.add(ROW, Ballots(np.array([number]), *(np.array([float(one)]) for one in seen)))
        self._tally.drawn[0, self.arms.index(arm)] += 1
        self.last = arm

    def _number(self, answer: str | None) -> int:
        if answer is None:
            return UNANSWERED
        number = self._numbers.setdefault(answer, len(self._numbers))
        if number == self._tally.best.shape[1]:
            self._tally.widen(ROOM)
        return number


ROW = np.zeros(1, np.int64)
