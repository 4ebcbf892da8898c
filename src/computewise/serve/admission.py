"""The operator's bounds, which clients are admitted, how many requests wait, and in which order they run."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import time
from collections.abc import AsyncIterator, Collection, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from types import MappingProxyType
from typing import Any, TypeVar
from urllib.parse import urlsplit

from starlette.types import Receive, Scope

from computewise.errors import UsageError
from computewise.http.concurrency import Limiter, fairness_key
from computewise.serve.errors import ApiError, wait_header

EFFORTS: Mapping[str, float] = MappingProxyType({"low": 2.0, "medium": 8.0, "high": 32.0})
"""OpenAI's `reasoning_effort`, as samples for each problem on average, which set the controller's price."""
EXTREMES = {"none": "low", "minimal": "low", "xhigh": "high", "max": "high"}
"""Further efforts that some clients send; each means the nearest of those."""
DEFAULT_EFFORT = "medium"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSettings:
    """Bounds on the clients' requests, and the meaning of an effort."""

    efforts: Mapping[str, float] = field(default_factory=lambda: EFFORTS)
    keys: tuple[str, ...] = ()
    """The clients' bearer keys; without any, no key is needed."""
    hosts: frozenset[str] = frozenset()
    """The host names that requests may use when no key protects the server; empty: any."""
    in_flight: int = 64
    """Requests that run at the same time."""
    queue: int = 2048
    """Requests that may wait; further ones are answered with 429."""
    timeout: float = 600.0
    """Seconds that a request may take, waiting included."""
    largest_body: int = 32 << 20
    """Bytes; a conversation with images has many megabytes."""
    most_generations: int = 256
    """Most solutions that a strategy named by a client may sample."""
    traces: int = 200
    """Requests that the history keeps for the page."""
    progress: float = 1.0
    """Seconds between two progress events of a stream before its answer."""

    def __post_init__(self) -> None:
        for name in ("in_flight", "most_generations", "largest_body"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} = {getattr(self, name)} is not allowed: at least 1")
        for name in ("queue", "traces"):
            if getattr(self, name) < 0:
                raise UsageError(f"{name} = {getattr(self, name)} is not allowed: at least 0")
        if not 0 < self.timeout < float("inf"):
            raise UsageError(f"timeout = {self.timeout} is not allowed: seconds above 0")
        if list(self.efforts.values()) != sorted(self.efforts.values()):
            raise UsageError(f"efforts {list(self.efforts.values())} are not allowed: a higher one is worth no less")
        for effort, draws in self.efforts.items():
            if not 1 <= draws <= self.most_generations:
                allowed = f"1 to {self.most_generations}"
                raise UsageError(f"effort {effort} = {draws} is not allowed: {allowed} draws on average")


_SCHEME = "bearer "


class Keys:
    """The clients' keys, of which only digests are kept."""

    def __init__(self, keys: Sequence[str], hosts: Collection[str]) -> None:
        self._digests = [_digest(key.encode()) for key in keys]
        self._hosts = frozenset(hosts)

    def client(self, scope: Scope) -> str:
        """An id of the client, the same for all its requests; raises `ApiError` for a client that is not admitted."""
        headers = {name: value.decode("latin-1") for name, value in scope["headers"] if name in _LOOKED_AT}
        if not self._digests:
            self._check_host(headers.get(b"host", ""))
            self._check_origin(headers.get(b"origin", ""), headers.get(b"sec-fetch-site", ""))
            peer = scope.get("client")
            return str(peer[0]) if peer else "?"
        given = headers.get(b"authorization", "")
        shown = given[len(_SCHEME) :].strip(" \t") if given.lower().startswith(_SCHEME) else ""
        digest = _digest(shown.encode("latin-1"))
        # All of them, so that the time it takes says nothing of which one it was.
        if not sum(hmac.compare_digest(digest, one) for one in self._digests):
            raise ApiError(
                "a key is needed that this server knows: Authorization: Bearer KEY",
                HTTPStatus.UNAUTHORIZED,
                type="authentication_error",
                code="invalid_api_key",
                headers={"www-authenticate": "Bearer"},
            )
        return digest.hex()[:16]

    def _check_origin(self, origin: str, site: str) -> None:
        """Refuse a request that a page of another site has a browser send: it would spend compute unread."""
        if self._hosts and (site == "cross-site" or (origin and urlsplit(origin).hostname not in self._hosts)):
            text = "the request comes from another site's page: without keys only pages of this machine are served"
            raise ApiError(text, HTTPStatus.FORBIDDEN, type="authentication_error", code="unknown_origin")

    def _check_host(self, host: str) -> None:
        """Refuse a foreign host name: a page of another site may let its own name point to this machine."""
        name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host
        if self._hosts and name.strip("[]").lower() not in self._hosts:
            text = f"this server is not called {host[:100]!r}: without keys it answers under its own names only"
            raise ApiError(text, HTTPStatus.FORBIDDEN, type="authentication_error", code="unknown_host")


_LOOKED_AT = (b"host", b"authorization", b"origin", b"sec-fetch-site")


def _digest(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()


_LONGEST_WAIT = 60.0

_MEMORY = 0.05

"""Weight of the latest request in the moving mean of a request's seconds."""


class Queue:
    """At most `in_flight` requests run and `length` wait; clients take turns, however many requests each has."""

    def __init__(self, in_flight: int, length: int) -> None:
        self._places = Limiter(in_flight)
        self._length = length
        self._seconds = 0.0

    @property
    def waiting(self) -> int:
        """The number of waiting requests."""
        return self._places.waiting

    @property
    def in_flight(self) -> int:
        """The number of running requests."""
        return self._places.in_flight

    @asynccontextmanager
    async def place(self, client: str, request: str, seconds: float) -> AsyncIterator[None]:
        """A place for one request; raises `ApiError` if too many wait, or if none is free within `seconds`.

        Inside, the requests to the upstream take turns by `request`.
        """
        if self.waiting >= self._length and self.in_flight >= self._places.max_in_flight:
            raise self._later(f"{self.waiting} requests wait already: come again later", "queue_full")
        token = fairness_key.set(client)
        try:
            try:
                # A timer costs more than a place that is free.
                async with asyncio.timeout(None if self._places.free else seconds):
                    await self._places.__aenter__()
            except TimeoutError:
                raise self._later(f"no place was free within {seconds:g} seconds", "queue_timeout") from None
            try:
                fairness_key.set(request)
                began = time.monotonic()
                yield
                self._seconds += _MEMORY * (time.monotonic() - began - self._seconds)
            finally:
                await self._places.__aexit__(None, None, None)
        finally:
            fairness_key.reset(token)

    def _later(self, text: str, code: str) -> ApiError:
        wait = (self.waiting + 1) * self._seconds / self._places.max_in_flight
        return ApiError(
            text,
            HTTPStatus.TOO_MANY_REQUESTS,
            type="rate_limit_error",
            code=code,
            headers=wait_header(min(wait, _LONGEST_WAIT)),
        )


T = TypeVar("T")

_DIGITS = 20

"""Most digits of a content length: Python refuses to parse thousands of them."""


class ClientDisconnected(Exception):  # noqa: N818 - a signal, no error
    """The client has closed the connection."""


async def read_body(scope: Scope, receive: Receive, largest: int) -> bytes:
    """The whole body; raises `ApiError` as soon as it exceeds `largest` bytes, and `ClientDisconnected`."""
    headers = dict(scope["headers"])
    if (packed := headers.get(b"content-encoding", b"identity").lower()) not in (b"", b"identity"):
        raise ApiError(
            f"the body is packed (content-encoding: {packed.decode('latin-1')[:40]}): send it as it is",
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            code="packed_body",
        )
    said = headers.get(b"content-length", b"")
    if said.isdigit() and (len(said) > _DIGITS or int(said) > largest):
        raise _too_large(largest)
    parts, held = [], 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnected
        part = message.get("body", b"")
        held += len(part)
        if held > largest:
            raise _too_large(largest)
        parts.append(part)
        if not message.get("more_body", False):
            return b"".join(parts)


async def while_connected(receive: Receive, work: Coroutine[Any, Any, T]) -> T:
    """Await `work`; if the client disconnects first, cancel it, wait for its end and raise `ClientDisconnected`.

    It runs in the caller's task, as under `asyncio.timeout`: a task of its own takes two more turns of the event loop.
    """
    caller, left, over = asyncio.current_task(), False, False
    assert caller is not None

    def hung_up(ended: asyncio.Task[None]) -> None:
        nonlocal left
        if not over and not ended.cancelled():
            left = caller.cancel()

    gone = asyncio.ensure_future(_hung_up(receive))
    gone.add_done_callback(hung_up)
    try:
        return await work
    except asyncio.CancelledError:
        if left and not caller.uncancel():
            raise ClientDisconnected from None
        raise
    finally:
        over = True
        gone.cancel()  # it only waits: it is gone with the event loop's next turn


async def _hung_up(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _too_large(largest: int) -> ApiError:
    text = f"the body is larger than the {largest} bytes that are allowed"
    return ApiError(text, HTTPStatus.REQUEST_ENTITY_TOO_LARGE, code="too_large")
