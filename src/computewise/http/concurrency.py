"""The limit on the requests in flight, the order of those that wait, and when a failed request is sent again."""

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

fairness_key: ContextVar[str] = ContextVar("fairness_key", default="")

"""The owner of a request, such as a problem or a client: the owners of waiting requests take turns."""


class Limiter:
    """Limits the requests in flight by additive increase, multiplicative decrease (Chiu and Jain 1989).

    The window begins at `max_in_flight` requests. `overloaded` halves it, once for all requests that were in flight at
    the time; a window's worth of answers adds one. Owners of waiting requests (`fairness_key`) take turns, and the
    requests of one owner are served in order.
    """

    def __init__(self, max_in_flight: int) -> None:
        self.max_in_flight = max_in_flight
        self.window = float(max_in_flight)
        self.in_flight = 0
        self.waiting = 0
        self._waiting: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()
        self._epoch = 0

    @property
    def free(self) -> bool:
        """Whether another request can begin at once."""
        return self.in_flight < int(self.window)

    async def __aenter__(self) -> Limiter:
        if self.free:
            self.in_flight += 1
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
                self._leave()  # the place was given just before the cancellation
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
        """How often the window was halved; a request notes the epoch in which it began."""
        return self._epoch

    def overloaded(self, began: int) -> None:
        """The server refused a request that began in epoch `began`, because it is overloaded."""
        if began == self._epoch:
            self._epoch += 1
            self.window = max(self.window / 2, LEAST)

    def answered(self) -> None:
        """The server answered a request."""
        self.window = min(self.window + 1 / self.window, self.max_in_flight)

    def _given_up(self, owner: str, place: asyncio.Future[None]) -> None:
        """Remove a request that no longer waits, so that it takes no turn from the others of its owner."""
        places = self._waiting.get(owner)
        if places and place in places:
            places.remove(place)
            if not places:
                del self._waiting[owner]

    def _leave(self) -> None:
        self.in_flight -= 1
        while self._waiting and self.in_flight < int(self.window):
            owner, places = self._waiting.popitem(last=False)
            place = places.popleft()
            if places:
                self._waiting[owner] = places
            if not place.done():
                self.in_flight += 1
                place.set_result(None)


NOT_FOR_LONG = frozenset({408, 409, 425, 429})

NEVER = frozenset({501, 505})

"""Server errors that another try cannot change."""

OVERLOADED = frozenset({429, 503, 529})


def worth_retrying(status: int) -> bool:
    """Whether the same request may succeed later."""
    return status in NOT_FOR_LONG or (status >= 500 and status not in NEVER)


@dataclass(frozen=True, slots=True)
class Retry:
    """At most `tries` tries, and at most `seconds` for failed tries and waits together.

    Waits double from `first` to `longest` seconds. Since failed tries count, a request that ran into the time limit is
    not sent again.
    """

    tries: int = 6
    seconds: float = 180.0
    first: float = 0.5
    longest: float = 30.0

    def wait(self, failures: int, least: float | None, rng: random.Random) -> float:
        """Seconds before the next try after so many failures, with full jitter; `least` is the server's request."""
        jitter = rng.uniform(0, min(self.longest, self.first * 2 ** (failures - 1)))
        return jitter if least is None else least + min(jitter, 1.0)


def retry_after(headers: Mapping[str, str], now: datetime | None = None) -> float | None:
    """Seconds by `retry-after-ms` or `Retry-After` (seconds, or a date); None where neither is given."""
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
