"""Recorded draws whose truth is known: written down by hand, or sampled from given chances."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from computewise.controller.replay import RecordedPool
from computewise.controller.state import LiveState
from computewise.core import ObservedSample
from computewise.samples import ProblemSamples, SampleArrays

RIGHT = 0
"""The number of the right answer everywhere."""


def draws(
    answers: Sequence[int],
    values: Sequence[float] | None = None,
    *,
    blocks: Sequence[int] | None = None,
    chains: Sequence[int] | None = None,
    cost: float = 1.0,
) -> SampleArrays:
    """Each its own block and chain where nothing else is said; values of .5."""
    n = len(answers)
    each = np.full(n, 0.5) if values is None else np.array(values, float)
    return SampleArrays(
        answers=np.array(answers, np.int64),
        values=each,
        correct=np.array(answers) == RIGHT,
        means=each * 0.9,
        lows=each * 0.8,
        logprobs=-each,
        tokens=np.arange(10.0, 10.0 + n),
        costs=np.full(n, cost),
        blocks=np.arange(n) if blocks is None else np.array(blocks, np.int64),
        chains=np.arange(n) if chains is None else np.array(chains, np.int64),
    )


def workload(*problems: Mapping[str, SampleArrays]) -> RecordedPool:
    """Problems p0, p1 .. of these arms."""
    return RecordedPool(
        [ProblemSamples(f"p{number}", f"prompt {number}", dict(arms)) for number, arms in enumerate(problems)]
    )


def sampled(
    rng: np.random.Generator, chance: float, count: int, *, cost: float = 1.0, gap: float = 0.1, noise: float = 0.15
) -> SampleArrays:
    """Right with that chance, else one of twenty wrong answers; a verifier that values a right one by `gap` more."""
    right = rng.random(count) < chance
    answers = np.where(right, RIGHT, rng.integers(1, 21, count))
    values = np.clip(0.5 + gap * right + rng.normal(0, noise, count), 0.01, 0.99)
    return draws(answers.tolist(), values.tolist(), cost=cost)


def increments(drawn: SampleArrays) -> list[tuple[list[ObservedSample], str]]:
    """The blocks of an arm as `LiveState.add` takes them, each with the name of its chain."""
    found = []
    for block in np.unique(drawn.blocks):
        places = np.flatnonzero(drawn.blocks == block)
        solutions = [
            ObservedSample(
                None if drawn.answers[i] < 0 else str(drawn.answers[i]),
                float(drawn.values[i]),
                float(drawn.means[i]),
                float(drawn.lows[i]),
                float(drawn.logprobs[i]),
                int(drawn.tokens[i]),
            )
            for i in places
        ]
        found.append((solutions, f"chain {drawn.chains[places[0]]}"))
    return found


def add(state: LiveState, arm: str, increment: tuple[list[ObservedSample], str]) -> None:
    """One increment; what was found together is no chain of revisions."""
    solutions, chain = increment
    state.add(arm, solutions, chain=chain if len(solutions) == 1 else None)
