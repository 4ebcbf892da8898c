"""Which stopping rule a controller follows: the simplest that does as well as the best, by nested cross-validation.

Of some rungs nothing is chosen or fitted on the problems at hand: equal samples for everybody; `doubt / draws`, of the
model or, where the budgets pay for it, of the larger model alone; `error / draws` by the verifier; a formula that was
fitted on other data; two draws, then the larger model. Then come a formula and a cascade whose form and numbers are
chosen here, and trees. Every rung is measured on problems that nothing of it was chosen or fitted on. Of the rungs
within one standard error of the best, one with the fewest fitted numbers is taken (Breiman et al. 1984, section 3.4.3),
and among those the most accurate.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product

import numpy as np

from computewise.controller.file import generic_powers
from computewise.controller.formula import (
    DOUBT_PER_DRAW,
    ERROR_PER_DRAW,
    UNIFORM,
    FormulaRule,
    Powers,
    Walk,
    arm_costs,
    calibrated,
    usual_length,
)
from computewise.controller.frontier import StoppingPath, price_list
from computewise.controller.replay import RecordedArm, RecordedPool, Transitions
from computewise.controller.rule import FOLDS, CrossFit, StoppingRule
from computewise.controller.trees import ForestFitter, Recipe
from computewise.errors import UsageError
from computewise.metrics import Floats, Ints

PLAIN = ("uniform", "doubt per draw", "error per draw", "larger alone", "generic", "plain cascade")
"""Rungs of which nothing is chosen or fitted on the problems at hand."""
RUNGS = (*PLAIN, "formula", "cascade", "forest")
"""By the numbers that are chosen or fitted on the problems at hand, the fewest first."""

BY_VOTES: tuple[Powers, ...] = (
    DOUBT_PER_DRAW,
    {"doubt": 1.0, "draws": -0.5},
    {"doubt": 1.0, "cost": -1.0},
)
BY_VALUES: tuple[Powers, ...] = (
    *BY_VOTES,
    ERROR_PER_DRAW,
    {"error": 1.0, "cost": -1.0},
    {"error": 1.0},
)
"""The formulas of cascades: of the vote's doubt, and of the leader's best value where a verifier gives values."""

PLAIN_BEFORE = 2
"""Draws of the first arm in a cascade of which nothing is chosen."""
BEFORE = (1, 2, 4, 8)
"""How many draws of the first arm a cascade makes before it asks a larger model."""
VOTES = (1.0, 2.0, 4.0)
"""How much a vote of a larger model may count, where there is no verifier to tell."""

GRID = 8
"""Mean costs that rungs are compared at."""
ORDERS = 6
"""Random orders of each problem's draws that rungs are compared in."""
INNER = 3
"""Parts of the inner cross-validation."""


@dataclass(frozen=True, slots=True)
class Choice:
    """What the ladder chose, and the accuracy of every rung on problems outside its fit, mean over the costs."""

    rung: str
    accuracy: Mapping[str, float]
    margin: Mapping[str, float]
    """By how much each falls short of the best, in standard errors of the paired difference."""

    @property
    def why(self) -> str:
        """The reason in one sentence."""
        best = max(self.accuracy, key=lambda rung: self.accuracy[rung])
        said = f"{100 * self.accuracy[self.rung]:.1f} % right on problems outside the fit, mean over the costs compared"
        if best == self.rung:
            return f"the most accurate rung: {said}"
        short = 100 * (self.accuracy[best] - self.accuracy[self.rung])
        return (
            f"{said}; {best} has {short:.1f} points more, {self.margin[self.rung]:.1f} standard errors, "
            "which its additional numbers do not justify"
        )


@dataclass(slots=True)
class RuleFitter:
    """Fits the rung that the ladder chooses. Fields are those of `ForestFitter`; `rungs` leaves out the others."""

    larger: tuple[str, ...] = ()
    by_length: bool = False
    """Whether a draw costs its tokens."""
    numbers: int = 400_000
    recipe: Recipe = field(default_factory=lambda: Recipe(depth=3, share=0.05))
    seed: int = 0
    rungs: tuple[str, ...] = RUNGS
    budgets: tuple[float, ...] = ()
    """Mean costs that the policy is chosen for, in the pool's unit; empty for a range of them."""

    def fit(self, pool: RecordedPool, only: Ints | None = None) -> StoppingRule:
        """A rule chosen and fitted on the problems `only`, or on all, with a list of prices."""
        problems = np.arange(len(pool)) if only is None else only
        if (count := len({pool.ids[entry] for entry in problems.tolist()})) < INNER:
            raise UsageError(f"{count} problems are too few to fit on: at least {INNER}")
        if sum(int(arm.lengths[problems].max()) for arm in pool.arms) < 2:
            raise UsageError("there is nothing to fit on: no problem has more than one draw")
        return self._chosen(pool, problems, self._walked(pool), self._collected(pool, problems), priced=True)

    def cross_fit(self, pool: RecordedPool, part: Ints) -> CrossFit:
        """For each part a rule chosen and fitted on the entries outside it, without a list of prices.

        `part` is (entries,), the number of each entry's part, from `random_parts`.
        """
        return self.cross_fits(pool, [part])[0]

    def cross_fits(self, pool: RecordedPool, partitions: Sequence[Ints]) -> list[CrossFit]:
        """`cross_fit` for several partitions; those after the first without trees, which take long."""
        walked, learned = self._walked(pool), self._collected(pool, np.arange(len(pool)))
        found = []
        for part in partitions:
            outside = [np.flatnonzero(part != number) for number in range(FOLDS)]
            rules = [self._chosen(pool, problems, walked, learned, priced=False) for problems in outside]
            found.append(CrossFit(tuple(rules), tuple(np.flatnonzero(part == number) for number in range(FOLDS))))
            learned = None
        return found

    def _forest(self) -> ForestFitter:
        return ForestFitter(self.larger, self.by_length, self.numbers, recipe=self.recipe, seed=self.seed)

    def _collected(self, pool: RecordedPool, problems: Ints) -> Transitions | None:
        """What trees learn from; None where they are no rung."""
        return self._forest().collect(pool, problems) if "forest" in self.rungs else None

    def _walked(self, pool: RecordedPool) -> list[tuple[FormulaRule, StoppingPath]]:
        """Every formula with its path over all problems: nothing in a formula's path is fitted."""
        found: list[tuple[FormulaRule, StoppingPath]] = []
        walks: dict[object, Walk] = {}
        for rule in candidates(pool, self.larger, by_length=self.by_length):
            if rule.rung not in self.rungs:
                continue
            key = rule.steps, rule.votes
            if key not in walks:
                walks[key] = Walk.of(rule, pool, repeats=ORDERS, seed=self.seed)
            found.append((rule, walks[key].follow(rule)))
        return found

    def _chosen(
        self,
        pool: RecordedPool,
        problems: Ints,
        walked: Sequence[tuple[FormulaRule, StoppingPath]],
        learned: Transitions | None,
        *,
        priced: bool,
    ) -> StoppingRule:
        costs = self._costs(pool, problems)
        scores = [(rule, curve(path.only(problems), costs).mean(0)) for rule, path in walked]
        number = pool.numbers(problems)
        part = (np.random.default_rng(self.seed).permutation(number.max() + 1) % INNER)[number]
        by_rung = {
            rung: _nested([score for rule, score in scores if rule.rung == rung], part)
            for rung in self.rungs
            if any(rule.rung == rung for rule, _ in scores)
        }
        if learned is not None and len(problems) >= 2 * INNER:
            alone = self.rungs == ("forest",)
            score = np.zeros(len(problems)) if alone else self._forest_score(pool, problems, part, costs, learned)
            by_rung["forest"] = score
        choice = _simplest({rung: np.bincount(number, one) / np.bincount(number) for rung, one in by_rung.items()})
        if choice.rung == "forest":
            forest = self._forest()
            fitted = forest.fit(pool, problems) if priced else forest.fit_unpriced(pool, problems, learned)
            return replace(fitted, why=choice.why)
        among = [(rule, score.mean()) for rule, score in scores if rule.rung == choice.rung]
        best = max(among, key=lambda one: one[1])[0]
        rule = calibrated(replace(best, why=choice.why), pool, problems, repeats=2, seed=self.seed)
        if priced:
            path = rule.follow(pool, repeats=ORDERS, seed=self.seed, only=problems)
            rule = replace(rule, prices=price_list(path, pool.arms[0].mean_cost))
        return rule

    def _costs(self, pool: RecordedPool, problems: Ints) -> list[float]:
        """From a little over one draw to half of all draws."""
        if self.budgets:
            return list(self.budgets)
        first = pool.arms[0]
        least = float((first.costs[problems, 0] + first.opening[problems]).mean())
        most = sum(float(arm.costs[problems].sum(1).mean()) for arm in _in_a_cascade(pool, self.larger))
        return np.geomspace(1.25 * least, max(most / 2, 1.5 * least), GRID).tolist()

    def _forest_score(
        self, pool: RecordedPool, problems: Ints, part: Ints, costs: Sequence[float], learned: Transitions
    ) -> Floats:
        """(problems,): accuracy of trees on problems outside their fit, mean over the costs."""
        # Half of the trees do nearly as well as all, and there are many of these fits.
        forest, score = self._forest(), np.zeros(len(problems))
        forest = replace(forest, recipe=replace(self.recipe, trees=(self.recipe.trees + 1) // 2))
        for number in range(INNER):
            rule = forest.fit_unpriced(pool, problems[part != number], learned)
            path = rule.follow(pool, repeats=ORDERS, seed=self.seed, only=problems[part == number])
            score[part == number] = curve(path, costs).mean(0)
        return score


def candidates(pool: RecordedPool, larger: Sequence[str], *, by_length: bool) -> Iterator[FormulaRule]:
    """All formulas that a rung of few numbers chooses among."""
    names, costs = tuple(pool.names), arm_costs(pool)
    lengths = {arm.name: int(arm.lengths.max()) for arm in pool.arms}
    usual = usual_length(pool) if by_length else None
    scored = has_values(pool)

    def rule(rung: str, powers: Powers, steps: Sequence[tuple[str, int]], vote: float = 1.0) -> FormulaRule:
        votes = tuple(vote if arm in larger else 1.0 for arm in names) if vote != 1 else ()
        return FormulaRule(
            arms=names,
            larger=tuple(larger),
            log_tokens=usual,
            votes=votes,
            rung=rung,
            steps=tuple(steps),
            powers=powers,
            costs=costs,
        )

    formulas = BY_VALUES if scored else BY_VOTES
    probe, *others = ((name, lengths[name]) for name in names if lengths[name])
    upper = [step for step in others if step[0] in larger]
    yield rule("uniform", UNIFORM, [probe])
    yield rule("doubt per draw", DOUBT_PER_DRAW, [probe])
    if scored:
        yield rule("error per draw", ERROR_PER_DRAW, [probe])
    yield rule("generic", generic_powers(scored=scored), [probe])
    yield from (rule("formula", powers, [probe]) for powers in formulas)
    for step, powers in product([step for step in others if step not in upper], formulas):
        yield rule("cascade", powers, [(probe[0], 1), step])
    if not upper:
        return
    plain = ERROR_PER_DRAW if scored else DOUBT_PER_DRAW
    yield rule("plain cascade", plain, [(probe[0], min(PLAIN_BEFORE, probe[1])), *upper])
    for before, powers, vote in product(BEFORE, formulas, (1.0,) if scored else VOTES):
        yield rule("cascade", powers, [(probe[0], min(before, probe[1])), *upper], vote)
    if all(arm.lengths.min() > 0 for arm in pool.arms if arm.name == upper[0][0]):
        yield rule("larger alone", DOUBT_PER_DRAW, upper)
        yield from (rule("cascade", powers, upper) for powers in formulas[1:])


def available(pool: RecordedPool, estimator: RuleFitter) -> list[str]:
    """The rungs that can be chosen on a pool, the simplest first."""
    found = {rule.rung for rule in candidates(pool, estimator.larger, by_length=estimator.by_length)} | {"forest"}
    return [rung for rung in RUNGS if rung in found and rung in estimator.rungs]


def has_values(pool: RecordedPool) -> bool:
    """Whether a verifier gave values, so that samples differ in them."""
    values = [arm.ballots.values[arm.ballots.answers >= 0] for arm in pool.arms]
    return bool(np.ptp(np.concatenate(values)) > 0) if any(map(len, values)) else False


def _in_a_cascade(pool: RecordedPool, larger: Sequence[str]) -> list[RecordedArm]:
    return [arm for arm in pool.arms if arm.name in larger or arm.name == pool.names[0]]


def curve(path: StoppingPath, costs: Sequence[float]) -> Floats:
    """(costs, problems): accuracy where exactly that is spent on average, by a mixture of two neighbouring prices.

    A cost below the least that the path can spend has an accuracy of 0; above the most, that of the most.
    """
    levels = np.unique(path.worth[np.isfinite(path.worth)])[::-1]
    found = np.zeros((len(costs), len(np.unique(path.problems))))
    spent: dict[int, tuple[Floats, float]] = {}

    def at(place: int) -> tuple[Floats, float]:
        # Everything of a worth of at least `levels[place]` is drawn.
        if place not in spent:
            price = np.inf if place < 0 else levels[place + 1] if place + 1 < len(levels) else 0.0
            accuracy, cost = path.at(float(price))
            spent[place] = accuracy, float(cost.mean())
        return spent[place]

    for row, cost in enumerate(costs):
        low, high = -1, len(levels) - 1
        if at(low)[1] > cost * (1 + 1e-9):
            continue
        if at(high)[1] <= cost:
            found[row] = at(high)[0]
            continue
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if at(middle)[1] <= cost else (low, middle)
        (less, least), (more, most) = at(low), at(high)
        share = (cost - least) / (most - least)
        found[row] = (1 - share) * less + share * more
    return found


def _nested(scores: Sequence[Floats], part: Ints) -> Floats:
    """(problems,): the score of the candidate that is best on the other parts."""
    table = np.stack(scores)
    found = np.zeros(table.shape[1])
    for number in range(INNER):
        outside, inside = part != number, part == number
        found[inside] = table[table[:, outside].mean(1).argmax()][inside]
    return found


def _simplest(scores: Mapping[str, Floats]) -> Choice:
    """Of the rungs within one standard error of the best, the most accurate of those with the fewest fitted numbers."""
    accuracy = {rung: float(score.mean()) for rung, score in scores.items()}
    best = scores[max(accuracy, key=lambda rung: accuracy[rung])]
    margin = {}
    for rung, score in scores.items():
        short = best - score
        error = float(short.std(ddof=1) / np.sqrt(len(short))) if len(short) > 1 else 0.0
        margin[rung] = float(short.mean()) / error if error > 0 else 0.0
    plain = [rung for rung in PLAIN if rung in scores and margin[rung] <= 1]
    others = [rung for rung in RUNGS if rung in scores and margin[rung] <= 1]
    rung = max(plain, key=lambda one: accuracy[one]) if plain else others[0]
    return Choice(rung, accuracy, margin)
