"""Equal requests that are under way at the same time are asked once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from computewise.cache.keys import Key

T = TypeVar("T")
Fetch = Callable[[list[Key]], Coroutine[Any, Any, dict[Key, T]]]


@dataclass(eq=False, slots=True)
class _Flight(Generic[T]):
    keys: list[Key]
    task: asyncio.Task[dict[Key, T]]
    waiting: int = 0


class Flights(Generic[T]):
    """One loop's requests under way, by key.

    A request that nobody waits for any more is cancelled; one of several who wait for it may go without harm to the
    others. An error goes to all who wait.
    """

    def __init__(self) -> None:
        self._flights: dict[Key, _Flight[T]] = {}

    async def get(self, keys: Sequence[Key], fetch: Fetch[T]) -> list[T]:
        """What belongs to `keys`: `fetch` is called with those that are not under way."""
        mine = [key for key in dict.fromkeys(keys) if key not in self._flights]
        if mine:
            self._start(mine, fetch)
        flights = {self._flights[key] for key in keys}
        for flight in flights:
            flight.waiting += 1
        try:
            done, _ = await asyncio.wait({flight.task for flight in flights}, return_when=asyncio.FIRST_EXCEPTION)
            found = await asyncio.gather(*done)
        finally:
            await self._leave(flights)
        held = {key: value for values in found for key, value in values.items()}
        return [held[key] for key in keys]

    def _start(self, keys: list[Key], fetch: Fetch[T]) -> None:
        flight = _Flight(keys, asyncio.ensure_future(fetch(keys)))
        self._flights.update((key, flight) for key in keys)
        flight.task.add_done_callback(lambda _: self._forget(flight))

    def _forget(self, flight: _Flight[T]) -> None:
        for key in flight.keys:
            if self._flights.get(key) is flight:
                del self._flights[key]

    async def _leave(self, flights: set[_Flight[T]]) -> None:
        for flight in flights:
            flight.waiting -= 1
        unwanted = [flight for flight in flights if not flight.waiting and not flight.task.done()]
        for flight in unwanted:
            self._forget(flight)  # at once: who asks now must not join what is about to be cancelled
            flight.task.cancel()
        await asyncio.gather(*(flight.task for flight in unwanted), return_exceptions=True)
