"""A stopping rule learned by regression: trees predict what further draws gain.

A blinkered value of computation (Hay et al. 2012, "Selecting computations"). An option is a number of further draws by
one arm. For each option the trees predict by how much the chance of a right answer would rise; this gain is divided by
the option's cost, and the largest quotient counts.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from computewise.controller.frontier import join, price_list
from computewise.controller.replay import RecordedPool, Transitions, collect
from computewise.controller.rule import LOG_TOKENS, StoppingRule
from computewise.controller.state import FEATURES, Option, doubt
from computewise.controller.trees import Forest, Recipe, grow
from computewise.errors import UsageError
from computewise.metrics import Floats, Ints

LISTED = 128
"""The list of prices is measured up to this many draws a problem, all arms together."""

DOUBT = 0.3
"""How much of the doubt of the vote, divided by the draws, is added to the predicted gain.

A few hundred problems bound what trees can learn, and this rule of one line has most of what there is to learn. With it
the trees' errors do not decide where they predict next to nothing.
"""

DRAWS = FEATURES.index("draws")


@dataclass(frozen=True, slots=True, kw_only=True)
class ForestRule(StoppingRule):
    """The gains that trees predict, shrunk towards the doubt of the vote divided by the draws."""

    options: tuple[Option, ...]
    forest: Forest
    """Features to (the leader is right, and by how much more so after each option)."""

    @property
    def first(self) -> str:
        """The probe."""
        return self.arms[0]

    def worth(self, features: Floats, left: Ints) -> tuple[Floats, Ints, Floats]:
        """As `StoppingRule.worth`: of the best option."""
        predicted = self.forest.predict(features)
        costs = np.array([option.costs for option in self.options])
        arm = np.array([self.arms.index(option.arm) for option in self.options])
        quotients = np.where(left[:, arm] > 0, predicted[:, 1:] / costs, -np.inf)
        best = quotients.argmax(1)
        quotient = quotients[np.arange(len(best)), best]
        gain = (np.maximum(quotient, 0.0) + DOUBT * doubt(features) / features[:, DRAWS]) / self.longer(features)
        worth = np.where(np.isfinite(quotient), gain, quotient)
        return worth, np.where(np.isfinite(worth), arm[best], -1), np.clip(predicted[:, 0], 0.0, 1.0)

    def repriced(self, before: RecordedPool, after: RecordedPool) -> ForestRule:
        """The same rule with the costs of draws in `after` in place of those in `before`; without a list of prices."""
        ratio = {
            arm.name: new.mean_cost / after.arms[0].mean_cost / (arm.mean_cost / before.arms[0].mean_cost)
            for arm, new in zip(before.arms, after.arms, strict=True)
        }
        options = tuple(replace(option, costs=option.costs * ratio[option.arm]) for option in self.options)
        return replace(self, options=options, prices=())


@dataclass(slots=True)
class ForestFitter:
    """Fits a `ForestRule` to recorded draws.

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

    def fit(self, workload: RecordedPool, only: Ints | None = None) -> ForestRule:
        """A rule fitted to the problems `only`, or to all, with a cross-validated list of prices."""
        problems = np.arange(len(workload)) if only is None else only
        if len(problems) < self.folds:
            raise UsageError(f"{len(problems)} problems are too few to fit on: at least {self.folds}")
        walked = self.collect(workload, problems)
        fold = np.random.default_rng(self.seed).permutation(len(problems)) % self.folds
        paths = []
        for held in range(self.folds):
            part = self.fit_unpriced(workload, problems[fold != held], walked)
            held_out = problems[fold == held]
            paths.append(part.follow(workload, repeats=2, seed=self.seed, only=held_out, most=LISTED))
        return replace(self._fit(workload, walked), prices=price_list(join(paths), float(walked.units.mean())))

    def collect(self, pool: RecordedPool, problems: Ints) -> Transitions:
        """What can be learned from these problems."""
        return collect(pool, problems, self.numbers, self.seed)

    def fit_unpriced(self, pool: RecordedPool, only: Ints, walked: Transitions | None = None) -> ForestRule:
        """As `fit`, without the list of prices. `walked` are transitions of these and other problems."""
        if walked is None:
            return self._fit(pool, self.collect(pool, only))
        share = len(only) / len(np.unique(walked.problems))
        return self._fit(pool, walked.of(only, max(1, round(len(walked.problems) * share))))

    def _fit(self, workload: RecordedPool, walked: Transitions) -> ForestRule:
        options = _options(workload, walked)
        forest = grow(walked.features, np.column_stack([walked.right, walked.gains]), self.recipe)
        usual = float(np.log(np.exp(walked.features[:, LOG_TOKENS]).mean())) if self.by_length else None
        return ForestRule(
            arms=tuple(workload.names),
            larger=self.larger,
            options=options,
            forest=forest,
            log_tokens=usual,
            rung="forest",
        )


def _options(workload: RecordedPool, walked: Transitions) -> tuple[Option, ...]:
    """All options with their mean costs, in draws of the probe arm for the same problem."""
    return tuple(
        Option(workload.names[arm], amount, float(walked.costs[:, column].mean() / walked.units.mean()))
        for column, (arm, amount) in enumerate(walked.options)
    )
