"""Independent samples of each problem in random orders: what stopping after each of them comes to, by published rules.

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

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import lru_cache
from math import comb
from typing import NamedTuple

import numpy as np

from computewise.controller.bin_policy import allocate
from computewise.controller.frontier import StoppingPath
from computewise.controller.replay import ABSENT, RecordedPool, ReplayEnv
from computewise.controller.state import EARLIER, doubt
from computewise.metrics import Bools, Floats, Ints


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a way of drawing came to on each problem, the mean over its orders: arrays (problems,).

    `cost` is in the unit of the comparison; `samples` were started and `tokens` were sampled.
    """

    accuracy: Floats
    cost: Floats
    samples: Floats
    tokens: Floats


FIELDS = tuple(field.name for field in fields(Outcome))


@dataclass(frozen=True, slots=True)
class SampleOrders:
    """Independent samples of each problem in random orders: arrays (rows, samples), one row an order.

    Rows stand as in `ReplayEnv`: the orders of a problem follow one another. After a row's last sample `answers` hold
    `ABSENT`.
    """

    path: StoppingPath
    """All samples for every problem: a stop after each, with its cost and whether the vote is right."""
    answers: Ints
    tokens: Floats
    lengths: Ints
    """(rows,): how many samples there are."""
    right_answers: Bools
    """(rows, answers): the right ones."""
    token_cost: float
    """What a token that is not sampled saves, in the unit of the comparison."""

    doubts: Floats
    """(rows, samples): by a normal approximation, the chance that the leader of the vote is not ahead."""

    @classmethod
    def of(cls, pool: RecordedPool, *, repeats: int, seed: int, token_cost: float = 0.0) -> SampleOrders:
        """The samples of the pool's first arm, in the orders in which a rule is replayed with the same seed."""
        env = ReplayEnv(pool, repeats, seed)
        ballots, rows, lengths = pool.arms[0].ballots, env.problems, env.lengths[:, 0]
        answers, tokens = (each[rows[:, None], env.orders[0], 0] for each in (ballots.answers, ballots.tokens))
        spent, doubts = np.zeros(answers.shape), np.zeros(answers.shape)
        right = np.zeros(answers.shape, np.bool_)
        for place in range(answers.shape[1]):
            env.draw(0, np.flatnonzero(lengths > place))
            spent[:, place], right[:, place] = env.spent, env.right()
            doubts[:, place] = doubt(env.tally.features(np.arange(len(rows))))
        going = np.arange(answers.shape[1]) < lengths[:, None] - 1
        path = StoppingPath(rows, np.where(going, 1.0, -np.inf), spent, right, np.where(going, 0, -1))
        return cls(path, answers, tokens, lengths, pool.right[rows], token_cost, doubts)

    def after(self, stops: Ints) -> Outcome:
        """The outcome where each row stops after sample number `stops`, (rows,), counted from 0."""
        rows, mean = np.arange(len(stops)), self.path.by_problem
        taken = np.arange(self.tokens.shape[1]) <= stops[:, None]
        return Outcome(
            mean(self.path.right[rows, stops]),
            mean(self.path.spent[rows, stops]),
            mean(np.asarray(stops + 1.0)),
            mean((self.tokens * taken).sum(1)),
        )

    def uniform(self, samples: int) -> Outcome:
        """So many samples for every problem, or all that it has."""
        return self.after(np.minimum(samples, self.lengths) - 1)

    def oracle(self, costs: Sequence[float]) -> list[Outcome]:
        """At each mean cost: knows each problem's accuracy after each number of samples, not which samples are right.

        It includes luck, so no rule can be expected to reach it.
        """
        each = [self.uniform(samples) for samples in range(1, self.answers.shape[1] + 1)]
        curves = {name: np.stack([getattr(one, name) for one in each], 1) for name in FIELDS}
        shares = [allocate(curves["accuracy"], curves["cost"], cost) for cost in costs]
        return [Outcome(*((share * curve).sum(1) for curve in curves.values())) for share in shares]

    def along(self, path: StoppingPath, price: float) -> Outcome:
        """The outcome of another rule's path over the same orders, at a price."""
        return self.after(path.stops(price)[np.argsort(path.problems, kind="stable")])

    def path_of(self, doubt: Floats) -> StoppingPath:
        """The path of a rule that stops where its doubt, (rows, samples), is at most the price."""
        going = np.arange(doubt.shape[1]) < self.lengths[:, None] - 1
        worth = np.where(going, np.minimum.accumulate(doubt, axis=1), -np.inf)
        return StoppingPath(self.path.problems, worth, self.path.spent, self.path.right, self.path.arms)


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
