"""REBASE (Wu et al. 2024): tree search that divides its width by the softmax of the rewards."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from computewise.core import ROOT, Candidate, Problem
from computewise.errors import above_zero, at_least_one
from computewise.session import Session, Strategy


@dataclass(frozen=True, slots=True)
class Rebase(Strategy):
    """`n` beams; each round every unfinished one gets children in proportion to softmax(value / `balance_temperature`).

    Finished beams keep their places, so the width that is left to divide shrinks as beams finish.
    """

    n: int = 16
    balance_temperature: float = 0.2
    name = "rebase"
    needs_steps = True

    def __post_init__(self) -> None:
        at_least_one(n=self.n)
        above_zero(balance_temperature=self.balance_temperature)

    async def __call__(self, problem: Problem, session: Session) -> list[Candidate]:
        """Cost: about `n` generations."""
        beams = await session.score(await session.expand([ROOT], self.n))
        while growing := [beam for beam in beams if not beam.finished]:
            finished = [beam for beam in beams if beam.finished]
            shares = softmax([session.value(beam) for beam in growing], self.balance_temperature)
            children = await session.expand(growing, apportion(shares, self.n - len(finished)))
            beams = finished + await session.score(children)
        return beams


def softmax(logits: Sequence[float], temperature: float) -> list[float]:
    """Shares that sum to 1, in proportion to exp(logit / temperature)."""
    largest = max(logits)
    powers = [math.exp((logit - largest) / temperature) for logit in logits]
    return [power / sum(powers) for power in powers]


def apportion(shares: Sequence[float], total: int) -> list[int]:
    """Whole numbers that sum to `total`, in proportion to `shares`, by largest remainders; the earlier wins a tie."""
    exact = [share * total for share in shares]
    counts = [int(one) for one in exact]
    by_remainder = sorted(range(len(exact)), key=lambda index: counts[index] - exact[index])
    for index in by_remainder[: total - sum(counts)]:
        counts[index] += 1
    return counts
