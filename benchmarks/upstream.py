r"""A fake OpenAI-compatible server for the benchmarks of `computewise serve`: waits, then answers from a small stock.

    python benchmarks/upstream.py [--port 0] [--delay 20] [--ignore-n] [--fail SHARE] [--slow SHARE] [--slow-delay 2000]

Prints its port, answers until killed, on one core several thousand requests a second. POST /v1/chat/completions and
/v1/completions take n, stream, max_tokens, stop and a temperature of 0, which always gets the same answer; a word is a
token, and usage says how many there were. Every answer but a cut one ends in \boxed{NUMBER}; 17 is the commonest.
GET /v1/models lists one model, `fake`. GET /stats says what came, and POST /faults {"fail", "slow", "slow_delay"}
changes the shares of requests that are answered by 500 or late.
"""

from __future__ import annotations

import argparse
import asyncio
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import msgspec
from stock import MODEL, PIECES, Body, answer, events, refusal

_encode = msgspec.json.Encoder().encode


@dataclass(slots=True)
class Upstream:
    """The settings of the answers, and the counts of requests."""

    delay: float = 0.02
    ignore_n: bool = False
    fail: float = 0.0
    slow: float = 0.0
    slow_delay: float = 2.0
    seen: Counter[str] = field(default_factory=Counter)
    chance: random.Random = field(default_factory=lambda: random.Random(0))

    def stats(self) -> dict[str, int]:
        """Completion requests: seen, in progress, answered, failed, slow, cancelled; and the number of choices."""
        names = ("seen", "answered", "failed", "slow", "cancelled", "choices")
        gone = self.seen["answered"] + self.seen["failed"] + self.seen["cancelled"]
        return {**{name: self.seen[name] for name in names}, "under_way": self.seen["seen"] - gone}

    def wait(self) -> tuple[float, bool]:
        """The seconds that the next request takes, and whether it then fails."""
        drawn, slow = self.chance.random(), self.slow > 0 and self.chance.random() < self.slow
        self.seen["slow"] += slow
        return self.slow_delay if slow else self.delay, drawn < self.fail


class Connection(asyncio.Protocol):
    """One client's connection, kept alive; it answers one request at a time, and later ones wait."""

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream
        self._held = b""
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client has connected."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        """The client has disconnected; its request is cancelled."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            self._upstream.seen["cancelled"] += 1

    def data_received(self, data: bytes) -> None:
        """A part of a request has arrived."""
        self._held += data
        self._next()

    def _next(self) -> None:
        head, separator, rest = self._held.partition(b"\r\n\r\n")
        if self._timer is not None or not separator:
            return
        _, named, length = head.lower().partition(b"\r\ncontent-length:")
        size = int(length.partition(b"\r\n")[0]) if named else 0
        if len(rest) < size:
            return
        self._held = rest[size:]
        method, path, _ = head.split(b" ", 2)
        self._asked(b"%b %b" % (method, path.partition(b"?")[0]), rest[:size])

    def _asked(self, what: bytes, held: bytes) -> None:
        if what in (b"POST /v1/chat/completions", b"POST /v1/completions"):
            return self._complete(held, chat=b"chat" in what)
        if what == b"GET /v1/models":
            model = {"id": MODEL, "object": "model", "created": 1700000000, "owned_by": "benchmark"}
            return self._write(b"200 OK", _encode({"object": "list", "data": [model]}))
        if what == b"GET /stats":
            return self._write(b"200 OK", _encode(self._upstream.stats()))
        if what == b"POST /faults":
            for name, value in msgspec.json.decode(held, type=dict[str, float]).items():
                setattr(self._upstream, name, value)
            return self._write(b"200 OK", b"{}")
        return self._write(b"404 Not Found", refusal("no such route", "invalid_request_error"))

    def _complete(self, held: bytes, *, chat: bool) -> None:
        upstream = self._upstream
        try:
            body = msgspec.json.decode(held, type=Body)
        except (msgspec.DecodeError, msgspec.ValidationError) as error:
            return self._write(b"400 Bad Request", refusal(str(error), "invalid_request_error"))
        upstream.seen["seen"] += 1
        seconds, fails = upstream.wait()
        if fails:
            return self._later(seconds, self._fail)
        count = 1 if upstream.ignore_n else body.n or 1
        given = (body, count, upstream.seen["seen"], chat, upstream.chance)
        if body.stream:
            return self._later(seconds / PIECES, partial(self._stream, seconds / PIECES, count, events(*given)))
        return self._later(seconds, partial(self._whole, count, given))

    def _later(self, seconds: float, then: Any) -> None:
        self._timer = asyncio.get_running_loop().call_later(seconds, then)

    def _whole(self, count: int, given: tuple[Body, int, int, bool, random.Random]) -> None:
        self._ended("answered", count)
        self._write(b"200 OK", answer(*given))

    def _fail(self) -> None:
        self._ended("failed", 0)
        self._write(b"500 Internal Server Error", refusal("as it was asked to", "server_error"))

    def _stream(self, seconds: float, count: int, parts: Sequence[bytes], at: int = 0) -> None:
        if at == 0:
            head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
            self._transport.write(head)
        self._transport.write(b"%x\r\n%b\r\n" % (len(parts[at]), parts[at]))
        if at + 1 < len(parts):
            return self._later(seconds, partial(self._stream, seconds, count, parts, at + 1))
        self._ended("answered", count)
        self._transport.write(b"0\r\n\r\n")
        return self._next()

    def _ended(self, how: str, count: int) -> None:
        self._timer = None
        self._upstream.seen[how] += 1
        self._upstream.seen["choices"] += count

    def _write(self, status: bytes, body: bytes) -> None:
        head = b"HTTP/1.1 %b\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % (status, len(body))
        self._transport.write(head + body)
        self._next()


async def serve(upstream: Upstream, port: int) -> None:
    """Serve until killed; prints the port."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(upstream), "127.0.0.1", port, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


def main() -> None:
    """Serve as the arguments say."""
    parser = argparse.ArgumentParser(description="A fake OpenAI-compatible server that waits before it answers.")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--delay", type=float, default=20.0, help="milliseconds that an answer takes")
    parser.add_argument("--ignore-n", action="store_true", help="give one choice whatever n is")
    parser.add_argument("--fail", type=float, default=0.0, help="share of requests answered by 500")
    parser.add_argument("--slow", type=float, default=0.0, help="share of requests answered late")
    parser.add_argument("--slow-delay", type=float, default=2000.0, help="milliseconds that a late answer takes")
    given = parser.parse_args()
    upstream = Upstream(given.delay / 1000, given.ignore_n, given.fail, given.slow, given.slow_delay / 1000)
    asyncio.run(serve(upstream, given.port))


if __name__ == "__main__":
    main()
