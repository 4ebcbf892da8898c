"""One problem under a controller: draw by its decisions, and say in words why it decided so."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from functools import partial

from computewise.controller.controller import Controller
from computewise.controller.file import ControllerArm
from computewise.controller.state import LiveState
from computewise.core import Candidate, Decision, Model, ObservedSample, Problem, Result, Task, Usage, Verifier
from computewise.errors import UsageError
from computewise.samples import observe_candidate
from computewise.session import Ledger, Limits, PromptCache, Session, Strategy, run
from computewise.solver import extract_answers, read_answer, total_flops
from computewise.strategies import StepRevisions, strategy_from_dict
from computewise.strategies.revisions import trusted


def why(decision: Decision, price: float) -> str:
    """Why the controller went on, or stopped."""
    action = decision.action
    if math.isinf(action.worth) and action.worth > 0:
        return "nothing was drawn yet"
    sure = f"the leading answer is right with a probability of {action.confidence:.2f}"
    if math.isinf(action.worth):
        return f"{sure}; nothing is left to draw"
    relation = "above" if action.arm is not None else "not above"
    return f"{sure}; the best option gains {action.worth:.2g} a draw, {relation} the price of {price:.2g}"


def why_stopped(decision: Decision, price: float, *, exhausted: bool) -> str:
    """How the search ended and why; `decision` is the last one."""
    if exhausted:
        return "the token budget ended the search"
    if decision.leader is None and decision.action.worth > price:
        return "the first solutions ended, or were cut off, without an answer to compare: no more were drawn"
    verb = "abstained" if decision.action.kind == "abstain" else "stopped"
    return f"{verb}: {why(decision, price)}"


Watch = Callable[[Decision], None]

_SAYS_NOTHING: dict[str, float] = {"stop": 1.0, "length": 0.5}

"""How much a solution without an answer says that the problem has none; one that was cut off might have reached it."""


async def solve_adaptively(
    problem: Problem,
    fitted: Controller,
    price: float,
    models: Mapping[str, Model],
    verifier: Verifier | None,
    task: Task,
    *,
    seed: int = 0,
    min_confidence: float = 0.0,
    temperature: float = 1.0,
    limits: Limits | None = None,
    budget: int | None = None,
    give_up_after: int | None = None,
    watch: Watch | None = None,
    ledgers: dict[str, Ledger] | None = None,
) -> Result:
    """Follow `fitted`, where one draw of its probe arm is worth `price` in accuracy.

    With `min_confidence`, the controller abstains where it is less confident. `budget` caps the sampled tokens of all
    arms together. The search stops where the first `give_up_after` solutions ended without an answer, or twice as many
    were cut off. `watch` is called with every decision; a caller that passes `ledgers` can watch the trees grow in
    them, by arm. Errors of a model or the verifier are raised as `ModelError`.
    """
    if budget is not None and budget < 1:
        raise UsageError(f"budget {budget} is not allowed: at least 1 sampled token")
    lacking = [name for name in fitted.models if name not in models]
    if lacking:
        raise UsageError(f"the policy draws by {', '.join(lacking)}: allowed are {', '.join(models)}")
    # A model reads the prompt once, whichever of its arms draws first.
    read = {name: PromptCache() for name in fitted.models}
    arms = {
        arm.name: _Drawing(
            *(arm, number, problem, models[arm.model], verifier, task, seed, temperature, limits or Limits()),
            Ledger(prompt=read[arm.model]),
        )
        for number, arm in enumerate(fitted.arms)
    }
    if ledgers is not None:
        ledgers.update((name, arm.ledger) for name, arm in arms.items())
    state, decisions, futile = LiveState(fitted.limits, fitted.rule.votes), list[Decision](), 0.0
    while True:
        action = fitted.rule.choose(state, price, min_confidence=min_confidence)
        left = None if budget is None else budget - sum(one.ledger.usage.completion_tokens for one in arms.values())
        spent = action.arm is not None and left == 0
        if spent or (action.arm and give_up_after is not None and futile >= give_up_after and state.leader is None):
            action = replace(action, kind="stop" if action.confidence >= min_confidence else "abstain", arm=None)
        drawn, solutions = tuple[Candidate, ...](), tuple[ObservedSample, ...]()
        if action.arm:
            drawn, chain = await arms[action.arm].draw(left)
            # In a thread, since a grader that compares answers as mathematics may take seconds.
            answers = await asyncio.to_thread(extract_answers, drawn, task, arms[action.arm].ledger)
            solutions = tuple(observe_candidate(c, answers[c.id], verifier) for c in drawn)
            state.add(action.arm, solutions, chain=chain)
        futile += sum(_SAYS_NOTHING.get(c.end or "", 0.0) for c in drawn)
        decisions.append(Decision(action, drawn, solutions, state.leader))
        if watch:
            watch(decisions[-1])
        if action.arm is None:
            return _ended(
                decisions, arms, verifier, exhausted=spent or any(arm.ledger.exhausted for arm in arms.values())
            )


def _ended(
    decisions: list[Decision], arms: Mapping[str, _Drawing], verifier: Verifier | None, *, exhausted: bool
) -> Result:
    last = decisions[-1]
    stopped = last.action.kind == "stop"
    answer = last.leader if stopped else None
    drawn = [pair for decision in decisions for pair in zip(decision.drawn, decision.solutions, strict=True)]
    leading = [(c, seen.value) for c, seen in drawn if answer is not None and seen.answer == answer]
    usages: dict[str, Usage] = {}
    for arm in arms.values():
        usages[arm.model.name] = usages.get(arm.model.name, Usage()) + arm.ledger.usage
    return Result(
        chosen=max(leading, key=lambda pair: pair[1], default=(None, 0.0))[0],
        candidates=tuple(candidate for candidate, _ in drawn),
        answers={candidate.id: seen.answer for candidate, seen in drawn},
        tree=tuple(c for arm in arms.values() for c in arm.ledger.in_order()),
        costs={id: usage for arm in arms.values() for id, usage in arm.ledger.costs.items()},
        usages=usages,
        exhausted=exhausted,
        flops=_flops(arms.values(), verifier),
        confidence=None if stopped and last.leader is None else last.action.confidence,
        decisions=tuple(decisions),
        notes=tuple(dict.fromkeys(note for arm in arms.values() for note in arm.ledger.different_notes())),
    )


def _flops(arms: Collection[_Drawing], verifier: Verifier | None) -> float | None:
    """Of all draws, each counted for itself, as in a replay; None where a size is unknown."""
    each = [total_flops({arm.model.name: arm.model}, {arm.model.name: u}, verifier) for arm in arms for u in arm.spent]
    known = [one for one in each if one is not None]
    return sum(known) if len(known) == len(each) else None


@dataclass(slots=True)
class _Drawing:
    """One arm that draws for one problem."""

    arm: ControllerArm
    number: int
    problem: Problem
    model: Model
    verifier: Verifier | None
    task: Task
    seed: int
    temperature: float
    limits: Limits
    ledger: Ledger
    increments: int = 0
    spent: list[Usage] = field(default_factory=list)
    chain: list[Candidate] = field(default_factory=list)
    session: Session | None = None

    async def draw(self, left: int | None) -> tuple[tuple[Candidate, ...], str | None]:
        """The next increment, of at most `left` tokens, and the name of the chain of revisions that it continues."""
        strategy = strategy_from_dict(self.arm.strategy)
        self.increments += 1
        before = self.ledger.usage
        chain: str | None = None
        if isinstance(strategy, StepRevisions):
            drawn, chain = await self._attempt(strategy, left)
        else:
            drawn = await self._whole(strategy, left)
        self.spent.append(self.ledger.usage - before)
        return drawn, chain

    async def _whole(self, strategy: Strategy, left: int | None) -> tuple[Candidate, ...]:
        session = self._session(left)
        return tuple(await session.score(await run(strategy, session)))

    async def _attempt(self, strategy: StepRevisions, left: int | None) -> tuple[tuple[Candidate, ...], str]:
        ended = len(self.chain) >= strategy.chain_length
        if self.session is None or ended or trusted(self.session, self.chain[-1], strategy.trust):
            self.session, self.chain = self._session(left), []
            drawn = await self.session.sample(1)
        else:
            self.session.set_budget(left)
            drawn = await self.session.revise([self.chain], keep_prefix=True)
        self.chain += await self.session.score(drawn)
        return (self.chain[-1],), self.chain[0].id

    def _session(self, left: int | None) -> Session:
        """A new session for every increment or chain, so that no two share a seed or an id."""
        return Session(
            self.problem,
            self.model,
            self.verifier,
            self.task.delimiter,
            budget=left,
            seed=self.seed,
            temperature=self.temperature,
            limits=self.limits,
            path=f"{self.number}:{self.increments}:",
            ledger=self.ledger,
            read_answer=partial(read_answer, self.task),
        )
