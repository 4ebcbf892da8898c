"""ASGI messages: one body, or a stream of events."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.types import Message, Send

from computewise.serve.envelope import encode
from computewise.serve.refusals import Refused

JSON = "application/json"


class Sender:
    """Remembers whether an answer has begun: what fails later can no longer have a status."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.begun = False

    async def __call__(self, message: Message) -> None:
        """See ASGI."""
        self.begun = True
        await self._send(message)


async def send_json(send: Send, held: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> None:
    """A whole answer."""
    body = encode(held)
    told = {"content-type": JSON, "content-length": str(len(body)), **(headers or {})}
    await begin(send, status, told)
    await send({"type": "http.response.body", "body": body})


async def send_refusal(send: Send, refused: Refused, headers: Mapping[str, str] | None = None) -> None:
    """An error in OpenAI's envelope."""
    await send_json(send, refused.body, refused.status, {**(headers or {}), **refused.headers})


async def begin(send: Send, status: int, headers: Mapping[str, str]) -> None:
    """Status and headers."""
    raw = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": status, "headers": raw})


async def more(send: Send, part: bytes) -> None:
    """A part of a body."""
    await send({"type": "http.response.body", "body": part, "more_body": True})


async def finish(send: Send) -> None:
    """The end of a body sent in parts."""
    await send({"type": "http.response.body", "body": b""})
