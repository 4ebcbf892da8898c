"""Strategies end to end on every kind of server, beside the same little model in this process."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from typing import Any

import httpx
import pytest
from doubles import TASK, problem
from requests_to_servers import RUNGS, SAYS, texts
from servers import SERVERS, VLLM, Hosted, Lenient, Little, LlamaServer, Local, Server, SGLang, served

from computewise.core import Candidate, Model, Problem, Result
from computewise.errors import ModelError, UsageError
from computewise.models.server.model import ServerModel
from computewise.session import Strategy
from computewise.simulated import SimulatedPRM, all_right
from computewise.solver import solve
from computewise.strategies import (
    DVTS,
    BeamSearch,
    BestOfN,
    GatedRevisions,
    Greedy,
    Lookahead,
    ParticleFilter,
    Rebase,
    Revisions,
    Single,
    StepRevisions,
)

EXACT = SimulatedPRM(skill=0.6)
ALONE = [name for name in RUNGS if name in ("ollama", "lmstudio", "tgi", "transformers", "deepseek")]
"""Those that continue one prompt at a time, and so draw what `Local` draws."""


async def solved(model: Model, strategy: Strategy, *, of: Problem | None = None, **settings: Any) -> Result:
    return await solve(of or problem(4), strategy, model, EXACT, Lenient(), **settings)


def answers(result: Result) -> list[str]:
    return sorted(candidate.text.rstrip("\n") for candidate in result.candidates)


def checked(result: Result) -> None:
    """What holds of every search tree."""
    tree = {candidate.id: candidate for candidate in result.tree}
    for candidate in result.tree:
        parent = tree.get(candidate.parent or "")
        if parent is not None and not candidate.revises:
            assert candidate.text.startswith(parent.text)
        assert all(step.text.strip() for step in candidate.steps)
    assert result.usage.completion_tokens == sum(cost.completion_tokens for cost in result.costs.values())


STRATEGIES = [BestOfN(8), BeamSearch(8, 4), DVTS(8, 4), Lookahead(4, 2, 1), Rebase(8), ParticleFilter(8), Greedy()]


@pytest.mark.parametrize("strategy", STRATEGIES, ids=lambda one: one.name)
@pytest.mark.parametrize("name", ALONE)
async def test_a_search_finds_what_it_finds_in_this_process(name: str, strategy: Strategy) -> None:
    """Text by text. Where nobody says what ended a solution, its end is found one step later: those that end together
    are chosen from once more.
    """
    here = await solved(Local(), strategy)
    async with served(SERVERS[name](), chat_template=RUNGS[name]) as model:
        there = await solved(model, strategy)
    checked(there)
    if name in SAYS or isinstance(strategy, BestOfN):
        assert [(one.id, one.text) for one in there.tree] == [(one.id, one.text) for one in here.tree]
    elif isinstance(strategy, Greedy):
        assert answers(there) == answers(here)
    assert there.chosen is not None
    assert here.chosen is not None
    assert all_right(there.chosen.text) >= all_right(here.chosen.text)


@pytest.mark.parametrize("strategy", [*STRATEGIES, StepRevisions(6, 3, 1.0)], ids=lambda one: one.name)
@pytest.mark.parametrize("name", ["vllm", "sglang", "llama"])
async def test_a_search_runs_where_many_are_asked_for_at_once(name: str, strategy: Strategy) -> None:
    server = SERVERS[name]()
    async with served(server) as model:
        result = await solved(model, strategy)
    checked(result)
    assert result.candidates
    assert all(candidate.end == "stop" for candidate in result.candidates)


@pytest.mark.parametrize("name", ["vllm", "sglang", "llama", "ollama", "deepseek", "tgi"])
async def test_beam_search_with_an_exact_verifier_is_right_where_one_sample_is_not(name: str) -> None:
    problems = [problem(5, 41000 + number) for number in range(12)]
    async with served(SERVERS[name](), chat_template=RUNGS[name]) as model:
        found = await asyncio.gather(*(solved(model, BeamSearch(16, 4), of=one) for one in problems))
        single = await asyncio.gather(*(solved(model, Single(), of=one) for one in problems))
    right = [sum(r.chosen is not None and all_right(r.chosen.text) for r in results) for results in (found, single)]
    assert right[0] == 12
    assert right[1] <= 4


@pytest.mark.parametrize(
    ("name", "kind"),
    [("vllm", VLLM), ("llama", LlamaServer), ("hosted", Hosted), ("sglang", SGLang)],
    ids=["A", "llama", "D", "C"],
)
async def test_revisions_run_wherever_there_is_a_conversation(name: str, kind: type[Server]) -> None:
    async with served(kind()) as model:
        for strategy in (Revisions(6, 2), GatedRevisions(6, 2)):
            result = await solved(model, strategy)
            checked(result)
            assert any(candidate.revises for candidate in result.tree)


@pytest.mark.parametrize("name", ["vllm", "sglang", "llama", "hosted", "tgi"])
async def test_samples_are_drawn_as_in_this_process(name: str) -> None:
    """Chi-square over right and wrong of 3 steps, 7 degrees of freedom; 24.3 is one in a thousand."""
    async with served(SERVERS[name](), chat_template=RUNGS.get(name)) as model:
        drawn = await model.sample(
            problem(3).prompt,
            "",
            800,
            stop=None,
            max_tokens=60,
            temperature=1.0,
            seeds=[(7919 * index) ^ (index << 32) for index in range(800)],
        )
    marks = Counter(tuple(step.text.split()[0] for step in one.steps) for one in drawn)
    assert sum(marks.values()) == 800
    chi = 0.0
    for pattern in range(8):
        which = tuple("right" if pattern >> bit & 1 else "wrong" for bit in range(3))
        expected = 800 * 0.6 ** which.count("right") * 0.4 ** which.count("wrong")
        chi += (marks[which] - expected) ** 2 / expected
    assert chi < 24.3
    assert len(set(texts(drawn[:8]))) > 1


async def test_steps_are_drawn_as_whole_solutions_are() -> None:
    async with served(VLLM()) as model:
        right = 0
        for number in range(40):
            result = await solved(model, BeamSearch(4, 4), of=problem(2, 42000 + number))
            right += sum(all_right(one.text) for one in result.tree if one.parent is None)
    assert abs(right / 160 - 0.6) < 4 * (0.6 * 0.4 / 160) ** 0.5


async def test_two_runs_with_one_seed_are_the_same_and_with_another_are_not() -> None:
    async def run(seed: int) -> list[Candidate]:
        async with served(VLLM()) as model:
            return list((await solved(model, BeamSearch(8, 4), seed=seed)).tree)

    assert await run(1) == await run(1)
    assert await run(1) != await run(2)


@pytest.mark.parametrize("budget", [1, 7, 30, 100, 300])
@pytest.mark.parametrize("name", ["vllm", "llama", "lmstudio"])
async def test_a_budget_is_never_exceeded(name: str, budget: int) -> None:
    server = SERVERS[name](Little(blank=0.2))
    async with served(server, chat_template=RUNGS[name]) as model:
        result = await solved(model, BeamSearch(8, 4), budget=budget)
        assert result.usage.completion_tokens <= budget
        # Blank lines that are gone on from are asked for, and so charged, as well.
        assert model.observed.counted <= budget


async def test_many_problems_at_once_are_kept_apart() -> None:
    """Whatever overtakes whatever, each problem finds what it finds alone."""
    problems = [problem(3, 43000 + number) for number in range(20)]

    class Late(VLLM):
        async def handle(self, request: httpx.Request) -> httpx.Response:
            for _ in range(hash(request.content) % 7):
                await asyncio.sleep(0)
            return await VLLM.handle(self, request)

    async with served(VLLM()) as model:
        alone = [await solved(model, BeamSearch(8, 4), of=one) for one in problems]
    async with served(Late(), concurrency=5) as model:
        at_once = await asyncio.gather(*(solved(model, BeamSearch(8, 4), of=one) for one in problems))
        assert model.client.limiter.in_flight == 0
    assert [one.tree for one in at_once] == [one.tree for one in alone]


async def test_a_problem_that_fails_takes_no_other_with_it() -> None:
    def intercept(path: str, body: Mapping[str, Any]) -> httpx.Response | None:
        failing = "44001" in str(body.get("messages", "")) and len(body["messages"]) > 1
        return httpx.Response(500, json={"error": "out of memory"}) if failing else None

    server = Hosted()
    problems = [problem(3, 44000 + number) for number in range(3)]
    async with served(server) as model:
        server.intercept = intercept
        found = await asyncio.gather(
            *(solved(model, Revisions(4, 2), of=one) for one in problems), return_exceptions=True
        )
    assert [type(one) for one in found] == [Result, found[1].__class__, Result]
    assert isinstance(found[1], ModelError)
    assert "out of memory" in str(found[1])


async def test_a_cancelled_search_leaves_no_request() -> None:
    server = VLLM()
    async with served(server, concurrency=4) as model:
        server.delay = 60
        task = asyncio.create_task(solved(model, DVTS(16, 4)))
        await server.busy(4)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert server.under_way == 0
        assert asyncio.all_tasks() == {asyncio.current_task()}
        assert model.client.limiter.in_flight == 0
        assert model.client.limiter.in_flight == model.ceiling._holders


async def test_a_search_by_steps_on_a_chat_that_cannot_is_refused() -> None:
    async with served(Hosted()) as model:
        with pytest.raises(UsageError, match="cannot be searched by steps: the server neither"):
            await solve(problem(), BeamSearch(4, 2), model, EXACT, TASK)


async def test_what_a_search_goes_on_from_is_what_was_sampled() -> None:
    """No request of a whole beam search has a prompt but the first, or one extended by sampled ids."""
    server = VLLM()
    async with served(server) as model:
        await solved(model, BeamSearch(16, 4))
        prompts = [body["prompt"] for body in server.bodies("/v1/completions")]
    begun = prompts[0]
    assert len(prompts) > 8
    assert all(isinstance(prompt, list) and prompt[: len(begun)] == begun for prompt in prompts)
    assert all(id < 200_000 for prompt in prompts for id in prompt[len(begun) :]), "letters as they were sampled"


def test_a_server_model_is_a_model() -> None:
    def as_model(model: Model) -> Model:
        return model

    assert as_model.__annotations__["model"] == "Model"
    assert ServerModel.sample.__doc__
