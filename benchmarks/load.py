"""A small HTTP/1.1 client on asyncio's streams: clients must cost little beside what a benchmark measures."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer; names of headers are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        """The JSON of the body; raises `ValueError` where it is none."""
        return msgspec.json.decode(self.body)


def request(path: str, body: Any = None, **headers: str) -> bytes:
    """A POST of `body` as JSON, or a GET; underscores in the headers' names stand for dashes."""
    held = b"" if body is None else _encode(body)
    more = {**headers, **({"content_type": "application/json", "content_length": str(len(held))} if held else {})}
    lines = [f"{'POST' if held else 'GET'} {path} HTTP/1.1", "host: localhost"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in more.items()]
    return "\r\n".join([*lines, "", ""]).encode() + held


class Connection:
    """One kept-alive connection to a port of this machine, opened when first needed and after the server closed it."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._ends: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, sent: bytes) -> Answer:
        """One request and its whole answer; raises `OSError` or `EOFError` where the server breaks off."""
        if self._ends is None:
            self._ends = await asyncio.open_connection("127.0.0.1", self._port, limit=1 << 22)
        reader, writer = self._ends
        writer.write(sent)
        head = await reader.readuntil(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").rstrip("\r\n").split("\r\n")
        split = (line.partition(":") for line in lines)
        headers = {name.lower(): value.strip() for name, _, value in split}
        status = int(first.split(" ", 2)[1])
        body = await _body(reader, headers, status)
        if headers.get("connection", "").lower() == "close":
            self.close()
        return Answer(status, headers, body)

    def close(self) -> None:
        """Close at once, even during a request."""
        if self._ends is not None:
            self._ends[1].transport.abort()
            self._ends = None


async def _body(reader: asyncio.StreamReader, headers: dict[str, str], status: int) -> bytes:
    if "content-length" in headers:
        return await reader.readexactly(int(headers["content-length"]))
    if headers.get("transfer-encoding", "").lower() == "chunked":
        parts = []
        while size := int(await reader.readuntil(b"\r\n"), 16):
            parts.append((await reader.readexactly(size + 2))[:-2])
        await reader.readexactly(2)
        return b"".join(parts)
    return b"" if status in (204, 304) else await reader.read()


async def once(port: int, sent: bytes) -> Answer:
    """Send one request on its own connection."""
    connection = Connection(port)
    try:
        return await connection.ask(sent)
    finally:
        connection.close()


async def in_turn(asked: Sequence[tuple[int, bytes]], count: int) -> list[list[float]]:
    """Seconds of each of `count` requests to every port, one after another on one connection for each port."""
    connections = [Connection(port) for port, _ in asked]
    took: list[list[float]] = [[] for _ in asked]
    try:
        for _ in range(count):
            for connection, (_, sent), seconds in zip(connections, asked, took, strict=True):
                began = time.perf_counter()
                good(await connection.ask(sent))
                seconds.append(time.perf_counter() - began)
    finally:
        for connection in connections:
            connection.close()
    return took


async def at_once(port: int, sent: bytes, clients: int, seconds: float) -> tuple[int, float]:
    """The answers to `clients` that send their next request at once, and the seconds they took."""
    answered, began = 0, time.perf_counter()

    async def client() -> None:
        nonlocal answered
        connection = Connection(port)
        try:
            while time.perf_counter() - began < seconds:
                good(await connection.ask(sent))
                answered += 1
        finally:
            connection.close()

    await asyncio.gather(*(client() for _ in range(clients)))
    return answered, time.perf_counter() - began


def good(answer: Answer) -> Answer:
    """The answer; raises `RuntimeError` where it is no success."""
    if answer.status != 200:
        raise RuntimeError(f"answered {answer.status}: {answer.body[:300].decode(errors='replace')}")
    return answer


async def until(condition: Callable[[], Any], seconds: float, every: float = 0.005) -> bool:
    """Whether `condition` becomes true within `seconds`; a refused connection counts as not yet true."""
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        try:
            if await condition():
                return True
        except (OSError, EOFError):
            pass
        await asyncio.sleep(every)
    return False
