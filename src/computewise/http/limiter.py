"""How many requests may be under way: found out from what the server bears, not set by hand."""

from __future__ import annotations

import asyncio
from collections import deque
from types import TracebackType

LEAST = 1.0


class Limiter:
    """Additive increase, multiplicative decrease (Chiu and Jain 1989), first come first served.

    It begins with `most` at once. `overloaded` halves that, once for all requests that were already under way;
    a window of answers adds one again.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.window = float(most)
        self.under_way = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._epoch = 0

    async def __aenter__(self) -> Limiter:
        if self.under_way < int(self.window):
            self.under_way += 1
            return self
        place = asyncio.get_running_loop().create_future()
        self._waiting.append(place)
        try:
            await place
        except asyncio.CancelledError:
            if not place.cancelled():
                self._leave()  # the place came together with the cancellation
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leave()

    @property
    def epoch(self) -> int:
        """Counts the times it was halved; a request remembers the one it began in."""
        return self._epoch

    def overloaded(self, began: int) -> None:
        """A request that began in that epoch was turned away."""
        if began == self._epoch:
            self._epoch += 1
            self.window = max(self.window / 2, LEAST)

    def answered(self) -> None:
        """A request was answered."""
        self.window = min(self.window + 1 / self.window, self.most)

    def _leave(self) -> None:
        self.under_way -= 1
        while self._waiting and self.under_way < int(self.window):
            place = self._waiting.popleft()
            if not place.done():
                self.under_way += 1
                place.set_result(None)
