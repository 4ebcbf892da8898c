"""Each rule on problems it was not fitted on: fitted on one file and measured on another, or split, repeatedly."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from computewise.draws import Floats, Ints
from computewise.errors import UsageError
from computewise.policy.baselines import always, plain_rule
from computewise.policy.compute_optimal import ComputeOptimal, Policy
from computewise.policy.path import Path, join
from computewise.policy.workload import Workload

FOLDS = 5
Outcome = tuple[Floats, Floats]
"""Accuracy and mean cost, (problems,) each."""


@dataclass(frozen=True, slots=True)
class Split:
    """One way to fit on some problems and measure on others: every measured problem once."""

    controller: Path
    fitted_prices: list[Policy]
    """The policies in the order of `parts`."""
    parts: list[Ints]
    """The problems each of them was measured on."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What each rule did on the same problems, in the same orders of their draws."""

    problems: Workload
    splits: list[Split]
    always: Path
    plain: Path

    def controller(self, budget: float) -> Outcome:
        """At a mean cost of at most `budget` over the workload, by one price for all of it."""
        return _mean([split.controller.at(split.controller.price(budget)) for split in self.splits])

    def controller_at_fitted_price(self, budget: float) -> Outcome:
        """At the price that came to `budget` on the problems each policy was fitted on."""
        return _mean([_by_fitted_price(split, budget) for split in self.splits])

    def share_of(self, arm: int, budget: float) -> float:
        """The share of problems that drew by an arm at that budget."""
        return float(np.mean([_took(split.controller, arm, budget) for split in self.splits]))

    def plain_rule(self, budget: float) -> Outcome:
        """At the confidence that spends at most `budget`."""
        return self.plain.at(self.plain.price(budget))


def measure(
    fit: Workload, evaluate: Workload | None, estimator: ComputeOptimal, *, orders: int, splits: int
) -> Measured:
    """Fit on `fit` and measure on `evaluate`; without that, on `splits` random partitions of `fit` into five parts."""
    measured = evaluate or fit
    if evaluate is not None:
        policy, every = estimator.fit(fit), np.arange(len(evaluate))
        found = [Split(policy.follow(evaluate, repeats=orders, seed=estimator.seed), [policy], [every])]
    else:
        check_splittable(len(fit))
        found = [_split(fit, estimator, orders, number) for number in range(splits)]
    return Measured(
        measured,
        found,
        always(measured, repeats=orders, seed=estimator.seed),
        plain_rule(measured, repeats=orders, seed=estimator.seed),
    )


def check_splittable(problems: int) -> None:
    """Raise `UsageError` where so many are too few to be split."""
    if problems < 2 * FOLDS:
        raise UsageError(f"{problems} problems are too few to split into fitting and measuring: at least {2 * FOLDS}")


def _split(workload: Workload, estimator: ComputeOptimal, orders: int, number: int) -> Split:
    part = np.random.default_rng((estimator.seed, number)).permutation(len(workload)) % FOLDS
    parts = [np.flatnonzero(part == held) for held in range(FOLDS)]
    policies = [estimator.fit(workload, np.flatnonzero(part != held)) for held in range(FOLDS)]
    followed = [
        policy.follow(workload, repeats=orders, seed=estimator.seed, only=only)
        for policy, only in zip(policies, parts, strict=True)
    ]
    return Split(join(followed), policies, parts)


def _by_fitted_price(split: Split, budget: float) -> Outcome:
    accuracy, cost = (np.zeros(sum(map(len, split.parts))) for _ in range(2))
    for policy, part in zip(split.fitted_prices, split.parts, strict=True):
        affordable = [priced.price for priced in policy.prices if priced.mean_cost <= budget + 1e-9]
        each = split.controller.only(part).at(affordable[-1] if affordable else policy.prices[0].price)
        accuracy[part], cost[part] = each
    return accuracy, cost


def _took(path: Path, arm: int, budget: float) -> float:
    drawn = np.arange(path.arms.shape[1]) < path.stops(path.price(budget))[:, None]
    return float(((path.arms == arm) & drawn).any(1).mean())


def _mean(outcomes: Sequence[Outcome]) -> Outcome:
    accuracy, cost = zip(*outcomes, strict=True)
    return np.mean(accuracy, 0), np.mean(cost, 0)


def reached(curve: Sequence[Outcome], accuracy: float) -> Outcome | None:
    """The first of a curve, cheapest first, from which on its accuracy stays at least that; None where none."""
    first = None
    for outcome in reversed(curve):
        if outcome[0].mean() < accuracy - 1e-12:
            break
        first = outcome
    return first


def steps(highest: float) -> Iterator[float]:
    """Mean budgets to look at, a quarter of a draw apart."""
    yield from np.arange(1.0, highest + 1e-9, 0.25).tolist()
