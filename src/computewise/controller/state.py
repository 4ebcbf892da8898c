"""What a controller looks at: the evidence of what was drawn, as numbers, and the actions it may take."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from computewise.core import ObservedSample
from computewise.metrics import UNANSWERED, Bools, Floats, Ints

AMOUNTS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32)

"""How many further increments of an arm are looked ahead to: an answer may need several to change."""


@dataclass(frozen=True, slots=True)
class Option:
    """Draw `amount` further increments by `arm`; `costs` so many draws of the probe arm, on average."""

    arm: str
    amount: int
    costs: float


FEATURES = (
    "leader's share of draws",
    "leader's weight a draw",
    "runner-up's share of draws",
    "runner-up's weight a draw",
    "margin a draw",
    "margin in standard errors",
    "leader's best value",
    "runner-up's best value",
    "distinct answers",
    "distinct answers a draw",
    "answers seen once, a draw",
    "unanswered a draw",
    "draws",
    "mean value",
    "best value",
    "mean log-odds of value",
    "mean of steps' mean score",
    "mean of steps' least score",
    "mean log tokens",
    "mean log-probability",
)

"""Of everything drawn for the problem, by whatever arm; after them comes how often each arm but the first drew."""

LEAST_ODDS = 1e-3


def doubt(features: Floats) -> Floats:
    """(rows,): the chance, by a normal approximation, that the leader's weight is not ahead."""
    margins = features[:, FEATURES.index("margin in standard errors")]
    return np.array([0.5 * math.erfc(margin / math.sqrt(2)) for margin in margins])


def feature_names(arms: Sequence[str]) -> list[str]:
    """The columns of `EvidenceState.features`."""
    return [*FEATURES, *(f"draws by {arm}" for arm in arms[1:])]


@dataclass(frozen=True, slots=True)
class SampleBatch:
    """One draw for each of some rows: arrays (rows,). `weights` is what it adds to its answer's vote."""

    answers: Ints
    values: Floats
    weights: Floats
    means: Floats
    lows: Floats
    logprobs: Floats
    tokens: Floats


EARLIER = 1e-9

"""What an answer gets for being seen before others: ties go to the earlier one, however a file numbers them."""


@dataclass(slots=True)
class Votes:
    """The weighted vote: (rows, answers) summed weights and number of draws."""

    weights: Floats
    counts: Floats

    @classmethod
    def none(cls, rows: int, answers: int) -> Votes:
        """Before any draw."""
        return cls(np.zeros((rows, answers)), np.zeros((rows, answers)))

    def add(self, rows: Ints, ballots: SampleBatch) -> None:
        """One ballot for each of `rows`; the unanswered do not vote."""
        voting = ballots.answers != UNANSWERED
        rows, answers = rows[voting], ballots.answers[voting]
        new = self.counts[rows, answers] == 0
        self.weights[rows, answers] += ballots.weights[voting]
        self.weights[rows[new], answers[new]] += EARLIER / (1 + (self.counts[rows[new]] > 0).sum(1))
        self.counts[rows, answers] += 1

    def leaders(self) -> Ints:
        """The answer of the largest weight, the one seen first among equals; UNANSWERED where nobody voted."""
        present = self.counts > 0
        return np.where(present.any(1), np.where(present, self.weights, -1.0).argmax(1), UNANSWERED)

    def right(self, right: Bools) -> Bools:
        """Whether the leader is among the right answers, (rows, answers)."""
        leaders = self.leaders()
        return (leaders != UNANSWERED) & right[np.arange(len(leaders)), leaders]


SUMS = ("draws", "unanswered", "squares", "values", "odds", "means", "lows", "lengths", "logprobs")


@dataclass(slots=True)
class EvidenceState:
    """Votes, and everything else the features need."""

    votes: Votes
    best: Floats
    """(rows, answers): the best value each answer had."""
    drawn: Floats
    """(rows, arms): how often each arm drew."""
    top: Floats
    """(rows,): the best value of all."""
    sums: dict[str, Floats] = field(default_factory=dict)

    @classmethod
    def none(cls, rows: int, answers: int, arms: int) -> EvidenceState:
        """Before any draw."""
        sums = {name: np.zeros(rows) for name in SUMS}
        votes = Votes.none(rows, answers)
        return cls(votes, np.zeros((rows, answers)), np.zeros((rows, arms)), np.zeros(rows), sums)

    def add(self, rows: Ints, ballots: SampleBatch) -> None:
        """One ballot for each of `rows`, no row twice."""
        self.votes.add(rows, ballots)
        voting = ballots.answers != UNANSWERED
        at = rows[voting], ballots.answers[voting]
        self.best[at] = np.maximum(self.best[at], ballots.values[voting])
        self.top[rows] = np.maximum(self.top[rows], ballots.values)
        odds = np.log((ballots.values + LEAST_ODDS) / (1 - ballots.values + LEAST_ODDS))
        for name, amount in (
            ("draws", 1.0),
            ("unanswered", ~voting),
            ("squares", ballots.weights**2 * voting),
            ("values", ballots.values),
            ("odds", odds),
            ("means", ballots.means),
            ("lows", ballots.lows),
            ("lengths", np.log(np.maximum(ballots.tokens, 1.0))),
            ("logprobs", ballots.logprobs),
        ):
            self.sums[name][rows] += amount

    def widen(self, answers: int) -> None:
        """Make room for more answers."""
        room = np.zeros((len(self.top), answers))
        self.votes = Votes(np.hstack([self.votes.weights, room]), np.hstack([self.votes.counts, room]))
        self.best = np.hstack([self.best, room])

    def features(self, rows: Ints) -> Floats:
        """(rows, FEATURES and arms but the first), of `rows`, which must have drawn."""
        every, counts, best = np.arange(len(rows)), self.votes.counts[rows], self.best[rows]
        weights = np.where(counts > 0, self.votes.weights[rows], -1.0)
        first = weights.argmax(1)
        lead, lead_count, lead_best = weights[every, first], counts[every, first], best[every, first]
        weights[every, first] = -1.0
        second = weights.argmax(1)
        seconded = weights[every, second] >= 0
        lead = np.maximum(lead, 0.0)
        runner = np.maximum(weights[every, second], 0.0)
        sums = {name: each[rows] for name, each in self.sums.items()}
        n, distinct = sums["draws"], (counts > 0).sum(1)
        columns = (
            lead_count / n,
            lead / n,
            counts[every, second] * seconded / n,
            runner / n,
            (lead - runner) / n,
            (lead - runner) / np.sqrt(sums["squares"] + 0.05),
            lead_best,
            best[every, second] * seconded,
            distinct,
            distinct / n,
            (counts == 1).sum(1) / n,
            sums["unanswered"] / n,
            n,
            sums["values"] / n,
            self.top[rows],
            sums["odds"] / n,
            sums["means"] / n,
            sums["lows"] / n,
            sums["lengths"] / n,
            sums["logprobs"] / n,
        )
        return np.column_stack([*columns, *self.drawn[rows, 1:].T])


ROOM = 16

"""Distinct answers that there is room for at first."""


class LiveState:
    """Draws as they come.

    `limits` says how many increments each arm may draw, `votes` how much a vote of each counts; empty for all alike.
    """

    def __init__(self, limits: Mapping[str, int], votes: Sequence[float] = ()) -> None:
        self.arms = list(limits)
        self.last: str | None = None
        self._limits = np.array([list(limits.values())])
        self._votes = dict(zip(limits, votes, strict=True)) if votes else dict.fromkeys(limits, 1.0)
        self._numbers: dict[str, int] = {}
        self._best: dict[tuple[str, str, int], float] = {}
        self._tally = EvidenceState.none(1, ROOM, len(limits))

    @property
    def left(self) -> Ints:
        """(1, arms): increments still allowed."""
        return self._limits - self._tally.drawn.astype(np.int64)

    @property
    def leader(self) -> str | None:
        """The answer that would be given now; None where nothing has answered."""
        number = int(self._tally.votes.leaders()[0])
        return None if number == UNANSWERED else list(self._numbers)[number]

    def features(self) -> Floats:
        """(1, features)."""
        return self._tally.features(ROW)

    def add(self, arm: str, solutions: Sequence[ObservedSample], *, chain: str | None = None) -> None:
        """One increment of an arm; `chain` names the chain of the arm's revisions that it goes on with."""
        for solution in solutions:
            number = self._number(solution.answer)
            weight = solution.value
            if chain is not None:
                best = self._best.get((arm, chain, number), 0.0)
                weight = max(0.0, solution.value - best)
                self._best[arm, chain, number] = max(best, solution.value)
            seen = (
                solution.value,
                weight * self._votes[arm],
                solution.score_mean,
                solution.score_min,
                solution.logprob,
                solution.tokens,
            )
            self._tally.add(ROW, SampleBatch(np.array([number]), *(np.array([float(one)]) for one in seen)))
        self._tally.drawn[0, self.arms.index(arm)] += 1
        self.last = arm

    def _number(self, answer: str | None) -> int:
        if answer is None:
            return UNANSWERED
        number = self._numbers.setdefault(answer, len(self._numbers))
        if number == self._tally.best.shape[1]:
            self._tally.widen(ROOM)
        return number


ROW = np.zeros(1, np.int64)
