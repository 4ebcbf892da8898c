"""Recorded samples as the arrays that policies are fitted on."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from computewise.draws import Drawn, Draws, Floats, Ints
from computewise.errors import UsageError
from computewise.metrics import UNANSWERED
from computewise.replay.rows import RecordedProblem, Sample

CHARACTERS_A_TOKEN = 3.6
"""Of English and LaTeX together."""

Aggregate = Callable[[Floats, Ints, Ints], Floats]
"""All samples' scores in one row, where each begins, how many it has."""
AGGREGATIONS: dict[str, Aggregate] = {
    "last": lambda scores, begins, lengths: scores[begins + lengths - 1],
    "min": lambda scores, begins, lengths: np.minimum.reduceat(scores, begins),
    "prod": lambda scores, begins, lengths: np.multiply.reduceat(scores, begins),
    "mean": lambda scores, begins, lengths: np.add.reduceat(scores, begins) / lengths,
}


def counted(sample: Sample) -> bool:
    """Whether somebody counted its tokens."""
    return (sample.tokens or 0) > 0 or not sample.text


def to_draws(problem: RecordedProblem, aggregation: str) -> Draws:
    """One arm: each sample on its own, at a cost of 1, in the order they were recorded.

    `aggregation` makes a sample's value of its step scores: last, min, prod or mean. Raises `UsageError` for another.
    """
    if aggregation not in AGGREGATIONS:
        raise UsageError(f"unknown aggregation {aggregation!r}: allowed are {', '.join(AGGREGATIONS)}")
    samples = problem.samples
    steps = [sample.step_scores or (0.0,) for sample in samples]
    lengths = np.array([len(each) for each in steps])
    begins = np.cumsum(lengths) - lengths
    scores = np.clip(np.nan_to_num(np.concatenate(steps)), 0, 1)
    answers = np.array([UNANSWERED if sample.answer_class is None else sample.answer_class for sample in samples])
    each = np.arange(len(samples))
    return Draws(
        answers=answers,
        values=AGGREGATIONS[aggregation](scores, begins, lengths),
        correct=np.array([sample.correct for sample in samples]) & (answers != UNANSWERED),
        means=AGGREGATIONS["mean"](scores, begins, lengths),
        lows=AGGREGATIONS["min"](scores, begins, lengths),
        logprobs=np.array([sample.logprob or 0.0 for sample in samples]),
        tokens=np.array([_tokens(sample) for sample in samples]),
        costs=np.ones(len(samples)),
        blocks=each,
        chains=each,
    )


def to_drawn(problem: RecordedProblem, aggregation: str, arm: str = "samples") -> Drawn:
    """The problem with its samples as the only arm."""
    return Drawn(problem.id, problem.prompt, {arm: to_draws(problem, aggregation)})


def _tokens(sample: Sample) -> float:
    return float(sample.tokens or 0) if counted(sample) else len(sample.text) / CHARACTERS_A_TOKEN
