"""What every stopping rule of a controller shares: the action at a price, the path on recorded samples, its prices.

Snell et al. 2024 choose a strategy by the difficulty bin of a prompt and give every prompt the same budget. Here the
choice is made again after each draw. A rule says what the next draw is worth, in accuracy by cost, and which arm makes
it; the price says where on that path to stop. There are two kinds: a `FormulaRule` has a few numbers, a `ForestRule`
is learned by regression. `controller.ladder` chooses between them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from computewise.controller.frontier import PricePoint, StoppingPath, join, rollout
from computewise.controller.replay import RecordedPool, ReplayEnv
from computewise.controller.state import FEATURES, LiveState
from computewise.core import Action
from computewise.errors import UsageError
from computewise.metrics import Floats, Ints

FOLDS = 5
"""Parts of a cross-fit: each is measured by a rule that was fitted on the others."""

LOG_TOKENS = FEATURES.index("mean log tokens")
"""The feature that says how long a problem's draws are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoppingRule(ABC):
    """Says what the next draw is worth; `prices` lists the cost and accuracy of prices on problems outside the fit."""

    arms: tuple[str, ...]
    """In the order of the samples that it reads."""
    larger: tuple[str, ...] = ()
    """The arms that draw by a larger model."""
    prices: tuple[PricePoint, ...] = ()
    log_tokens: float | None = None
    """Where a draw costs its tokens: the logarithm of a usual draw's. A problem whose draws are longer pays more."""
    votes: tuple[float, ...] = ()
    """How much a vote of each arm counts; empty where all count alike."""
    rung: str = ""
    """Its kind, as `controller.ladder` names it."""
    why: str = ""
    """Why the ladder chose it; empty where nobody had to choose."""

    @property
    @abstractmethod
    def first(self) -> str:
        """The arm that draws first."""

    @abstractmethod
    def worth(self, features: Floats, left: Ints) -> tuple[Floats, Ints, Floats]:
        """(rows,) each: worth of the next draw, the number of its arm (-1 where none has draws left), and confidence.

        `features` are (rows, features), `left` (rows, arms). The worth and the arm do not depend on the price. The
        price only decides where on this path to stop, so a higher price never spends more.
        """

    @abstractmethod
    def repriced(self, before: RecordedPool, after: RecordedPool) -> Self:
        """The same rule with the costs of draws in `after` in place of those in `before`; without a list of prices."""

    def longer(self, features: Floats) -> Floats | float:
        """(rows,): how many times as long as usual each problem's draws are, where a draw costs its tokens; else 1."""
        return 1.0 if self.log_tokens is None else np.exp(features[:, LOG_TOKENS] - self.log_tokens)

    def choose(self, state: LiveState, price: float, *, min_confidence: float = 0.0) -> Action:
        """The next action, where one draw of the probe arm costs `price` in accuracy.

        Where stopping is best and the leader's confidence is below `min_confidence`, the action is to abstain.
        """
        if not price >= 0:
            raise UsageError(f"price {price} is not allowed: at least 0, in accuracy by draw")
        if tuple(state.arms) != self.arms:
            raise UsageError(f"a rule for {', '.join(self.arms)} cannot choose for draws by {', '.join(state.arms)}")
        if state.last is None:
            return Action("escalate" if self.first in self.larger else "more", self.first, float("inf"), 0.0)
        worth, number, confidence = self.worth(state.features(), state.left)
        sure, gain = float(confidence[0]), float(worth[0])
        if gain <= price or number[0] < 0:
            return Action("stop" if sure >= min_confidence else "abstain", None, gain, sure)
        arm = self.arms[number[0]]
        if arm == state.last:
            return Action("more", arm, gain, sure)
        return Action("escalate" if arm in self.larger else "switch", arm, gain, sure)

    def follow(
        self, workload: RecordedPool, *, repeats: int, seed: int, only: Ints | None = None, most: int | None = None
    ) -> StoppingPath:
        """The path on recorded problems, in `repeats` random orders of each problem's draws, up to `most` draws."""
        if tuple(workload.names) != self.arms:
            raise UsageError(f"a rule for {', '.join(self.arms)} cannot follow draws by {', '.join(workload.names)}")
        env = ReplayEnv(workload.weighing(self.votes), repeats, seed, only)
        return rollout(lambda *state: self.worth(*state)[:2], self.arms.index(self.first), env, most)

    def price_for(self, mean_cost: float) -> float:
        """The lowest listed price whose mean cost is at most `mean_cost` draws a problem."""
        return self._listed([p for p in self.prices if p.mean_cost <= mean_cost], f"a mean cost of {mean_cost}")[-1]

    def price_for_accuracy(self, accuracy: float) -> float:
        """The highest listed price whose accuracy is at least `accuracy`; raises `UsageError` for a generic rule."""
        if self.rung == "generic":
            raise UsageError(
                "the generic controller knows no accuracy of this model: fit one with study or replay, or give a cost"
            )
        return self._listed([p for p in self.prices if p.accuracy >= accuracy], f"an accuracy of {accuracy}")[0]

    def _listed(self, found: Sequence[PricePoint], target: str) -> list[float]:
        if not self.prices:
            raise UsageError(f"no price comes to {target}: the controller was fitted without a list of prices")
        if not found:
            least, most = self.prices[0], self.prices[-1]
            raise UsageError(
                f"no price comes to {target}: they go from {least.mean_cost:.2f} draws a problem and an accuracy of "
                f"{least.accuracy:.3f} to {most.mean_cost:.2f} and {most.accuracy:.3f}"
            )
        return [priced.price for priced in found]


@dataclass(frozen=True, slots=True)
class CrossFit:
    """Rules, and for each the entries of a pool that it was not fitted on; every entry is in one part."""

    rules: tuple[StoppingRule, ...]
    parts: tuple[Ints, ...]

    def follow(self, pool: RecordedPool, *, repeats: int, seed: int) -> StoppingPath:
        """One path for all entries, each by the rule that was not fitted on it, with prices that agree.

        The rules of different parts may be of different kinds, and their worths in different units. A price is
        therefore one over the mean cost that it leads to in each part, for which no labels are needed.
        """
        return join([path.by_cost() for path in self.paths(pool, repeats=repeats, seed=seed)])

    def paths(self, pool: RecordedPool, *, repeats: int, seed: int) -> list[StoppingPath]:
        """By part, with each rule's own worths."""
        each = zip(self.rules, self.parts, strict=True)
        return [rule.follow(pool, repeats=repeats, seed=seed, only=part) for rule, part in each]

    def repriced(self, before: RecordedPool, after: RecordedPool) -> CrossFit:
        """With the costs of draws in `after`: what an option gains does not depend on what it costs."""
        return replace(self, rules=tuple(rule.repriced(before, after) for rule in self.rules))


def check_splittable(problems: int) -> None:
    """Raise `UsageError` where there are too few problems to split."""
    if problems < 2 * FOLDS:
        raise UsageError(f"{problems} problems are too few to split into fitting and measuring: at least {2 * FOLDS}")


def random_parts(rng: np.random.Generator, count: int) -> Ints:
    """(count,): the number of a random part for each of `count` problems, parts of equal size."""
    check_splittable(count)
    return np.asarray(rng.permutation(count) % FOLDS)
