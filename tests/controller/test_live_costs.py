"""What a controller spends live is what the replay of the same draws says: one rule for both."""

from __future__ import annotations

import asyncio
from statistics import fmean

import numpy as np
import pytest

from computewise.controller.controller import Controller
from computewise.controller.file import ControllerArm
from computewise.controller.formula import FormulaRule
from computewise.controller.replay import RecordedPool, ReplayEnv
from computewise.controller.solve import solve_adaptively
from computewise.core import LARGE, MODEL, VERIFIER, Problem, Result, Role
from computewise.runs import CandidateRecord, Record, StrategyParams
from computewise.session import Limits
from computewise.setups.embedded import WEIGHTS, EmbeddedSetup, embedded_roles
from computewise.study.analysis.controller import drawn
from computewise.study.analysis.tables import cost_metrics
from computewise.tasks.arithmetic import find_task

REVISIONS: StrategyParams = {"name": "step_revisions", "chain_length": 3, "chains": 1, "trust": 1.0}
ARMS = (
    ControllerArm("samples", WEIGHTS[MODEL], {"name": "single"}, 8),
    ControllerArm("step revisions", WEIGHTS[MODEL], REVISIONS, 8),
    ControllerArm("large", WEIGHTS[LARGE], {"name": "single"}, 4, larger=True),
)
ROLES: dict[str, Role] = {"samples": MODEL, "step revisions": MODEL, "large": LARGE}
TASK = find_task("expressions")
FLOPS = cost_metrics(embedded_roles())["flops"]
ORDERS = [
    (("samples", 3), ("large", 2)),
    (("large", 2), ("samples", 2)),
    (("step revisions", 5), ("large", 1)),
    (("samples", 1), ("step revisions", 5), ("large", 2)),
]


@pytest.fixture(scope="module")
def setup() -> EmbeddedSetup:
    return EmbeddedSetup()


def live(setup: EmbeddedSetup, steps: tuple[tuple[str, int], ...], price: float, problem: Problem) -> Result:
    rule = FormulaRule(
        arms=tuple(arm.name for arm in ARMS),
        larger=("large",),
        steps=steps,
        powers={"error": 1.0, "draws": -1.0},
        costs=(1.0, 1.5, 7.0),
    )
    policy = Controller(rule, ARMS, WEIGHTS[VERIFIER], "expressions", "FLOPs", 1.0)
    models = {WEIGHTS[role]: setup.model(role) for role in (MODEL, LARGE)}
    return asyncio.run(
        solve_adaptively(problem, policy, price, models, setup.verifier(), TASK, seed=3, limits=Limits(tokens=240))
    )


def recorded(result: Result, problem: Problem) -> dict[str, list[list[Record]]]:
    """The draws of each arm as a study records them, where every arm is run by itself and reads the prompt first."""
    found: dict[str, list[CandidateRecord]] = {}
    for decision in result.decisions:
        for candidate in decision.drawn:
            cost, before = result.costs[candidate.id], found.setdefault(str(decision.action.arm), [])
            before.append(
                CandidateRecord(
                    answer=result.answers[candidate.id],
                    value=candidate.scores[-1],
                    mean_token_prob=0.5,
                    tokens=candidate.tokens,
                    correct=False,
                    chain=candidate.chain,
                    uncached_prompt_tokens=cost.prompt_tokens - (cost.cached_prompt_tokens if before else 0),
                    completion_tokens=cost.completion_tokens,
                    score_mean=fmean(candidate.scores),
                )
            )
    strategies: dict[str, StrategyParams] = {"step revisions": REVISIONS}
    plain: StrategyParams = {"name": "best_of_n"}
    return {
        arm: [[Record("pool", ROLES[arm], strategies.get(arm, plain), 0, problem.id, candidates=each)]]
        for arm, each in found.items()
    }


@pytest.mark.parametrize("steps", ORDERS, ids=str)
@pytest.mark.parametrize("price", [0.0, 0.05])
def test_live_and_replayed_walks_cost_the_same(
    setup: EmbeddedSetup, steps: tuple[tuple[str, int], ...], price: float
) -> None:
    for problem in TASK.problems("validation", 3, 0):
        result = live(setup, steps, price, problem)
        assert result.flops is not None
        arms = recorded(result, problem)
        first = next(iter(arms))
        pool = RecordedPool(drawn({first: arms[first], **arms}, FLOPS))
        walk, row = ReplayEnv(pool, 1, seed=0), np.zeros(1, np.int64)
        for decision in result.decisions:
            if decision.action.arm is not None:
                walk.draw(pool.names.index(decision.action.arm), row)
        assert (walk.left == 0).all()
        assert walk.spent[0] == pytest.approx(result.flops, rel=1e-9)
        tokens = sum(float(arm.tokens.sum()) for arm in pool.problems[0].arms.values())
        kept = sum(c.tokens - result.costs[c.id].completion_tokens for c in result.candidates)
        assert tokens == result.usage.completion_tokens + kept


def test_the_prompt_is_read_once_by_each_model(setup: EmbeddedSetup) -> None:
    problem = TASK.problems("validation", 1, 0)[0]
    result = live(setup, (("samples", 3), ("large", 2)), 0.0, problem)
    for usage in result.usages.values():
        assert usage.prompt_tokens - usage.cached_prompt_tokens == usage.prompt_tokens // usage.samples
    assert set(result.usages) == {WEIGHTS[MODEL], WEIGHTS[LARGE]}
