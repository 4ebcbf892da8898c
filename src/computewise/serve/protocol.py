"""HTTP/1.1 by httptools, whose heads are bounded here: a client may send one without end."""

from __future__ import annotations

from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

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
