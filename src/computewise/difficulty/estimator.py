"""What every estimator of difficulty keeps, and what its estimates cost."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol, Self, TypeVar

import numpy as np

from computewise.draws import Draws, Floats
from computewise.errors import UsageError

Input = TypeVar("Input", contravariant=True)
Fitted = TypeVar("Fitted")


class Cost(NamedTuple):
    """What an estimate takes, a mean over problems: draws, the tokens sampled for them, and their `costs`."""

    draws: float
    tokens: float
    cost: float


class Estimator(Protocol[Input]):
    """Ease (pass@1) of problems from what is known of each; parameters are attributes, what was learned ends in `_`."""

    def fit(self, inputs: Sequence[Input], ease: Floats) -> Self:
        """Learn from problems whose `ease` (problems,) is known; the same whatever their order."""
        ...

    def predict(self, inputs: Sequence[Input]) -> Floats:
        """(problems,) in [0, 1]; raises `UsageError` where there is something to learn and `fit` was not called."""
        ...

    def cost(self, inputs: Sequence[Input]) -> Cost:
        """What `predict` of these needs."""
        ...


def fitted(model: Fitted | None, estimator: object) -> Fitted:
    """What was learned; raises `UsageError` where nothing was."""
    if model is None:
        raise UsageError(f"{type(estimator).__name__} is not fitted: call fit first")
    return model


def cost_of(drawn: Sequence[Draws]) -> Cost:
    """Of all these draws."""
    return Cost(
        float(np.mean([len(draws) for draws in drawn])),
        float(np.mean([draws.tokens.sum() for draws in drawn])),
        float(np.mean([draws.costs.sum() for draws in drawn])),
    )


def first(draws: Draws, count: int) -> Draws:
    """The draws an estimate may see; raises `UsageError` where there are too few."""
    if len(draws) < count:
        raise UsageError(f"{len(draws)} draws of a problem are too few: at least {count}")
    return draws.take(np.arange(count))
