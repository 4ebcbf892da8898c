"""Sharing out a budget among prompts whose accuracies at each cost are known or estimated."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from computewise.draws import Floats


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
