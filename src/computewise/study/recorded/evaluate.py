"""Controllers and their rivals measured on recorded samples, with and without escalation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from computewise.controller.bin_policy import always, confidence_rule, oracle, uniform
from computewise.controller.frontier import StoppingPath
from computewise.controller.replay import RecordedPool
from computewise.controller.rule import CrossFit, RuleFitter, cross_fit, random_parts
from computewise.difficulty import rank_bins
from computewise.flops_matched import from_curve
from computewise.metrics import Floats, bootstrap
from computewise.samples import ProblemSamples, SampleArrays

PerProblem = tuple[Floats, Floats]

"""Accuracy and mean cost, (problems,) each."""


@dataclass(frozen=True, slots=True)
class Split:
    """One way to fit on some problems and measure on others, with the path of every measured problem."""

    fitted: CrossFit
    controller: StoppingPath


@dataclass(frozen=True, slots=True)
class Measured:
    """The paths of all rules on the same problems, in the same orders of their draws."""

    problems: RecordedPool
    splits: list[Split]
    always: StoppingPath
    confidence_path: StoppingPath

    def controller(self, budget: float) -> PerProblem:
        """The controller at a mean cost of at most `budget`, with one price for all problems."""
        return _mean([split.controller.at(split.controller.price(budget)) for split in self.splits])

    def controller_at_fitted_price(self, budget: float) -> PerProblem:
        """The controller at the price that cost `budget` on the problems that each rule was fitted on."""
        return _mean([_by_fitted_price(split, budget) for split in self.splits])

    def share_of(self, arm: int, budget: float) -> float:
        """The share of problems for which the controller drew by an arm at that budget."""
        return float(np.mean([_took(split.controller, arm, budget) for split in self.splits]))

    def confidence_rule(self, budget: float) -> PerProblem:
        """The confidence rule at the threshold that costs at most `budget`."""
        return self.confidence_path.at(self.confidence_path.price(budget))


def evaluate_rules(
    fit: RecordedPool, evaluate: RecordedPool | None, estimator: RuleFitter, *, orders: int, splits: int
) -> Measured:
    """Fit on `fit` and measure on `evaluate`; without that, on `splits` random partitions of `fit` into five parts."""
    measured = evaluate or fit
    if evaluate is not None:
        fitted = [CrossFit((estimator.fit(fit),), (np.arange(len(evaluate)),))]
    else:
        fitted = [_cross_fit(fit, estimator, number) for number in range(splits)]
    return Measured(
        measured,
        [Split(each, each.follow(measured, repeats=orders, seed=estimator.seed)) for each in fitted],
        always(measured, repeats=orders, seed=estimator.seed),
        confidence_rule(measured, repeats=orders, seed=estimator.seed),
    )


def _cross_fit(pool: RecordedPool, estimator: RuleFitter, number: int) -> CrossFit:
    parts = random_parts(np.random.default_rng((estimator.seed, number)), len(pool))
    return cross_fit(partial(estimator.fit, pool), parts)


def _by_fitted_price(split: Split, budget: float) -> PerProblem:
    accuracy, cost = (np.zeros(sum(map(len, split.fitted.parts))) for _ in range(2))
    for rule, part in zip(split.fitted.rules, split.fitted.parts, strict=True):
        affordable = [priced.price for priced in rule.prices if priced.mean_cost <= budget + 1e-9]
        each = split.controller.only(part).at(affordable[-1] if affordable else rule.prices[0].price)
        accuracy[part], cost[part] = each
    return accuracy, cost


def _took(path: StoppingPath, arm: int, budget: float) -> float:
    drawn = np.arange(path.arms.shape[1]) < path.stops(path.price(budget))[:, None]
    return float(((path.arms == arm) & drawn).any(1).mean())


def _mean(outcomes: Sequence[PerProblem]) -> PerProblem:
    accuracy, cost = zip(*outcomes, strict=True)
    return np.mean(accuracy, 0), np.mean(cost, 0)


def reached(curve: Sequence[PerProblem], accuracy: float) -> PerProblem | None:
    """The cheapest point from which on a rising curve stays at least that accurate; None where there is none."""
    first = None
    for outcome in reversed(curve):
        if outcome[0].mean() < accuracy - 1e-12:
            break
        first = outcome
    return first


def steps(highest: float) -> Iterator[float]:
    """Mean budgets to try, a quarter of a draw apart."""
    yield from np.arange(1.0, highest + 1e-9, 0.25).tolist()


BUDGETS = (1, 2, 3, 4, 6, 8, 12, 16)

"""Mean draws for each problem at which all rules are compared."""

CONFIDENCE = 0.9

"""The threshold at which the confidence rule is commonly used."""

SUFFICES = 0.95

"""A budget is reported on where at least this share of it could be drawn from the recorded samples."""


def frontier(measured: Measured) -> dict[str, Any]:
    """Accuracy against mean draws for each rule, and what the controller saves and gains."""
    curve = [measured.controller(budget) for budget in steps(BUDGETS[-1])]
    known = oracle(measured.always, [float(budget) for budget in BUDGETS])
    same = {budget: uniform(measured.always, budget) for budget in BUDGETS}
    controller = {budget: measured.controller(budget) for budget in BUDGETS}
    return {
        "frontier": {
            "uniform": [_point(budget, same[budget]) for budget in BUDGETS],
            "controller": [_point(budget, controller[budget]) for budget in BUDGETS],
            "plain_rule": [_point(budget, measured.confidence_rule(budget)) for budget in BUDGETS],
            "oracle": [_point(budget, outcome) for budget, outcome in zip(BUDGETS, known, strict=True)],
        },
        "controller_at_fitted_price": [
            _point(budget, measured.controller_at_fitted_price(budget)) for budget in BUDGETS
        ],
        "plain_rule_at_0.9": point(measured.confidence_path.at(1 - CONFIDENCE)),
        "controller_minus_uniform": [
            {"mean_samples": budget, **difference(controller[budget], same[budget])} for budget in BUDGETS
        ],
        "controller_at_half_minus_uniform": [
            {"uniform_samples": budget, **difference(measured.controller(budget / 2), same[budget])}
            for budget in BUDGETS
            if budget > 1
        ],
        "reached": [_saved(curve, budget, same[budget]) for budget in BUDGETS if budget > 1],
    }


def _point(budget: int, outcome: PerProblem) -> dict[str, Any]:
    return {"budget": budget, **point(outcome)}


def point(outcome: PerProblem) -> dict[str, Any]:
    """One point of a curve."""
    accuracy, cost = outcome
    return {
        "mean_samples": float(cost.mean()),
        "accuracy": float(accuracy.mean()),
        "ci95": list(bootstrap(accuracy)),
    }


def difference(outcome: PerProblem, rival: PerProblem) -> dict[str, Any]:
    """The paired difference of two accuracies."""
    paired: Floats = outcome[0] - rival[0]
    return {"difference": float(paired.mean()), "ci95": list(bootstrap(paired))}


def _saved(curve: list[PerProblem], budget: int, rival: PerProblem) -> dict[str, Any]:
    """The controller's mean draws for the accuracy of `budget` draws for every problem."""
    needed = reached(curve, float(rival[0].mean()))
    spent = None if needed is None else float(needed[1].mean())
    return {
        "uniform_samples": budget,
        "uniform_mean_samples": float(rival[1].mean()),
        "accuracy": float(rival[0].mean()),
        "controller_mean_samples": spent,
        "times_fewer": None if spent is None else float(rival[1].mean()) / spent,
    }


def frontier_sentence(summary: dict[str, Any]) -> str:
    """The gain of adapting to each problem in one sentence, at budgets for which enough samples were recorded."""
    recorded = [
        one["budget"] for one in summary["frontier"]["uniform"] if one["mean_samples"] > SUFFICES * one["budget"]
    ]
    highest = max(2, *recorded)
    gains = [one for one in summary["controller_minus_uniform"] if 1 < one["mean_samples"] <= highest]
    mean = np.mean([one["difference"] for one in gains])
    best = max(
        (one for one in summary["reached"] if one["uniform_samples"] <= highest), key=lambda one: one["uniform_samples"]
    )
    text = (
        f"At equal mean draws the controller is {100 * mean:+.1f} points from uniform on average over "
        f"{gains[0]['mean_samples']} to {gains[-1]['mean_samples']} draws a problem"
    )
    if best["times_fewer"] is None:
        return f"{text}; it does not reach the accuracy of {best['uniform_samples']} draws for everybody."
    return (
        f"{text}; it reaches the accuracy of {best['uniform_samples']} draws for everybody with "
        f"{best['controller_mean_samples']:.1f} on average, {best['times_fewer']:.1f} times fewer."
    )


SMALL, LARGE = "samples", "large"


def in_samples_of_small(problems: Sequence[ProblemSamples], parameters: tuple[float, float]) -> list[ProblemSamples]:
    """The same problems with costs in FLOPs, in units of a mean sample of the small model.

    2 operations for each parameter and token. The cost of prompts is left out, since recordings do not contain it.
    """
    unit = parameters[0] * np.concatenate([problem.arms[SMALL].tokens for problem in problems]).mean()
    weights = dict(zip((SMALL, LARGE), parameters, strict=True))

    def priced(name: str, draws: SampleArrays) -> SampleArrays:
        return replace(draws, costs=draws.tokens * weights[name] / unit)

    return [
        replace(problem, arms={name: priced(name, draws) for name, draws in problem.arms.items()})
        for problem in problems
    ]


def escalation(
    fit: Sequence[ProblemSamples],
    evaluate: Sequence[ProblemSamples] | None,
    parameters: tuple[float, float],
    *,
    orders: int,
    splits: int,
    seed: int,
) -> dict[str, Any]:
    """The controller with escalation, the large model alone and the small model alone, at equal FLOPs."""
    fit_on = in_samples_of_small(fit, parameters)
    held = None if evaluate is None else in_samples_of_small(evaluate, parameters)
    estimator = RuleFitter(larger=(LARGE,), seed=seed)
    both = _measure(fit_on, held, (SMALL, LARGE), estimator, orders, splits)
    alone = _measure(fit_on, held, (SMALL,), estimator, orders, splits)
    large = always(_workload(held or fit_on, (LARGE,)), repeats=orders, seed=seed)
    most = int((large.arms >= 0).sum(1).max()) + 1
    larger = {n: uniform(large, n) for n in range(1, most + 1)}
    one = larger[1]
    return {
        "parameters": list(parameters),
        "problems": len(held or fit_on),
        "unit": "mean samples of the small model, in FLOPs",
        "large_alone": [{"samples": n, **_escalated(outcome)} for n, outcome in larger.items()],
        "at_equal_cost": [_beside(n, outcome, both, alone) for n, outcome in larger.items()],
        "exchange": _exchange(alone, one[0], parameters),
    }


def _measure(
    fit: list[ProblemSamples],
    evaluate: list[ProblemSamples] | None,
    arms: tuple[str, ...],
    estimator: RuleFitter,
    orders: int,
    splits: int,
) -> Measured:
    held = None if evaluate is None else _workload(evaluate, arms)
    return evaluate_rules(_workload(fit, arms), held, estimator, orders=orders, splits=splits)


def _workload(problems: list[ProblemSamples], arms: tuple[str, ...]) -> RecordedPool:
    return RecordedPool([replace(problem, arms={arm: problem.arms[arm] for arm in arms}) for problem in problems])


def _beside(n: int, large: PerProblem, both: Measured, alone: Measured) -> dict[str, Any]:
    """The rules at no more than the cost of `n` samples of the large model."""
    cost = float(large[1].mean())
    escalating, staying = both.controller(cost), alone.controller(cost)
    return {
        "large_samples": n,
        "escalating": {**_escalated(escalating), "minus_large": difference(escalating, large)},
        "small_alone": {**_escalated(staying), "minus_large": difference(staying, large)},
        "escalated": both.share_of(1, cost),
    }


def _escalated(outcome: PerProblem) -> dict[str, Any]:
    accuracy, cost = outcome
    return {"cost": float(cost.mean()), "accuracy": float(accuracy.mean()), "ci95": list(bootstrap(accuracy))}


def _exchange(alone: Measured, large: Floats, parameters: tuple[float, float]) -> dict[str, Any]:
    """Over R, by quintiles of the small model's own pass@1; the large model answers once."""
    ease = uniform(alone.always, 1)[0]
    bins = rank_bins(ease.tolist(), alone.problems.ids)
    budgets = np.unique(np.clip(np.geomspace(1.0, float(alone.always.spent.max(1).mean()), 12), 1.0, None))
    curve = [alone.controller(float(budget)) for budget in budgets]
    spent = np.array([float(cost.mean()) for _, cost in curve])
    kept = np.flatnonzero(np.diff(spent, prepend=0.0) > 1e-9)
    return from_curve(parameters, [curve[index] for index in kept], large, bins).to_dict()
