"""OpenAI's own client against the server: what it sends is understood, what it gets is what its types say."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from openai import (
    APIError,
    APIStatusError,
    AsyncOpenAI,
    AuthenticationError,
    BadRequestError,
    DefaultAsyncHttpxClient,
    DefaultHttpxClient,
    InternalServerError,
    NotFoundError,
    OpenAI,
    PermissionDeniedError,
    RateLimitError,
    UnprocessableEntityError,
)
from openai.types import Completion, CompletionUsage, Model
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from pydantic import BaseModel
from serving import CHAT, MODEL, PATIENCE, SUM, Received, Reply, Site, Upstream, error, events, serving, site_on

from computewise.serve.backends import EmbeddedBackend

USAGE = {"include_usage": True}
EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh")


@dataclass(frozen=True)
class Place:
    """A server, a client of it, and what to ask."""

    site: Site
    client: AsyncOpenAI
    model: str
    prompt: str

    async def chat(self, **fields: Any) -> Any:
        """As the client answers it."""
        turn = {"role": "user", "content": fields.pop("prompt", self.prompt)}
        return await self.client.chat.completions.create(**{"model": self.model, "messages": [turn], **fields})

    async def completion(self, **fields: Any) -> Any:
        return await self.client.completions.create(**{"model": self.model, "prompt": self.prompt, **fields})

    async def raw(self, path: str, **fields: Any) -> httpx.Response:
        """The same without the client."""
        asked = {"prompt": self.prompt}
        if "chat" in path:
            asked = {"messages": [{"role": "user", "content": self.prompt}]}  # type: ignore[dict-item]
        return await self.site.http.post(path, json={"model": self.model, **asked, **fields})


@asynccontextmanager
async def client_of(site: Site, key: str = "any") -> AsyncIterator[AsyncOpenAI]:
    http = DefaultAsyncHttpxClient(trust_env=False, verify=False, timeout=PATIENCE)
    async with AsyncOpenAI(base_url=f"{site.root}/v1", api_key=key, max_retries=0, http_client=http) as client:
        yield client


@asynccontextmanager
async def small_world() -> AsyncIterator[Place]:
    """The embedded models under their policy."""
    async with serving(EmbeddedBackend("expressions")) as site, client_of(site) as client:
        yield Place(site, client, "small", "3*(4+5)-6*(7-2)")


@asynccontextmanager
async def behind(upstream: Upstream, **settings: Any) -> AsyncIterator[Place]:
    """A served model."""
    async with site_on(upstream, **settings) as site, client_of(site) as client:
        yield Place(site, client, MODEL, SUM)


@pytest.fixture(params=["embedded", "served"])
async def both(request: pytest.FixtureRequest) -> AsyncIterator[Place]:
    async with small_world() if request.param == "embedded" else behind(Upstream()) as found:
        yield found


async def test_a_chat_is_answered_in_the_clients_own_types(both: Place) -> None:
    answer = await both.chat(seed=1)
    assert isinstance(answer, ChatCompletion)
    (choice,) = answer.choices
    assert (choice.finish_reason, choice.message.role, choice.message.refusal) == ("stop", "assistant", None)
    told = answer.model_extra["computewise"]  # type: ignore[index]
    assert told["answer"] in (choice.message.content or "")
    assert answer.usage is not None
    assert answer.usage.completion_tokens >= told["generations"] >= 1
    assert answer.computewise == told  # type: ignore[attr-defined]
    raw = (await both.raw("/v1/chat/completions", seed=1)).content
    assert ChatCompletion.model_validate_json(raw, strict=True).choices == answer.choices


async def test_a_streamed_chat_is_the_same_piece_by_piece(both: Place) -> None:
    whole = await both.chat(seed=2)
    chunks = [chunk async for chunk in await both.chat(seed=2, stream=True)]
    assert all(isinstance(chunk, ChatCompletionChunk) and chunk.id == chunks[0].id for chunk in chunks)
    assert chunks[0].choices[0].delta.role == "assistant"
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == whole.choices[0].message.content
    assert [chunk.choices[0].finish_reason for chunk in chunks] == [None] * (len(chunks) - 1) + ["stop"]
    assert chunks[-1].computewise["answer"] == whole.computewise["answer"]
    assert all(chunk.usage is None for chunk in chunks)


async def test_every_chunk_is_strictly_one(both: Place) -> None:
    response = await both.raw("/v1/chat/completions", stream=True, stream_options=USAGE)
    assert response.headers["content-type"].startswith("text/event-stream")
    for one in events(response.content):
        ChatCompletionChunk.model_validate_json(json.dumps(one), strict=True)


async def test_a_stream_tells_its_usage_at_the_end_where_that_is_asked_for(both: Place) -> None:
    whole = await both.chat(seed=3)
    *chunks, last = [chunk async for chunk in await both.chat(seed=3, stream=True, stream_options=USAGE)]
    assert last.choices == []
    assert isinstance(last.usage, CompletionUsage)
    assert last.usage == whole.usage
    assert all(chunk.usage is None and chunk.choices for chunk in chunks)


async def test_the_clients_helper_for_streams_puts_them_together(both: Place) -> None:
    turn: Any = {"role": "user", "content": both.prompt}
    manager = both.client.chat.completions.stream(
        model=both.model, messages=[turn], seed=2, stream_options={"include_usage": True}
    )
    async with manager as stream:
        final = await stream.get_final_completion()
    whole = await both.chat(seed=2)
    assert final.choices[0].message.content == whole.choices[0].message.content
    assert final.usage == whole.usage


async def test_completions_are_answered_whole_and_in_pieces(both: Place) -> None:
    whole = await both.completion(seed=4)
    assert isinstance(whole, Completion)
    assert whole.to_dict()["computewise"]["answer"] in whole.choices[0].text  # type: ignore[index]
    chunks = [chunk async for chunk in await both.completion(seed=4, stream=True, stream_options=USAGE)]
    assert all(isinstance(chunk, Completion) for chunk in chunks)
    assert "".join(chunk.choices[0].text for chunk in chunks[:-1]) == whole.choices[0].text
    assert chunks[-2].choices[0].finish_reason == whole.choices[0].finish_reason == "stop"
    assert chunks[-1].usage == whole.usage
    raw = await both.raw("/v1/completions", seed=4)
    assert Completion.model_validate_json(raw.content, strict=True).choices == whole.choices


async def test_every_chunk_of_a_completion_is_one_but_for_why_it_has_not_ended(both: Place) -> None:
    """The client's type of a completion knows no chunk that goes on, as OpenAI's API sends them."""
    for one in events((await both.raw("/v1/completions", stream=True, stream_options=USAGE)).content):
        for choice in one["choices"]:
            choice["finish_reason"] = choice["finish_reason"] or "stop"
        Completion.model_validate_json(json.dumps(one), strict=True)


async def test_models_are_listed_and_each_can_be_retrieved_and_asked(both: Place) -> None:
    listed = [model async for model in both.client.models.list()]
    assert listed[0].id == both.model
    assert f"{both.model}:best_of_n@16" in [model.id for model in listed]
    raw = (await both.site.http.get("/v1/models")).json()
    for one in raw["data"]:
        Model.model_validate(one, strict=True)
        assert (await both.client.models.retrieve(one["id"])).to_dict() == one
    for model in listed:
        if model.id.startswith(f"{both.model}:"):
            answer = await both.chat(model=model.id)
            assert answer.model == model.id
            assert answer.computewise["strategy"].startswith(model.id.removeprefix(f"{both.model}:").partition("@")[0])


async def test_a_sync_client_is_answered_alike(both: Place) -> None:
    def ask() -> tuple[ChatCompletion, str]:
        http = DefaultHttpxClient(trust_env=False, verify=False, timeout=PATIENCE)
        with OpenAI(base_url=f"{both.site.root}/v1", api_key="any", max_retries=0, http_client=http) as client:
            turn: Any = {"role": "user", "content": both.prompt}
            whole = client.chat.completions.create(model=both.model, messages=[turn], seed=5)
            chunks = client.chat.completions.create(model=both.model, messages=[turn], seed=5, stream=True)
            return whole, "".join(chunk.choices[0].delta.content or "" for chunk in chunks)

    whole, streamed = await asyncio.to_thread(ask)
    assert streamed == whole.choices[0].message.content


async def test_the_extra_body_says_how_to_search(both: Place) -> None:
    wishes = {"strategy": "best_of_n", "n": 5, "select": "majority"}
    answer = await both.chat(extra_body={"computewise": wishes})
    assert answer.computewise["strategy"] == "best_of_n(n=5)"
    assert answer.computewise["generations"] == 5


async def test_more_effort_spends_more(both: Place) -> None:
    spent = {}
    for effort in EFFORTS:
        found = [await both.chat(reasoning_effort=effort, seed=seed) for seed in range(1)]
        spent[effort] = sum(one.computewise["generations"] for one in found)
    assert spent["low"] < spent["high"]
    assert (spent["none"], spent["minimal"], spent["xhigh"]) == (spent["low"], spent["low"], spent["high"])


async def test_usage_shows_what_was_discarded_as_reasoning(both: Place) -> None:
    usage = (await both.chat(extra_body={"computewise": {"strategy": "best_of_n@6"}})).usage
    assert 0 < usage.completion_tokens_details.reasoning_tokens < usage.completion_tokens
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("model", [MODEL, f"{MODEL}:best_of_n@2"])
async def test_an_answer_that_is_sent_back_is_searched_behind_as_before(model: str, stream: bool) -> None:
    def thinking(request: Received) -> Reply:
        message = {"role": "assistant", "content": r"It is \boxed{17}.", "reasoning_content": "8 and 9"}
        choices = [{"index": i, "message": message, "finish_reason": "stop"} for i in range(request.body.get("n", 1))]
        return Reply(body=json.dumps({"choices": choices}).encode())

    upstream = Upstream(script=lambda request: thinking(request) if request.path == CHAT else None)
    async with behind(upstream) as found:
        turns: list[Any] = [{"role": "user", "content": SUM}]
        for _ in range(3):
            asked: dict[str, Any] = {"model": model, "messages": turns, "stream": stream}
            if stream:
                said: dict[str, Any] = {"role": "assistant", "content": "", "reasoning_content": ""}
                async for chunk in await found.client.chat.completions.create(**asked):
                    for name, value in chunk.choices[0].delta.model_dump().items():
                        if isinstance(value, str) and name != "role":
                            said[name] = (said.get(name) or "") + value
                searched = bool(chunk.model_extra and "computewise" in chunk.model_extra)
            else:
                answer = await found.client.chat.completions.create(**asked)
                said, searched = answer.choices[0].message.model_dump(), "computewise" in (answer.model_extra or {})
            assert (searched, said["content"], said["reasoning_content"]) == (True, r"It is \boxed{17}.", "8 and 9")
            turns += [said, {"role": "user", "content": SUM}]
    roles = [turn["role"] for turn in upstream.bodies()[-1]["messages"]]
    assert roles[-5:] == ["user", "assistant", "user", "assistant", "user"]
    assert all(set(turn) == {"role", "content"} for turn in upstream.bodies()[-1]["messages"])


@pytest.mark.parametrize(
    ("fields", "kind", "param", "code"),
    [
        ({"model": "gpt-5"}, NotFoundError, "model", "model_not_found"),
        ({"model": f"{MODEL}:moa"}, NotFoundError, "model", "strategy_not_found"),
        ({"model": f"{MODEL}:single", "temperature": "hot"}, BadRequestError, "temperature", "invalid_value"),
        ({"model": f"{MODEL}:single", "messages": []}, BadRequestError, "messages", "invalid_value"),
        ({"model": f"{MODEL}:single", "seed": "x"}, BadRequestError, "seed", "invalid_value"),
        ({"extra_body": {"computewise": {"n": 0}}}, BadRequestError, "computewise.n", "invalid_value"),
        ({"extra_body": {"computewise": {"foo": 1}}}, BadRequestError, "computewise", "invalid_value"),
        (
            {"extra_body": {"computewise": {"strategy": "best_of_n@999"}}},
            BadRequestError,
            "computewise.strategy",
            "too_many_generations",
        ),
    ],
    ids=lambda value: "" if not isinstance(value, dict) else next(iter(value)),
)
async def test_what_a_client_does_wrong_is_its_own_exception_with_the_field(
    fields: dict[str, Any], kind: type[APIStatusError], param: str, code: str
) -> None:
    async with behind(Upstream()) as found:
        with pytest.raises(kind) as caught:
            await found.chat(**fields)
    assert (caught.value.param, caught.value.code, caught.value.type) == (param, code, "invalid_request_error")
    assert caught.value.request_id


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, BadRequestError),
        (401, AuthenticationError),
        (403, PermissionDeniedError),
        (404, NotFoundError),
        (422, UnprocessableEntityError),
        (429, RateLimitError),
        (500, InternalServerError),
        (503, InternalServerError),
    ],
)
async def test_what_an_upstream_refuses_is_the_same_exception_searched_and_passed(
    status: int, kind: type[APIStatusError]
) -> None:
    async with behind(Upstream(script=lambda _: error(status, "as it was told"))) as found:
        for prompt in (SUM, "Hello"):
            for stream in (False, True):
                with pytest.raises(kind, match="as it was told"):
                    await found.chat(prompt=prompt, stream=stream)


async def test_a_key_is_asked_for_and_known() -> None:
    upstream = Upstream()
    async with site_on(upstream, keys=("sk-one", "sk-two")) as site:
        for key in ("sk-one", "sk-two"):
            async with client_of(site, key) as client:
                assert (await client.models.list()).data
        async with client_of(site, "sk-three") as client:
            turn: Any = {"role": "user", "content": SUM}
            with pytest.raises(AuthenticationError):
                await client.models.list()
            with pytest.raises(AuthenticationError) as caught:
                await client.chat.completions.create(model=MODEL, messages=[turn])
    assert caught.value.code == "invalid_api_key"
    assert not upstream.received


async def test_a_full_queue_is_a_rate_limit_that_says_when_to_come_again() -> None:
    gate = asyncio.Event()
    upstream = Upstream(script=lambda _: Reply(gate=gate, body=b'{"choices": [{"message": {"content": "1"}}]}'))
    async with behind(upstream, in_flight=1, queue=1) as found:
        tasks = [asyncio.create_task(found.chat()) for _ in range(2)]
        await found.site.busy(in_flight=1, waiting=1)
        with pytest.raises(RateLimitError) as caught:
            await found.chat()
        assert caught.value.code == "queue_full"
        assert int(caught.value.response.headers["retry-after"]) >= 1
        gate.set()
        await asyncio.gather(*tasks)


async def test_signs_of_life_do_not_disturb_a_client() -> None:
    gate = asyncio.Event()
    upstream = Upstream(script=lambda request: Reply(gate=gate, body=_said(r"\boxed{17}")))
    async with behind(upstream, progress=0.002) as found:
        stream = await found.chat(stream=True)  # which comes with the first of them
        assert not gate.is_set()
        gate.set()
        chunks = [chunk async for chunk in stream]
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == r"\boxed{17}"


async def test_signs_of_life_are_comments() -> None:
    gate = asyncio.Event()
    upstream = Upstream(script=lambda request: Reply(gate=gate, body=_said(r"\boxed{17}")))
    async with behind(upstream, progress=0.002) as found:
        body = {"model": MODEL, "messages": [{"role": "user", "content": SUM}], "stream": True}
        async with found.site.http.stream("POST", "/v1/chat/completions", json=body) as response:
            lines = response.aiter_lines()
            assert (await anext(lines)).startswith(": computewise: running, 0 ")
            gate.set()
            rest = [line async for line in lines]
    assert rest[-2:] == ["data: [DONE]", ""]


async def test_progress_can_be_told_as_reasoning() -> None:
    gate = asyncio.Event()
    upstream = Upstream(script=lambda request: Reply(gate=gate, body=_said(r"\boxed{17}")))
    async with behind(upstream, progress=0.002) as found:
        stream = await found.chat(stream=True, extra_body={"computewise": {"progress": "reasoning"}})
        first = await anext(stream)
        gate.set()
        chunks = [chunk async for chunk in stream]
    assert "running" in first.choices[0].delta.reasoning_content
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == r"\boxed{17}"


async def test_thinking_of_the_upstreams_model_is_reasoning_content() -> None:
    said = {"role": "assistant", "content": r"\boxed{17}", "reasoning_content": "Eight, nine"}
    body = json.dumps({"choices": [{"index": 0, "message": said, "finish_reason": "stop"}]}).encode()
    async with behind(Upstream(script=lambda _: Reply(body=body))) as found:
        whole = await found.chat()
        chunks = [chunk async for chunk in await found.chat(stream=True)]
    assert whole.choices[0].message.reasoning_content == "Eight, nine"
    deltas = [chunk.choices[0].delta for chunk in chunks]
    assert "".join(getattr(delta, "reasoning_content", "") for delta in deltas) == "Eight, nine"


async def test_what_fails_behind_signs_of_life_is_an_exception_of_the_clients() -> None:
    gate = asyncio.Event()
    refusal = error(429, "slow down", retry_after="30")
    upstream = Upstream(script=lambda _: Reply(status=429, headers=refusal.headers, body=refusal.body, gate=gate))
    async with behind(upstream, progress=0.002) as found:
        stream = await found.chat(stream=True)
        gate.set()
        with pytest.raises(APIError, match="slow down"):
            [chunk async for chunk in stream]


async def test_who_is_not_sure_enough_abstains_as_a_refusal() -> None:
    async with small_world() as found:
        wishes = {"abstain_under": 1.0, "price": 1e9}
        whole = await found.chat(extra_body={"computewise": wishes}, seed=1)
        chunks = [chunk async for chunk in await found.chat(extra_body={"computewise": wishes}, seed=1, stream=True)]
        raw = await found.raw("/v1/chat/completions", computewise=wishes)
    (choice,) = whole.choices
    assert (choice.message.content, choice.finish_reason) == (None, "stop")
    assert "sure enough" in choice.message.refusal
    assert "".join(chunk.choices[0].delta.refusal or "" for chunk in chunks) == choice.message.refusal
    assert not any(chunk.choices[0].delta.content for chunk in chunks)
    assert (whole.computewise["answer"], whole.computewise["confidence"] < 1) == (None, True)
    ChatCompletion.model_validate_json(raw.content, strict=True)


class Sum(BaseModel):
    """A shape."""

    result: int


async def test_an_answer_of_a_given_shape_is_passed_through_and_parsed() -> None:
    async with behind(Upstream(say=lambda *_: '{"result":17}')) as found:
        turn: Any = {"role": "user", "content": SUM}
        answer = await found.client.chat.completions.parse(model=MODEL, messages=[turn], response_format=Sum)
    assert answer.choices[0].message.parsed == Sum(result=17)


async def test_a_request_has_the_id_that_its_client_gives_it() -> None:
    async with behind(Upstream()) as found:
        answer = await found.chat(extra_headers={"x-request-id": "mine-1"})
        assert (answer._request_id, answer.computewise["trace"]) == ("mine-1", "mine-1")
        assert (await found.site.http.get("/traces/mine-1")).json()["id"] == "mine-1"


def _said(text: str) -> bytes:
    said = {"role": "assistant", "content": text}
    usage = {"prompt_tokens": 1, "completion_tokens": 1}
    return json.dumps({"choices": [{"index": 0, "message": said, "finish_reason": "stop"}], "usage": usage}).encode()


async def test_efforts_follow_a_running_price_and_seeds_do_not() -> None:
    """The metrics say what a mean cost came to; a request with a seed asks for what it got before."""
    async with small_world() as place:
        seeded = [(await place.chat(seed=1, reasoning_effort="low")).computewise["price"] for _ in range(2)]
        metrics = (await place.site.http.get("/metrics")).text
        assert "computewise_dial_price{" not in metrics
        running = [(await place.chat(reasoning_effort="low")).computewise["price"] for _ in range(8)]
        assert running[0] == seeded[0] == seeded[1]
        assert len(set(running)) > 1
        metrics = (await place.site.http.get("/metrics")).text
        (line,) = [line for line in metrics.splitlines() if line.startswith('computewise_dial_mean_cost{asked="2"}')]
        assert 1 <= float(line.split()[-1]) < 20
