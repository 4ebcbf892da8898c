"""A larger model to ask, measured on recorded samples of both models at equal FLOPs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from computewise.controller.frontier import StoppingPath
from computewise.controller.ladder import RuleFitter
from computewise.controller.orders import SampleOrders
from computewise.controller.replay import RecordedPool
from computewise.difficulty import rank_bins
from computewise.flops_matched import from_curve
from computewise.metrics import Floats
from computewise.samples import ProblemSamples
from computewise.study.recorded.evaluate import Measured, Split, accuracy_of, difference_of, evaluate_rules
from computewise.study.recorded.rows import RECORDED_CHARACTERS_A_TOKEN

PerProblem = tuple[Floats, Floats]

"""Accuracy, ([splits,] problems), and mean cost, (problems,)."""

SMALL, LARGE = "samples", "large"


BUDGETS = (1, 2, 3, 4, 6, 8, 12, 16)
"""Samples of the large model whose cost the policies are chosen for."""

SLACK = 1.02
"""The mean cost of one sample differs a little between orders and parts; a budget of one must pay for it in each."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """Parameters of the two models and of the verifier that reads the samples of both; 0 where it is not charged."""

    small: float
    large: float
    verifier: float = 0.0

    @property
    def generated(self) -> float:
        """The share of a small sample's cost that its generation is."""
        return self.small / (self.small + self.verifier)


def in_samples_of_small(problems: Sequence[ProblemSamples], sizes: Sizes) -> list[ProblemSamples]:
    """The same problems with costs in FLOPs, in units of a mean sample of the small model.

    2 operations for each parameter and token, of the model and of the verifier. The first draw of each model pays for
    the prompt, where the recording holds it: its characters, at the usual number a token.
    """
    tokens = np.concatenate([problem.arms[SMALL].tokens for problem in problems]).mean()
    unit = (sizes.small + sizes.verifier) * tokens
    weights = {name: (size + sizes.verifier) / unit for name, size in ((SMALL, sizes.small), (LARGE, sizes.large))}
    return [
        replace(
            problem,
            arms={name: replace(draws, costs=draws.tokens * weights[name]) for name, draws in problem.arms.items()},
            opening={
                name: (name, len(problem.prompt) / RECORDED_CHARACTERS_A_TOKEN * weights[name]) for name in problem.arms
            },
        )
        for problem in problems
    ]


def escalation(
    fit: Sequence[ProblemSamples],
    evaluate: Sequence[ProblemSamples] | None,
    sizes: Sizes,
    *,
    orders: int,
    splits: int,
    seed: int,
) -> dict[str, Any]:
    """The controller with escalation beside each model alone, at equal FLOPs.

    The large model alone draws equally many samples for every problem, or follows a controller of its own.
    """
    fit_on = in_samples_of_small(fit, sizes)
    held = None if evaluate is None else in_samples_of_small(evaluate, sizes)
    large = SampleOrders.of(_workload(held or fit_on, (LARGE,)), repeats=orders, seed=seed)
    larger = {n: _uniform(large, n) for n in range(1, int(large.lengths.max()) + 1)}
    budgets = tuple(SLACK * float(larger[n][1].mean()) for n in BUDGETS if n in larger)
    estimator = RuleFitter(larger=(LARGE,), seed=seed, budgets=budgets)
    both, small, own = (
        _measure(fit_on, held, arms, estimator, orders, splits) for arms in ((SMALL, LARGE), (SMALL,), (LARGE,))
    )
    return {
        "parameters": [sizes.small, sizes.large],
        "verifier_parameters": sizes.verifier or None,
        "prompts": any(problem.prompt for problem in held or fit_on),
        "pass_at_1": [_pass_at_1(held or fit_on, arm) for arm in (SMALL, LARGE)],
        "problems": len(held or fit_on),
        "unit": "mean samples of the small model, in FLOPs",
        "policies": _policies(both),
        "large_alone": [{"samples": n, **_escalated(outcome)} for n, outcome in larger.items()],
        "at_equal_cost": [_beside(n, outcome, both, small, own) for n, outcome in larger.items()],
        "exchange": _exchange(small, held or fit_on, larger[1][0], sizes, orders, seed),
    }


def _pass_at_1(problems: Sequence[ProblemSamples], arm: str) -> float:
    return float(np.mean([problem.arms[arm].correct.mean() for problem in problems]))


def _policies(measured: Measured) -> dict[str, int]:
    """How often each rung was chosen, over parts and partitions."""
    return dict(Counter(rule.rung for split in measured.splits for rule in split.fitted.rules))


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


def _beside(n: int, large: PerProblem, both: Measured, small: Measured, own: Measured) -> dict[str, Any]:
    """The rules at no more than the cost of `n` samples of the large model."""
    cost = float(large[1].mean())
    escalating, staying, larger = (_spend(one, cost) for one in (both, small, own))
    return {
        "large_samples": n,
        "escalating": {
            **_escalated(escalating),
            "minus_large": difference_of(escalating[0], large[0]),
            "minus_large_controller": difference_of(escalating[0], larger[0]),
        },
        "small_alone": {**_escalated(staying), "minus_large": difference_of(staying[0], large[0])},
        "large_controller": {**_escalated(larger), "minus_large": difference_of(larger[0], large[0])},
        "escalated": float(np.mean([_took(split.path, 1, cost) for split in both.splits])),
    }


def _spend(measured: Measured, budget: float) -> PerProblem:
    """The controller at a mean cost of at most `budget`, with one price for all problems, mean over the splits."""
    each = [split.path.at(split.path.price(budget)) for split in measured.splits]
    accuracy, cost = zip(*each, strict=True)
    return np.stack(accuracy), np.mean(cost, 0)


def _took(path: StoppingPath, arm: int, budget: float) -> float:
    """The share of problems that an arm draws for."""
    drawn = np.arange(path.arms.shape[1]) < path.stops(path.price(budget))[:, None]
    return float(((path.arms == arm) & drawn).any(1).mean())


def _uniform(orders: SampleOrders, samples: int) -> PerProblem:
    outcome = orders.uniform(samples)
    return outcome.accuracy, outcome.cost


def _escalated(outcome: PerProblem) -> dict[str, Any]:
    accuracy, cost = outcome
    return {"cost": float(cost.mean()), **accuracy_of(accuracy)}


def _exchange(
    small: Measured, problems: list[ProblemSamples], large: Floats, sizes: Sizes, orders: int, seed: int
) -> dict[str, Any]:
    """Over R; the large model answers once, unverified, the small one follows its controller.

    Fifths of the problems are by the first half of the small model's samples. Within them everything is measured with
    the other half: bins from the samples that are measured would make an easy problem of every lucky one.
    """
    pair = (sizes.small, sizes.large)
    whole = from_curve(pair, _curve(small), large, np.zeros(len(large), np.int64), sizes.generated)
    halves = [len(problem.arms[SMALL]) // 2 for problem in problems]
    if min(halves) < 1:
        return replace(whole, bins={}).to_dict()
    ease = [problem.arms[SMALL].correct[:half].mean() for problem, half in zip(problems, halves, strict=True)]
    bins = rank_bins([float(one) for one in ease], [problem.id for problem in problems])
    others = _workload([_from(problem, half) for problem, half in zip(problems, halves, strict=True)], (SMALL,))
    splits = [Split.of(one.fitted, others, repeats=orders, seed=seed) for one in small.splits]
    measured = Measured(splits, SampleOrders.of(others, repeats=orders, seed=seed), small.unit)
    return replace(whole, bins=from_curve(pair, _curve(measured), large, bins, sizes.generated).bins).to_dict()


def _from(problem: ProblemSamples, first: int) -> ProblemSamples:
    """The problem with the small model's samples from number `first` on."""
    return replace(problem, arms={SMALL: problem.arms[SMALL].take(np.arange(first, len(problem.arms[SMALL])))})


def _curve(measured: Measured) -> list[PerProblem]:
    """The controller at twelve budgets, from one sample to all."""
    least, most = (float(measured.orders.path.spent[:, end].mean()) for end in (0, -1))
    curve = [_spend(measured, budget) for budget in np.geomspace(least, max(most, 1.01 * least), 12).tolist()]
    spent = np.array([float(cost.mean()) for _, cost in curve])
    return [curve[index] for index in np.flatnonzero(np.diff(spent, prepend=0.0) > 1e-9)]
