"""Walks through recorded samples, and the transitions that a controller learns from."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from computewise.controller.state import AMOUNTS, EvidenceState, SampleBatch, Votes
from computewise.errors import RunError, UsageError
from computewise.metrics import UNANSWERED, Bools, Floats, Ints
from computewise.samples import ProblemSamples, SampleArrays

ABSENT = -2

"""In a padded array of answers: there is no draw."""


@dataclass(frozen=True, slots=True)
class RecordedArm:
    """What one arm drew for every problem: (problems, increments, draws of an increment) padded arrays.

    An increment is a block of `SampleArrays`: one sample, one revision, or all of a search. `costs` is (problems,
    increments); `groups` numbers the increments that belong to one chain and keep their order.
    """

    name: str
    ballots: SampleBatch
    costs: Floats
    lengths: Ints
    groups: Ints
    model: str = ""
    """Of several arms of one model, the first to draw pays the `opening`."""
    opening: Floats = field(default_factory=lambda: np.zeros(0))
    """(problems,): what the first draw costs more, for reading the prompt; empty for nothing."""

    @classmethod
    def of(cls, name: str, problems: Sequence[ProblemSamples]) -> RecordedArm:
        """The samples by the arm of that name, padded to the longest."""
        drawn = [problem.arms[name] for problem in problems]
        starts = [np.flatnonzero(np.diff(draws.blocks, prepend=-1)) for draws in drawn]
        lengths = np.array([len(start) for start in starts])
        widest = max(int(np.diff(start, append=len(d)).max(initial=1)) for d, start in zip(drawn, starts, strict=True))
        shape = len(drawn), int(lengths.max(initial=0)), widest
        arrays: dict[str, NDArray[Any]] = {one.name: np.zeros(shape) for one in fields(SampleBatch)}
        arrays["answers"] = np.full(shape, ABSENT, np.int64)
        costs, groups = np.zeros(shape[:2]), np.zeros(shape[:2], np.int64)
        for problem, (draws, start) in enumerate(zip(drawn, starts, strict=True)):
            block = np.cumsum(np.isin(np.arange(len(draws)), start)) - 1
            within = np.arange(len(draws)) - start[block] if len(draws) else block
            for field_name, array in arrays.items():
                values = _votes(draws) if field_name == "weights" else getattr(draws, field_name)
                array[problem, block, within] = values
            costs[problem, : len(start)] = np.bincount(block, draws.costs, len(start)) if len(draws) else 0.0
            groups[problem, : len(start)] = draws.chains[start]
        paid = [problem.opening.get(name, (name, 0.0)) for problem in problems]
        model = paid[0][0] if paid else name
        return cls(name, SampleBatch(**arrays), costs, lengths, groups, model, np.array([cost for _, cost in paid]))

    @property
    def mean_cost(self) -> float:
        """Of an increment, where the prompt was read before."""
        return float(self.costs.sum() / self.lengths.sum())

    def shuffled(self, problem: int, rng: np.random.Generator) -> Ints:
        """An order of a problem's increments, padding last; chains stay whole, in order."""
        groups = self.groups[problem]
        keys = rng.random(int(groups.max(initial=0)) + 1)[groups]
        keys[self.lengths[problem] :] = 2.0
        return np.lexsort((np.arange(len(keys)), keys))


def _votes(draws: SampleArrays) -> Floats:
    """What each draw adds to the vote: its value; in a chain, by how much it raises the chain's best for the answer.

    So a chain votes for an answer once, however often it repeats it. It votes for each answer that it gives, where
    `selection.hierarchical` lets it vote for its best one alone: a controller stops between attempts, and an answer
    that a later attempt may yet drop or repeat has to count by then.
    """
    weights, best = np.array(draws.values, float), dict[tuple[int, int, int], float]()
    sizes = np.bincount(draws.blocks)
    for place, (chain, block, answer) in enumerate(zip(draws.chains, draws.blocks, draws.answers, strict=True)):
        # What one search found together is no chain of revisions: each of it votes.
        key = (int(chain), int(answer), place if sizes[block] > 1 else -1)
        before = best.get(key, 0.0)
        weights[place] = max(0.0, weights[place] - before)
        best[key] = max(before, float(draws.values[place]))
    return weights


class RecordedPool:
    """Problems and what was drawn for them; `probe` is the arm that draws first."""

    def __init__(self, problems: Sequence[ProblemSamples]) -> None:
        names = list(problems[0].arms) if problems else []
        if not names or any(list(problem.arms) != names for problem in problems):
            raise RunError("a workload needs problems that were drawn for by the same arms")
        lacking = next((problem.id for problem in problems if not len(problem.arms[names[0]])), None)
        if lacking is not None:
            raise RunError(f"problem {lacking!r} has no draw by {names[0]!r}")
        self.problems = list(problems)
        self.ids = [problem.id for problem in problems]
        self.arms = [RecordedArm.of(name, self.problems) for name in names]
        self.answers = 1 + max(int(d.answers.max(initial=0)) for problem in problems for d in problem.arms.values())
        self.right: Bools = np.zeros((len(problems), self.answers), np.bool_)
        for row, problem in enumerate(problems):
            self.right[row, problem.right[problem.right != UNANSWERED]] = True

    def weighing(self, votes: Sequence[float]) -> RecordedPool:
        """The same problems, where a vote of each arm counts so many times; all alike where `votes` is empty."""
        if not votes or set(votes) == {1.0}:
            return self
        pool = copy(self)
        pool.arms = [
            replace(arm, ballots=replace(arm.ballots, weights=arm.ballots.weights * vote))
            for arm, vote in zip(self.arms, votes, strict=True)
        ]
        return pool

    def __len__(self) -> int:
        return len(self.ids)

    def numbers(self, entries: Ints) -> Ints:
        """(entries,): the number of each entry's problem among them; with several seeds a problem has several."""
        seen: dict[str, int] = {}
        return np.array([seen.setdefault(self.ids[entry], len(seen)) for entry in entries.tolist()], np.int64)

    @property
    def names(self) -> list[str]:
        """The arms, the probe first."""
        return [arm.name for arm in self.arms]


class ReplayEnv:
    """Rows that draw from a workload, each for one problem and in its own order: `repeats` rows for each of `only`.

    The orders of a problem do not depend on which others are walked with it, so that rules can be compared in pairs.
    """

    def __init__(self, workload: RecordedPool, repeats: int, seed: int, only: Ints | None = None) -> None:
        self.workload = workload
        self.problems = np.repeat(np.arange(len(workload)) if only is None else only, repeats)
        rows = list(enumerate(self.problems.tolist()))
        dice = [np.random.default_rng((seed, row % repeats, problem)) for row, problem in rows]
        self.orders = [np.stack([arm.shuffled(problem, dice[row]) for row, problem in rows]) for arm in workload.arms]
        self.drawn = np.zeros((len(self.problems), len(workload.arms)), np.int64)
        self.lengths = np.stack([arm.lengths[self.problems] for arm in workload.arms], 1)
        self.spent = np.zeros(len(self.problems))
        self.probed = np.zeros(len(self.problems))
        """What the probe arm's draws took: what a draw costs for this problem is read off it."""
        self.tally = EvidenceState.none(len(self.problems), workload.answers, len(workload.arms))

    @property
    def left(self) -> Ints:
        """(rows, arms): increments nobody has drawn."""
        return self.lengths - self.drawn

    @property
    def unit(self) -> Floats:
        """(rows,): the mean cost of a draw by the probe arm, so far."""
        return self.probed / np.maximum(self.drawn[:, 0], 1)

    def draw(self, arm: int, rows: Ints) -> None:
        """The next increment of an arm for each of `rows`; it must have one left."""
        chosen = self.workload.arms[arm]
        problems, place = self.problems[rows], self.orders[arm][rows, self.drawn[rows, arm]]
        for ballot, there in _each(chosen, problems, place):
            self.tally.add(rows[there], ballot)
        cost = chosen.costs[problems, place]
        self.spent[rows] += cost + self.opening(arm, rows)
        if arm == 0:
            self.probed[rows] += cost
        self.drawn[rows, arm] += 1
        self.tally.drawn[rows, arm] += 1

    def opening(self, arm: int, rows: Ints) -> Floats:
        """(rows,): what the next draw by the arm pays for the prompt, if its model has not drawn before."""
        chosen = self.workload.arms[arm]
        if not len(chosen.opening):
            return np.zeros(len(rows))
        same = [number for number, other in enumerate(self.workload.arms) if other.model == chosen.model]
        new = self.drawn[rows][:, same].sum(1) == 0
        return np.where(new, chosen.opening[self.problems[rows]], 0.0)

    def right(self) -> Bools:
        """(rows,): whether stopping now would be right."""
        return self.tally.votes.right(self.workload.right[self.problems])

    def ahead(self, arm: int, amounts: Sequence[int], rows: Ints) -> tuple[Floats, Floats]:
        """(rows, amounts) each: right after that many further increments or as many as there are, and their cost."""
        chosen, drawn = self.workload.arms[arm], self.drawn[rows, arm].copy()
        votes = Votes(self.tally.votes.weights[rows], self.tally.votes.counts[rows])
        problems, right = self.problems[rows], self.workload.right[self.problems[rows]]
        after, costs = np.zeros((len(rows), len(amounts))), np.zeros((len(rows), len(amounts)))
        cost = np.where(self.left[rows, arm] > 0, self.opening(arm, rows), 0.0)
        for step in range(1, max(amounts, default=0) + 1):
            there = np.flatnonzero(drawn < self.lengths[rows, arm])
            place = self.orders[arm][rows[there], drawn[there]]
            for ballot, voting in _each(chosen, problems[there], place):
                votes.add(there[voting], ballot)
            cost[there] += chosen.costs[problems[there], place]
            drawn[there] += 1
            if step in amounts:
                column = list(amounts).index(step)
                after[:, column], costs[:, column] = votes.right(right), cost
        return after, costs


def _each(arm: RecordedArm, problems: Ints, place: Ints) -> list[tuple[SampleBatch, Ints]]:
    """The ballots of an increment one by one, and which rows have them."""
    found = []
    for index in range(arm.ballots.answers.shape[2]):
        there = np.flatnonzero(arm.ballots.answers[problems, place, index] != ABSENT)
        at = problems[there], place[there], index
        found.append((SampleBatch(*(getattr(arm.ballots, one.name)[at] for one in fields(SampleBatch))), there))
    return found


MOMENTS = (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 18, 20, 24, 28, 32, 40, 48, 56, 64, 80, 96, 128)

"""After how many increments a walk is looked at."""

MOST_REPEATS = 20, 12
"""Orders of a problem that are walked, with several arms and with one: mixtures of arms need more of them."""


@dataclass(frozen=True, slots=True)
class Transitions:
    """States, (states, ..) each: features, whether stopping is right, and for each option by how much more so it would
    be after it, what it would cost, and what the probe's draws of the problem have cost on average.
    """

    options: list[tuple[int, int]]
    """Arm and amount."""
    problems: Ints
    features: Floats
    right: Floats
    gains: Floats
    costs: Floats
    units: Floats

    def of(self, problems: Ints, most: int) -> Transitions:
        """Those of some problems, evenly thinned to `most` or a few more."""
        kept = np.flatnonzero(np.isin(self.problems, problems))
        kept = kept[:: max(1, len(kept) // most)]
        return Transitions(
            self.options,
            self.problems[kept],
            self.features[kept],
            self.right[kept],
            self.gains[kept],
            self.costs[kept],
            self.units[kept],
        )


def collect(workload: RecordedPool, problems: Ints, numbers: int, seed: int) -> Transitions:
    """Draw at random, mostly going on with the arm that drew last, and look ahead at certain moments.

    In up to `MOST_REPEATS` orders of each problem, fewer so that states times options are about `numbers`.
    """
    amounts = [
        [a for a in AMOUNTS if a <= int(arm.lengths.max()) - (index == 0)] for index, arm in enumerate(workload.arms)
    ]
    options = [(arm, amount) for arm, each in enumerate(amounts) for amount in each]
    increments = sum(arm.lengths[problems].mean() for arm in workload.arms)
    looks = max(1, sum(moment < increments for moment in MOMENTS))
    most = MOST_REPEATS[len(workload.arms) == 1]
    repeats = int(np.clip(numbers // (len(problems) * looks * max(1, len(options))), 1, most))
    walk, rng = ReplayEnv(workload, repeats, seed, problems), np.random.default_rng(seed)
    arm, seen = np.zeros(len(walk.problems), np.int64), []
    for moment in range(1, MOMENTS[-1] + 1):
        for each in range(len(workload.arms)):
            walk.draw(each, np.flatnonzero((arm == each) & (walk.left[:, each] > 0)))
        left = walk.left
        rows = np.flatnonzero((left > 0).any(1) & (walk.drawn.sum(1) == moment))
        if not len(rows):
            break
        if moment in MOMENTS:
            seen.append(_look(walk, amounts, rows))
        arm = _next_arm(arm, left, rng)
    if not seen:
        raise UsageError("there is nothing to fit on: no problem has more than one draw")
    return Transitions(options, *(np.concatenate(part) for part in zip(*seen, strict=True)))


def _look(walk: ReplayEnv, amounts: list[list[int]], rows: Ints) -> tuple[Ints, Floats, Floats, Floats, Floats, Floats]:
    now = walk.right()[rows].astype(float)
    ahead = [walk.ahead(arm, each, rows) for arm, each in enumerate(amounts)]
    after = np.concatenate([right for right, _ in ahead], 1)
    costs = np.concatenate([cost for _, cost in ahead], 1)
    return walk.problems[rows], walk.tally.features(rows), now, after - now[:, None], costs, walk.unit[rows]


def _next_arm(arm: Ints, left: Ints, rng: np.random.Generator) -> Ints:
    """Mostly the same; else the probe or any other alike; where nothing is left of it, one that has something."""
    other = np.where(rng.random(len(arm)) < 0.5, 0, rng.integers(left.shape[1], size=len(arm)))
    chosen = np.where(rng.random(len(arm)) < 0.8, arm, other)
    spent = left[np.arange(len(arm)), chosen] == 0
    return np.where(spent, (left > 0).argmax(1), chosen)
