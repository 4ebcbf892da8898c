"""Estimators of difficulty from pooled samples: oracle and predicted; bins by rank."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from computewise.errors import UsageError
from computewise.metrics import Floats
from computewise.samples import SampleArrays
from computewise.session import derive_seed

BINS = 5

"""Quintiles, as in Snell et al. 2024; bin 0 holds the easiest."""


def rank_bins(ease: Sequence[float], ids: Sequence[str], bins: int = BINS) -> NDArray[np.int64]:
    """Cut problems into `bins` equal parts by falling `ease`, which is pass@1 or a prediction of it.

    Equal values are ordered by a hash of the problem's id, so that neither the order of the problems nor their content
    decides.
    """
    order = sorted(range(len(ease)), key=lambda index: (-ease[index], derive_seed(ids[index])))
    assigned = np.empty(len(ease), np.int64)
    assigned[order] = np.arange(len(ease)) * bins // len(ease)
    return assigned


def bin_edges(ease: Sequence[float], assigned: NDArray[np.int64], bins: int = BINS) -> list[float]:
    """The least ease of each bin but the hardest, for placing new problems."""
    return [min(e for e, b in zip(ease, assigned, strict=True) if b == bin) for bin in range(bins - 1)]


Input = TypeVar("Input", contravariant=True)

Fitted = TypeVar("Fitted")


class Cost(NamedTuple):
    """The mean cost of an estimate by problem: draws, the tokens sampled for them, and their `costs`."""

    draws: float
    tokens: float
    cost: float


class Estimator(Protocol[Input]):
    """An estimator of the ease (pass@1) of problems. Parameters are attributes; fitted attributes end in `_`."""

    def fit(self, inputs: Sequence[Input], ease: Floats) -> Self:
        """Fit to problems with known `ease` (problems,); their order does not matter."""
        ...

    def predict(self, inputs: Sequence[Input]) -> Floats:
        """(problems,) in [0, 1]; raises `UsageError` where the estimator has to be fitted and is not."""
        ...

    def cost(self, inputs: Sequence[Input]) -> Cost:
        """The cost of `predict` for these problems."""
        ...


def fitted(model: Fitted | None, estimator: object) -> Fitted:
    """A fitted attribute; raises `UsageError` where `fit` was not called."""
    if model is None:
        raise UsageError(f"{type(estimator).__name__} is not fitted: call fit first")
    return model


def cost_of(drawn: Sequence[SampleArrays]) -> Cost:
    """The cost of all these draws."""
    return Cost(
        float(np.mean([len(draws) for draws in drawn])),
        float(np.mean([draws.tokens.sum() for draws in drawn])),
        float(np.mean([draws.costs.sum() for draws in drawn])),
    )


def first(draws: SampleArrays, count: int) -> SampleArrays:
    """The first draws, which an estimate may use; raises `UsageError` where there are too few."""
    if len(draws) < count:
        raise UsageError(f"{len(draws)} draws of a problem are too few: at least {count}")
    return draws.take(np.arange(count))


@dataclass(slots=True)
class OracleDifficulty:
    """pass@1 over the given draws. It needs the right answers and is the best possible estimate; nothing is fitted."""

    def fit(self, inputs: Sequence[SampleArrays], ease: Floats) -> Self:
        """Learn nothing."""
        return self

    def predict(self, inputs: Sequence[SampleArrays]) -> Floats:
        """(problems,) shares of right draws; raises `UsageError` for a problem without any."""
        return np.array([first(draws, max(1, len(draws))).correct.mean() for draws in inputs])

    def cost(self, inputs: Sequence[SampleArrays]) -> Cost:
        """All of the draws."""
        return cost_of(inputs)


@dataclass(slots=True)
class PredictedDifficulty:
    """The mean of the verifier's values over the given draws. It needs no answers; nothing is fitted."""

    def fit(self, inputs: Sequence[SampleArrays], ease: Floats) -> Self:
        """Learn nothing."""
        return self

    def predict(self, inputs: Sequence[SampleArrays]) -> Floats:
        """(problems,) mean values; raises `UsageError` for a problem without draws."""
        return np.array([first(draws, max(1, len(draws))).values.mean() for draws in inputs])

    def cost(self, inputs: Sequence[SampleArrays]) -> Cost:
        """All of the draws."""
        return cost_of(inputs)
