"""The paper's policy by difficulty bins, with its rivals, cross-validated (Snell et al. 2024, section 3.2)."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from computewise.controller.rule import FOLDS, check_splittable
from computewise.metrics import Floats, Ints


def best_per_bin(accuracy: Floats, bins: Ints, rows: Ints | None = None) -> Ints:
    """The action (column) of the highest mean accuracy (problems, actions) in each bin, among `rows`.

    Equal means go to the earlier action: list the cheaper first. A bin without rows takes the best over all rows.
    """
    chosen = np.arange(len(accuracy)) if rows is None else rows
    overall = int(accuracy[chosen].mean(0).argmax())
    actions = np.full(int(bins.max()) + 1, overall)
    for bin in range(len(actions)):
        members = chosen[bins[chosen] == bin]
        if len(members):
            actions[bin] = accuracy[members].mean(0).argmax()
    return actions


@dataclass(frozen=True, slots=True)
class CrossValidated:
    """What a rule did to problems it was not chosen on."""

    taken: Ints
    """(partitions, problems): the action taken on each problem, chosen on the other parts of each partition."""

    def average(self, per_action: Floats) -> Floats:
        """(partitions, problems): any quantity (problems, actions) under the action taken: accuracy, tokens, FLOPs."""
        return per_action[np.arange(len(per_action)), self.taken]


def partitions(groups: Ints, count: int, seed: int) -> Ints:
    """(count, problems): random partitions into parts of equal size, the number of each problem's part.

    The parts are dealt inside each of `groups`, so that rules with different bins are compared on the same parts.
    """
    rng = np.random.default_rng(seed)
    check_splittable(len(groups))
    found = np.empty((count, len(groups)), np.int64)
    for parts in found:
        order = rng.permutation(len(groups))
        parts[order[np.argsort(groups[order], kind="stable")]] = np.arange(len(groups)) % FOLDS
    return found


def cross_validate(accuracy: Floats, bins: Ints, parts: Ints) -> CrossValidated:
    """Choose an action per bin on all parts but one, and apply it to that one, for each part of each partition.

    `parts` is (partitions, problems), as `partitions` gives it. Zeros as `bins` make it the best fixed action. Equal
    means and bins without rows as in `best_per_bin`.
    """
    held = parts[:, None] == np.arange(FOLDS)[:, None]
    outside = accuracy.sum(0) - held @ accuracy
    overall = _best(outside)
    taken = np.empty_like(parts)
    for bin in np.unique(bins):
        members = np.flatnonzero(bins == bin)
        inside = held[:, :, members]
        best = _best(accuracy[members].sum(0) - inside @ accuracy[members])
        best = np.where(inside.all(2), overall, best)
        taken[:, members] = np.take_along_axis(best, parts[:, members], 1)
    return CrossValidated(taken)


def _best(sums: Floats) -> Ints:
    """(..., actions) sums to the first of the largest; what rounding makes unequal is equal."""
    return np.asarray(sums.round(9).argmax(-1))


def allocate(accuracy: Floats, cost: Floats, mean_cost: float) -> Floats:
    """(prompts, actions): how much of each action to take, rows summing to 1; at most `mean_cost` a prompt.

    `accuracy` and `cost` are (prompts, actions) each. Greedy on the concave envelope of every prompt: the step that
    gains most by what it costs is taken next, whosever it is, which no other way to spend the same can better. The last
    step is taken in part, as by a coin. Where even the cheapest actions cost more, those are taken.
    """
    prompts, actions = accuracy.shape
    at = [_envelope(*row) for row in zip(accuracy, cost, strict=True)]
    steps = [
        ((accuracy[p, b] - accuracy[p, a]) / (cost[p, b] - cost[p, a]), p, place)
        for p, hull in enumerate(at)
        for place, (a, b) in enumerate(pairwise(hull))
    ]
    left = mean_cost * prompts - sum(cost[p, hull[0]] for p, hull in enumerate(at))
    shares = np.zeros((prompts, actions))
    shares[np.arange(prompts), [hull[0] for hull in at]] = 1.0
    for _, p, place in sorted(steps, key=lambda step: -step[0]):
        a, b = at[p][place], at[p][place + 1]
        part = float(np.clip(left / (cost[p, b] - cost[p, a]), 0.0, 1.0))
        shares[p, a], shares[p, b] = 1.0 - part, part
        left -= part * (cost[p, b] - cost[p, a])
        if part < 1.0:
            break
    return shares


def _envelope(accuracy: Floats, cost: Floats) -> list[int]:
    """The actions on the upper concave envelope, from the cheapest up; only what gains is on it."""
    hull: list[int] = []
    for action in np.lexsort((-accuracy, cost)):
        if hull and accuracy[action] <= accuracy[hull[-1]]:
            continue
        while len(hull) > 1 and _slope(hull[-1], action, accuracy, cost) >= _slope(hull[-2], hull[-1], accuracy, cost):
            hull.pop()
        hull.append(int(action))
    return hull


def _slope(a: int, b: int, accuracy: Floats, cost: Floats) -> float:
    return float((accuracy[b] - accuracy[a]) / (cost[b] - cost[a]))
