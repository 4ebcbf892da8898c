"""The stopping rule of a controller, and how it is learned from recorded samples.

Snell et al. 2024 choose a strategy by the difficulty bin of a prompt and give every prompt the same budget. Here
difficulty is estimated from the draws so far, and the choice is made again after each draw: a blinkered value of
computation (Hay et al. 2012, "Selecting computations"), learned by regression. An option is a number of further draws
by one arm. For each option the rule predicts by how much the chance of a right answer would rise, divides this gain by
the option's cost and compares the largest quotient with the price.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from computewise.controller.frontier import PricePoint, StoppingPath, join, price_list, rollout
from computewise.controller.replay import RecordedPool, ReplayEnv, Transitions, collect
from computewise.controller.state import FEATURES, LiveState, Option, doubt
from computewise.controller.trees import Forest, Recipe, grow
from computewise.core import Action
from computewise.errors import UsageError
from computewise.metrics import Floats, Ints

LISTED = 128
"""The list of prices is measured up to this many draws a problem, all arms together."""

FOLDS = 5
"""Parts of a cross-fit: each is measured by a rule that was fitted on the others."""

LOG_TOKENS = FEATURES.index("mean log tokens")
"""The feature that says how long a problem's draws are."""

TIE_BREAK = 0.01
"""Added to the worth of a draw where two answers have equal weight."""


@dataclass(frozen=True, slots=True)
class StoppingRule:
    """Predicts what further draws gain; `prices` lists the cost and accuracy of prices on problems outside the fit."""

    arms: tuple[str, ...]
    """The first is the probe, which draws first."""
    larger: tuple[str, ...]
    """The arms that draw by a larger model."""
    options: tuple[Option, ...]
    forest: Forest
    """Features to (the leader is right, and by how much more so after each option)."""
    prices: tuple[PricePoint, ...]
    log_tokens: float | None = None
    """Where a draw costs its tokens: the logarithm of a usual draw's. A problem whose draws are longer pays more."""

    def worth(self, features: Floats, left: Ints) -> tuple[Floats, Ints, Floats]:
        """(rows,) each: worth of the best option, its number (-1 where no arm has draws left), and confidence.

        The worth and the option do not depend on the price. The price only decides where on this path to stop, so a
        higher price never spends more.
        """
        predicted = self.forest.predict(features)
        costs = np.array([option.costs for option in self.options])
        arm = np.array([self.arms.index(option.arm) for option in self.options])
        quotients = np.where(left[:, arm] > 0, predicted[:, 1:] / costs, -np.inf)
        best = quotients.argmax(1)
        length = 1.0 if self.log_tokens is None else np.exp(features[:, LOG_TOKENS] - self.log_tokens)
        # Where almost nothing is left to gain, the regression's errors would decide: the doubt of the vote is better.
        quotient = quotients[np.arange(len(best)), best]
        gain = (np.maximum(quotient, 0.0) + TIE_BREAK * doubt(features)) / length
        worth = np.where(np.isfinite(quotient), gain, quotient)
        return worth, np.where(np.isfinite(worth), best, -1), np.clip(predicted[:, 0], 0.0, 1.0)

    def choose(self, state: LiveState, price: float, *, min_confidence: float = 0.0) -> Action:
        """The next action, where one draw of the probe arm costs `price` in accuracy.

        Where stopping is best and the leader's confidence is below `min_confidence`, the action is to abstain.
        """
        if not price >= 0:
            raise UsageError(f"price {price} is not allowed: at least 0, in accuracy by draw")
        if tuple(state.arms) != self.arms:
            raise UsageError(f"a rule for {', '.join(self.arms)} cannot choose for draws by {', '.join(state.arms)}")
        if state.last is None:
            return Action("more", self.arms[0], float("inf"), 0.0)
        worth, option, confidence = self.worth(state.features(), state.left)
        sure, gain = float(confidence[0]), float(worth[0])
        if gain <= price or option[0] < 0:
            return Action("stop" if sure >= min_confidence else "abstain", None, gain, sure)
        arm = self.options[option[0]].arm
        if arm == state.last:
            return Action("more", arm, gain, sure)
        return Action("escalate" if arm in self.larger else "switch", arm, gain, sure)

    def follow(
        self, workload: RecordedPool, *, repeats: int, seed: int, only: Ints | None = None, most: int | None = None
    ) -> StoppingPath:
        """The path on recorded problems, in `repeats` random orders of each problem's draws, up to `most` draws."""
        if tuple(workload.names) != self.arms:
            raise UsageError(f"a rule for {', '.join(self.arms)} cannot follow draws by {', '.join(workload.names)}")
        arms = [self.arms.index(option.arm) for option in self.options]
        return rollout(lambda *state: self.worth(*state)[:2], arms, ReplayEnv(workload, repeats, seed, only), most)

    def repriced(self, before: RecordedPool, after: RecordedPool) -> StoppingRule:
        """The same rule with the costs of draws in `after` in place of those in `before`; without a list of prices."""
        ratio = {
            arm.name: new.mean_cost / after.arms[0].mean_cost / (arm.mean_cost / before.arms[0].mean_cost)
            for arm, new in zip(before.arms, after.arms, strict=True)
        }
        options = tuple(replace(option, costs=option.costs * ratio[option.arm]) for option in self.options)
        return replace(self, options=options, prices=())

    def price_for(self, mean_cost: float) -> float:
        """The lowest listed price whose mean cost is at most `mean_cost` draws a problem."""
        return self._listed([p for p in self.prices if p.mean_cost <= mean_cost], f"a mean cost of {mean_cost}")[-1]

    def price_for_accuracy(self, accuracy: float) -> float:
        """The highest listed price whose accuracy is at least `accuracy`."""
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


@dataclass(slots=True)
class RuleFitter:
    """Fits a `StoppingRule` to recorded draws.

    Each problem's draws are replayed in up to 20 random orders, as many as give about `numbers` numbers to learn from.
    The list of prices is cross-validated: each of `folds` parts of the problems is predicted by a fit of the others.
    """

    larger: tuple[str, ...] = ()
    by_length: bool = False
    """Whether a draw costs its tokens."""
    numbers: int = 3_000_000
    folds: int = 3
    recipe: Recipe = field(default_factory=Recipe)
    seed: int = 0

    def fit(self, workload: RecordedPool, only: Ints | None = None) -> StoppingRule:
        """A rule fitted to the problems `only`, or to all, with a cross-validated list of prices."""
        problems = np.arange(len(workload)) if only is None else only
        if len(problems) < self.folds:
            raise UsageError(f"{len(problems)} problems are too few to fit on: at least {self.folds}")
        walked = collect(workload, problems, self.numbers, self.seed)
        fold = np.random.default_rng(self.seed).permutation(len(problems)) % self.folds
        paths = []
        for held in range(self.folds):
            part = self._fit(workload, walked.of(problems[fold != held], max(1, len(walked.problems) // self.folds)))
            held_out = problems[fold == held]
            paths.append(part.follow(workload, repeats=2, seed=self.seed, only=held_out, most=LISTED))
        return replace(self._fit(workload, walked), prices=price_list(join(paths), float(walked.units.mean())))

    def fit_unpriced(self, workload: RecordedPool, only: Ints) -> StoppingRule:
        """As `fit`, without the list of prices: for callers that find the price from a budget."""
        return self._fit(workload, collect(workload, only, self.numbers, self.seed))

    def cross_fit(self, pool: RecordedPool, part: Ints) -> CrossFit:
        """A rule without a list of prices for each part, fitted to the entries outside it.

        `part` is (entries,), the number of each entry's part, from `random_parts`.
        """
        walked = collect(pool, np.arange(len(pool)), self.numbers, self.seed)
        most = max(1, len(walked.problems) * (FOLDS - 1) // FOLDS)
        rules = [self._fit(pool, walked.of(np.flatnonzero(part != number), most)) for number in range(FOLDS)]
        return CrossFit(tuple(rules), tuple(np.flatnonzero(part == number) for number in range(FOLDS)))

    def _fit(self, workload: RecordedPool, walked: Transitions) -> StoppingRule:
        options = _options(workload, walked)
        forest = grow(walked.features, np.column_stack([walked.right, walked.gains]), self.recipe)
        usual = float(np.log(np.exp(walked.features[:, LOG_TOKENS]).mean())) if self.by_length else None
        return StoppingRule(tuple(workload.names), self.larger, options, forest, (), usual)


@dataclass(frozen=True, slots=True)
class CrossFit:
    """Rules, and for each the entries of a pool that it was not fitted on; every entry is in one part."""

    rules: tuple[StoppingRule, ...]
    parts: tuple[Ints, ...]

    def follow(self, pool: RecordedPool, *, repeats: int, seed: int) -> StoppingPath:
        """One path for all entries, each by the rule that was not fitted on it."""
        each = zip(self.rules, self.parts, strict=True)
        return join([rule.follow(pool, repeats=repeats, seed=seed, only=part) for rule, part in each])

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


def _options(workload: RecordedPool, walked: Transitions) -> tuple[Option, ...]:
    """All options with their mean costs, in draws of the probe arm for the same problem."""
    return tuple(
        Option(workload.names[arm], amount, float(walked.costs[:, column].mean() / walked.units.mean()))
        for column, (arm, amount) in enumerate(walked.options)
    )
