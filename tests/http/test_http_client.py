"""One server over HTTP: what is tried again, how long, and that a key goes nowhere but to its server."""

from __future__ import annotations

import asyncio
import logging
import traceback
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest

from computewise.errors import ComputewiseError, ModelError, ServerError, UsageError
from computewise.http.client import HttpClient
from computewise.http.concurrency import Retry

KEY = "sk-secret-0123456789"
Answer = httpx.Response | Exception


class Scripted(httpx.AsyncBaseTransport):
    """Answers with the next of `answers`, the last one for ever."""

    def __init__(self, *answers: Answer | Callable[[], Answer]) -> None:
        self.answers = list(answers)
        self.requests: list[httpx.Request] = []
        self.closed = False

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        answer = answer if isinstance(answer, httpx.Response | Exception) else answer()
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def aclose(self) -> None:
        self.closed = True


def ok(body: Any = None) -> httpx.Response:
    return httpx.Response(200, json={"ok": True} if body is None else body)


def status(code: int, **headers: str) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.Response(code, json={"error": {"message": f"because {code}"}}, headers=named)


def client_of(transport: Scripted, retry: Retry | None = None, **settings: Any) -> HttpClient:
    return HttpClient("http://server/v1", retry=retry, transport=transport, **settings)


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Nobody sleeps; this is how long they would have."""
    slept: list[float] = []
    sleep = asyncio.sleep

    async def at_once(seconds: float) -> None:
        slept.append(seconds)
        await sleep(0)

    monkeypatch.setattr(asyncio, "sleep", at_once)
    return slept


# Requests


async def test_a_body_goes_as_json_to_a_path_under_v1_or_under_the_root() -> None:
    transport = Scripted(ok)
    async with HttpClient("http://server:8000/some/v1/", api_key=KEY, transport=transport) as client:
        assert await client.post("completions", {"prompt": (1, 2), "text": "é\n"}) == {"ok": True}
        assert await client.get("/props") == {"ok": True}
    post, get = transport.requests
    assert (post.method, str(post.url)) == ("POST", "http://server:8000/some/v1/completions")
    assert post.content == '{"prompt":[1,2],"text":"é\\n"}'.encode()
    assert post.headers["content-type"] == "application/json"
    assert post.headers["user-agent"].startswith("computewise/")
    assert (get.method, str(get.url), get.content) == ("GET", "http://server:8000/some/props", b"")
    assert {request.headers["authorization"] for request in transport.requests} == {f"Bearer {KEY}"}
    assert transport.closed


async def test_without_a_key_there_is_no_header_for_one() -> None:
    for key in (None, "", "  "):
        transport = Scripted(ok)
        async with client_of(transport, api_key=key) as client:
            await client.get("models")
        assert "authorization" not in transport.requests[0].headers


@pytest.mark.parametrize("key", [f"{KEY}\n", f" {KEY}\r\n"])
async def test_the_line_end_of_a_file_is_no_part_of_a_key(key: str) -> None:
    transport = Scripted(ok)
    async with client_of(transport, api_key=key) as client:
        await client.get("models")
    assert transport.requests[0].headers["authorization"] == f"Bearer {KEY}"


@pytest.mark.parametrize("key", [f"{KEY}\nx: y", f"{KEY}é", f"{KEY}\x00"])
def test_a_key_that_no_header_can_hold_is_refused_without_showing_it(key: str) -> None:
    with pytest.raises(UsageError, match="API key holds characters") as error:
        client_of(Scripted(ok), api_key=key)
    assert KEY not in str(error.value)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("localhost:8000/v1", "is not the URL of a server"),
        ("ftp://server/v1", "is not the URL of a server"),
        ("http://", "is not the URL of a server"),
        ("http:///v1", "is not the URL of a server"),
        ("", "is not the URL of a server"),
        ("http://[::1/v1", "is not a URL"),
        ("http://server:99999/v1", "is not the URL of a server"),
        ("http://server:0/v1", "is not the URL of a server"),
        ("http://a..b/v1", "is not a URL"),
        (f"http://{'a' * 64}.com/v1", "is not a URL"),
        (f"http://{KEY}@server/v1", "holds a user name or a query"),
        (f"http://user:{KEY}@server/v1", "holds a user name or a query"),
        (f"http://server/v1?key={KEY}", "holds a user name or a query"),
    ],
)
def test_what_is_no_plain_url_is_refused_without_showing_a_key(url: str, said: str) -> None:
    with pytest.raises(UsageError, match=said) as error:
        HttpClient(url)
    assert KEY not in str(error.value)
    assert "\n" not in str(error.value)


async def test_text_that_is_not_unicode_is_an_error_of_that_problem() -> None:
    async with client_of(Scripted(ok)) as client:
        with pytest.raises(ModelError, match="surrogate"):
            await client.post("completions", {"prompt": "\ud83d"})


# What is tried again


@pytest.mark.parametrize("code", [408, 409, 425, 429, 500, 502, 503, 504, 520, 529])
async def test_what_may_pass_is_tried_again(code: int, waits: list[float]) -> None:
    transport = Scripted(status(code), status(code), ok())
    async with client_of(transport) as client:
        assert await client.post("completions", {}) == {"ok": True}
        assert client.retries == 2
    assert len(transport.requests) == 3
    assert len(waits) == 2


@pytest.mark.parametrize("code", [300, 301, 304, 307, 400, 401, 402, 403, 404, 405, 410, 413, 422, 501, 505])
async def test_what_will_not_pass_is_not(code: int, waits: list[float]) -> None:
    transport = Scripted(status(code))
    async with client_of(transport) as client:
        with pytest.raises(ServerError, match=f"answered {code}: because {code}") as error:
            await client.post("completions", {})
        assert client.limiter.in_flight == 0
    assert error.value.status == code
    assert "tries" not in str(error.value)
    assert len(transport.requests) == 1
    assert waits == []


@pytest.mark.parametrize(
    "dropped",
    [
        httpx.ConnectError("refused"),
        httpx.ConnectTimeout(""),
        httpx.ReadError(""),
        httpx.RemoteProtocolError("Server disconnected without sending a response."),
        httpx.WriteError("broken pipe"),
        httpx.DecodingError("no gzip"),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_a_dropped_connection_is_tried_again_and_named_in_the_end(dropped: Exception, waits: list[float]) -> None:
    transport = Scripted(dropped, ok())
    async with client_of(transport) as client:
        assert await client.get("models") == {"ok": True}
    async with client_of(Scripted(dropped), Retry(tries=3)) as client:
        with pytest.raises(ServerError, match=r"no answer from http://server/v1/models.+ \(3 tries\)") as error:
            await client.get("models")
    assert error.value.status is None
    assert len(waits) == 1 + 2


async def test_a_refusal_after_tries_says_how_many(waits: list[float]) -> None:
    async with client_of(Scripted(status(503), status(503), status(400))) as client:
        with pytest.raises(ServerError, match=r"answered 400: because 400 \(3 tries\)") as error:
            await client.get("models")
    assert error.value.status == 400


async def test_a_place_is_free_while_a_request_waits_to_be_made_again(waits: list[float]) -> None:
    client = client_of(Scripted(status(500), ok()), concurrency=1)
    seen = []
    sleep = asyncio.sleep

    async def look(seconds: float) -> None:
        seen.append(client.limiter.in_flight)
        await sleep(0)

    asyncio.sleep = look  # type: ignore[assignment]
    try:
        await client.get("models")
    finally:
        asyncio.sleep = sleep
        await client.aclose()
    assert seen == [0]


async def test_retry_after_is_waited_for_and_a_little_longer(waits: list[float]) -> None:
    transport = Scripted(status(429, retry_after="7"), status(429, retry_after_ms="1500", retry_after="60"), ok())
    async with client_of(transport) as client:
        await client.get("models")
    assert 7 <= waits[0] <= 8
    assert 1.5 <= waits[1] <= 2.5


async def test_to_be_asked_to_wait_beyond_the_bound_is_the_end(waits: list[float]) -> None:
    transport = Scripted(status(429, retry_after="3600"))
    async with client_of(transport) as client:
        with pytest.raises(ServerError, match=r"answered 429: because 429 \(asks to wait 3.6e\+03 s\)$"):
            await client.get("models")
    assert len(transport.requests) == 1
    assert waits == []


async def test_waits_are_bounded_in_all(waits: list[float]) -> None:
    transport = Scripted(status(429, retry_after="50"))
    async with client_of(transport, Retry(tries=100)) as client:
        with pytest.raises(ServerError, match="tries"):
            await client.get("models")
    assert len(waits) == 3
    assert sum(waits) <= 180


async def test_a_try_that_ran_into_its_time_limit_counts_its_time(
    waits: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr("computewise.http.client.time.monotonic", lambda: now[0])

    def too_late() -> Answer:
        now[0] += 100
        return httpx.ReadTimeout("")

    transport = Scripted(too_late)
    async with client_of(transport, Retry(tries=100)) as client:
        with pytest.raises(ServerError, match=r"within 600 s: .+ \(2 tries\)"):
            await client.get("models")


async def test_tries_are_bounded(waits: list[float]) -> None:
    transport = Scripted(status(500))
    async with client_of(transport) as client:
        with pytest.raises(ServerError, match=r"\(6 tries\)"):
            await client.get("models")
    assert len(transport.requests) == 6


# What comes back


@pytest.mark.parametrize("body", [b"", b"<html>busy</html>", b"data: {}\n\n", b'{"a":', b"\xff\xfe", b"[" * 9999])
async def test_what_is_no_json_is_an_error_and_not_tried_again(body: bytes) -> None:
    transport = Scripted(httpx.Response(200, content=body))
    async with client_of(transport) as client:
        with pytest.raises(ServerError, match="answered 200, but not with JSON") as error:
            await client.get("models")
        assert client.limiter.in_flight == 0
    assert error.value.status == 200
    assert "\n" not in str(error.value)
    assert len(transport.requests) == 1


async def test_nan_which_some_write_is_read() -> None:
    async with client_of(Scripted(httpx.Response(200, content=b'{"a":[NaN,-Infinity,1.5]}'))) as client:
        assert str(await client.get("models")) == "{'a': [nan, -inf, 1.5]}"


@pytest.mark.parametrize(
    ("body", "shown"),
    [
        (b'{"error":{"message":"bad prompt","code":400}}', "bad prompt"),
        (b'{"error":"bad prompt"}', "bad prompt"),
        (b'{"message":"bad\\nprompt"}', "bad prompt"),
        (b'{"detail":[{"loc":["body"],"msg":"missing"}]}', '[{"loc": ["body"], "msg": "missing"}]'),
        (b'{"object":"error","message":"bad prompt"}', "bad prompt"),
        (b'{"error":{"message":"","type":"x"}}', '{"message": "", "type": "x"}'),
        (b"bad\n\tprompt", "bad prompt"),
        (b"", "Bad Request"),
        (b"[]", "[]"),
        ("é".encode() * 400, "é" * 300 + "..."),
    ],
)
async def test_what_a_server_says_is_shown_on_one_line(body: bytes, shown: str) -> None:
    async with client_of(Scripted(httpx.Response(400, content=body))) as client:
        with pytest.raises(ServerError) as error:
            await client.get("models")
    assert str(error.value) == f"http://server/v1/models answered 400: {shown}"


# The key

ECHOES: list[Answer] = [
    httpx.Response(401, json={"error": {"message": f"Incorrect API key provided: {KEY}."}}),
    httpx.Response(401, json={"detail": {"authorization": f"Bearer {KEY}"}}),
    httpx.Response(401, content=f"who is {KEY}?".encode()),
    httpx.Response(401, content=("x" * 290 + KEY).encode()),
    httpx.Response(400, content=("x" * 310 + KEY).encode()),
    httpx.Response(200, content=f"<html>{KEY}</html>".encode()),
    httpx.Response(500, json={"error": KEY}),
    httpx.ConnectError(f"proxy said {KEY}"),
]


@pytest.mark.parametrize("answer", ECHOES, ids=map(str, range(len(ECHOES))))
async def test_a_key_is_in_no_error_no_log_and_no_traceback(
    answer: Answer, waits: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    client = client_of(Scripted(answer), api_key=KEY)
    with pytest.raises(ComputewiseError) as error:
        await client.post("completions", {})
    await client.aclose()
    shown = [str(error.value), repr(error.value), caplog.text, repr(client)]
    shown.append("".join(traceback.format_exception(error.value)))
    assert not any(KEY[:8] in text for text in shown)


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
async def test_a_redirect_is_not_followed(code: int) -> None:
    transport = Scripted(httpx.Response(code, headers={"location": "http://thief/v1/models"}))
    async with client_of(transport, api_key=KEY) as client:
        with pytest.raises(ServerError, match=f"answered {code}"):
            await client.get("models")
    assert [request.url.host for request in transport.requests] == ["server"]


async def test_cookies_are_not_kept() -> None:
    transport = Scripted(httpx.Response(200, json={}, headers={"set-cookie": "a=b"}))
    async with client_of(transport) as client:
        await client.get("models")
        await client.get("models")
    assert "cookie" not in transport.requests[1].headers


# Overload


async def test_being_turned_away_halves_the_window_and_answers_open_it_again(waits: list[float]) -> None:
    transport = Scripted(status(429), ok())
    async with client_of(transport, concurrency=64) as client:
        await client.get("models")
        assert 32 < client.limiter.window < 33
        for _ in range(40):
            await client.get("models")
        assert 33 < client.limiter.window < 34


@pytest.mark.parametrize(("answer", "halved"), [(status(503), True), (status(500), False), (status(408), False)])
async def test_only_overload_halves_it(answer: Answer, halved: bool, waits: list[float]) -> None:
    async with client_of(Scripted(answer, ok()), concurrency=64) as client:
        await client.get("models")
        assert (client.limiter.window < 64) == halved


async def test_cancellation_while_waiting_to_try_again_goes_through() -> None:
    async with client_of(Scripted(status(503)), Retry(first=1000, longest=1000, seconds=1e9)) as client:
        task = asyncio.create_task(client.get("models"))
        for _ in range(5):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert client.limiter.in_flight == 0


# What is passed on


class Parts(httpx.AsyncByteStream):
    """A body that comes in parts; an error among them is raised where it stands."""

    def __init__(self, *parts: bytes | Exception) -> None:
        self.parts = list(parts)
        self.closed = 0

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for part in self.parts:
            if isinstance(part, Exception):
                raise part
            yield part

    async def aclose(self) -> None:
        self.closed += 1


async def passed(
    client: HttpClient, content: bytes = b"{}", *, gzip: bool = False, into: Callable[[bytes], None] = lambda part: None
) -> tuple[httpx.Response, list[bytes]]:
    headers = {"accept-encoding": "gzip"} if gzip else {}
    async with client.forward("chat/completions", content, headers) as response:
        parts = []
        async for part in client.raw(response):
            parts.append(part)
            into(part)
        return response, parts


async def test_a_request_is_passed_on_byte_for_byte_with_the_key_of_this_client() -> None:
    transport = Scripted(httpx.Response(200, stream=Parts(b"one", b"two")))
    content = b' {"model" :"x", "n":1.50}\n'
    async with client_of(transport, api_key=KEY) as client:
        response, parts = await passed(client, content, gzip=True)
    (request,) = transport.requests
    assert (request.method, str(request.url)) == ("POST", "http://server/v1/chat/completions")
    assert request.content == content
    assert request.headers["authorization"] == f"Bearer {KEY}"
    assert request.headers["content-type"] == "application/json"
    assert request.headers["accept-encoding"] == "gzip"
    assert (response.status_code, parts) == (200, [b"one", b"two"])


async def test_what_comes_back_is_not_read_before_it_is_asked_for_nor_decoded() -> None:
    body = Parts(b"\x1f\x8bno gzip", b"")
    transport = Scripted(httpx.Response(200, headers={"content-encoding": "gzip"}, stream=body))
    async with client_of(transport) as client, client.forward("completions", b"{}", {}) as response:
        assert not response.is_stream_consumed
        assert [part async for part in client.raw(response) if part] == [b"\x1f\x8bno gzip"]


@pytest.mark.parametrize("code", [200, 204, 302, 400, 401, 404, 429, 500, 503])
async def test_any_status_is_passed_on_at_the_first_try(code: int, waits: list[float]) -> None:
    transport = Scripted(httpx.Response(code, headers={"retry-after": "7"}, stream=Parts(b"as it is")))
    async with client_of(transport) as client:
        response, parts = await passed(client)
    assert (response.status_code, parts) == (code, [b"as it is"])
    assert (len(transport.requests), waits, client.retries) == (1, [], 0)


@pytest.mark.parametrize(
    "error", [httpx.ConnectError("refused"), httpx.ReadTimeout(""), httpx.RemoteProtocolError("cut")]
)
async def test_where_nothing_is_answered_there_is_an_error_of_one_try(error: Exception, waits: list[float]) -> None:
    transport = Scripted(error)
    async with client_of(transport) as client:
        with pytest.raises(ServerError, match="no answer from http://server/v1/chat/completions") as raised:
            await passed(client)
    assert raised.value.status is None
    assert (len(transport.requests), waits) == (1, [])


async def test_an_answer_that_is_cut_short_is_an_error_behind_what_came_of_it() -> None:
    body = Parts(b"one", httpx.ReadError(f"cut off {KEY}"))
    parts = list[bytes]()
    async with client_of(Scripted(httpx.Response(200, stream=body)), api_key=KEY) as client:
        with pytest.raises(ServerError, match="cut off") as raised:
            await passed(client, into=parts.append)
    assert parts == [b"one"]
    assert body.closed
    assert KEY not in str(raised.value)


async def test_what_nobody_reads_to_its_end_is_closed() -> None:
    body = Parts(b"one", b"two", b"three")

    def fail(part: bytes) -> None:
        raise ValueError(part)

    async with client_of(Scripted(lambda: httpx.Response(200, stream=body))) as client:
        async with client.forward("completions", b"{}", {}):
            pass
        assert body.closed == 1
        with pytest.raises(ValueError, match="one"):
            await passed(client, into=fail)
        assert body.closed >= 2


async def test_what_an_error_asks_to_wait_is_in_it(waits: list[float]) -> None:
    """For whoever passes it on."""
    for answer, seconds in ((status(429, retry_after="3600"), 3600.0), (status(429), None), (status(400), None)):
        async with client_of(Scripted(answer), Retry(tries=2)) as client:
            with pytest.raises(ServerError) as error:
                await client.get("models")
        assert error.value.wait == seconds
    async with client_of(Scripted(status(503, retry_after="7")), Retry(tries=3)) as client:
        with pytest.raises(ServerError, match=r"\(3 tries\)") as error:
            await client.get("models")
    assert (error.value.status, error.value.wait) == (503, 7.0)
