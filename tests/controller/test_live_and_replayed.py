"""One ledger rule: a walk through records costs what drawing the same samples live costs, token for token."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from worlds import draws

from computewise.controller.controller import Controller
from computewise.controller.file import ControllerArm
from computewise.controller.formula import FormulaRule
from computewise.controller.frontier import StoppingPath, rollout
from computewise.controller.replay import RecordedPool, ReplayEnv
from computewise.controller.solve import solve_adaptively
from computewise.core import LARGE, MODEL, Attempt, Completion, Model, Problem, Result, Role, Usage, Verifier
from computewise.runs import Record
from computewise.samples import ProblemSamples
from computewise.session import Session, Strategy, derive_seed, gather
from computewise.setups.embedded import EmbeddedSetup, EmbeddedSpec, embedded_roles
from computewise.solver import solve
from computewise.strategies import DVTS, AdaptiveBranching, BestOfN, Greedy, StepRevisions, strategy_to_dict
from computewise.study.analysis.controller import drawn
from computewise.study.analysis.tables import CostMetric, cost_metrics, share_of_usage
from computewise.study.executors import solve_job
from computewise.study.plan import SEARCH, Job, Run, search_seeds
from computewise.tasks.arithmetic import find_task
from computewise.testing import SimulatedModel, SimulatedPRM, SimulatedTask, simulated_problem

PROBLEMS = tuple(find_task("expressions").problems("test", 3, 3))
REVISIONS = StepRevisions(4, 1)
RUNS = {
    "samples": [Run("pool", MODEL, strategy_to_dict(BestOfN(6)), 0, 6)],
    "particle filter": [Run("draws", MODEL, strategy_to_dict(SEARCH), s, SEARCH.n) for s in search_seeds(0)[:2]],
    "step revisions": [Run("arm", MODEL, strategy_to_dict(REVISIONS), seed, 4) for seed in range(3)],
    "large, greedy": [Run("greedy", LARGE, strategy_to_dict(Greedy()), 0, 1)],
    "large, samples": [Run("pool", LARGE, strategy_to_dict(BestOfN(2)), 0, 16)],
}
ARMS = (
    ControllerArm("samples", "small", {"name": "single"}, 6),
    ControllerArm("particle filter", "small", strategy_to_dict(SEARCH), 2),
    ControllerArm("step revisions", "small", strategy_to_dict(REVISIONS), 12),
    ControllerArm("large, greedy", "large", {"name": "greedy"}, 1, larger=True),
    ControllerArm("large, samples", "large", {"name": "single"}, 2, larger=True),
)
STEPS = (
    (("samples", 2), ("large, greedy", 1), ("large, samples", 2)),
    (("particle filter", 2), ("large, samples", 1), ("step revisions", 3), ("samples", 6)),
    (("large, samples", 2), ("step revisions", 3), ("large, greedy", 1)),
)
PRICES = (0.1, 0.0)


@dataclass
class OwnSeeds:
    """Seeds the n-th continuation of a text by its number, so that a walk meets the samples that were recorded."""

    model: Model
    calls: Counter[tuple[object, ...]] = field(default_factory=Counter)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.model, name)

    async def sample(
        self, prompt: str, prefix: str, n: int, *, seeds: Sequence[int], attempts: Sequence[Attempt] = (), **asked: Any
    ) -> list[Completion]:
        key = prompt, prefix, asked["stop"], asked["temperature"], tuple(one.text for one in attempts)
        numbers = range(self.calls[key], self.calls[key] + n)
        self.calls[key] += n
        own = [derive_seed(key, number) for number in numbers]
        return await self.model.sample(prompt, prefix, n, seeds=own, attempts=attempts, **asked)


class Repeatable(EmbeddedSetup):
    """The embedded models, so seeded."""

    def model(self, role: Role) -> Model:
        return OwnSeeds(super().model(role))


@pytest.fixture(scope="module", autouse=True)
def _one_path() -> Iterable[None]:
    """What a strategy draws by chance does not depend on where its session stands in a walk."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Session, "random", lambda self, purpose: random.Random(derive_seed(self.problem.id, purpose)))
        yield


@pytest.fixture(scope="module")
def records() -> dict[str, list[list[Record]]]:
    setup = Repeatable()

    async def recorded(runs: list[Run]) -> list[list[Record]]:
        opened = Opened({run.role: setup.model(run.role) for run in runs}, setup.verifier())
        return [await solve_job(EmbeddedSpec(), opened, Job(run, PROBLEMS)) for run in runs]

    return {name: asyncio.run(recorded(runs)) for name, runs in RUNS.items()}


@dataclass
class Opened:
    """Keeps its models, with what they have drawn."""

    models: dict[Role, Model]
    prm: Verifier | None

    def model(self, role: Role) -> Model:
        return self.models[role]

    def verifier(self) -> Verifier | None:
        return self.prm


def ruled(steps: Sequence[tuple[str, int]]) -> Controller:
    names = tuple(arm.name for arm in ARMS)
    rule = FormulaRule(
        arms=names, larger=names[3:], steps=tuple(steps), powers={"error": 1.0, "draws": -1.0}, costs=(1.0,) * len(ARMS)
    )
    return Controller(rule, ARMS, "prm", "expressions", "FLOPs", 1.0)


@pytest.fixture(scope="module", params=STEPS, ids=str)
def controller(request: pytest.FixtureRequest) -> Controller:
    return ruled(request.param)


@pytest.fixture(scope="module")
def live(controller: Controller) -> dict[tuple[float, str], Result]:
    setup, task = Repeatable(), find_task("expressions")

    async def solved(problem: Problem, price: float) -> Result:
        models = {"small": setup.model(MODEL), "large": setup.model(LARGE)}
        return await solve_adaptively(problem, controller, price, models, setup.verifier(), task)

    async def every() -> list[Result]:
        return await gather(solved(problem, price) for price in PRICES for problem in PROBLEMS)

    return dict(
        zip(((price, problem.id) for price in PRICES for problem in PROBLEMS), asyncio.run(every()), strict=True)
    )


@dataclass(frozen=True)
class Tokens:
    """Counts one kind of them."""

    count: Callable[[Usage], int]
    name: str = "tokens"
    unit: str = "tokens"

    def cost(self, usage: Usage, sequential: int) -> float:
        return float(self.count(usage))


COUNTS: dict[str, Callable[[Usage], int]] = {
    "samples": lambda usage: usage.samples,
    "sampled": lambda usage: usage.completion_tokens,
    "read": lambda usage: usage.prompt_tokens - usage.cached_prompt_tokens,
    "read again": lambda usage: usage.cached_prompt_tokens,
    "verified": lambda usage: usage.verifier_tokens - usage.cached_verifier_tokens,
    "verified again": lambda usage: usage.cached_verifier_tokens,
}


def replayed(records: dict[str, list[list[Record]]], controller: Controller, metric: CostMetric) -> StoppingPath:
    """The walk of the controller's rule, in the order of the records."""
    env = ReplayEnv(RecordedPool(drawn(records, metric)), 1, seed=0)
    env.orders = [np.tile(np.arange(order.shape[1]), (len(order), 1)) for order in env.orders]
    rule = controller.rule
    return rollout(lambda *state: rule.worth(*state)[:2], rule.arms.index(rule.first), env)


def test_a_replayed_walk_and_the_live_run_cost_the_same(
    controller: Controller, records: dict[str, list[list[Record]]], live: dict[tuple[float, str], Result]
) -> None:
    """The same samples in the same order: every kind of token, and all FLOPs, of small and large and the verifier."""
    flops = cost_metrics(embedded_roles())["flops"]
    path = replayed(records, controller, flops)
    for price in PRICES:
        results = [live[price, problem.id] for problem in PROBLEMS]
        stops = path.stops(price)
        for result, stop, arms in zip(results, stops, path.arms, strict=True):
            made = [decision.action.arm for decision in result.decisions if decision.action.arm]
            assert made == [controller.rule.first, *(ARMS[arm].name for arm in arms[:stop])]
        assert path.at(price)[1] == pytest.approx([result.flops for result in results], rel=1e-12)
        for name, count in COUNTS.items():
            tokens = CostMetric("tokens", "", dict.fromkeys((MODEL, LARGE), Tokens(count)))
            spent = replayed(records, controller, tokens).spent[np.arange(len(stops)), stops]
            assert spent.tolist() == [count(result.usage) for result in results], name


def test_each_model_reads_the_prompt_once(live: dict[tuple[float, str], Result]) -> None:
    for result in live.values():
        starts = [result.costs[c.id] for c in result.tree if c.parent is None]
        drawn = [usage for usage in result.usages.values() if usage.samples]
        assert sum(one.prompt_tokens > one.cached_prompt_tokens for one in starts) == len(drawn)


def test_every_order_of_the_draws_pays_for_the_prompt_once(records: dict[str, list[list[Record]]]) -> None:
    """A walk that stops at its first sample costs what best-of-1 costs on average, one that takes all what all did."""
    flops = cost_metrics(embedded_roles())["flops"]
    pool = RecordedPool(drawn({"samples": records["samples"]}, flops))
    single = [flops.cost(share_of_usage(one.usage, 1, 6, verified=True), 0, MODEL) for one in records["samples"][0]]
    whole = [flops.cost(one.usage, 0, MODEL) for one in records["samples"][0]]
    env = ReplayEnv(pool, 7, seed=1)
    every = np.arange(len(env.problems))
    env.draw(0, every)
    [arm] = pool.arms
    assert env.spent == pytest.approx(arm.opening[env.problems] + arm.costs[env.problems, env.orders[0][:, 0]])
    assert (arm.opening + arm.costs.mean(1)).tolist() == pytest.approx(single, rel=0.02)
    for _ in range(5):
        env.draw(0, every)
    # Attention is counted draw by draw here, and for all at their mean lengths there.
    assert env.spent == pytest.approx(np.array(whole)[env.problems], rel=1e-3)


def test_each_model_pays_for_the_prompt_with_its_first_draw_whatever_arm_makes_it() -> None:
    arms = {"a": draws([0, 1], cost=2.0), "b": draws([0, 1], cost=2.0), "large": draws([0, 0], cost=20.0)}
    prompts = {"a": ("small", 1.0), "b": ("small", 1.0), "large": ("large", 10.0)}
    pool = RecordedPool([ProblemSamples("p", "p", arms, prompts)])
    row = np.zeros(1, np.int64)
    orders = [[(0, 3), (1, 5), (2, 35), (2, 55)], [(1, 3), (0, 5), (0, 7), (2, 37)], [(2, 30), (0, 33), (2, 53)]]
    for order in orders:
        walk = ReplayEnv(pool, 1, seed=0)
        for arm, spent in order:
            assert walk.ahead(arm, [1], row)[1].tolist() == [[spent - walk.spent[0]]]
            walk.draw(arm, row)
            assert walk.spent.tolist() == [spent]
        assert walk.unit.tolist() == [2.0]


def test_samples_that_nobody_shuffles_pay_for_the_prompt_with_the_first() -> None:
    held = ProblemSamples("p", "p", {"a": draws([0, 1], cost=2.0)}, {"a": ("small", 1.0)}).drawn_in_order()
    assert held.arms["a"].costs.tolist() == [3.0, 2.0]
    assert not held.opening


@pytest.mark.parametrize("strategy", [DVTS(6, 2), AdaptiveBranching(6)], ids=str)
def test_a_search_that_starts_several_times_finds_the_prompt_in_the_cache(strategy: Strategy) -> None:
    """The prompt is read once, however often the search begins at the root."""
    problem, model = simulated_problem(41734, 5), SimulatedModel(skill=0.2, revises=False)
    result = asyncio.run(solve(problem, strategy, model, SimulatedPRM(noise=0.5), SimulatedTask()))
    starts = [result.costs[c.id] for c in result.tree if c.parent is None]
    fresh = [cost.prompt_tokens - cost.cached_prompt_tokens for cost in starts]
    assert fresh == [len(problem.prompt), *[0] * (len(starts) - 1)]
    assert len(starts) > 1
