"""Solving one problem under a policy."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import numpy as np
import pytest
from doubles import TASK, problem

from computewise.adaptive import Adaptive, Decision, solve_adaptively
from computewise.core import Model
from computewise.errors import UsageError
from computewise.models.forgetful import Forgetful
from computewise.models.simulated import SimulatedModel
from computewise.policy.actions import Option
from computewise.policy.compute_optimal import Policy
from computewise.policy.file import Arm, Fitted
from computewise.policy.trees import Forest
from computewise.verifiers.simulated import SimulatedPRM

ARMS = (
    Arm("samples", "small", {"name": "single"}, 3),
    Arm("step revisions", "small", {"name": "step_revisions", "chain_length": 2, "chains": 1, "trust": 1.0}, 4),
    Arm("particle filter", "small", {"name": "particle_filter", "n": 4}, 2),
    Arm("large", "large", {"name": "greedy"}, 1, larger=True),
)
MODELS: dict[str, Model] = {
    "small": Forgetful(SimulatedModel(skill=0.5, name="small", parameters=1)),
    "large": SimulatedModel(skill=1.0, name="large", parameters=14),
}


def fitted(worth: Mapping[str, float], confidence: float = 0.2) -> Fitted:
    """A policy that thinks the same of every state."""
    arms = tuple(arm for arm in ARMS if arm.name == "samples" or arm.name in worth)
    options = tuple(Option(arm.name, 1, 1.0) for arm in arms)
    base = np.array([confidence, *(worth.get(arm.name, 0.0) for arm in arms)])
    forest = Forest(base, np.zeros((0, 0), np.int64), np.zeros((0, 0)), np.zeros((0, 1, len(base))))
    policy = Policy(tuple(arm.name for arm in arms), ("large",), options, forest, ())
    return Fitted(policy, arms, "prm", "simulated", "samples", 1.0)


def solved(policy: Fitted, price: float, *, least_confidence: float = 0.0, seed: int = 0) -> Adaptive:
    return asyncio.run(
        solve_adaptively(
            problem(),
            policy,
            price,
            MODELS,
            SimulatedPRM(noise=0.1),
            TASK,
            seed=seed,
            least_confidence=least_confidence,
        )
    )


def did(result: Adaptive) -> list[str]:
    return [f"{d.action.kind} {d.action.arm}" if d.action.arm else d.action.kind for d in result.decisions]


def test_the_best_is_drawn_while_it_is_worth_its_price() -> None:
    policy = fitted({"samples": 0.1, "large": 0.7})
    assert did(solved(policy, 0.05)) == ["more samples", "escalate large", "switch samples", "more samples", "stop"]
    assert did(solved(policy, 0.2)) == ["more samples", "escalate large", "stop"]
    assert did(solved(policy, 0.72)) == ["more samples", "stop"]


def test_the_larger_models_answer_is_right_and_charged_to_it() -> None:
    result = solved(fitted({"large": 0.7}), 0.2)
    assert result.answer == problem().answer
    assert result.chosen is not None
    assert TASK.correct(problem(), TASK.answer(result.chosen.text))
    assert result.usage["small"].samples == 1
    assert result.usage["large"].completion_tokens == result.usage["small"].completion_tokens
    assert result.usage["large"].verifier_tokens > 0


def test_every_solution_has_an_id_and_a_seed_of_its_own() -> None:
    result = solved(fitted({"samples": 0.1, "step revisions": 0.2, "particle filter": 0.3}), 0.05)
    ids = [candidate.id for candidate in result.explored]
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
    assert solved(policy, 0.05).explored != solved(policy, 0.05, seed=1).explored


def test_decisions_can_be_watched_as_they_are_made() -> None:
    seen: list[Decision] = []
    result = asyncio.run(
        solve_adaptively(problem(), fitted({}), 0.1, MODELS, SimulatedPRM(noise=0.1), TASK, watch=seen.append)
    )
    assert tuple(seen) == result.decisions


def test_a_model_that_is_not_there_is_named() -> None:
    with pytest.raises(UsageError, match="the policy draws by large: allowed are small"):
        asyncio.run(solve_adaptively(problem(), fitted({"large": 0.7}), 0.1, {"small": MODELS["small"]}, None, TASK))
