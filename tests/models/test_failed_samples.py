"""A served model inside a conversation: turns before the problem, fields of the client's, samples that are lost."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import httpx
import pytest
from doubles import TASK, ByText
from requests_to_servers import PATHS, PROMPT, ask, texts
from servers import VLLM, DeepSeek, Hosted, Little, LlamaServer, Server, Transformers, decode, rendered, served

from computewise.core import Problem, Usage
from computewise.errors import ModelError, ServerError
from computewise.models.messages import Message
from computewise.models.server.limits import FailedSamples
from computewise.models.server.model import ServerModel
from computewise.session import Strategy
from computewise.simulated import RIGHT
from computewise.solver import solve
from computewise.strategies import BeamSearch, BestOfN, ParticleFilter, Revisions, Single, StepRevisions

BEFORE = (Message("system", "Be brief."), Message("user", "Hello"), Message("assistant", "Hi"))
MANY = [DeepSeek, Transformers]
"""One continuation a request: each is lost alone."""


def failing(
    when: Callable[[int], bool], status: int = 500, path: str | None = None
) -> Callable[[str, Mapping[str, Any]], httpx.Response | None]:
    """Every request for which `when` says so, counted from 1."""
    count = 0

    def intercept(at: str, body: Mapping[str, Any]) -> httpx.Response | None:
        nonlocal count
        if path is not None and at != path:
            return None
        count += 1
        return httpx.Response(status, json={"error": {"message": f"no {count}"}}) if when(count) else None

    return intercept


def always(_: int) -> bool:
    return True


# Turns before


async def test_turns_before_stand_before_the_problem_in_a_chat() -> None:
    server = Hosted()
    async with served(server) as model:
        await ask(replace(model, before=BEFORE), stop=None)
    (body,) = server.bodies("/v1/chat/completions")
    assert body["messages"] == [*(turn.to_dict() for turn in BEFORE), {"role": "user", "content": PROMPT}]


async def test_turns_before_are_rendered_with_the_problem() -> None:
    server = VLLM()
    async with served(server) as model:
        talking = replace(model, before=BEFORE)
        await ask(talking, n=2)
        await ask(talking, f"{RIGHT}\n")
        assert server.paths["/tokenize"] == 1
        await ask(model)
        await ask(replace(model, before=BEFORE[:1]))
        assert server.paths["/tokenize"] == 3
    turns = [{"role": one.role, "content": one.content} for one in BEFORE]
    whole = rendered([*turns, {"role": "user", "content": PROMPT}])
    first, behind, *_ = server.bodies(PATHS["vllm"])
    assert decode(first["prompt"]) == whole
    assert behind["prompt"] == f"<s>{whole}{RIGHT}\n"


async def test_an_instruction_stands_before_them() -> None:
    server = Hosted()
    async with served(server, instruction="Think.") as model:
        await ask(replace(model, before=BEFORE[1:]), stop=None)
    (body,) = server.bodies("/v1/chat/completions")
    roles = [one["role"] for one in body["messages"]]
    assert roles.count("system") == 1


# Fields


@pytest.mark.parametrize("kind", [VLLM, Hosted])
async def test_fields_go_into_every_request_over_the_dialect_s_own(kind: type[Server]) -> None:
    server = kind()
    fields = {"top_p": 0.5, "presence_penalty": 0.1}
    async with served(server) as model:
        await ask(replace(model, fields=fields), n=3, stop=None)
        await ask(model, stop=None)
    *with_fields, without = server.bodies(PATHS["vllm" if kind is VLLM else "hosted"])
    assert with_fields
    for body in with_fields:
        assert (body["top_p"], body["presence_penalty"]) == (0.5, 0.1)
        assert (body["model"], body["temperature"]) == (model.name, 0.7)
    assert without["top_p"] != 0.5


# Losses


async def test_without_anybody_who_tolerates_it_one_loss_is_the_end() -> None:
    server = DeepSeek()
    async with served(server) as model:
        server.intercept = failing(lambda count: count == 2)
        with pytest.raises(ServerError):
            await ask(model, n=4, stop=None)


@pytest.mark.parametrize("kind", MANY)
async def test_what_is_lost_is_empty_and_free_and_the_others_are_as_they_were(kind: type[Server]) -> None:
    whole = kind()
    async with served(whole, chat_template="plain" if kind is Transformers else None) as model:
        unharmed = await ask(model, n=6, stop=None)
    server, lost = kind(), FailedSamples()
    async with served(server, chat_template="plain" if kind is Transformers else None) as model:
        server.intercept = failing(lambda count: count in (1, 4))
        found = await ask(replace(model, lost=lost), n=6, stop=None)
    assert [one.finish_reason == "failed" for one in found].count(True) == 2
    assert (lost.samples, lost.answered, len(lost.errors)) == (2, 4, 2)
    for one, other in zip(found, unharmed, strict=True):
        if one.finish_reason == "failed":
            assert (one.steps, one.usage, one.thinking) == ((), Usage(), "")
        else:
            assert one.steps == other.steps
    read = [one.usage.prompt_tokens - one.usage.cached_prompt_tokens for one in found if one.steps]
    assert read[0] > 0
    assert read[1:] == [0] * 3


async def test_a_request_for_many_is_lost_as_a_whole() -> None:
    server, lost = VLLM(), FailedSamples()
    async with served(server) as model:
        await ask(replace(model, lost=lost), n=1, stop=None)
        server.intercept = failing(always, path=PATHS["vllm"])
        found = await ask(replace(model, lost=lost), n=5, stop=None)
    assert [one.finish_reason for one in found] == ["failed"] * 5
    assert (lost.samples, lost.answered, len(lost.errors)) == (5, 1, 1)


@pytest.mark.parametrize("error", [500, 502, 503, 429, 408])
async def test_where_nothing_was_ever_answered_the_first_error_is_raised(error: int) -> None:
    server, lost = DeepSeek(), FailedSamples()
    async with served(server) as model:
        server.intercept = failing(always, error)
        with pytest.raises(ServerError, match="no 1") as raised:
            await ask(replace(model, lost=lost), n=4, stop=None)
    assert raised.value.status == error
    assert lost.all_failed()
    assert lost.samples == 4


@pytest.mark.parametrize("error", [400, 401, 403, 404, 413, 422, 501])
async def test_what_every_other_would_be_told_too_is_raised_at_once(error: int) -> None:
    server, lost = DeepSeek(), FailedSamples()
    async with served(server, concurrency=1) as model:
        await ask(model, stop=None)  # a refusal of the first request of its kind could be about its fields
        server.intercept = failing(lambda count: count == 1, error)
        with pytest.raises(ServerError, match="no 1"):
            await ask(replace(model, lost=lost), n=8, stop=None)
        assert len(server.bodies(PATHS["deepseek"])) < 9
    assert lost.samples == 1


async def test_an_answer_that_cannot_be_read_is_a_loss_too() -> None:
    server, lost, count = DeepSeek(), FailedSamples(), 0

    def intercept(path: str, body: Mapping[str, Any]) -> httpx.Response | None:
        nonlocal count
        count += 1
        return httpx.Response(200, json={"choices": [{"message": {"content": [5]}}]}) if count == 1 else None

    async with served(server) as model:
        server.intercept = intercept
        found = await ask(replace(model, lost=lost), n=3, stop=None)
    assert [one.finish_reason for one in found].count("failed") == 1
    assert isinstance(lost.errors[0], ModelError)


async def test_what_is_lost_is_not_charged_and_its_place_is_free() -> None:
    server, lost = DeepSeek(), FailedSamples()
    async with served(server) as model:
        server.intercept = failing(lambda count: count % 2 == 0)
        found = await ask(replace(model, lost=lost), n=6, stop=None)
        assert model.observed.requests == 3
        assert model.observed.counted == sum(one.usage.completion_tokens for one in found)
        assert (model.ceiling._holders, model.client.limiter.in_flight) == (0, 0)


async def test_a_step_lost_while_going_on_from_a_blank_one_is_lost() -> None:
    """Half a step is none: what was sampled of it goes with it."""
    server, lost = VLLM(Little(blank=1.0)), FailedSamples()
    async with served(server) as model:
        server.intercept = failing(lambda count: count > 1, path=PATHS["vllm"])
        (found,) = await ask(replace(model, lost=lost))
    assert found.finish_reason == "failed"
    assert (found.steps, lost.samples, lost.answered) == ((), 1, 1)


# Searches


def over(model: ServerModel, lost: FailedSamples) -> ServerModel:
    return replace(model, lost=lost)


@pytest.mark.parametrize(
    "strategy",
    [
        BestOfN(8),
        BeamSearch(8, 2),
        ParticleFilter(8),
        Revisions(3, 3),
        StepRevisions(3, 3),
    ],
)
@pytest.mark.parametrize("kind", [VLLM, LlamaServer])
async def test_a_search_goes_on_with_what_is_left(strategy: Strategy, kind: type[Server]) -> None:
    server, lost = kind(Little(skill=0.9)), FailedSamples()
    path = PATHS["vllm" if kind is VLLM else "llama"]
    async with served(server) as model:
        server.intercept = failing(lambda count: count % 3 == 2, path=path)
        asked = Problem(PROMPT, PROMPT)
        verifier = ByText(lambda text: 0.3)
        result = await solve(asked, strategy, over(model, lost), verifier, TASK, temperature=1.0)
    if kind is LlamaServer or not isinstance(strategy, BestOfN):
        assert lost.samples
    assert result.chosen is not None
    assert result.chosen.end == "stop"
    assert all(not candidate.steps or candidate.end != "failed" or candidate.parent for candidate in result.tree)
    assert sum(cost.completion_tokens for cost in result.costs.values()) == result.usage.completion_tokens


async def test_a_search_that_loses_everything_later_on_ends_with_what_there_was() -> None:
    server, lost = VLLM(Little(skill=1.0)), FailedSamples()
    async with served(server) as model:
        server.intercept = failing(lambda count: count > 2, path=PATHS["vllm"])
        result = await solve(
            Problem(PROMPT, PROMPT), BeamSearch(4, 2), over(model, lost), ByText(lambda text: 0.3), TASK
        )
    assert lost.samples
    assert (result.chosen, result.exhausted) == (None, False)
    assert {candidate.end for candidate in result.candidates} == {"failed"}


async def test_one_solution_that_is_lost_is_an_error() -> None:
    server, lost = Hosted(), FailedSamples()
    async with served(server) as model:
        server.intercept = failing(always)
        with pytest.raises(ServerError):
            await solve(Problem(PROMPT, PROMPT), Single(), over(model, lost), None, TASK)


async def test_texts_of_what_was_lost_are_empty() -> None:
    server, lost = DeepSeek(), FailedSamples()
    async with served(server) as model:
        server.intercept = failing(lambda count: count == 1)
        assert texts(await ask(replace(model, lost=lost), n=2, stop=None)).count("") == 1
