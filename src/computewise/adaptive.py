"""Solving one problem under a policy: draw, look, choose again, until nothing is worth its price."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from statistics import fmean

from computewise.core import Candidate, Model, Problem, Task, Usage, Verifier
from computewise.draws import LEAST_PROBABILITY
from computewise.errors import UsageError
from computewise.policy.actions import Action
from computewise.policy.file import Arm, Fitted
from computewise.policy.state import Solution, State
from computewise.session import Ledger, Session, Strategy, run
from computewise.strategies import StepRevisions, build
from computewise.strategies.gating import trusted
from computewise.verifiers.logprob import mean_probabilities

Watch = Callable[["Decision"], None]


@dataclass(frozen=True, slots=True)
class Decision:
    """What was done and seen: `drawn` are the solutions of one increment, none where the action ended it."""

    action: Action
    drawn: tuple[Candidate, ...]
    leader: str | None


@dataclass(frozen=True, slots=True)
class Adaptive:
    """How a problem was solved. `answer` is None where nothing answered or the policy abstained."""

    answer: str | None
    chosen: Candidate | None
    decisions: tuple[Decision, ...]
    explored: tuple[Candidate, ...]
    usage: Mapping[str, Usage]
    """By model; the verifier's reading beside that of the model whose solutions it read."""


async def solve_adaptively(
    problem: Problem,
    fitted: Fitted,
    price: float,
    models: Mapping[str, Model],
    verifier: Verifier | None,
    task: Task,
    *,
    seed: int = 0,
    least_confidence: float = 0.0,
    watch: Watch | None = None,
) -> Adaptive:
    """Follow `fitted`, where one draw of its probe arm is worth `price` in accuracy.

    `least_confidence` lets it abstain. `watch` is called with every decision. Errors of a model or the verifier are
    raised as `ModelError`.
    """
    lacking = [name for name in fitted.models if name not in models]
    if lacking:
        raise UsageError(f"the policy draws by {', '.join(lacking)}: allowed are {', '.join(models)}")
    arms = {
        arm.name: _Drawing(arm, number, problem, models[arm.model], verifier, task, seed)
        for number, arm in enumerate(fitted.arms)
    }
    state, decisions = State(fitted.limits), list[Decision]()
    while True:
        action = fitted.policy.choose(state, price, least_confidence=least_confidence)
        drawn, chain = await arms[action.arm].draw() if action.arm else ((), None)
        if action.arm:
            state.add(action.arm, [_solution(c, task, verifier) for c in drawn], chain=chain)
        decisions.append(Decision(action, drawn, state.leader))
        if watch:
            watch(decisions[-1])
        if action.arm is None:
            return _ended(decisions, arms, task, verifier)


def _ended(decisions: list[Decision], arms: Mapping[str, _Drawing], task: Task, verifier: Verifier | None) -> Adaptive:
    answer = decisions[-1].leader if decisions[-1].action.kind == "stop" else None
    agreeing = [c for d in decisions for c in d.drawn if answer is not None and _answer(c, task) == answer]
    usage: dict[str, Usage] = {}
    for arm in arms.values():
        usage[arm.model.name] = usage.get(arm.model.name, Usage()) + arm.ledger.usage
    return Adaptive(
        answer=answer,
        chosen=max(agreeing, key=lambda c: verifier.value(c.scores) if verifier else 1.0, default=None),
        decisions=tuple(decisions),
        explored=tuple(c for arm in arms.values() for c in arm.ledger.in_order()),
        usage=usage,
    )


def _answer(candidate: Candidate, task: Task) -> str | None:
    return task.answer(candidate.text) if candidate.end == "stop" else None


def _solution(candidate: Candidate, task: Task, verifier: Verifier | None) -> Solution:
    scores = candidate.scores or (1.0,)
    probability = mean_probabilities(candidate)[-1] if candidate.steps else 0.0
    return Solution(
        answer=_answer(candidate, task),
        value=verifier.value(candidate.scores) if verifier else 1.0,
        mean=fmean(scores),
        low=min(scores),
        logprob=math.log(max(probability, LEAST_PROBABILITY)),
        tokens=sum(step.tokens for step in candidate.steps),
    )


@dataclass(slots=True)
class _Drawing:
    """One arm at work on one problem."""

    arm: Arm
    number: int
    problem: Problem
    model: Model
    verifier: Verifier | None
    task: Task
    seed: int
    ledger: Ledger = field(default_factory=Ledger)
    increments: int = 0
    chain: list[Candidate] = field(default_factory=list)
    session: Session | None = None

    async def draw(self) -> tuple[tuple[Candidate, ...], str | None]:
        """The next increment, and the name of the chain it goes on with."""
        settings = {name: value for name, value in self.arm.strategy.items() if not isinstance(value, str)}
        strategy = build(str(self.arm.strategy["name"]), settings)
        self.increments += 1
        if isinstance(strategy, StepRevisions):
            return await self._attempt(strategy)
        return await self._whole(strategy), None

    async def _whole(self, strategy: Strategy) -> tuple[Candidate, ...]:
        session = self._session()
        return tuple(await session.score(await run(strategy, session)))

    async def _attempt(self, strategy: StepRevisions) -> tuple[tuple[Candidate, ...], str]:
        ended = len(self.chain) >= strategy.chain_length
        if self.session is None or ended or trusted(self.session, self.chain[-1], strategy.trust):
            self.session, self.chain = self._session(), []
            drawn = await self.session.sample(1)
        else:
            drawn = await self.session.revise([self.chain], keep_trusted=True)
        self.chain += await self.session.score(drawn)
        return (self.chain[-1],), self.chain[0].id

    def _session(self) -> Session:
        """A session of its own for every increment or chain: no two share a seed or an id."""
        return Session(
            self.problem,
            self.model,
            self.verifier,
            self.task.delimiter,
            seed=self.seed,
            path=f"{self.number}:{self.increments}:",
            ledger=self.ledger,
        )
