"""Estimates from one pool of samples.

A pool is arrays (problems, samples). pass@k and best-of-k are exact over all subsets of size k; majority and weighted
votes, which have no closed form, are means over many drawn subsets.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]
UNANSWERED = -1


def pass_at_k(correct: Bools, k: int) -> Floats:
    """Chance, per problem, that one of k samples is correct: 1 - C(n-c, k) / C(n, k) (Chen et al. 2021, eq. 1)."""
    _check_k(correct, k)
    n = correct.shape[1]
    wrong = n - correct.sum(1)
    drawn = np.arange(k)
    return np.asarray(1 - np.prod(np.clip(wrong[:, None] - drawn, 0, None) / (n - drawn), axis=1))


def best_at_k(values: Floats, answers: Ints, correct: Bools, k: int) -> Floats:
    """Chance, per problem, that the highest-valued answered one of k samples is correct; equals share evenly.

    Exact: with samples ranked from the best, rank i is the best of a random k-subset with probability
    C(n-1-i, k-1) / C(n, k). Equal values are given their mean.
    """
    _check_k(values, k)
    n = values.shape[1]
    ranked_values = np.where(answers == UNANSWERED, -np.inf, values)
    order = np.argsort(-ranked_values, axis=1, kind="stable")
    chances = np.empty(n)
    chances[0] = k / n
    for rank in range(1, n):
        chances[rank] = chances[rank - 1] * max(n - rank - k + 1, 0) / (n - rank)
    estimate = np.empty(len(values))
    for problem, ranks in enumerate(order):
        _, group, sizes = np.unique(-ranked_values[problem, ranks], return_inverse=True, return_counts=True)
        shared = np.bincount(group, chances) / sizes
        estimate[problem] = shared[group] @ correct[problem, ranks]
    return estimate


def vote_at_k(weights: Floats, answers: Ints, correct: Bools, k: int, *, draws: int = 256, seed: int = 0) -> Floats:
    """Chance, per problem, that the answer of the largest summed weight among k samples is correct.

    Weights of 1 make it the majority vote. `answers` numbers equivalent answers alike within a problem, `UNANSWERED`
    never votes; equal sums share evenly. A mean over `draws` random subsets, the one subset where k is the pool.
    """
    _check_k(weights, k)
    problems, n = answers.shape
    rng = np.random.default_rng(seed)
    subsets = np.argsort(rng.random((1 if k == n else draws, n)), axis=1)[:, :k]
    estimate = np.zeros(problems)
    for problem in range(problems):
        classes = np.unique(answers[problem][answers[problem] != UNANSWERED])
        if len(classes) == 0:
            continue
        member = answers[problem][:, None] == classes
        right = (correct[problem][:, None] & member).any(0)
        totals = (member * weights[problem][:, None])[subsets].sum(1)
        present = member[subsets].any(1)
        totals = np.where(present, totals, -np.inf)
        winners = (totals >= totals.max(1, keepdims=True) - 1e-9) & present
        estimate[problem] = np.mean((winners * right).sum(1) / np.maximum(winners.sum(1), 1))
    return estimate


def auroc(scores: Floats, right: Bools) -> float:
    """Chance that a right one scores above a wrong one, equals counting half; NaN where there is only one kind."""
    positives, negatives = int(right.sum()), int((~right).sum())
    if not positives or not negatives:
        return float("nan")
    _, group, sizes = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(sizes) - (sizes - 1) / 2)[group]
    return float((ranks[right].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def within_problem_aurocs(scores: Floats, right: Bools, problem: Ints) -> Floats:
    """`auroc` of each problem that has right and wrong samples: what a verifier is for. One number a problem."""
    each = [auroc(scores[problem == one], right[problem == one]) for one in np.unique(problem)]
    return np.array([value for value in each if not np.isnan(value)])


def within_auroc(scores: Floats, right: Bools, problem: Ints) -> float:
    """Mean of `within_problem_aurocs`; NaN where no problem has both kinds."""
    each = within_problem_aurocs(scores, right, problem)
    return float(each.mean()) if len(each) else float("nan")


def _check_k(pool: NDArray[np.generic], k: int) -> None:
    if not 1 <= k <= pool.shape[1]:
        raise ValueError(f"k = {k} of a pool of {pool.shape[1]}: allowed are 1 to {pool.shape[1]}")
