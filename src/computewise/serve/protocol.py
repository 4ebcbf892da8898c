"""HTTP/1.1 by httptools, whose heads are bounded here: a client may send one without end."""

from __future__ import annotations

from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

LARGEST_HEAD = 64 << 10
"""Bytes of a request's line and headers."""


class BoundedProtocol(HttpToolsProtocol):
    """uvicorn's; what is too long is answered by 400, and its connection closed."""

    def __init__(self, *given: Any, **settings: Any) -> None:
        super().__init__(*given, **settings)
        self._head: int | None = 0

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol` and httptools."""
        super().data_received(data)
        if self._head is not None:
            self._head += len(data)
            if self._head > LARGEST_HEAD and not self.transport.is_closing():
                self.send_400_response(f"the head of a request may have {LARGEST_HEAD} bytes")

    def on_message_begin(self) -> None:
        """See `asyncio.Protocol` and httptools."""
        super().on_message_begin()
        self._head = 0

    def on_headers_complete(self) -> None:
        """See `asyncio.Protocol` and httptools."""
        super().on_headers_complete()
        self._head = None
