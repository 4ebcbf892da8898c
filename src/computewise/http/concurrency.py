"""How many requests are in flight, in which turn, and when a failed one is sent again."""

from __future__ import annotations

import asyncio
import math
import random
from collections import OrderedDict, deque
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from types import TracebackType

LEAST = 1.0

fairness_key: ContextVar[str] = ContextVar("whose", default="")

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
        owner, place = fairness_key.get(), asyncio.get_running_loop().create_future()
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


NOT_FOR_LONG = frozenset({408, 409, 425, 429})

NEVER = frozenset({501, 505})

"""Server errors that another try does not change."""

OVERLOADED = frozenset({429, 503, 529})


def worth_retrying(status: int) -> bool:
    """Whether the same request may be answered later."""
    return status in NOT_FOR_LONG or (status >= 500 and status not in NEVER)


@dataclass(frozen=True, slots=True)
class Retry:
    """At most `tries` tries, and `seconds` of waits and failed tries in all; waits double from `first` to `longest`.

    So a request that the server let run into its time limit is not made again.
    """

    tries: int = 6
    seconds: float = 180.0
    first: float = 0.5
    longest: float = 30.0

    def wait(self, failures: int, asked: float | None, rng: random.Random) -> float:
        """Seconds before the next try after so many failures: full jitter, never less than the server asked for."""
        jitter = rng.uniform(0, min(self.longest, self.first * 2 ** (failures - 1)))
        return jitter if asked is None else asked + min(jitter, 1.0)


def asked_to_wait(headers: Mapping[str, str], now: datetime | None = None) -> float | None:
    """Seconds that `retry-after-ms` or `Retry-After` (seconds, or a date) asks for; None where they say nothing."""
    for name, unit in (("retry-after-ms", 1e-3), ("retry-after", 1.0)):
        if (text := headers.get(name)) is None:
            continue
        try:
            seconds = float(text) * unit
        except ValueError:
            pass
        else:
            return max(seconds, 0.0) if math.isfinite(seconds) else None
        try:
            until = parsedate_to_datetime(text)
        except ValueError:
            continue
        until = until if until.tzinfo else until.replace(tzinfo=UTC)
        return max((until - (now or datetime.now(UTC))).total_seconds(), 0.0)
    return None
