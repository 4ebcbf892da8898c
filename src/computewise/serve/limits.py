"""Reading a body within bounds, and noticing that nobody is left to answer."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from http import HTTPStatus
from typing import Any, TypeVar

from starlette.types import Receive, Scope

from computewise.serve.refusals import Refused

T = TypeVar("T")
_DIGITS = 20
"""Of a length; a number of thousands of them is none that Python reads."""


class Gone(Exception):  # noqa: N818 - a signal, no error
    """The client has hung up."""


async def read_body(scope: Scope, receive: Receive, largest: int) -> bytes:
    """The whole body; raises `Refused` beyond `largest` bytes, at the first sight of it, and `Gone`."""
    said = dict(scope["headers"]).get(b"content-length", b"")
    if said.isdigit() and (len(said) > _DIGITS or int(said) > largest):
        raise _too_large(largest)
    parts, held = [], 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Gone
        part = message.get("body", b"")
        held += len(part)
        if held > largest:
            raise _too_large(largest)
        parts.append(part)
        if not message.get("more_body", False):
            return b"".join(parts)


async def while_connected(receive: Receive, work: Coroutine[Any, Any, T]) -> T:
    """Await `work`; where the client hangs up before, cancel it, wait until it is gone, and raise `Gone`."""
    working = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_hung_up(receive))
    try:
        await asyncio.wait([working, gone], return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        raise Gone
    finally:
        gone.cancel()  # it only waits: it is gone with the event loop's next turn
        if not working.done():
            working.cancel()
            await asyncio.gather(working, return_exceptions=True)


async def _hung_up(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _too_large(largest: int) -> Refused:
    text = f"the body is larger than the {largest} bytes that are taken"
    return Refused(text, HTTPStatus.REQUEST_ENTITY_TOO_LARGE, code="too_large")
