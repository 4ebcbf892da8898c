"""Independent samples of each problem in random orders: what stopping after each of them comes to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

from computewise.controller.bin_policy import allocate
from computewise.controller.frontier import StoppingPath
from computewise.controller.replay import RecordedPool, ReplayEnv
from computewise.controller.state import doubt
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
