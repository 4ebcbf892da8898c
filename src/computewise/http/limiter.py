"""How many requests may be under way: found out from what the server bears, not set by hand."""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from contextvars import ContextVar
from types import TracebackType

LEAST = 1.0
whose: ContextVar[str] = ContextVar("whose", default="")
"""On whose behalf a request is made: who waits behind whom."""


class Limiter:
    """Additive increase, multiplicative decrease (Chiu and Jain 1989); first come first served, in turn by `whose`.

    It begins with `most` at once. `overloaded` halves that, once for all requests that were already under way;
    a window of answers adds one again.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.window = float(most)
        self.under_way = 0
        self.waiting = 0
        self._waiting: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()
        self._epoch = 0

    async def __aenter__(self) -> Limiter:
        if self.under_way < int(self.window):
            self.under_way += 1
            return self
        owner, place = whose.get(), asyncio.get_running_loop().create_future()
        self._waiting.setdefault(owner, deque()).append(place)
        self.waiting += 1
        try:
            await place
        except asyncio.CancelledError:
            if place.cancelled():
                self._given_up(owner, place)
            else:
                self._leave()  # the place came together with the cancellation
            raise
        finally:
            self.waiting -= 1
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

    def _given_up(self, owner: str, place: asyncio.Future[None]) -> None:
        """Who no longer waits takes no turn from its owner's others."""
        places = self._waiting.get(owner)
        if places and place in places:
            places.remove(place)
            if not places:
                del self._waiting[owner]

    def _leave(self) -> None:
        self.under_way -= 1
        while self._waiting and self.under_way < int(self.window):
            owner, places = self._waiting.popitem(last=False)
            place = places.popleft()
            if places:
                self._waiting[owner] = places
            if not place.done():
                self.under_way += 1
                place.set_result(None)
