"""The compute-optimal policy as a table, and the cross-validation that proves it (Snell et al. 2024, section 3.2)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from computewise.draws import Floats, Ints


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

    shares: Floats
    """(problems, actions): how often each action was taken on each problem; rows sum to 1."""

    def average(self, per_action: Floats) -> Floats:
        """Expectation, per problem, of any quantity (problems, actions): accuracy, tokens, FLOPs."""
        return np.asarray((self.shares * per_action).sum(1))


def cross_validate(accuracy: Floats, bins: Ints, folds: Ints, *, repeats: int, seed: int) -> CrossValidated:
    """Choose an action per bin on one half, apply it to the other, and the other way round; `repeats` random halvings.

    The halves are drawn inside each group of `folds`, so that rules with different `bins` can be compared on the same
    halves: pass zeros as `bins` for the best fixed action.
    """
    rng = np.random.default_rng(seed)
    taken = np.zeros_like(accuracy)
    for _ in range(repeats):
        order = rng.permutation(len(accuracy))
        order = order[np.argsort(folds[order], kind="stable")]
        for choose, measure in ((order[::2], order[1::2]), (order[1::2], order[::2])):
            taken[measure, best_per_bin(accuracy, bins, choose)[bins[measure]]] += 1
    return CrossValidated(taken / repeats)
