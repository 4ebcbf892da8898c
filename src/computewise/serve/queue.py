"""Who is worked on, who waits, and who is told to come again."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus

from computewise.http.limiter import Limiter, whose
from computewise.serve.refusals import Refused, wait_header

_LONGEST_WAIT = 60.0
_MEMORY = 0.05
"""Weight of the latest request in the mean of how long one takes."""


class Queue:
    """At most `in_flight` requests at a time and `length` waiting; clients in turn, none waits for another's many."""

    def __init__(self, in_flight: int, length: int) -> None:
        self._places = Limiter(in_flight)
        self._length = length
        self._seconds = 0.0

    @property
    def waiting(self) -> int:
        """Requests that wait."""
        return self._places.waiting

    @property
    def under_way(self) -> int:
        """Requests that are worked on."""
        return self._places.under_way

    @asynccontextmanager
    async def place(self, client: str, request: str, seconds: float) -> AsyncIterator[None]:
        """A place for one request; raises `Refused` where too many wait already, or none is free within `seconds`.

        Inside, requests to the upstream take turns by `request`.
        """
        if self.waiting >= self._length and self.under_way >= self._places.most:
            raise self._later(f"{self.waiting} requests wait already: come again later", "queue_full")
        token = whose.set(client)
        try:
            try:
                async with asyncio.timeout(seconds):
                    await self._places.__aenter__()
            except TimeoutError:
                raise self._later(f"no place was free within {seconds:g} seconds", "queue_timeout") from None
            try:
                whose.set(request)
                began = time.monotonic()
                yield
                self._seconds += _MEMORY * (time.monotonic() - began - self._seconds)
            finally:
                await self._places.__aexit__(None, None, None)
        finally:
            whose.reset(token)

    def _later(self, text: str, code: str) -> Refused:
        wait = (self.waiting + 1) * self._seconds / self._places.most
        return Refused(
            text,
            HTTPStatus.TOO_MANY_REQUESTS,
            type="rate_limit_error",
            code=code,
            headers=wait_header(min(wait, _LONGEST_WAIT)),
        )
