"""The server process: sockets, signals, the HTTP protocol."""

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

"""Bytes of a request's line and headers."""


class BoundedProtocol(HttpToolsProtocol):
    """uvicorn's. A head that is too long is answered by 400, trailers that are end the connection."""

    def __init__(self, *given: Any, **settings: Any) -> None:
        super().__init__(*given, **settings)
        self._lines: int | None = 0
        self._begun, self._trailing = False, False

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`; what a call begins with it does not count, as that may be a body."""
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
        """See httptools; behind the last chunk come trailers."""
        self._counting(trailing=True)

    def on_body(self, body: bytes) -> None:
        """See httptools."""
        super().on_body(body)
        self._lines = None

    def _counting(self, *, trailing: bool) -> None:
        self._lines, self._begun, self._trailing = 0, True, trailing


DRAIN = 30

"""Seconds that requests under way are given when the server is told to end."""

_BACKLOG = 2048


def is_local(host: str) -> bool:
    """Whether only this machine reaches it."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def listen(host: str, port: int) -> socket.socket:
    """A socket that is bound; raises `UsageError` where that cannot be."""
    if not 0 <= port < 1 << 16:
        raise UsageError(f"port = {port} is not allowed: 0 to 65535")
    try:
        (family, kind, protocol, _, address), *_ = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        # With its protocol named, or asyncio does not turn off Nagle's algorithm: that costs 40 ms an answer.
        with ExitStack() as stack:
            opened = stack.enter_context(socket.socket(family, kind, protocol))
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            opened.bind(address)
            stack.pop_all()
    except (OSError, UnicodeError) as error:
        raise UsageError(f"cannot listen at {host}:{port}: {getattr(error, 'strerror', None) or error}") from None
    return opened


async def serve_until_told(app: ASGIApp, listening: socket.socket, ready: Callable[[], None]) -> None:
    """Serve until SIGINT or SIGTERM, then drain; a second signal ends at once."""
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
    """Says when it is ready, and returns after a signal: what was opened is closed by whoever opened it."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._ready()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """The second signal closes every connection; uvicorn would go on waiting unless it is SIGINT."""
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
