"""Solving one problem under a policy."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
import pytest
from doubles import TASK, CountingTask, completion, problem

from computewise.controller.controller import Controller
from computewise.controller.file import ControllerArm
from computewise.controller.solve import solve_adaptively
from computewise.controller.state import LiveState, Option
from computewise.controller.trees import Forest, ForestRule
from computewise.core import Action, Completion, Decision, Model, Result
from computewise.errors import UsageError
from computewise.session import Ledger
from computewise.testing import SimulatedModel, SimulatedPRM

ARMS = (
    ControllerArm("samples", "small", {"name": "single"}, 3),
    ControllerArm(
        "step revisions", "small", {"name": "step_revisions", "chain_length": 2, "chains": 1, "trust": 1.0}, 4
    ),
    ControllerArm("particle filter", "small", {"name": "particle_filter", "n": 4}, 2),
    ControllerArm("large", "large", {"name": "greedy"}, 1, larger=True),
)
MODELS: dict[str, Model] = {
    "small": SimulatedModel(skill=0.5, name="small", parameters=1, revises=False),
    "large": SimulatedModel(skill=1.0, name="large", parameters=14),
}


def fitted(worth: Mapping[str, float], confidence: float = 0.2) -> Controller:
    """A policy that thinks the same of every state."""
    arms = tuple(arm for arm in ARMS if arm.name == "samples" or arm.name in worth)
    options = tuple(Option(arm.name, 1, 1.0) for arm in arms)
    base = np.array([confidence, *(worth.get(arm.name, 0.0) for arm in arms)])
    forest = Forest(base, np.zeros((0, 0), np.int64), np.zeros((0, 0)), np.zeros((0, 1, len(base))))
    policy = ForestRule(arms=tuple(arm.name for arm in arms), larger=("large",), options=options, forest=forest)
    return Controller(policy, arms, "prm", "simulated", "samples", 1.0)


def solved(policy: Controller, price: float, *, least_confidence: float = 0.0, seed: int = 0) -> Result:
    return asyncio.run(
        solve_adaptively(
            problem(),
            policy,
            price,
            MODELS,
            SimulatedPRM(noise=0.1),
            TASK,
            seed=seed,
            min_confidence=least_confidence,
        )
    )


def did(result: Result) -> list[str]:
    return [f"{d.action.kind} {d.action.arm}" if d.action.arm else d.action.kind for d in result.decisions]


def test_the_best_is_drawn_while_it_is_worth_its_price() -> None:
    policy = fitted({"samples": 0.1, "large": 0.7})
    assert did(solved(policy, 0.05)) == ["more samples", "escalate large", "switch samples", "more samples", "stop"]
    assert did(solved(policy, 0.2)) == ["more samples", "escalate large", "stop"]
    assert did(solved(policy, 0.9)) == ["more samples", "stop"]


def test_the_larger_models_answer_is_right_and_charged_to_it() -> None:
    result = solved(fitted({"large": 0.7}), 0.2)
    assert result.answer == problem().answer
    assert result.chosen is not None
    assert TASK.correct(problem(), TASK.answer(result.chosen.text))
    assert result.usages["small"].samples == 1
    assert result.usages["large"].completion_tokens == result.usages["small"].completion_tokens
    assert result.usages["large"].verifier_tokens > 0


def test_every_solution_has_an_id_and_a_seed_of_its_own() -> None:
    result = solved(fitted({"samples": 0.1, "step revisions": 0.2, "particle filter": 0.3}), 0.05)
    ids = [candidate.id for candidate in result.tree]
    assert len(set(ids)) == len(ids)
    drawn = [c.id for decision in result.decisions for c in decision.drawn]
    assert set(drawn) <= set(ids)
    assert did(result).count("more particle filter") + did(result).count("switch particle filter") == 2


def test_revisions_go_on_with_a_chain_until_it_is_as_long_as_may_be() -> None:
    result = solved(fitted({"step revisions": 0.2}), 0.1)
    attempts = [d.drawn[0] for d in result.decisions if d.action.arm == "step revisions"]
    assert [c.revises for c in attempts] == [False, True, False, True]
    assert attempts[1].parent == attempts[0].id
    assert attempts[3].parent == attempts[2].id


def test_where_it_may_abstain_it_gives_no_unsure_answer() -> None:
    policy = fitted({}, confidence=0.2)
    assert solved(policy, 0.1, least_confidence=0.1).answer is not None
    result = solved(policy, 0.1, least_confidence=0.3)
    assert (did(result)[-1], result.answer, result.chosen) == ("abstain", None, None)


def test_a_run_is_the_same_again_and_another_seed_another() -> None:
    policy = fitted({"samples": 0.1, "step revisions": 0.2})
    assert solved(policy, 0.05) == solved(policy, 0.05)
    assert solved(policy, 0.05).tree != solved(policy, 0.05, seed=1).tree


def test_decisions_can_be_watched_as_they_are_made() -> None:
    seen: list[Decision] = []
    result = asyncio.run(
        solve_adaptively(problem(), fitted({}), 0.1, MODELS, SimulatedPRM(noise=0.1), TASK, watch=seen.append)
    )
    assert tuple(seen) == result.decisions


def test_a_model_that_is_not_there_is_named() -> None:
    with pytest.raises(UsageError, match="the policy draws by large: allowed are small"):
        asyncio.run(solve_adaptively(problem(), fitted({"large": 0.7}), 0.1, {"small": MODELS["small"]}, None, TASK))


# Budgets: a solution of the problem takes 35 tokens where every step is right, a wrong step as many


EVERYTHING = {"samples": 0.1, "step revisions": 0.2, "particle filter": 0.3, "large": 0.4}


async def capped(policy: Controller, budget: int | None, *, price: float = 0.05, **settings: Any) -> Result:
    verifier = SimulatedPRM(noise=0.1)
    return await solve_adaptively(problem(), policy, price, MODELS, verifier, TASK, budget=budget, **settings)


def sampled(result: Result) -> int:
    return sum(usage.completion_tokens for usage in result.usages.values())


WHOLE = sampled(asyncio.run(capped(fitted(EVERYTHING), None)))


@pytest.mark.parametrize(
    "budget", [1, 2, 7, 34, 35, 36, 70, 71, 100, 141, 200, 333, WHOLE - 1, WHOLE, WHOLE + 1, 10**6]
)
async def test_a_budget_is_shared_by_all_arms_and_never_exceeded(budget: int) -> None:
    result = await capped(fitted(EVERYTHING), budget)
    assert 0 < sampled(result) <= budget
    assert result.exhausted == (budget < WHOLE)
    if budget >= WHOLE:
        assert result == await capped(fitted(EVERYTHING), None)
    if result.exhausted:
        assert result.decisions[-1].action.kind in ("stop", "abstain")
    assert result.tree


@pytest.mark.parametrize("arm", ["samples", "step revisions", "particle filter"])
@pytest.mark.parametrize("budget", [1, 20, 50, 90])
async def test_each_kind_of_arm_keeps_to_what_is_left(arm: str, budget: int) -> None:
    result = await capped(fitted({arm: 0.5}), budget)
    assert 0 < sampled(result) <= budget


class Told(ForestRule):
    """Draws by these arms in turn."""

    def choose(self, state: LiveState, price: float, *, min_confidence: float = 0.0) -> Action:
        drawn = sum(self.limits.values()) - int(state.left.sum())
        arm = (*self.told, None)[drawn]
        return Action("stop" if arm is None else "more", arm, 1.0, 0.5)

    told = ("samples", "step revisions", "large", "step revisions")
    limits = fitted({"step revisions": 0.0, "large": 0.0}).limits


async def test_a_chain_that_goes_on_is_told_what_is_left_by_now() -> None:
    """Its session is as old as its first attempt; meanwhile another arm has drawn."""
    policy = fitted({"step revisions": 0.0, "large": 0.0})
    told = msgspec.structs.replace(policy, rule=Told(**{name: getattr(policy.rule, name) for name in FIELDS}))
    whole = await capped(told, None)
    assert [decision.action.arm for decision in whole.decisions] == [*Told.told, None]
    first, chain, large, again = [decision.drawn[0] for decision in whole.decisions[:4]]
    assert again.revises
    spent = sum(step.tokens for c in (first, chain, large) for step in c.steps)
    cost = sampled(whole) - spent
    assert cost > 5
    for budget in (spent + 5, spent + cost - 1, spent + cost):
        result = await capped(told, budget)
        assert sampled(result) == budget
        assert result.decisions[3].drawn[0].end == ("stop" if budget == spent + cost else "length")


FIELDS = ("arms", "larger", "options", "forest", "prices")


async def test_what_the_budget_leaves_is_answered_with() -> None:
    result = await capped(fitted({"samples": 0.9}), 80)
    assert result.exhausted
    assert result.answer is not None
    assert did(result)[-1] == "stop"


async def test_a_policy_that_stops_before_its_budget_does_is_not_exhausted() -> None:
    assert not (await capped(fitted({}), 10**6)).exhausted


@pytest.mark.parametrize("budget", [0, -5])
async def test_a_budget_of_nothing_is_refused(budget: int) -> None:
    with pytest.raises(UsageError, match=f"budget {budget} is not allowed"):
        await capped(fitted({}), budget)


# What the result holds


async def test_each_solution_is_asked_for_its_answer_once_and_the_result_holds_it() -> None:
    task, verifier = CountingTask(), SimulatedPRM(noise=0.1)
    result = await solve_adaptively(problem(), fitted(EVERYTHING), 0.05, MODELS, verifier, task)
    drawn = [candidate for decision in result.decisions for candidate in decision.drawn]
    assert result.candidates == tuple(drawn)
    assert task.asked == Counter(c.text for c in drawn if c.end == "stop")
    assert result.answers == {c.id: TASK.answer(c.text) if c.end == "stop" else None for c in drawn}
    assert result.answer == result.decisions[-1].leader
    assert result.chosen is not None
    assert (result.text, result.answer) == (result.chosen.text, TASK.answer(result.chosen.text))
    assert result.confidence == result.decisions[-1].action.confidence
    assert result.usage == result.usages["small"] + result.usages["large"]
    assert result.costs.keys() == {c.id for c in result.tree}


async def test_where_it_abstains_it_has_no_answer_but_its_probability() -> None:
    result = await solve_adaptively(problem(), fitted({}), 0.05, MODELS, SimulatedPRM(), TASK, min_confidence=0.9)
    assert (result.answer, result.chosen, result.text) == (None, None, None)
    assert result.confidence == 0.2
    assert set(result.answers.values()) != {None}


# Nothing to be found


class Saying:
    """Says something, the next thing each time, for ever the last; ended by the model unless a text is "..."."""

    name, parameters = "small", 1
    revises = revises_steps = False
    steps = True

    def __init__(self, *texts: str) -> None:
        self.texts = list(texts)

    async def sample(
        self, prompt: str, prefix: str, n: int, *, seeds: Sequence[int], **settings: Any
    ) -> list[Completion]:
        found = []
        for _ in seeds:
            text = self.texts.pop(0) if len(self.texts) > 1 else self.texts[0]
            found.append(completion(text, "length" if text == "..." else "stop"))
        return found


ANSWER = f"right {problem().answer}"


async def drew(unanswered: int | None, *texts: str, worth: Mapping[str, float] | None = None) -> Result:
    models: dict[str, Model] = {"small": Saying(*texts), "large": Saying("large")}
    policy = fitted(worth or {"samples": 0.9})
    return await solve_adaptively(problem(), policy, 0.05, models, None, TASK, give_up_after=unanswered)


@pytest.mark.parametrize("unanswered", [1, 2, 3])
async def test_where_the_first_solutions_answer_nothing_it_stops(unanswered: int) -> None:
    result = await drew(unanswered, "hello")
    assert did(result) == ["more samples"] * unanswered + ["stop"]
    assert (result.answer, result.chosen, result.exhausted) == (None, None, False)


async def test_one_answer_among_the_first_is_enough_to_go_on() -> None:
    assert len((await drew(2, "hello", ANSWER, "hello")).tree) == 3
    assert len((await drew(1, ANSWER, "hello")).tree) == 3


async def test_what_was_cut_off_says_nothing_of_whether_there_is_an_answer() -> None:
    assert len((await drew(2, "...")).tree) == 3
    assert len((await drew(1, "...", "hello")).tree) == 2


async def test_without_that_limit_everything_is_drawn() -> None:
    assert len((await drew(None, "hello")).tree) == 3


async def test_another_arm_is_not_asked_either() -> None:
    assert did(await drew(1, "hello", worth={"large": 0.9})) == ["more samples", "stop"]


# Watching


async def test_trees_can_be_watched_growing_by_arm() -> None:
    ledgers: dict[str, Ledger] = {}
    sizes: list[dict[str, int]] = []

    def watch(decision: Decision) -> None:
        sizes.append({name: len(ledger.explored) for name, ledger in ledgers.items()})

    result = await capped(fitted({"samples": 0.1, "large": 0.7}), None, watch=watch, ledgers=ledgers)
    assert list(ledgers) == ["samples", "large"]
    assert [sum(one.values()) for one in sizes] == [1, 6, 7, 8, 8]
    assert sizes[0] == {"samples": 1, "large": 0}
    assert sizes[1] == {"samples": 1, "large": 5}
    assert {c.id for ledger in ledgers.values() for c in ledger.explored.values()} == {c.id for c in result.tree}
    assert ledgers["large"].usage == result.usages["large"]


async def test_ledgers_are_there_before_the_first_draw() -> None:
    ledgers: dict[str, Ledger] = {}
    held: list[int] = []

    class Looking(Saying):
        async def sample(self, *args: Any, **settings: Any) -> list[Completion]:
            held.append(len(ledgers))
            return await Saying.sample(self, *args, **settings)

    models: dict[str, Model] = {"small": Looking(ANSWER), "large": Saying(ANSWER)}
    await solve_adaptively(problem(), fitted({"large": 0.0}), 0.1, models, None, TASK, ledgers=ledgers)
    assert held == [2]
