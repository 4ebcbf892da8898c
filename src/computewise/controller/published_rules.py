"""Stopping rules that others published, replayed on recorded samples beside the controller.

None of them is fitted. The sequential ones draw one sample after another: Adaptive-Consistency (Aggarwal et al. 2023,
arXiv 2305.11860) and Early-Stopping Self-Consistency (Li et al. 2024, arXiv 2401.10480). The parallel ones start k
samples at once and cancel what still runs when they have enough: short-m@k (Hassid et al. 2025, arXiv 2505.17813) and
the Beta rule in the form of the its_hub gateway. All of these stop by counts of equal answers, as published. The
parallel ones also answer by counts. The sequential ones answer by the vote that every rule of a replay answers by,
which weighs each sample by the verifier's value where there is one: with scores that is the stronger form of them.

Two more rules, of one line each, stop by the weights of that vote: when its leader is ahead by a normal approximation,
and when the doubt of it, divided by the samples drawn, is small.
"""

from __future__ import annotations

from functools import lru_cache
from math import comb
from typing import NamedTuple

import numpy as np

from computewise.controller.frontier import StoppingPath
from computewise.controller.orders import Outcome, SampleOrders
from computewise.controller.replay import ABSENT
from computewise.controller.state import EARLIER
from computewise.metrics import Bools, Floats, Ints


class Tally(NamedTuple):
    """Votes by count after each sample: arrays (rows, samples).

    `first` and `second` are the votes of the most frequent answer and of the next; `right` is whether the most frequent
    answer is right, the one seen first among equals.
    """

    first: Floats
    second: Floats
    right: Bools


def tally(answers: Ints, right_answers: Bools) -> Tally:
    """Count (rows, samples) answers; negative ones do not vote. `right_answers` is (rows, answers)."""
    rows, samples = answers.shape
    votes = np.zeros((rows, max(right_answers.shape[1], 2)))
    first, second, right = np.zeros((rows, samples)), np.zeros((rows, samples)), np.zeros((rows, samples), np.bool_)
    every = np.arange(rows)
    for place in range(samples):
        voting = np.flatnonzero(answers[:, place] >= 0)
        answer = answers[voting, place]
        fresh = votes[voting, answer] == 0
        bonus = np.where(fresh, EARLIER / (1 + (votes[voting] > 0).sum(1)), 0.0)
        votes[voting, answer] += 1 + bonus
        second[:, place], first[:, place] = np.partition(votes, -2, axis=1)[:, -2:].T
        right[:, place] = (first[:, place] > 0) & right_answers[every, votes.argmax(1)]
    return Tally(np.floor(first), np.floor(second), right)


@lru_cache(maxsize=1 << 16)
def beta_confidence(first: int, second: int) -> float:
    """The chance that the leading answer, of `first` votes, is likelier than the next, of `second` votes.

    That p > 1/2 under Beta(first + 1, second + 1) (Aggarwal et al. 2023, section 3). With whole numbers it is the
    chance of at most `first` heads in first + second + 1 tosses.
    """
    tosses = first + second + 1
    return sum(comb(tosses, heads) for heads in range(first + 1)) / 2**tosses


def confidence(votes: Tally) -> Floats:
    """`beta_confidence` after each sample, (rows, samples)."""
    pairs, place = np.unique(np.stack([votes.first.ravel(), votes.second.ravel()]), axis=1, return_inverse=True)
    each = np.array([beta_confidence(int(first), int(second)) for first, second in pairs.T])
    return each[place.ravel()].reshape(votes.first.shape)


def adaptive_consistency(orders: SampleOrders) -> StoppingPath:
    """Stop where the Beta confidence reaches a threshold; the price is one minus the threshold. Published: 0.95."""
    return orders.path_of(1.0 - confidence(tally(orders.answers, orders.right_answers)))


def normal(orders: SampleOrders) -> StoppingPath:
    """Stop where the leader's weight is ahead by the normal approximation; the price is one minus the confidence."""
    return orders.path_of(orders.doubts)


def doubt_per_draw(orders: SampleOrders) -> StoppingPath:
    """Stop where the doubt of `normal`, divided by the samples drawn, is at most the price.

    What an engineer writes in five minutes: doubt that many samples have not removed will not go with one more.
    """
    return orders.path_of(orders.doubts / np.arange(1, orders.doubts.shape[1] + 1))


def early_stopping(orders: SampleOrders, window: int) -> Outcome:
    """Draw windows of so many samples; stop after one that gives one answer only. Published: windows of 5.

    A sample without an answer agrees with none. What is left at the end and fills no window is drawn as well.
    """
    stops, stopped = orders.lengths - 1, np.zeros(len(orders.lengths), np.bool_)
    for start in range(0, orders.answers.shape[1] - window + 1, window):
        part = orders.answers[:, start : start + window]
        agreed = (part == part[:, :1]).all(1) & (part[:, 0] >= 0) & ~stopped
        stops = np.where(agreed, start + window - 1, stops)
        stopped |= agreed
    return orders.after(stops)


def short_m_at_k(orders: SampleOrders, m: int, k: int) -> Outcome:
    """Start k samples, cancel the others when the m shortest have ended, and vote among those by count.

    Equal counts go to the answer of the shortest sample. Published: m = 1 and m = 3.
    """
    answers, tokens, started = _by_length(orders, k)
    ended = np.minimum(m, started)
    right = tally(answers[:, :m], orders.right_answers).right
    return _cancelled(orders, k, right, tokens, ended)


def parallel_beta(orders: SampleOrders, threshold: float, k: int) -> Outcome:
    """Start k samples, cancel the others when the Beta confidence of those that have ended reaches the threshold.

    They end in the order of their lengths, and at least two must have answered. Published in its_hub: 0.95.
    """
    answers, tokens, started = _by_length(orders, k)
    votes = tally(answers, orders.right_answers)
    enough = (confidence(votes) >= threshold) & ((answers >= 0).cumsum(1) >= 2)
    ended = np.where(enough.any(1), np.minimum(enough.argmax(1) + 1, started), started)
    return _cancelled(orders, k, votes.right, tokens, ended)


def _by_length(orders: SampleOrders, k: int) -> tuple[Ints, Floats, Ints]:
    """Answers and tokens of each row's first k samples, the shortest first, (rows, k); and how many there are."""
    answers, tokens = orders.answers[:, :k], orders.tokens[:, :k]
    place = np.argsort(np.where(answers == ABSENT, np.inf, tokens), axis=1, kind="stable")
    return np.take_along_axis(answers, place, 1), np.take_along_axis(tokens, place, 1), np.minimum(orders.lengths, k)


def _cancelled(orders: SampleOrders, k: int, right: Bools, tokens: Floats, ended: Ints) -> Outcome:
    """k samples at once, `tokens` with the shortest first; those that run are cancelled when `ended` have ended."""
    rows, mean = np.arange(len(ended)), orders.path.by_problem
    started = np.minimum(orders.lengths, k)
    present = np.arange(tokens.shape[1]) < started[:, None]
    until = tokens[rows, ended - 1]
    sampled = np.where(present, np.minimum(tokens, until[:, None]), 0.0).sum(1)
    saved = np.where(present, tokens, 0.0).sum(1) - sampled
    cost = orders.path.spent[rows, started - 1] - orders.token_cost * saved
    return Outcome(mean(right[rows, ended - 1]), mean(cost), mean(started.astype(float)), mean(sampled))
