"""What other proxies were seen to do wrong, one test each, over real sockets."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
from servers import VLLM, Stating, found_on
from serving import (
    CHAT,
    COMPLETIONS,
    MODEL,
    PATIENCE,
    SUM,
    Received,
    Reply,
    Site,
    Upstream,
    backend_on,
    error,
    listening,
    serving,
    site_on,
    sums,
)

from computewise.models.server.capabilities import Capabilities
from computewise.serve.backends import EmbeddedBackend

ONE_BY_ONE: dict[str, Any] = {"capabilities": Capabilities(server="OpenAI-compatible", dialect="OpenAI's fields only")}
"""Of a server that samples one solution a request."""
FOUR = {"strategy": "best_of_n@4"}
EIGHT = {"strategy": "best_of_n@8"}
TOOLS = [{"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}]
PROBLEM = "problem 41734 of 3 steps"
UNTOUCHED: Mapping[str, Any] = {
    "top_p": 0.9,
    "presence_penalty": 0.5,
    "frequency_penalty": -0.25,
    "stop": ["\n\n\n", "END"],
    "response_format": {"type": "json_object"},
    "logit_bias": {"50256": -100},
    "user": "somebody",
    "metadata": {"of": "them"},
    "store": False,
    "service_tier": "flex",
    "verbosity": "low",
    "min_p": 0.05,
    "top_k": 20,
    "repetition_penalty": 1.1,
    "chat_template_kwargs": {"enable_thinking": False},
    "nobody_has_heard_of_it": [1, {"a": None}],
}
ELSEWHERE = ("base_url", "api_base", "api_key", "endpoint", "url", "host", "proxy", "upstream", "large_url")


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    async with listening(Upstream()) as double:
        yield double


@pytest.fixture
async def site(upstream: Upstream) -> AsyncIterator[Site]:
    async with backend_on(upstream.url) as backend, serving(backend) as opened:
        yield opened


@pytest.fixture
async def single(upstream: Upstream) -> AsyncIterator[Site]:
    async with backend_on(upstream.url, **ONE_BY_ONE) as backend, serving(backend) as opened:
        yield opened


def told(response: httpx.Response) -> dict[str, Any]:
    """The error of OpenAI's envelope, and nothing else."""
    (name,) = response.json()
    held: dict[str, Any] = response.json()[name]
    assert (name, set(held)) == ("error", {"message", "type", "param", "code"})
    assert "\n" not in held["message"]
    return held


async def test_64_samples_each_of_a_cold_server_by_its_hosts_name_do_not_freeze(upstream: Upstream) -> None:
    by_name = upstream.url.replace("127.0.0.1", "localhost")
    async with backend_on(by_name, **ONE_BY_ONE) as backend, serving(backend) as site, asyncio.timeout(PATIENCE):
        found = await asyncio.gather(
            *(site.solved(f"{SUM} {i}", computewise={"n": 64, "strategy": "best_of_n"}) for i in range(4))
        )
    assert [one["computewise"]["generations"] for one in found] == [64] * 4
    assert len(upstream.bodies()) == 256


async def test_the_servers_key_goes_to_its_upstream_and_the_clients_key_no_further(
    upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COMPUTEWISE_API_KEY", "sk-upstream")
    upstream.script = lambda request: error(401, "no: sk-upstream") if "refuse" in request.raw.decode() else None
    async with backend_on(upstream.url) as backend, serving(backend, keys=("sk-client",)) as site:
        site.http.headers["authorization"] = "Bearer sk-client"
        said = [
            await site.chat(computewise=FOUR),
            await site.chat("refuse 1 + 1"),
            await site.chat("Hello"),
            await site.completion(),
            await site.http.get("/traces"),
        ]
    assert upstream.received
    for request in upstream.received:
        assert request.headers["authorization"] == "Bearer sk-upstream"
        assert b"sk-client" not in request.head + request.raw
    assert all("sk-upstream" not in response.text + str(response.headers) for response in said)


@pytest.mark.parametrize("wishes", [FOUR, {"strategy": "none"}])
async def test_a_client_cannot_have_the_key_sent_to_another_host(
    upstream: Upstream, wishes: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COMPUTEWISE_API_KEY", "sk-upstream")
    async with listening(Upstream()) as elsewhere, backend_on(upstream.url) as backend, serving(backend) as site:
        for name in ELSEWHERE:
            response = await site.chat(computewise=wishes, **{name: elsewhere.url})
            assert response.status_code in (200, 400)
        headers = {"x-forwarded-host": elsewhere.url, "forwarded": f"host={elsewhere.url}", "x-base-url": elsewhere.url}
        site.http.headers.update(headers)
        await site.solved(computewise=wishes)
        assert elsewhere.connections == 0
    assert not any(name in request.headers for request in upstream.received for name in headers)


@pytest.mark.parametrize("name", UNTOUCHED)
async def test_no_field_is_dropped(site: Site, upstream: Upstream, name: str) -> None:
    await site.solved(computewise=FOUR, **{name: UNTOUCHED[name]})
    await site.chat("Hello", **{name: UNTOUCHED[name]})
    assert [body[name] for body in upstream.bodies()] == [UNTOUCHED[name]] * 2


@pytest.mark.parametrize("name", sorted(set(UNTOUCHED) - {"stop", "chat_template_kwargs", "nobody_has_heard_of_it"}))
async def test_no_field_is_dropped_where_a_search_goes_by_steps(name: str) -> None:
    double = VLLM(Stating(skill=1.0))
    found = (await found_on(double)).capabilities
    upstream = Upstream(server=double)
    async with site_on(upstream, backend={"capabilities": found, "delimiter": "\n", "verifier": "logprob"}) as site:
        answer = await site.solved(PROBLEM, computewise={"strategy": "beam_search@4"}, **{name: UNTOUCHED[name]})
    assert answer["computewise"]["answer"] == "41734"
    assert len(upstream.bodies(COMPLETIONS)) > 2
    assert all(body[name] == UNTOUCHED[name] for body in upstream.bodies(COMPLETIONS))


async def test_what_does_not_reach_a_search_by_steps_is_refused_by_name() -> None:
    found = (await found_on(VLLM())).capabilities
    async with site_on(
        Upstream(server=VLLM()), backend={"capabilities": found, "delimiter": "\n", "verifier": "logprob"}
    ) as site:
        steps = {"strategy": "beam_search@4"}
        fields: dict[str, Any] = {"stop": ["END"], "chat_template_kwargs": {"enable_thinking": False}, "n_predict": 9}
        for name, value in fields.items():
            response = await site.chat(PROBLEM, computewise=steps, **{name: value})
            assert (response.status_code, told(response)["param"]) == (400, name)


@pytest.mark.parametrize("name", sorted(set(UNTOUCHED) - {"user", "metadata", "store", "service_tier"}))
async def test_the_embedded_models_refuse_by_name_what_they_cannot_do(name: str) -> None:
    async with serving(EmbeddedBackend("expressions")) as site:
        response = await site.chat("3*(4+5)-6", model="small", **{name: UNTOUCHED[name]})
    assert (response.status_code, told(response)["param"], told(response)["code"]) == (400, name, "unsupported_field")


async def test_temperature_and_both_bounds_on_tokens_reach_every_sample(site: Site, upstream: Upstream) -> None:
    await site.solved(computewise=FOUR, temperature=0.3, max_tokens=50, max_completion_tokens=40)
    await site.solved(computewise=FOUR, temperature=1.7, max_tokens=30)
    await site.completion(computewise=FOUR, temperature=0.6, max_tokens=20)
    bodies = [one.body for one in upstream.received]
    assert [(body["temperature"], body["max_tokens"]) for body in bodies] == [(0.3, 40), (1.7, 30), (0.6, 20)]


async def test_a_seed_gives_the_same_seeds_upstream_again_and_none_gives_new_ones(
    single: Site, upstream: Upstream
) -> None:
    drawn = []
    for seed in (7, 7, 8, None, None):
        upstream.received.clear()
        await single.solved(computewise=FOUR, seed=seed)
        drawn.append(sorted(body["seed"] for body in upstream.bodies()))
    assert drawn[0] == drawn[1]
    assert len({tuple(seeds) for seeds in drawn}) == 4
    assert all(len(set(seeds)) == 4 and all(0 <= one < 2**31 for one in seeds) for seeds in drawn)


async def test_the_same_seed_gives_the_same_answer(single: Site) -> None:
    found = [await single.solved(computewise=EIGHT, seed=5) for _ in range(2)]
    assert found[0]["choices"] == found[1]["choices"]
    assert found[0]["computewise"]["confidence"] == found[1]["computewise"]["confidence"]


async def test_one_lost_sample_of_8_is_told_and_the_others_answer(single: Site, upstream: Upstream) -> None:
    doomed = list[int]()

    def first_fails(request: Received) -> Reply | None:
        doomed.append(request.body["seed"])
        return error(500, "out of memory") if request.body["seed"] == doomed[0] else None

    upstream.script = first_fails
    held = (await single.solved(computewise=EIGHT))["computewise"]
    assert (held["lost_samples"], held["generations"]) == (1, 7)
    assert len(held["failures"]) == 1
    assert "500: out of memory" in held["failures"][0]


async def test_one_lost_sample_of_a_server_that_ignores_n_is_no_more(site: Site, upstream: Upstream) -> None:
    upstream.honours_n = False
    doomed = set[int]()

    def second_fails(request: Received) -> Reply | None:
        if "n" not in request.body and not doomed:
            doomed.add(request.body["seed"])
        return error(500, "out of memory") if request.body["seed"] in doomed else None

    upstream.script = second_fails
    held = (await site.solved(computewise=EIGHT))["computewise"]
    assert (held["lost_samples"], held["generations"]) == (1, 7)


@pytest.mark.parametrize(
    "reply",
    [
        Reply(body=b"not JSON"),
        Reply(body=b"{}"),
        Reply(body=b'{"choices": []}'),
        Reply(body=b'{"choices": [{"message": {"content": 7}}]}'),
        Reply(body=b'{"choices": [', cut=True, headers={"content-type": "application/json"}),
        Reply(parts=[b'{"choices": ['], cut=True),
        Reply(status=500, body=b"<html>\n\n</html>"),
    ],
    ids=["no JSON", "no choices", "empty", "a number for a text", "half of it", "cut off", "a page"],
)
async def test_a_malformed_answer_among_8_is_one_lost_sample(single: Site, upstream: Upstream, reply: Reply) -> None:
    doomed = list[int]()

    def first_is_malformed(request: Received) -> Reply | None:
        doomed.append(request.body["seed"])
        return reply if request.body["seed"] == doomed[0] else None

    upstream.script = first_is_malformed
    held = (await single.solved(computewise=EIGHT))["computewise"]
    assert (held["lost_samples"], held["generations"], len(held["failures"])) == (1, 7, 1)


async def test_a_malformed_answer_to_all_is_a_bad_gateway(single: Site, upstream: Upstream) -> None:
    upstream.script = lambda _: Reply(body=b'{"choices": []}')
    response = await single.chat(computewise=EIGHT)
    assert (response.status_code, told(response)["code"]) == (502, "unreadable")


@pytest.mark.parametrize("status", [400, 401, 403, 404, 413, 422, 429, 500, 503, 529])
@pytest.mark.parametrize("stream", [False, True])
async def test_an_upstreams_status_comes_through_a_search(
    single: Site, upstream: Upstream, status: int, stream: bool
) -> None:
    upstream.script = lambda _: error(status, "as it was told")
    response = await single.chat(computewise=EIGHT, stream=stream)
    assert response.status_code == status
    assert "as it was told" in told(response)["message"]
    assert told(response)["code"] == f"upstream_{status}"


@pytest.mark.parametrize("status", [400, 401, 404, 429, 503])
async def test_an_upstreams_status_comes_through_as_it_is_where_nothing_is_searched(
    site: Site, upstream: Upstream, status: int
) -> None:
    upstream.script = lambda _: error(status, "as it was told", retry_after="17")
    response = await site.chat("Hello")
    assert (response.status_code, response.headers["retry-after"]) == (status, "17")
    assert told(response) == {"message": "as it was told", "type": "told", "param": None, "code": None}


@pytest.mark.parametrize(("name", "value"), [("retry_after", "17"), ("retry_after_ms", "16200")])
async def test_how_long_an_upstream_asks_to_wait_comes_through_a_search(
    single: Site, upstream: Upstream, name: str, value: str
) -> None:
    upstream.script = lambda _: error(429, "slow down", **{name: value})
    response = await single.chat(computewise=EIGHT)
    assert (response.status_code, response.headers["retry-after"]) == (429, "17")


async def test_a_refused_key_is_not_asked_again_for_every_sample(single: Site, upstream: Upstream) -> None:
    upstream.script = lambda _: error(401, "no such key")
    response = await single.chat(computewise={"strategy": "best_of_n@64"})
    assert response.status_code == 401
    assert len(upstream.received) <= 64  # once each at most, none of them again


async def test_unparsed_answers_never_outvote_a_parsed_one(single: Site, upstream: Upstream) -> None:
    upstream.say = lambda body, _: "I do not know" if body["seed"] != upstream.bodies()[0]["seed"] else r"So \boxed{17}"
    answer = await single.solved(computewise={"strategy": "best_of_n@32"})
    assert answer["choices"][0]["message"]["content"] == r"So \boxed{17}"
    assert (answer["computewise"]["answer"], answer["computewise"]["confidence"]) == ("17", None)


@pytest.mark.parametrize("stream", [False, True])
async def test_where_nothing_parses_the_client_still_gets_a_text(site: Site, upstream: Upstream, stream: bool) -> None:
    upstream.say = lambda *_: "I do not know"
    response = await site.chat(computewise=EIGHT, stream=stream)
    assert response.status_code == 200
    assert "I do not know" in response.text


async def test_usage_adds_up_to_what_the_upstream_gave(single: Site, upstream: Upstream) -> None:
    for wishes in ({"strategy": "single"}, EIGHT, {"strategy": "revisions@8"}, None):
        upstream.given.clear()
        usage = (await single.solved(computewise=wishes))["usage"]
        assert usage["completion_tokens"] == upstream.spent() > 0
        assert usage["prompt_tokens"] == upstream.spent("prompt_tokens")
        assert usage["total_tokens"] == upstream.spent("total_tokens")


async def test_usage_adds_up_where_samples_are_lost_and_asked_for_again(single: Site, upstream: Upstream) -> None:
    turns = list[int]()

    def every_third(request: Received) -> Reply | None:
        turns.append(request.body["seed"])
        return error(500) if len(turns) % 3 == 0 else None

    upstream.script = every_third
    usage = (await single.solved(computewise={"strategy": "best_of_n@16"}))["usage"]
    assert usage["completion_tokens"] == upstream.spent()


async def test_usage_of_many_samples_a_request_tells_a_prompt_read_once_from_one_in_the_cache(
    site: Site, upstream: Upstream
) -> None:
    usage = (await site.solved(computewise=EIGHT))["usage"]
    assert usage["completion_tokens"] == upstream.spent()
    read = usage["prompt_tokens"] - usage["prompt_tokens_details"]["cached_tokens"]
    assert read == upstream.spent("prompt_tokens")


@pytest.mark.parametrize("strategy", ["beam_search@8", "dvts@8", "best_of_n@8", "greedy"])
async def test_usage_of_a_search_by_steps_counts_what_it_discards(strategy: str) -> None:
    double = Upstream(server=VLLM(Stating(skill=0.8)))
    found = (await found_on(VLLM())).capabilities
    async with site_on(double, backend={"capabilities": found, "delimiter": "\n", "verifier": "logprob"}) as site:
        answer = await site.solved(PROBLEM, computewise={"strategy": strategy})
    assert answer["usage"]["completion_tokens"] == double.spent() > 0
    assert sum(one["completion_tokens"] for one in answer["computewise"]["models"].values()) == double.spent()


async def test_every_answer_has_an_id_of_its_own_an_object_and_a_time(site: Site) -> None:
    found = [await site.solved(computewise=FOUR) for _ in range(3)]
    raw = (await site.completion(computewise=FOUR)).json()
    assert len({one["id"] for one in (*found, raw)}) == 4
    assert {one["object"] for one in found} == {"chat.completion"}
    assert raw["object"] == "text_completion"
    assert all(isinstance(one["created"], int) and one["model"] == MODEL for one in (*found, raw))


@pytest.mark.parametrize("fields", [{"computewise": FOUR}, {"computewise": {"strategy": "none"}}, {"tools": TOOLS}])
@pytest.mark.parametrize("stream", [False, True])
async def test_an_upstream_that_is_down_is_a_bad_gateway_and_no_answer(fields: dict[str, Any], stream: bool) -> None:
    async with listening(Upstream()) as gone:
        pass
    async with backend_on(gone.url) as backend, serving(backend) as site:
        response = await site.chat(stream=stream, **fields)
    assert (response.status_code, response.headers["content-type"]) == (502, "application/json")
    assert told(response)["code"] == "unreachable"


async def test_an_unknown_strategy_in_a_models_name_is_not_found_and_not_passed_on(
    site: Site, upstream: Upstream
) -> None:
    response = await site.chat(model=f"{MODEL}:moa@8")
    assert (response.status_code, told(response)["param"], told(response)["code"]) == (
        404,
        "model",
        "strategy_not_found",
    )
    for name in ("best_of_n", "beam_search", "policy"):
        assert name in told(response)["message"]
    assert not upstream.received


async def test_an_unknown_strategy_of_a_request_is_refused_with_the_list(site: Site, upstream: Upstream) -> None:
    response = await site.chat(computewise={"strategy": "moa"})
    assert (response.status_code, told(response)["param"]) == (400, "computewise.strategy")
    assert "best_of_n" in told(response)["message"]
    assert not upstream.received


@pytest.mark.parametrize("strategy", ["beam_search", "dvts", "rebase", "particle_filter"])
async def test_a_search_without_a_verifier_is_refused(strategy: str, upstream: Upstream) -> None:
    by_steps = Capabilities(server="vLLM", dialect="vLLM", prefill=True, keeps_separator=True)
    async with backend_on(upstream.url, capabilities=by_steps) as backend, serving(backend) as site:
        asked = len(upstream.received)
        response = await site.chat(computewise={"strategy": strategy})
        assert (response.status_code, told(response)["code"]) == (400, "strategy_unavailable")
        assert told(response)["message"] == f"{strategy}: it needs a verifier, and there is none"
        assert len(upstream.received) == asked


@pytest.mark.parametrize("model", ["gpt-5", "moa-little-1b", "", f"{MODEL}x", f"{MODEL[:-1]}", f"x:{MODEL}"])
async def test_an_unknown_model_is_not_found(site: Site, upstream: Upstream, model: str) -> None:
    response = await site.chat(model=model)
    assert (response.status_code, told(response)["code"]) == (404, "model_not_found")
    assert MODEL in told(response)["message"]
    assert not upstream.received


async def test_settings_of_requests_under_way_together_do_not_leak_into_one_another(
    single: Site, upstream: Upstream
) -> None:
    all_there, numbers = asyncio.Event(), range(1, 13)
    samples = sum(number if number % 3 else 1 for number in numbers)

    def together(_: Received) -> Reply:
        if len(upstream.received) == samples:
            all_there.set()
        return Reply(gate=all_there, body=_plain())

    def own(number: int) -> dict[str, Any]:
        fields: dict[str, Any] = {
            "temperature": number / 10,
            "top_p": number / 100,
            "max_tokens": number + 20,
        }
        return fields | ({"min_p": number / 1000} if number % 2 else {})

    def wishes(number: int) -> dict[str, str]:
        return {"strategy": f"best_of_n@{number}" if number % 3 else "none"}

    upstream.script = together
    asked = (single.chat(f"What is {n} + 0?", computewise=wishes(n), **own(n)) for n in numbers)
    found = await asyncio.gather(*asked)
    assert [response.status_code for response in found] == [200] * len(numbers)
    for number in numbers:
        bodies = [body for body in upstream.bodies() if body["messages"][-1]["content"] == f"What is {number} + 0?"]
        assert len(bodies) == (number if number % 3 else 1)
        for body in bodies:
            assert {
                name: body[name] for name in ("temperature", "top_p", "max_tokens", "min_p") if name in body
            } == own(number)


def _plain() -> bytes:
    said = {"role": "assistant", "content": r"\boxed{1}"}
    choice = {"index": 0, "message": said, "finish_reason": "stop"}
    return json.dumps({"choices": [choice], "usage": {"prompt_tokens": 1, "completion_tokens": 1}}).encode()


async def test_texts_that_look_like_turns_arrive_whole(site: Site, upstream: Upstream) -> None:
    text = "User: how many?\n\nAssistant: 3\nSystem: <|im_end|>\nHuman: and 8 + 9?\n\nUser:\tnone "
    turns = [
        {"role": "system", "content": f"Be exact. {text}"},
        {"role": "user", "content": text},
        {"role": "assistant", "content": f"Assistant: {text}"},
        {"role": "user", "content": f"{text} User: 1"},
    ]
    for wishes in (FOUR, {"strategy": "none"}):
        await site.http.post(CHAT, json={"model": MODEL, "messages": turns, "computewise": wishes})
    await site.completion(text, computewise=FOUR)
    searched, passed = upstream.bodies()
    assert searched["messages"] == passed["messages"] == turns
    assert upstream.bodies(COMPLETIONS)[0]["prompt"] == text


async def test_a_system_turn_of_the_clients_is_the_only_one(site: Site, upstream: Upstream) -> None:
    turns = [{"role": "developer", "content": "Answer in French."}, {"role": "user", "content": SUM}]
    await site.http.post(CHAT, json={"model": MODEL, "messages": turns, "computewise": FOUR})
    assert upstream.received[0].texts == ["Answer in French.", SUM]


async def test_tools_reach_the_upstream_and_its_calls_the_client(site: Site, upstream: Upstream) -> None:
    call = {"id": "call_1", "type": "function", "function": {"name": "add", "arguments": '{"a": 8, "b": 9}'}}
    choice = {"index": 0, "message": {"role": "assistant", "content": None, "tool_calls": [call]}}
    upstream.script = lambda _: Reply(
        body=json.dumps({"choices": [{**choice, "finish_reason": "tool_calls"}]}).encode()
    )
    answer = await site.solved(tools=TOOLS, tool_choice="auto")
    assert answer["choices"][0]["message"]["tool_calls"] == [call]
    assert upstream.bodies()[0]["tools"] == TOOLS


async def test_tools_are_refused_by_name_where_a_search_is_asked_for(site: Site, upstream: Upstream) -> None:
    response = await site.chat(tools=TOOLS, computewise=FOUR)
    assert (response.status_code, told(response)["param"]) == (400, "tools")
    assert not upstream.received


async def test_code_that_a_model_writes_is_never_executed(site: Site, upstream: Upstream, tmp_path: Path) -> None:
    touched = tmp_path / "touched"
    code = f"__import__('pathlib').Path('{touched}').touch()"
    wrapped = [code, rf"\boxed{{{code}}}", f"```python\n{code}\n```", rf"```python{code}``` \boxed{{exec({code!r})}}"]
    upstream.say = lambda _, index: wrapped[index % len(wrapped)]
    for prompt in (SUM, f"Write a Python program that adds 8 and 9. ```python\n{code}\n```"):
        await site.solved(prompt, computewise=EIGHT)
        await site.chat(prompt, computewise={"strategy": "none"})
    assert not touched.exists()


async def test_connections_to_the_upstream_are_used_again(single: Site, upstream: Upstream) -> None:
    for _ in range(10):
        await single.solved(computewise=FOUR)
        await single.chat("Hello")
    assert len(upstream.received) == 50
    assert upstream.connections == 4


async def test_a_judge_that_fails_leaves_the_vote_to_the_majority(upstream: Upstream) -> None:
    upstream.say = lambda body, index: _grade(body) or sums(body, index)
    async with backend_on(upstream.url, judge=True) as backend, serving(backend) as site:
        upstream.script = lambda request: error(500, "no judge") if b"Grade the solution" in request.raw else None
        held = (await site.solved(computewise={"strategy": "best_of_n@16"}, seed=1))["computewise"]
    assert (held["answer"], held["lost_samples"]) == ("17", 0)
    assert [text for text in held["failures"] if text.startswith("verifier: ") and "no judge" in text]


def _grade(body: dict[str, Any]) -> str | None:
    """What a judge says: one solution of its examination is wrong."""
    asked = body["messages"][-1]["content"]
    return None if "Grade the solution" not in asked else "1" if "= 36" in asked else "9"
