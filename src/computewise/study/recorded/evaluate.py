"""Controllers and their rivals measured on recorded samples: accuracy against what was spent, and what that says."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from computewise.controller.dial import Dial, followed
from computewise.controller.frontier import StoppingPath, join
from computewise.controller.guarantee import promise
from computewise.controller.ladder import RuleFitter
from computewise.controller.orders import (
    FIELDS,
    Outcome,
    SampleOrders,
    adaptive_consistency,
    doubt_per_draw,
    early_stopping,
    normal,
    parallel_beta,
    short_m_at_k,
)
from computewise.controller.replay import RecordedPool
from computewise.controller.rule import CrossFit, random_parts
from computewise.intervals import Curve, Verdict, difference, proportion, simultaneous, times_fewer, verdict
from computewise.metrics import Floats

BUDGETS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256)

"""Samples for every problem whose cost all rules are compared at, as far as samples were recorded."""

SUFFICES = 0.95

"""A budget is reported on where at least this share of it could be drawn from the recorded samples."""

THRESHOLDS = 24

"""A rule with a threshold is reported on at about so many of them, over its whole range."""

CURVE = 64

"""Points of the controller's curve that savings are read off."""

WINDOWS = (2, 3, 4, 5, 6, 8, 10, 12, 16, 20, 24, 32)

WINDOW = 5

"""ESC's published window."""

SHORTEST = (1, 2, 3, 5, 8)

PUBLISHED_SHORTEST = (1, 3)

BETA_THRESHOLD = 0.95

"""Adaptive-Consistency's published threshold."""

CONFIDENCE = 0.9

"""The threshold at which the normal rule is commonly used."""

PARALLEL_THRESHOLDS = (0.8, 0.9, 0.95, 0.99)

Watch = Callable[[str], None]

"""Called with what is done now, for a person who waits."""


@dataclass(frozen=True, slots=True)
class Split:
    """One way to fit on some problems and measure on others, with the path of every measured problem."""

    fitted: CrossFit
    path: StoppingPath
    """With prices that agree between parts."""
    own: StoppingPath
    """With each rule's own prices."""

    @classmethod
    def of(cls, fitted: CrossFit, pool: RecordedPool, *, repeats: int, seed: int) -> Split:
        """Follow the rules on a pool."""
        paths = fitted.paths(pool, repeats=repeats, seed=seed)
        return cls(fitted, join([path.by_cost() for path in paths]), join(paths))


@dataclass(frozen=True, slots=True)
class Measured:
    """The controller on problems that it was not fitted on, and those problems' samples in the same orders."""

    splits: list[Split]
    orders: SampleOrders
    unit: float
    """The mean cost of a sample in the pool that was fitted on."""

    def controller(self, cost: float) -> Outcome:
        """The controller at a mean cost of at most `cost`, with one price for all problems."""
        return _stack([self.orders.along(split.path, split.path.price(cost)) for split in self.splits])

    def at_fitted_price(self, cost: float) -> Outcome:
        """The controller at a price found on other problems, as it is where problems come one by one.

        Those of the other parts, or those of the file that was fitted on.
        """
        if len(self.splits[0].fitted.parts) > 1:
            return _stack([_by_price_of_other_parts(split, self.orders, cost) for split in self.splits])
        [split] = self.splits
        listed = split.fitted.rules[0].prices
        affordable = [priced.price for priced in listed if priced.mean_cost * self.unit <= cost * (1 + 1e-9)]
        return self.orders.along(split.own, affordable[-1] if affordable else listed[0].price)


def evaluate_rules(
    fit: RecordedPool,
    evaluate: RecordedPool | None,
    estimator: RuleFitter,
    *,
    orders: int,
    splits: int,
    token_cost: float = 0.0,
    watch: Watch = lambda doing: None,
) -> Measured:
    """Fit on `fit` and measure on `evaluate`; without that, on `splits` random partitions of `fit` into five parts."""
    measured = evaluate or fit
    fitted = []
    if evaluate is not None:
        watch("fitting")
        fitted.append(CrossFit((estimator.fit(fit),), (np.arange(len(evaluate)),)))
    for number in range(splits if evaluate is None else 0):
        watch(f"fitting, split {number + 1} of {splits}")
        parts = random_parts(np.random.default_rng((estimator.seed, number)), len(fit))
        fitted.append(estimator.cross_fit(fit, parts))
    return Measured(
        [Split.of(each, measured, repeats=orders, seed=estimator.seed) for each in fitted],
        SampleOrders.of(measured, repeats=orders, seed=estimator.seed, token_cost=token_cost),
        fit.arms[0].mean_cost,
    )


def promised(measured: Measured, lose_at_most: float, confidence: float) -> dict[str, Any]:
    """The cheapest mean cost at which, with that confidence, no more accuracy is lost than that; and as a sentence."""
    found = promise(measured.splits[0].path, lose_at_most, confidence)
    points, sure = f"{100 * lose_at_most:g} points", f"{100 * confidence:g} % confidence"
    if found.price is None:
        text = (
            f"That at most {points} are lost against always drawing all samples cannot be promised with "
            f"{found.problems} problems at {sure}: it takes at least {found.needed}, and more where the losses vary."
        )
    else:
        text = (
            f"With {sure}, at most {points} are lost against always drawing all samples at a mean cost of "
            f"{found.mean_cost:.3g} of {found.most_cost:.3g} (estimated loss {100 * found.lost:.1f}): "
            "on new problems of the same kind, by a policy chosen and fitted in this way."
        )
    return {**asdict(found), "lose_at_most": lose_at_most, "confidence": confidence, "sentence": text}


def dialled(measured: Measured, cost: float, *, requests: int = 200, sequences: int = 5) -> dict[str, float]:
    """The controller with a running price, over sequences of problems in random order.

    It starts at the price that comes to that mean cost over all of them.
    """
    split, found = measured.splits[0], []
    price = split.own.price(cost)
    for seed in range(sequences):
        rows = np.random.default_rng(seed).integers(len(split.own.worth), size=requests)
        right, spent = followed(split.own, Dial(cost, price), rows)
        found.append((float(right.mean()), float(spent.mean())))
    accuracy, mean_cost = np.array(found).T
    return {
        "mean_cost": float(mean_cost.mean()),
        "furthest": float(np.abs(mean_cost / cost - 1).max()),
        "accuracy": float(accuracy.mean()),
        "requests": requests,
    }


def _by_price_of_other_parts(split: Split, orders: SampleOrders, cost: float) -> Outcome:
    everything = np.arange(sum(map(len, split.fitted.parts)))
    fields = {name: np.zeros(len(everything)) for name in FIELDS}
    for part in split.fitted.parts:
        price = split.own.only(np.setdiff1d(everything, part)).price(cost)
        outcome = orders.along(split.own, price)
        for name, values in fields.items():
            values[part] = getattr(outcome, name)[part]
    return Outcome(**fields)


def _stack(outcomes: Sequence[Outcome]) -> Outcome:
    """Arrays (splits, problems)."""
    return Outcome(*(np.stack([getattr(one, name) for one in outcomes]) for name in FIELDS))


def budgets(orders: SampleOrders) -> list[int]:
    """The entries of `BUDGETS` for which enough samples were recorded, 1 always."""
    return [n for n in BUDGETS if n == 1 or np.minimum(orders.lengths, n).mean() >= SUFFICES * n]


def frontier(measured: Measured) -> dict[str, Any]:
    """Accuracy against cost: the same samples for everybody, the controller, an oracle and published rules.

    At each number of samples for everybody, the others spend at most what that cost.
    """
    orders = measured.orders
    same = {n: orders.uniform(n) for n in budgets(orders)}
    costs = {n: float(outcome.cost.mean()) for n, outcome in same.items()}
    controller = {n: measured.controller(cost) for n, cost in costs.items()}
    fitted = {n: measured.at_fitted_price(cost) for n, cost in costs.items()}
    more = [n for n in same if n > 1]
    return {
        "frontier": {
            "uniform": [_point(n, outcome) for n, outcome in same.items()],
            "controller": [_point(n, outcome) for n, outcome in controller.items()],
            "oracle": [_point(n, one) for n, one in zip(costs, orders.oracle(list(costs.values())), strict=True)],
        },
        "rules": rules(measured),
        "controller_dial": [{"budget": n, **dialled(measured, cost)} for n, cost in costs.items() if n > 1],
        "controller_at_fitted_price": [_point(n, outcome) for n, outcome in fitted.items()],
        "controller_minus_uniform": [
            {"budget": n, **difference_of(controller[n].accuracy, outcome.accuracy)} for n, outcome in same.items()
        ],
        "mean_minus_uniform": _mean_minus_uniform(controller, same) if more else None,
        "controller_at_half_minus_uniform": [
            {"budget": n, **difference_of(measured.controller(costs[n] / 2).accuracy, same[n].accuracy)}
            for n in more
            if costs[n] / 2 >= costs[1]
        ],
        "gain_of_samples": {"budget": max(same), **difference_of(same[max(same)].accuracy, same[1].accuracy)},
        "reached": _savings(measured, same) if more else [],
    }


def _point(n: int, outcome: Outcome) -> dict[str, Any]:
    return {"budget": n, **point(outcome)}


def point(outcome: Outcome) -> dict[str, Any]:
    """One point of a curve."""
    return {
        "mean_cost": float(outcome.cost.mean()),
        "mean_samples": float(outcome.samples.mean()),
        "mean_tokens": float(outcome.tokens.mean()),
        **accuracy_of(outcome.accuracy),
    }


def accuracy_of(values: Floats) -> dict[str, Any]:
    """The mean of ([splits,] problems) accuracies with its interval."""
    found = proportion(values)
    return {"accuracy": found.value, "ci95": list(found.interval)}


def difference_of(accuracy: Floats, rival: Floats) -> dict[str, Any]:
    """The paired difference of two accuracies, ([splits,] problems) each."""
    found = difference(accuracy - rival)
    return {"difference": found.value, "ci95": list(found.interval), "problems": accuracy.shape[-1]}


def _mean_minus_uniform(controller: dict[int, Outcome], same: dict[int, Outcome]) -> dict[str, Any]:
    """The mean over all numbers above one, and the lowest end of a band for all of them at once."""
    paired = np.stack([controller[n].accuracy - outcome.accuracy for n, outcome in same.items() if n > 1])
    at_worst = min(one.low for one in simultaneous(paired))
    return {**difference_of(paired.mean(0), np.zeros(paired.shape[-1])), "at_worst": at_worst}


def rules(measured: Measured) -> dict[str, list[dict[str, Any]]]:
    """Published rules over the whole range of their settings, each point beside the controller at the same cost."""
    orders = measured.orders
    counts = [n for n in budgets(orders) if n > 1]
    hub = [(threshold, k) for threshold in PARALLEL_THRESHOLDS for k in counts]
    shortest = [(m, k) for m in SHORTEST for k in counts if m <= k]
    outcomes: dict[str, list[tuple[dict[str, float], bool, Outcome]]] = {
        "adaptive_consistency": [
            ({"threshold": 1 - price}, price == 1 - BETA_THRESHOLD, outcome)
            for price, outcome in _swept(orders, adaptive_consistency(orders), 1 - BETA_THRESHOLD)
        ],
        "esc": [
            ({"window": window}, window == WINDOW, early_stopping(orders, window))
            for window in WINDOWS
            if not counts or window <= counts[-1]
        ],
        "its_hub": [
            ({"threshold": threshold, "k": k}, threshold == BETA_THRESHOLD, parallel_beta(orders, threshold, k))
            for threshold, k in hub
        ],
        "short_m_at_k": [({"m": m, "k": k}, m in PUBLISHED_SHORTEST, short_m_at_k(orders, m, k)) for m, k in shortest],
        "normal": [
            ({"threshold": 1 - price}, price == 1 - CONFIDENCE, outcome)
            for price, outcome in _swept(orders, normal(orders), 1 - CONFIDENCE)
        ],
        "doubt_per_draw": [
            ({"price": price}, False, outcome) for price, outcome in _swept(orders, doubt_per_draw(orders), None)
        ],
    }
    return {
        name: [
            {**setting, "published": published, **_beside(measured, outcome)} for setting, published, outcome in each
        ]
        for name, each in outcomes.items()
    }


def _swept(orders: SampleOrders, path: StoppingPath, published: float | None) -> list[tuple[float, Outcome]]:
    """A rule at prices over its whole range, cheapest first, the published one among them."""
    levels = np.unique(path.worth[np.isfinite(path.worth)])
    at = {float(levels[round(place)]) for place in np.linspace(0, len(levels) - 1, THRESHOLDS) if len(levels)}
    at |= set(path.prices(np.geomspace(*_ends(path), THRESHOLDS).tolist())) | {0.0}
    if published is not None:
        at.add(published)
    outcomes: dict[float, tuple[float, Outcome]] = {}
    for price in sorted(at, key=lambda one: (one != published, one)):
        outcome = orders.along(path, price)
        outcomes.setdefault(round(float(outcome.samples.mean()), 2), (price, outcome))
    return sorted(outcomes.values(), key=lambda one: float(one[1].cost.mean()))


def _ends(path: StoppingPath) -> tuple[float, float]:
    least = float(path.spent[:, 0].mean())
    return least, max(least, float(path.spent[:, -1].mean()))


def _beside(measured: Measured, outcome: Outcome) -> dict[str, Any]:
    """A rule's point, and the controller minus it at no more than its cost."""
    rival = measured.controller(float(outcome.cost.mean()))
    return {**point(outcome), "controller_minus_rule": difference_of(rival.accuracy, outcome.accuracy)}


def _savings(measured: Measured, same: dict[int, Outcome]) -> list[dict[str, Any]]:
    """By how much less the controller reaches the accuracy of each number of samples for everybody.

    Compared with the cheapest equal samples that are as accurate from there on: where accuracy does not rise with
    samples, there is nothing to save.
    """
    least, most = (float(measured.orders.uniform(n).cost.mean()) for n in (1, max(same)))
    ours = _curve([measured.controller(float(cost)) for cost in np.geomspace(least, most, CURVE)])
    found = []
    for place, n in enumerate(same):
        if n == 1:
            continue
        theirs = list(same.values())[: place + 1]
        spent, rival, times = times_fewer(ours, _curve(theirs))
        reached = np.isfinite(spent)
        found.append(
            {
                "uniform_samples": n,
                "accuracy": float(theirs[-1].accuracy.mean()),
                "uniform_mean_cost": rival,
                "controller_mean_cost": spent if reached else None,
                "times_fewer": times.value if reached else None,
                "ci95": list(times.interval) if reached else None,
            }
        )
    return found


def _curve(points: Sequence[Outcome]) -> Curve:
    return Curve(*(np.stack([getattr(one, name) for one in points], -1) for name in ("accuracy", "cost")))


def sentence(summary: dict[str, Any]) -> str:
    """What is saved, what is gained at equal cost, and how a rule that nobody fits does; with 95 % intervals."""
    said = [_saving(summary), _gain(summary), _published(summary)]
    return " ".join(one for one in said if one)


def _saving(summary: dict[str, Any]) -> str:
    gain, same, unit = summary["gain_of_samples"], summary["frontier"]["uniform"], summary["cost"]
    most = gain["budget"]
    if most == 1:
        return "One sample for each problem was recorded: there is nothing to stop early."
    rises = f"from {_percent(same[0])} with one sample to {_percent(same[-1])} with {most} ({_points(gain)} points)"
    says = verdict(gain["ci95"], gain["problems"])
    if says is Verdict.TOO_FEW:
        return f"Accuracy goes {rises} with samples for everybody: {says.value}."
    if says is not Verdict.BETTER:
        return f"Accuracy does not rise clearly with samples for everybody, {rises}: there is nothing to save."
    saved = summary["reached"][-1]
    text = f"Accuracy rises with samples for everybody {rises}."
    if saved["times_fewer"] is None:
        return f"{text} The controller does not reach that of {most}."
    low, high = saved["ci95"]
    ratio = f"{saved['times_fewer']:.1f} [{low:.1f}, {high:.1f}]"
    if low <= 1:
        return f"{text} The controller saves nothing that is certain for that of {most}: {ratio} times fewer {unit}."
    return f"{text} The controller reaches that of {most} with {ratio} times fewer {unit} than equal numbers need."


def _gain(summary: dict[str, Any]) -> str:
    gains = [one for one in summary["controller_minus_uniform"] if one["budget"] > 1]
    if not gains:
        return ""
    mean = summary["mean_minus_uniform"]
    span = f"{gains[0]['budget']}" + (f" to {gains[-1]['budget']}" if len(gains) > 1 else "")
    return (
        f"At equal cost the controller is {_points(mean)} points from equal numbers on average over {span} samples, "
        f"and at none of them less than {100 * mean['at_worst']:+.1f}, with 95 % confidence for all at once."
    )


def _published(summary: dict[str, Any]) -> str:
    rule = next((one for one in summary["rules"]["adaptive_consistency"] if one.get("published")), None)
    if rule is None:
        return ""
    low, high = (100 * end for end in rule["ci95"])
    return (
        f"Adaptive-Consistency, which nobody fits, comes to {_percent(rule)} [{low:.1f}, {high:.1f}] with "
        f"{rule['mean_samples']:.1f} samples at its published threshold of 0.95; at no more than its cost the "
        f"controller is {_points(rule['controller_minus_rule'])} points from it."
    )


def _percent(point: dict[str, Any]) -> str:
    return f"{100 * point['accuracy']:.1f} %"


def _points(found: dict[str, Any]) -> str:
    each = [round(100 * one, 1) + 0.0 for one in (found["difference"], *found["ci95"])]  # no minus before 0.0
    return "{:+.1f} [{:+.1f}, {:+.1f}]".format(*each)
