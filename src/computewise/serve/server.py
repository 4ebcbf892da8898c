"""The server process: its socket, its signals and the HTTP protocol."""

from __future__ import annotations

import asyncio
import ipaddress
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import FrameType
from typing import Any

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from computewise.errors import UsageError

LARGEST_HEAD = 64 << 10

"""Most bytes of a request's line and headers."""


_JOINED = 64 << 10

"""Bytes that are held at most, so that a long stream is still slowed down by a slow client."""


class JoinedWrites(asyncio.Transport):
    """A transport that sends what is written in one turn of the event loop by one system call.

    A response is written as its head and then its body, and a system call takes as long as a tenth of a request's work.
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        super().__init__()
        self._transport = transport
        self._held: list[bytes] = []
        self._size = 0
        self._loop = asyncio.get_running_loop()

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        """See `asyncio.WriteTransport`."""
        if not self._held:
            self._loop.call_soon(self.flush)
        self._held.append(bytes(data))
        self._size += len(data)
        if self._size > _JOINED:
            self.flush()

    def close(self) -> None:
        """See `asyncio.BaseTransport`."""
        self.flush()
        self._transport.close()

    def abort(self) -> None:
        """See `asyncio.WriteTransport`."""
        self._held.clear()
        self._transport.abort()

    def is_closing(self) -> bool:
        """See `asyncio.BaseTransport`."""
        return self._transport.is_closing()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """See `asyncio.BaseTransport`."""
        return self._transport.get_extra_info(name, default)

    def pause_reading(self) -> None:
        """See `asyncio.ReadTransport`."""
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        """See `asyncio.ReadTransport`."""
        self._transport.resume_reading()

    def flush(self) -> None:
        """Send what is held."""
        if self._held:
            held, self._held, self._size = b"".join(self._held), [], 0
            self._transport.write(held)


class BoundedProtocol(HttpToolsProtocol):
    """uvicorn's protocol with a bound: a longer head is answered with 400, longer trailers end the connection."""

    def __init__(self, *given: Any, **settings: Any) -> None:
        super().__init__(*given, **settings)
        self._lines: int | None = 0
        self._begun, self._trailing = False, False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """See `asyncio.Protocol`."""
        self._joined = JoinedWrites(transport)
        super().connection_made(self._joined)

    def on_response_complete(self) -> None:
        """See uvicorn; the response is sent at once, without waiting for the event loop's next turn."""
        self._joined.flush()
        super().on_response_complete()

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`; the bytes that a call begins with are not counted, as they may be a body's."""
        self._begun = False
        super().data_received(data)
        if self._lines is None or self._begun:
            return
        self._lines += len(data)
        if self._lines <= LARGEST_HEAD or self.transport.is_closing():
            return
        if self._trailing:
            self.transport.abort()
        else:
            self.send_400_response(f"the head of a request may have {LARGEST_HEAD} bytes")

    def on_message_begin(self) -> None:
        """See httptools."""
        super().on_message_begin()
        self._counting(trailing=False)

    def on_headers_complete(self) -> None:
        """See httptools."""
        super().on_headers_complete()
        self._lines = None

    def on_chunk_header(self) -> None:
        """See httptools; trailers follow the last chunk."""
        self._counting(trailing=True)

    def on_body(self, body: bytes) -> None:
        """See httptools."""
        super().on_body(body)
        self._lines = None

    def _counting(self, *, trailing: bool) -> None:
        self._lines, self._begun, self._trailing = 0, True, trailing


DRAIN = 30

"""Seconds that running requests have left once the server is told to end."""

_BACKLOG = 2048


def is_local(host: str) -> bool:
    """Whether only this machine can reach the address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def listen(host: str, port: int) -> socket.socket:
    """A bound socket; raises `UsageError` for an address that cannot be used."""
    if not 0 <= port < 1 << 16:
        raise UsageError(f"port = {port} is not allowed: 0 to 65535")
    try:
        (family, kind, protocol, _, address), *_ = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        # asyncio turns off Nagle's algorithm, which costs 40 ms an answer, only if the protocol is named.
        with ExitStack() as stack:
            opened = stack.enter_context(socket.socket(family, kind, protocol))
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            opened.bind(address)
            stack.pop_all()
    except (OSError, UnicodeError) as error:
        raise UsageError(f"cannot listen at {host}:{port}: {getattr(error, 'strerror', None) or error}") from None
    return opened


async def serve_until_told(app: ASGIApp, listening: socket.socket, ready: Callable[[], None]) -> None:
    """Serve until SIGINT or SIGTERM, then finish running requests; a second signal ends at once."""
    config = uvicorn.Config(
        app,
        http=BoundedProtocol,
        ws="none",
        lifespan="off",
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        backlog=_BACKLOG,
        timeout_graceful_shutdown=DRAIN,
    )
    await _Server(config, ready).serve(sockets=[listening])


class _Server(uvicorn.Server):
    """Calls `ready` once it listens, and returns after a signal, so that its caller can close what it opened."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._ready()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Close every connection at the second signal; uvicorn does so for SIGINT only."""
        if self.should_exit:
            self.force_exit = True
            for connection in list(self.server_state.connections):
                connection.transport.abort()
        super().handle_exit(sig, frame)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self.handle_exit, number, None)
        try:
            yield
        finally:
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.remove_signal_handler(number)
