"""The client against a real server on this machine: connections, closing, cutting off."""

from __future__ import annotations

import asyncio
import gc
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import httpx
import pytest
from requests_to_servers import ask, texts
from servers import VLLM, Little, encode, found_on

from computewise.errors import ServerError
from computewise.http import servers
from computewise.http.client import HttpClient
from computewise.http.concurrency import Retry
from computewise.http.transport import AiohttpTransport, proxy_for
from computewise.models.server import connect
from computewise.models.server.connect import ServerModelSpec, connect_model
from computewise.simulated import RIGHT


@dataclass(slots=True)
class Raw:
    """An HTTP server of a few lines. It answers once as many requests are there as `together` says."""

    together: int = 1
    cut_off: int = 0
    """Connections that are closed in place of an answer."""
    reply: VLLM | None = None
    connections: int = 0
    peak: int = 0
    requests: int = 0
    open: int = 0
    asked: list[str] = field(default_factory=list)
    _waiting: list[asyncio.Event] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open += 1
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                length = int(head.lower().partition("content-length: ")[2].split("\r\n")[0] or 0)
                body = await reader.readexactly(length)
                self.requests += 1
                self.asked.append(head.split(" ")[1])
                if self.cut_off:
                    self.cut_off -= 1
                    return
                await self._all_there()
                answer = {"echo": json.loads(body or b"null")}
                if self.reply is not None:
                    answer = self.reply.answer(head.split(" ")[1], json.loads(body or b"{}"))
                data = json.dumps(answer).encode()
                writer.write(f"HTTP/1.1 200 OK\r\ncontent-length: {len(data)}\r\n\r\n".encode() + data)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.open -= 1
            writer.close()

    def release(self) -> None:
        """Answer those who wait, and from now on everybody at once."""
        for one in self._waiting:
            one.set()
        self._waiting.clear()
        self.together = 1

    async def _all_there(self) -> None:
        there = asyncio.Event()
        self._waiting.append(there)
        self.peak = max(self.peak, len(self._waiting))
        if len(self._waiting) >= self.together:
            for one in self._waiting:
                one.set()
            self._waiting.clear()
        await there.wait()


@asynccontextmanager
async def listening(raw: Raw) -> AsyncIterator[str]:
    server = await asyncio.start_server(raw.serve, "127.0.0.1", 0, backlog=512)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    finally:
        server.close()
        await server.wait_closed()


async def test_256_at_once_and_their_connections_are_used_again() -> None:
    raw = Raw(together=256)
    async with listening(raw) as url, HttpClient(url) as client:
        for _ in range(3):
            answers = await asyncio.gather(*(client.post("x", {"number": number}) for number in range(256)))
            assert [answer["echo"]["number"] for answer in answers] == list(range(256))
        assert (raw.peak, raw.requests, raw.connections) == (256, 768, 256)


async def test_one_after_another_goes_over_one_connection() -> None:
    raw = Raw()
    async with listening(raw) as url, HttpClient(url) as client:
        for number in range(20):
            await client.post("x", {"number": number})
        assert raw.connections == 1


async def test_the_concurrency_that_is_asked_for_is_a_bound() -> None:
    raw = Raw(together=3)
    async with listening(raw) as url, HttpClient(url, concurrency=3) as client:
        await asyncio.gather(*(client.get("x") for _ in range(30)))
        assert (raw.peak, raw.connections) == (3, 3)


async def test_closing_closes_every_connection() -> None:
    raw = Raw(together=64)
    async with listening(raw) as url:
        async with HttpClient(url) as client:
            await asyncio.gather(*(client.get("x") for _ in range(64)))
            assert raw.open == 64
        del client
        gc.collect()  # an unclosed socket warns, and warnings are errors
        while raw.open:  # noqa: ASYNC110
            await asyncio.sleep(0.001)


async def test_a_connection_that_is_cut_off_is_opened_again() -> None:
    raw = Raw(cut_off=2)
    async with listening(raw) as url, HttpClient(url, retry=Retry(first=0.001)) as client:
        assert await client.post("x", {"number": 7}) == {"echo": {"number": 7}}
        assert client.retries == 2


async def test_nobody_listening_is_an_error_of_one_line() -> None:
    async with listening(Raw()) as url:
        pass
    async with HttpClient(url, retry=Retry(tries=2, first=0.001)) as client:
        with pytest.raises(ServerError, match=r"no answer from http://127.0.0.1:\d+/v1/x: .*\(2 tries\)") as error:
            await client.get("x")
    assert error.value.status is None
    assert "\n" not in str(error.value)


async def test_an_answer_that_does_not_come_in_time_is_an_error() -> None:
    raw = Raw(together=99)
    async with listening(raw) as url, HttpClient(url, retry=Retry(tries=1), timeout=0.05) as client:
        with pytest.raises(ServerError, match=r"no answer .* within 0.05 s"):
            await client.get("x")
        for there in raw._waiting:
            there.set()


async def test_a_cancelled_request_closes_its_connection_and_frees_its_place() -> None:
    raw = Raw(together=2)
    async with listening(raw) as url, HttpClient(url, concurrency=1) as client:
        task = asyncio.create_task(client.get("x"))
        while not raw.peak:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        for there in raw._waiting:
            there.set()
        raw._waiting.clear()
        raw.together = 1
        assert await client.get("x") == {"echo": None}
        assert raw.connections == 2


@pytest.fixture
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    return monkeypatch


def test_the_environments_proxy_is_used_but_for_this_machine(no_proxies: pytest.MonkeyPatch) -> None:
    there, here = httpx.URL("https://server.example/v1"), httpx.URL("http://localhost:8000/v1")
    assert proxy_for(there) is None
    no_proxies.setenv("HTTPS_PROXY", "http://proxy:3128")
    assert proxy_for(there) == "http://proxy:3128"
    no_proxies.setenv("ALL_PROXY", "http://all:3128")
    assert proxy_for(httpx.URL("http://server.example/v1")) == "http://all:3128"
    assert proxy_for(here) is None
    no_proxies.setenv("NO_PROXY", "server.example")
    assert proxy_for(there) is None


async def test_requests_go_through_a_proxy(no_proxies: pytest.MonkeyPatch) -> None:
    raw = Raw()
    async with listening(raw) as url:
        no_proxies.setenv("HTTP_PROXY", url.removesuffix("/v1"))
        async with HttpClient("http://server.invalid/v1") as client:
            assert await client.post("x", {"number": 7}) == {"echo": {"number": 7}}
    assert raw.asked == ["http://server.invalid/v1/x"]


async def test_a_model_is_searched_over_a_real_connection() -> None:
    double = VLLM(Little(skill=1.0))
    found: ServerModelSpec = await found_on(double)
    raw = Raw(reply=double)
    async with listening(raw) as url, HttpClient(url) as client:
        model = await connect_model(found, client, delimiter="\n")
        drawn = await asyncio.gather(*(ask(model, n=4) for _ in range(32)))
    assert all(texts(one) == [f"{RIGHT}\n"] * 4 for one in drawn)
    assert encode(RIGHT)


def under_way(client: HttpClient) -> int:
    """Connections that are in use."""
    assert isinstance(client._transport, AiohttpTransport)
    session = client._transport._session
    return 0 if session is None or session.connector is None else len(session.connector._acquired)


async def reached(raw: Raw, requests: int) -> None:
    while raw.requests < requests:  # noqa: ASYNC110
        await asyncio.sleep(0.001)


async def test_pools_are_free_again_after_answers_errors_and_cancellations() -> None:
    raw = Raw()
    async with listening(raw) as url, HttpClient(url, retry=Retry(tries=1)) as client:
        await asyncio.gather(*(client.get("x") for _ in range(8)))
        assert under_way(client) == 0
        raw.cut_off = 1
        with pytest.raises(ServerError):
            await client.post("x", {})
        assert under_way(client) == 0
        raw.together, before = 99, raw.requests
        tasks = [asyncio.create_task(client.get("x")) for _ in range(6)]
        await reached(raw, before + 6)
        assert under_way(client) == 6
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert under_way(client) == 0
        raw.release()


async def test_no_connection_is_held_by_what_was_passed_on_and_read_or_closed() -> None:
    raw = Raw()
    async with listening(raw) as url, HttpClient(url) as client:
        async with client.forward("x", b"{}", {}) as response:
            assert b"".join([part async for part in client.raw(response)]) == b'{"echo": {}}'
        assert under_way(client) == 0
        async with client.forward("x", b"{}", {}):
            pass
        assert under_way(client) == 0
        assert await client.get("x") == {"echo": None}


async def test_what_is_passed_on_and_cancelled_frees_its_pool_and_closes_its_connection() -> None:
    raw = Raw(together=2)
    async with listening(raw) as url, HttpClient(url) as client:

        async def passed() -> None:
            async with client.forward("x", b"{}", {}) as response:
                async for _ in client.raw(response):
                    pass

        task = asyncio.create_task(passed())
        await reached(raw, 1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert under_way(client) == 0
        raw.release()
        while raw.open:  # noqa: ASYNC110
            await asyncio.sleep(0.001)


async def test_what_is_passed_on_counts_among_what_is_under_way() -> None:
    raw = Raw()
    async with listening(raw) as url, HttpClient(url, concurrency=1) as client:
        async with client.forward("x", b"{}", {}):
            waiting = asyncio.create_task(client.get("x"))
            await asyncio.sleep(0.02)
            assert (client.limiter.waiting, raw.requests) == (1, 1)
        assert await waiting == {"echo": None}


@asynccontextmanager
async def hanging() -> AsyncIterator[tuple[str, list[asyncio.StreamWriter]]]:
    """Answers with a head and the beginning of a body, never with its end; who was answered so."""
    answered: list[asyncio.StreamWriter] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n[1,")
        answered.append(writer)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1", answered
    finally:
        for writer in answered:
            writer.transport.abort()
        server.close()
        await server.wait_closed()


@pytest.mark.parametrize("ended", ["cancelled", "too late", "cut off"])
async def test_a_pool_is_free_again_where_a_body_never_comes_to_its_end(ended: str) -> None:
    async with hanging() as (url, answered):
        once = Retry(tries=1)
        async with HttpClient(url, retry=once, timeout=0.2 if ended == "too late" else 60) as client:
            task = asyncio.create_task(client.get("x"))
            while not answered:  # noqa: ASYNC110
                await asyncio.sleep(0.001)
            await asyncio.sleep(0.02)  # the head is there, and its body is waited for
            assert under_way(client) == 1
            if ended == "cancelled":
                task.cancel()
            elif ended == "cut off":
                answered[0].transport.abort()
            with pytest.raises(asyncio.CancelledError if ended == "cancelled" else ServerError):
                await task
            assert under_way(client) == 0


async def test_a_request_says_its_host_and_length_and_nothing_that_was_not_asked_for() -> None:
    heads: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        await reader.readexactly(2)
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nset-cookie: a=b\r\nconnection: close\r\n\r\n{}")
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, HttpClient(f"http://127.0.0.1:{port}/v1") as client:
        assert [await client.post("x", {}) for _ in range(2)] == [{}, {}]
    for head in heads:
        names = sorted(line.partition(b":")[0].lower() for line in head.split(b"\r\n")[1:] if line)
        assert names == [b"accept", b"content-length", b"content-type", b"host", b"user-agent"]
        assert f"127.0.0.1:{port}".encode() in head
        assert b"content-length: 2" in head.lower()


async def test_a_silent_port_is_told_after_the_first_request(monkeypatch: pytest.MonkeyPatch) -> None:
    """Something listens there, but never answers."""
    monkeypatch.setattr(servers, "FIRST_ANSWER", 0.05)
    monkeypatch.setattr(connect, "FIRST_ANSWER", 0.05)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(8)
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/v1"
        with pytest.raises(ServerError, match=r"within 0\.05 s"):
            await connect.probe_model(url, None)
        with pytest.raises(ServerError, match=r"within 0\.05 s"):
            await servers.check_awake(url, None)
