"""What is not searched goes to the upstream and back byte for byte."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from serving import (
    CHAT,
    COMPLETIONS,
    LARGE,
    MODEL,
    SUM,
    Reply,
    Site,
    Upstream,
    backend_on,
    listening,
    serving,
)

JSON = {"content-type": "application/json"}
TURN = '{"role":"user","content":"What is 8 + 9?"}'
HELLO = '{"role":"user","content":"Hello, you"}'
IMAGE = '{"role":"user","content":[{"type":"text","text":"8+9"},{"type":"image_url","image_url":{"url":"data:,"}}]}'
CALL = '{"role":"assistant","tool_calls":[{"id":"c","type":"function","function":{"name":"a","arguments":"{}"}}]}'
RESULT = '{"role":"tool","tool_call_id":"c","content":"17"}'
CHATS = {
    "no answer to compare": f'"messages":[{HELLO}]',
    "tools": f'"messages":[{TURN}],"tools":[{{"type":"function","function":{{"name":"a"}}}}]',
    "a tool's result": f'"messages":[{TURN},{CALL},{RESULT}]',
    "an image": f'"messages":[{IMAGE}]',
    "several answers": f'"messages":[{TURN}],"n":2',
    "log-probabilities": f'"messages":[{TURN}],"logprobs":true,"top_logprobs":5',
    "greedy": f'"messages":[{TURN}],"temperature":0',
    "greedy as a float": f'"messages":[{TURN}],"temperature":0.0',
    "a shape": f'"messages":[{TURN}],"response_format":{{"type":"json_object"}}',
    "a stop": f'"messages":[{TURN}],"stop":"\\n"',
    "the assistant goes on": f'"messages":[{TURN},{{"role":"assistant","content":"It is"}}]',
    "an unknown role": '"messages":[{"role":"critic","content":"8+9"}]',
    "a prediction": f'"messages":[{TURN}],"prediction":{{"type":"content","content":"17"}}',
    "no bound, and a tool": f'"messages":[{TURN}],"tools":[{{}}],"max_tokens":-1,"user":17',
    "no tokens": f'"messages":[{TURN}],"max_tokens":0',
    "a temperature that is none": f'"messages":[{TURN}],"temperature":"warm"',
    "an effort of another provider": f'"messages":[{TURN}],"reasoning_effort":"default"',
    "no turns": '"messages":[]',
    "turns of another form": '"messages":{"a":[{}]}',
    "numbers as texts": f'"messages":[{TURN}],"n":"1","max_tokens":"5","seed":"x"',
    "a part to cache": '"messages":[{"role":"user","content":[{"type":"text","text":"8+9","cache_control":{}},'
    '{"type":"text","text":"?","cache_control":{"type":"ephemeral"}}]}]',
    "a choice": f'"messages":[{TURN}],"structured_outputs":{{"choice":["a"]}}',
    "sound": f'"messages":[{TURN}],"modalities":["text","audio"],"audio":{{"voice":"a","format":"wav"}}',
}
COMPLETED = {
    "token ids": '"prompt":[1,2,3]',
    "several prompts": '"prompt":["1 + 1","2 + 2"]',
    "echo": '"prompt":"1 + 1","echo":true',
    "the best of some": '"prompt":"1 + 1","best_of":4',
    "a suffix": '"prompt":"1 + 1","suffix":"."',
    "log-probabilities": '"prompt":"1 + 1","logprobs":3',
    "log-probabilities of what is sampled": '"prompt":"1 + 1","logprobs":0',
    "a likelihood": '"prompt":"1 + 1","echo":true,"max_tokens":0,"logprobs":1',
    "no prompt": '"prompts":[]',
}
ODD = (
    ' {\n\t"model" : "%s", "unheard": [1.0, 1e3, -0.0, 12345678901234567890],\r\n'
    ' "texts": "\\u00e9\\/\\ud83d\\ude00 é😀 \\u0000",'
    '"x": {"b": 1, "a": {}}, "x": null, %s, "stream": %s}  \n'
)
"""What a decoder and an encoder would not leave alone: blanks, escapes, numbers, a name that is there twice."""

UNFINISHED = "ASGI callable returned without completing response."


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    async with listening(Upstream()) as double:
        yield double


@pytest.fixture
async def site(upstream: Upstream) -> AsyncIterator[Site]:
    async with backend_on(upstream.url, large=True) as backend, serving(backend) as opened:
        yield opened


async def sent(site: Site, path: str, raw: bytes, **headers: str) -> tuple[httpx.Response, bytes]:
    """The answer, and its body as it came, not unpacked."""
    told = {"content-type": "application/json", **{name.replace("_", "-"): value for name, value in headers.items()}}
    async with site.http.stream("POST", path, content=raw, headers=told) as response:
        return response, b"".join([part async for part in response.aiter_raw()])


@pytest.mark.parametrize("name", CHATS)
async def test_a_chat_that_is_not_searched_is_passed_through_byte_for_byte(
    site: Site, upstream: Upstream, name: str
) -> None:
    back = b' {"choices": [ ],\n "x": 1.0, "x": "\\u00e9"}\n\n'
    upstream.script = lambda _: Reply(headers=JSON, body=back)
    raw = (ODD % (MODEL, CHATS[name], "false")).encode()
    response, body = await sent(site, CHAT, raw)
    (request,) = upstream.received
    assert (request.method, request.path, request.raw) == ("POST", CHAT, raw)
    assert (response.status_code, body) == (200, back)
    trace = await site.trace()
    assert (trace["status"], bool(trace["why_passed"])) == ("passed", True)


@pytest.mark.parametrize("name", COMPLETED)
async def test_a_completion_that_is_not_searched_is_passed_through_byte_for_byte(
    site: Site, upstream: Upstream, name: str
) -> None:
    upstream.script = lambda _: Reply(headers=JSON, body=b'{ "choices":[]}')
    raw = (ODD % (MODEL, COMPLETED[name], "false")).encode()
    response, body = await sent(site, COMPLETIONS, raw)
    (request,) = upstream.received
    assert (request.path, request.raw, body) == (COMPLETIONS, raw, b'{ "choices":[]}')
    assert response.status_code == 200


async def test_the_larger_model_is_passed_through_to_under_its_own_name(site: Site, upstream: Upstream) -> None:
    raw = (ODD % (LARGE, CHATS["no answer to compare"], "false")).encode()
    await sent(site, CHAT, raw)
    assert upstream.received[0].raw == raw


@pytest.mark.parametrize("way", ["gzip", "br", "x-unheard-of"])
async def test_a_packed_answer_is_not_unpacked(site: Site, upstream: Upstream, way: str) -> None:
    packed = gzip.compress(b'{"choices": []}' * 100) if way == "gzip" else b"\x8b\x00\x80packed\x03"
    upstream.script = lambda _: Reply(headers={**JSON, "content-encoding": way, "vary": "accept-encoding"}, body=packed)
    response, body = await sent(site, CHAT, (ODD % (MODEL, CHATS["tools"], "false")).encode(), accept_encoding=way)
    assert upstream.received[0].headers["accept-encoding"] == way
    assert body == packed
    assert (response.headers["content-encoding"], response.headers["vary"]) == (way, "accept-encoding")
    assert response.headers["content-length"] == str(len(packed))


async def test_an_answer_is_packed_only_for_who_says_that_he_can_unpack_it(site: Site, upstream: Upstream) -> None:
    await sent(site, CHAT, (ODD % (MODEL, CHATS["tools"], "false")).encode(), accept_encoding="identity")
    assert upstream.received[0].headers["accept-encoding"] == "identity"


STREAM = [
    b'data: {"choices":[{"delta":{"content":"a"}}]}\n\n: a comment\r\n\r\nda',
    b"ta: {}\n\nevent: odd\nid: 7\ndata: \xc3",
    b"\xa9\n\ndata: [DONE]\n\n",
]


@pytest.mark.parametrize("path", [CHAT, COMPLETIONS])
async def test_every_byte_of_a_stream_is_passed_on(site: Site, upstream: Upstream, path: str) -> None:
    kind = {"content-type": "text/event-stream; charset=utf-8"}
    upstream.script = lambda _: Reply(headers=kind, parts=STREAM)
    asked = CHATS["tools"] if path == CHAT else COMPLETED["echo"]
    raw = (ODD % (MODEL, asked, "true")).encode()
    response, body = await sent(site, path, raw)
    assert (upstream.received[0].raw, body) == (raw, b"".join(STREAM))
    assert response.headers["content-type"] == kind["content-type"]


async def test_a_part_of_a_stream_is_passed_on_before_the_next_is_there(site: Site, upstream: Upstream) -> None:
    gates = [asyncio.Event() for _ in range(20)]
    parts = [part for number, gate in enumerate(gates) for part in (b"data: %d\n\n" % number, gate)]
    upstream.script = lambda _: Reply(headers={"content-type": "text/event-stream"}, parts=parts)
    body = {"model": MODEL, "messages": [{"role": "user", "content": "Hello"}], "stream": True}
    async with site.http.stream("POST", CHAT, json=body) as response:
        came = response.aiter_raw()
        for number, gate in enumerate(gates):
            assert await anext(came) == b"data: %d\n\n" % number
            gate.set()
        assert [part async for part in came] == []


async def test_status_and_headers_come_through(site: Site, upstream: Upstream) -> None:
    told = {
        "content-type": "application/json; charset=utf-8",
        "x-ratelimit-limit-requests": "60",
        "x-ratelimit-remaining-tokens": "149984",
        "x-ratelimit-reset-requests": "1s",
        "openai-processing-ms": "17",
        "openai-organization": "somebody",
        "cf-ray": "a-b",
        "etag": 'W/"x"',
    }
    upstream.script = lambda _: Reply(status=202, headers=told, body=b"{}")
    response = await site.chat("Hello")
    assert response.status_code == 202
    assert {name: response.headers[name] for name in told} == told


async def test_headers_of_a_connection_and_cookies_end_here(site: Site, upstream: Upstream) -> None:
    told = {**JSON, "connection": "keep-alive", "keep-alive": "timeout=5", "set-cookie": "a=b", "server": "theirs"}
    upstream.script = lambda _: Reply(headers=told, body=b"{}")
    site.http.headers.update({"cookie": "c=d", "x-forwarded-for": "10.0.0.1", "te": "trailers", "origin": "http://a"})
    response = await site.chat("Hello")
    assert not {"keep-alive", "set-cookie"} & set(response.headers)
    assert response.headers.get("server") != "theirs"
    assert not {"cookie", "x-forwarded-for", "te", "origin"} & set(upstream.received[0].headers)


@pytest.mark.parametrize("status", [400, 401, 404, 429, 500, 503])
@pytest.mark.parametrize("stream", [False, True])
async def test_errors_are_passed_on_as_they_are_and_not_tried_again(
    site: Site, upstream: Upstream, status: int, stream: bool
) -> None:
    back = b'{"error" : {"message":"no", "type": "x", "param":null,"code":7}, "more": 1.0}'
    upstream.script = lambda _: Reply(status=status, headers={**JSON, "retry-after": "0.25"}, body=back)
    response = await site.chat("Hello", stream=stream)
    assert (response.status_code, response.content, response.headers["retry-after"]) == (status, back, "0.25")
    assert len(upstream.received) == 1
    trace = await site.trace()
    assert str(status) in trace["error"]


async def test_a_redirect_is_passed_on_and_not_followed(site: Site, upstream: Upstream) -> None:
    async with listening(Upstream()) as elsewhere:
        upstream.script = lambda _: Reply(status=307, headers={"location": f"{elsewhere.url}/chat/completions"})
        response = await site.chat("Hello")
        assert (response.status_code, elsewhere.connections) == (307, 0)


@pytest.mark.parametrize("name", ["none", "tools", "policy"])
async def test_what_is_said_to_this_server_alone_is_taken_out(site: Site, upstream: Upstream, name: str) -> None:
    wishes = {"none": {"strategy": "none"}, "tools": {}, "policy": {"progress": "comments"}}[name]
    fields: dict[str, Any] = {"temperature": 0.5, "seed": 7, "user": "é", "min_p": 0.1, "stream": False}
    if name != "none":
        fields["tools"] = [{"type": "function", "function": {"name": "a"}}]
    assert (await site.chat(computewise=wishes, **fields)).status_code == 200
    turns = [{"role": "user", "content": SUM}]
    assert upstream.received[0].body == {"model": MODEL, "messages": turns, **fields}
    assert list(upstream.received[0].body) == ["model", "messages", *fields]


async def test_beside_what_is_taken_out_every_value_keeps_its_bytes(site: Site, upstream: Upstream) -> None:
    kept = (ODD % (MODEL, CHATS["tools"], "false")).rstrip().removesuffix("}")
    await sent(site, CHAT, f'{kept}, "computewise": {{"strategy": "none"}}}}'.encode())
    raw = upstream.received[0].raw
    for part in (b"[1.0, 1e3, -0.0, 12345678901234567890]", b'"\\u00e9\\/\\ud83d\\ude00', b'"type":"function"'):
        assert part in raw
    assert b"computewise" not in raw


BOUNDS = [
    ({}, {"max_tokens": 20}),
    ({"max_tokens": 50}, {"max_tokens": 20}),
    ({"max_tokens": 5}, {"max_tokens": 5}),
    ({"max_tokens": 0}, {"max_tokens": 0}),
    ({"max_tokens": -1, "max_completion_tokens": 7}, {"max_tokens": 20, "max_completion_tokens": 7}),
    ({"max_tokens": "many", "n": "several"}, {"max_tokens": 20}),
    ({"max_tokens": None, "n": 4}, {"max_tokens": 5}),
    ({"n": 2.0, "n_predict": 64}, {"n_predict": 10}),
    ({"n": [], "best_of": 5}, {"max_tokens": 4}),
    ({"prompt": ["a", "b"], "n": 2}, {"max_tokens": 5}),
    ({"prompt": [1, 2, 3]}, {"max_tokens": 20}),
]


@pytest.mark.parametrize(("fields", "bounds"), BOUNDS)
async def test_a_bound_on_all_tokens_holds_for_what_is_passed_through(
    site: Site, upstream: Upstream, fields: dict[str, Any], bounds: dict[str, Any]
) -> None:
    upstream.script = lambda _: Reply(headers=JSON, body=b"{}")
    wishes = {"strategy": "none", "max_total_tokens": 20}
    response = await site.http.post(COMPLETIONS, json={"model": MODEL, **fields, "computewise": wishes})
    assert response.status_code == 200
    assert upstream.received[0].body == {"model": MODEL, **fields, **bounds}


async def test_an_answer_has_one_id_and_the_upstreams_is_not_lost(site: Site, upstream: Upstream) -> None:
    upstream.script = lambda _: Reply(headers={**JSON, "x-request-id": "theirs"}, body=b"{}")
    response = await site.chat("Hello")
    trace = await site.trace()
    assert response.headers.get_list("x-request-id") == [trace["id"]]
    assert response.headers["x-upstream-request-id"] == "theirs"


async def test_a_mark_of_the_byte_order_is_passed_through_too(site: Site, upstream: Upstream) -> None:
    raw = b"\xef\xbb\xbf" + (ODD % (MODEL, CHATS["tools"], "false")).encode()
    await sent(site, CHAT, raw)
    assert upstream.received[0].raw == raw


@pytest.mark.parametrize("kind", ["text/plain", "application/json; charset=utf-8", "application/x-www-form-urlencoded"])
async def test_the_type_that_a_client_names_does_not_matter(site: Site, upstream: Upstream, kind: str) -> None:
    raw = (ODD % (MODEL, CHATS["tools"], "false")).encode()
    await sent(site, CHAT, raw, content_type=kind)
    assert (upstream.received[0].raw, upstream.received[0].headers["content-type"]) == (raw, "application/json")


async def test_a_body_that_is_packed_is_refused_by_its_header(site: Site, upstream: Upstream) -> None:
    raw = gzip.compress((ODD % (MODEL, CHATS["tools"], "false")).encode())
    response = await site.http.post(CHAT, content=raw, headers={**JSON, "content-encoding": "gzip"})
    assert (response.status_code, response.json()["error"]["code"]) == (415, "packed_body")
    assert not upstream.received


async def test_none_behind_the_models_name_passes_through_under_the_models_own(site: Site, upstream: Upstream) -> None:
    answer = (await site.chat(model=f"{MODEL}:none")).json()
    assert upstream.received[0].body["model"] == answer["model"] == MODEL
    assert upstream.received[0].texts == [SUM]


async def test_a_client_that_hangs_up_within_a_stream_closes_the_upstreams_connection(
    site: Site, upstream: Upstream
) -> None:
    upstream.script = lambda _: Reply(parts=[b"data: 1\n\n"], hangs=True)
    body = {"model": MODEL, "messages": [{"role": "user", "content": "Hello"}], "stream": True}
    async with site.http.stream("POST", CHAT, json=body) as response:
        assert await anext(response.aiter_raw()) == b"data: 1\n\n"
    await upstream.until(lambda: upstream.abandoned == 1)
    trace = await site.trace()
    assert trace["status"] == "cancelled"
    await site.busy(in_flight=0, waiting=0)


async def test_a_client_that_hangs_up_before_anything_has_come_does_too(site: Site, upstream: Upstream) -> None:
    upstream.script = lambda _: Reply(gate=asyncio.Event())
    task = asyncio.create_task(site.chat("Hello"))
    await upstream.until(lambda: upstream.under_way == 1)
    task.cancel()
    await upstream.until(lambda: upstream.abandoned == 1)


async def test_an_answer_that_the_upstream_cuts_off_does_not_look_whole(site: Site, upstream: Upstream) -> None:
    upstream.script = lambda _: Reply(headers=JSON, parts=[b'{"choices": [', b"{}"], cut=True)
    with pytest.raises(httpx.RemoteProtocolError):
        await site.chat("Hello")
    trace = await site.trace()
    assert (trace["status"], "no answer" in trace["error"]) == ("failed", True)
    assert site.logged.pop() == UNFINISHED


async def test_a_stream_that_the_upstream_cuts_off_ends_without_its_done(site: Site, upstream: Upstream) -> None:
    upstream.script = lambda _: Reply(headers={"content-type": "text/event-stream"}, parts=[b"data: 1\n\n"], cut=True)
    body = {"model": MODEL, "messages": [{"role": "user", "content": "Hello"}], "stream": True}
    with pytest.raises(httpx.RemoteProtocolError):
        async with site.http.stream("POST", CHAT, json=body) as response:
            [part async for part in response.aiter_raw()]
    assert site.logged.pop() == UNFINISHED


async def test_an_upstream_that_hangs_up_without_an_answer_is_a_bad_gateway(site: Site, upstream: Upstream) -> None:
    async def gone() -> httpx.Response:
        gate = asyncio.Event()
        upstream.script = lambda _: Reply(gate=gate)
        task = asyncio.create_task(site.chat("Hello"))
        await upstream.until(lambda: upstream.under_way == 1)
        upstream.hang_up()
        return await task

    response = await gone()
    assert (response.status_code, response.json()["error"]["code"]) == (502, "unreachable")


async def test_a_body_of_some_megabytes_comes_through_both_ways(site: Site, upstream: Upstream) -> None:
    large = "é" * (3 << 20)
    upstream.script = lambda request: Reply(headers=JSON, body=request.raw)
    raw = (ODD % (MODEL, f'"messages":[{{"role":"user","content":"{large}"}}],"tools":[{{}}]', "false")).encode()
    _, body = await sent(site, CHAT, raw)
    assert body == upstream.received[0].raw == raw


async def test_a_body_that_is_too_large_is_refused_before_it_is_read(upstream: Upstream) -> None:
    async with backend_on(upstream.url) as backend, serving(backend, largest_body=1 << 20) as site:
        response = await site.chat("x" * (1 << 20))
    assert (response.status_code, response.json()["error"]["code"]) == (413, "too_large")
    assert not [one for one in upstream.received if one.raw]


async def test_a_body_that_turns_out_too_large_on_the_way_is_refused_too(upstream: Upstream) -> None:
    async def parts() -> AsyncIterator[bytes]:
        for _ in range(10):
            yield b" " * (1 << 17)

    async with backend_on(upstream.url) as backend, serving(backend, largest_body=1 << 20) as site:
        response = await site.http.post(CHAT, content=parts())
        assert (response.status_code, response.json()["error"]["code"]) == (413, "too_large")
        assert (await site.chat("Hello")).status_code == 200


async def test_many_pass_through_together_each_with_its_own(site: Site, upstream: Upstream) -> None:
    upstream.script = lambda request: Reply(headers=JSON, body=request.raw)
    asked = (site.chat(f"Hello, my number is {number:03}", tools=[{}]) for number in range(100))
    found = await asyncio.gather(*asked)
    assert [json.loads(one.content)["messages"][0]["content"][-3:] for one in found] == [f"{n:03}" for n in range(100)]
    assert len({request.raw for request in upstream.received}) == 100
