"""What was drawn for a problem, as arrays: what difficulty is estimated from and a controller is fitted on."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from computewise.errors import RunError

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

LEAST_PROBABILITY = 1e-3
"""What a smaller mean probability of a token is taken for: its logarithm says no more."""


@dataclass(frozen=True, slots=True)
class SampleArrays:
    """What one arm drew for one problem, in order: arrays (draws,).

    `answers` numbers equivalent answers alike, over all arms of the problem; `UNANSWERED` (-1) never votes. `values`
    are the verifier's, in [0, 1], as it aggregates; `means` and `lows` are the mean and the least of the steps' scores.
    `logprobs` are mean log-probabilities a token, 0 where nobody recorded them. `tokens` were sampled; `costs` are what
    each draw took in all, in whatever currency the workload is counted. Draws of one `block` come together or not at
    all, as those of one search do; draws of one `chain` revise one another.
    """

    answers: Ints
    values: Floats
    correct: Bools
    means: Floats
    lows: Floats
    logprobs: Floats
    tokens: Floats
    costs: Floats
    blocks: Ints
    chains: Ints

    def __post_init__(self) -> None:
        lengths = {field.name: len(getattr(self, field.name)) for field in fields(self)}
        if len(set(lengths.values())) > 1:
            raise RunError(f"draws of unequal length: {lengths}")

    def __len__(self) -> int:
        return len(self.answers)

    def take(self, order: Ints) -> SampleArrays:
        """Some of the draws, or all in another order."""
        return SampleArrays(*(getattr(self, field.name)[order] for field in fields(self)))


@dataclass(frozen=True, slots=True)
class ProblemSamples:
    """One problem, and what each arm drew for it: arms by their names, the first the one that is probed with."""

    id: str
    prompt: str
    arms: dict[str, SampleArrays]

    @property
    def right(self) -> Ints:
        """The numbers of the right answers, from what was graded."""
        return np.unique(np.concatenate([draws.answers[draws.correct] for draws in self.arms.values()]))
