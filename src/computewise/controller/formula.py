"""Stopping rules of one line: a product of powers of what was seen, and an order in which the arms draw.

`doubt / draws` is what an engineer writes in five minutes: the chance that the vote's leader is not ahead, divided by
the draws made. A cascade goes through its arms in order, some draws by each: up to four samples of a model, then a
larger model. What the formula comes to falls from draw to draw, and the price says where to stop.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from computewise.controller.frontier import StoppingPath
from computewise.controller.replay import RecordedPool, ReplayEnv
from computewise.controller.rule import LOG_TOKENS, StoppingRule
from computewise.controller.state import FEATURES, doubt
from computewise.errors import RunError
from computewise.metrics import Bools, Floats, Ints

DRAWS = FEATURES.index("draws")
UNANSWERED_SHARE = FEATURES.index("unanswered a draw")
LEADERS_VALUE = FEATURES.index("leader's best value")

LEAST_DOUBT = 1e-4
"""Added to the doubt of a vote: no vote is beyond it."""
LEAST_ERROR = 1e-3
"""Added to one minus a verifier's value: no verifier is sure."""

TERMS = ("doubt", "error", "draws", "cost", "unanswered")
"""What a formula multiplies powers of.

"doubt" is the chance, by a normal approximation, that the leader of the vote is not ahead; "error" is one minus the
best value that the verifier gave to the leader; "draws" and "cost" are what was drawn so far, the cost in draws of the
first arm; "unanswered" is e to the share of draws without an answer.
"""

Powers = Mapping[str, float]

UNIFORM: Powers = {"draws": -1.0}
"""Equal samples for every problem."""
DOUBT_PER_DRAW: Powers = {"doubt": 1.0, "draws": -1.0}
ERROR_PER_DRAW: Powers = {"error": 1.0, "draws": -1.0}


def terms(features: Floats, cost: Floats) -> Floats:
    """(rows, `TERMS`): logarithms. `cost` is (rows,): of what was drawn so far, in draws of the first arm."""
    return np.column_stack(
        [
            np.log(doubt(features) + LEAST_DOUBT),
            np.log(1.0 - np.clip(features[:, LEADERS_VALUE], 0.0, 1.0) + LEAST_ERROR),
            np.log(features[:, DRAWS]),
            np.log(np.maximum(cost, 1e-9)),
            features[:, UNANSWERED_SHARE],
        ]
    )


@dataclass(frozen=True, slots=True)
class Confidence:
    """The chance that the leader is right, by logistic regression on `evidence`; `weights` begin with the constant."""

    weights: tuple[float, ...] = ()

    def of(self, features: Floats) -> Floats:
        """(rows,): in (0, 1); one half where nothing was fitted."""
        if not self.weights:
            return np.full(len(features), 0.5)
        return np.asarray(1.0 / (1.0 + np.exp(-(_evidence(features) @ np.array(self.weights)))))


def _evidence(features: Floats) -> Floats:
    """(rows, 6): a constant, doubt, the leader's value and share, draws and the share without an answer."""
    value = np.clip(features[:, LEADERS_VALUE], 0.0, 1.0)
    return np.column_stack(
        [
            np.ones(len(features)),
            np.log(doubt(features) + 1e-2),
            np.log(1.0 - value + 1e-2),
            features[:, FEATURES.index("leader's share of draws")],
            np.log(features[:, DRAWS]),
            features[:, UNANSWERED_SHARE],
        ]
    )


def fit_confidence(features: Floats, right: Bools, *, ridge: float = 1.0, steps: int = 20) -> Confidence:
    """Penalised maximum likelihood by Newton's method; each row counts so that all together count as 200."""
    rows, weight = _evidence(features), 200.0 / max(len(features), 1)
    weights, penalty = np.zeros(rows.shape[1]), ridge * np.eye(rows.shape[1])
    penalty[0, 0] = 1e-3
    for _ in range(steps):
        chance = 1.0 / (1.0 + np.exp(-np.clip(rows @ weights, -30.0, 30.0)))
        slope = weight * rows.T @ (right - chance) - penalty @ weights
        curvature = weight * (rows * (chance * (1.0 - chance))[:, None]).T @ rows + penalty
        step = np.linalg.solve(curvature, slope)
        weights = weights + step
        if np.abs(step).max() < 1e-8:
            break
    return Confidence(tuple(float(one) for one in weights))


@dataclass(frozen=True, slots=True, kw_only=True)
class FormulaRule(StoppingRule):
    """Draws through `steps` in order, while `scale` times the product of `powers` of `TERMS` is above the price."""

    steps: tuple[tuple[str, int], ...]
    """Arms, and up to how many increments of each; an arm that has fewer is left for the next."""
    powers: Powers
    costs: tuple[float, ...]
    """Of an increment of each arm, in draws of the first."""
    scale: float = 1.0
    """Accuracy by draw: the worth is so on average over the problems that it was fitted on."""
    confidence: Confidence = field(default_factory=Confidence)

    def __post_init__(self) -> None:
        if unknown := set(self.powers) - set(TERMS):
            raise RunError(f"unknown term {min(unknown)!r} of a formula: allowed are {', '.join(TERMS)}")
        named = {arm for arm, count in self.steps if arm in self.arms and count > 0}
        if not named or len(named) < len(self.steps):
            raise RunError(f"steps {self.steps} are not allowed: each of some of {', '.join(self.arms)}, once")

    @property
    def first(self) -> str:
        """The arm of the first step."""
        return self.steps[0][0]

    def __str__(self) -> str:
        steps = ", then ".join(f"up to {count} by {arm}" for arm, count in self.steps)
        return f"{formula(self.powers)}: {steps}" if len(self.steps) > 1 else formula(self.powers)

    def worth(self, features: Floats, left: Ints) -> tuple[Floats, Ints, Floats]:
        """As `StoppingRule.worth`."""
        logs = self.logs(features) @ self.exponents
        arm = self.next_arm(features, left)
        worth = np.where(arm >= 0, self.scale * np.exp(logs) / self.longer(features), -np.inf)
        return worth, arm, self.confidence.of(features)

    @property
    def exponents(self) -> Floats:
        """(`TERMS`,)."""
        return np.array([self.powers.get(term, 0.0) for term in TERMS])

    def logs(self, features: Floats) -> Floats:
        """(rows, `TERMS`): the logarithms of the terms."""
        return terms(features, self._drawn(features) @ np.array(self.costs))

    def _drawn(self, features: Floats) -> Floats:
        """(rows, arms): increments. Those of the first arm are the draws that the other arms did not make."""
        by = features[:, len(FEATURES) :]
        # An increment of a search makes several draws, so the first arm is held to what the steps allow it.
        most = sum(count for name, count in self.steps if name == self.arms[0])
        return np.column_stack([np.clip(features[:, DRAWS] - by.sum(1), 0.0, most), by])

    def next_arm(self, features: Floats, left: Ints) -> Ints:
        """(rows,): the first arm in the order of the steps that has not drawn its share and has draws left; else -1."""
        drawn, arm = self._drawn(features), np.full(len(features), -1)
        for name, count in self.steps:
            number = self.arms.index(name)
            arm[(arm < 0) & (drawn[:, number] < count) & (left[:, number] > 0)] = number
        return arm

    def repriced(self, before: RecordedPool, after: RecordedPool) -> FormulaRule:
        """As `StoppingRule.repriced`; the formula itself stays."""
        return replace(self, costs=arm_costs(after), prices=())


def formula(powers: Powers) -> str:
    """The formula as a line of text, such as "doubt / draws"."""
    over = [_power(term, power) for term, power in powers.items() if power > 0]
    under = [_power(term, -power) for term, power in powers.items() if power < 0]
    return " x ".join(over or ["1"]) + "".join(f" / {one}" for one in under)


def _power(term: str, power: float) -> str:
    return term if power == 1 else f"{term}^{power:.3g}"


def arm_costs(pool: RecordedPool) -> tuple[float, ...]:
    """The mean cost of an increment of each arm, in draws of the first."""
    return tuple(arm.mean_cost / pool.arms[0].mean_cost for arm in pool.arms)


def usual_length(pool: RecordedPool) -> float:
    """The logarithm of the mean tokens of a draw by the first arm."""
    tokens = pool.arms[0].ballots.tokens
    return float(np.log(max(tokens.sum() / max(pool.arms[0].lengths.sum(), 1), 1.0)))


@dataclass(frozen=True)
class Walk:
    """A pool drawn to the end in the order of a rule's steps: what any formula comes to on the way.

    `logs` are (rows, stops, `TERMS`), `length` (rows, stops) mean log tokens. `evidence` are the features of every
    `EVERY`-th row after each stop, one stop after the other, and whether stopping there is right.
    """

    path: StoppingPath
    logs: Floats
    length: Floats
    evidence: tuple[Floats, Bools]

    @classmethod
    def of(cls, rule: FormulaRule, pool: RecordedPool, *, repeats: int, seed: int) -> Walk:
        """Follow the rule's steps whatever they are worth."""
        env = ReplayEnv(pool.weighing(rule.votes), repeats, seed)
        every, first = np.arange(len(env.problems)), rule.arms.index(rule.first)
        env.draw(first, every)
        spent, right, arms, logs, length = (
            [env.spent.copy()],
            [env.right()],
            list[Ints](),
            list[Floats](),
            list[Floats](),
        )
        seen: tuple[list[Floats], list[Bools]] = [], []
        while True:
            features = env.tally.features(every)
            logs.append(rule.logs(features))
            length.append(features[:, LOG_TOKENS])
            seen[0].append(features[::EVERY])
            seen[1].append(right[-1][::EVERY])
            arm = rule.next_arm(features, env.left)
            arms.append(arm)
            if not (arm >= 0).any():
                break
            for each in np.unique(arm[arm >= 0]):
                env.draw(int(each), np.flatnonzero(arm == each))
            spent.append(env.spent.copy())
            right.append(env.right())
        by = np.stack(arms, 1)
        path = StoppingPath(env.problems, np.where(by >= 0, 0.0, -np.inf), np.stack(spent, 1), np.stack(right, 1), by)
        return cls(path, np.stack(logs, 1), np.stack(length, 1), (np.concatenate(seen[0]), np.concatenate(seen[1])))

    def follow(self, rule: FormulaRule) -> StoppingPath:
        """The path of any rule with the same steps and votes."""
        logs = self.logs @ rule.exponents
        if rule.log_tokens is not None:
            logs = logs - (self.length - rule.log_tokens)
        worth = np.where(self.path.arms >= 0, rule.scale * np.exp(logs), -np.inf)
        return replace(self.path, worth=np.minimum.accumulate(worth, axis=1))


EVERY = 4
"""Of the rows of a walk, the confidence is fitted on every so many."""


def calibrated(rule: FormulaRule, pool: RecordedPool, only: Ints, *, repeats: int, seed: int) -> FormulaRule:
    """With the scale at which its worth is accuracy by draw on these problems, and a fitted confidence."""
    walk = Walk.of(rule, pool, repeats=repeats, seed=seed)
    path, kept = walk.follow(replace(rule, scale=1.0)), np.isin(walk.path.problems, only)
    steps = np.diff(path.spent, axis=1) / pool.arms[0].mean_cost
    worth = np.where(np.isfinite(path.worth[:, :-1]), path.worth[:, :-1], 0.0)
    total = float((worth * steps)[kept].sum(1).mean())
    gained = float(path.right[kept, -1].mean() - path.right[kept, 0].mean())
    scale = max(gained, 1e-3) / total if total > 0 else 1.0
    features, right = walk.evidence
    stops = path.worth.shape[1]
    seen = np.tile(kept[::EVERY], stops)
    return replace(rule, scale=scale, confidence=fit_confidence(features[seen], right[seen]))
