"""What bounds a served model: a spending limit, failed samples, the memory for token ids."""

from __future__ import annotations

import asyncio
import hashlib
from array import array
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar

from computewise.errors import ModelError, ServerError, SpendLimitError
from computewise.http.concurrency import worth_retrying


class Spent(NamedTuple):
    """Sampled tokens and dollars."""

    tokens: int = 0
    dollars: float = 0.0

    def and_also(self, other: Spent) -> Spent:
        """Both together."""
        return Spent(self.tokens + other.tokens, self.dollars + other.dollars)


@dataclass(slots=True)
class SpendLimit:
    """At most `tokens` sampled and `dollars` spent, by all models of a run together; None is no bound.

    A request holds the most it may spend until it is answered; where that does not fit beside what others hold, it
    waits for them. What a server makes of a request that fails or is cancelled, nobody tells: it counts as nothing.
    """

    tokens: int | None = None
    dollars: float | None = None
    spent: Spent = field(default_factory=Spent)
    _held: Spent = field(default_factory=Spent)
    _holders: int = 0
    _waiting: list[asyncio.Future[None]] = field(default_factory=list)

    async def hold(self, most: Spent) -> None:
        """Wait until `most` more fits; raises `SpendLimitError` where it will not."""
        while not self._fits(most.and_also(self._held)):
            if not self._fits(most):
                raise SpendLimitError(self._reached(most))
            freed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append(freed)
            await freed
        self._held = self._held.and_also(most)
        self._holders += 1

    def release(self, most: Spent, spent: Spent) -> None:
        """The request that held `most` is over, and took `spent`."""
        self.spent = self.spent.and_also(spent)
        self._holders -= 1
        # Nothing is held by nobody: what rounding leaves of the dollars would have the last one wait for ever.
        left = Spent(self._held.tokens - most.tokens, self._held.dollars - most.dollars)
        self._held = left if self._holders else Spent()
        waiting, self._waiting = self._waiting, []
        for freed in waiting:
            if not freed.done():
                freed.set_result(None)

    def _fits(self, more: Spent) -> bool:
        total = self.spent.and_also(more)
        return (self.tokens is None or total.tokens <= self.tokens) and (
            self.dollars is None or total.dollars <= self.dollars
        )

    def _reached(self, most: Spent) -> str:
        bounds, more = [], []
        if self.tokens is not None:
            bounds.append(f"{self.tokens} tokens")
            more.append(f"{most.tokens} tokens")
        if self.dollars is not None:
            bounds.append(f"${self.dollars:g}")
            more.append(f"${most.dollars:.2g}")
        spent = f"{self.spent.tokens} tokens sampled, ${self.spent.dollars:.4g} spent"
        return (
            f"the ceiling of {' and '.join(bounds)} is reached: {spent}, and the next request may take "
            f"{' and '.join(more)}"
        )


T = TypeVar("T")


@dataclass(slots=True)
class FailedSamples:
    """What was lost while one problem was solved, and how much was not.

    `until` is the event loop's time at which what is not there counts as lost.
    """

    until: float | None = None
    answered: int = 0
    samples: int = 0
    late: bool = False
    errors: list[ModelError] = field(default_factory=list)

    async def attempt(self, ask: Callable[[], Awaitable[T]], samples: int) -> T | None:
        """What `ask` brings; None, and a note, where its `samples` are lost.

        Raises what the server would refuse all others with too, and `TimeoutError` where the time was over already.
        """
        if self.until is not None and asyncio.get_running_loop().time() >= self.until:
            raise TimeoutError
        try:
            async with asyncio.timeout_at(self.until):
                answer = await ask()
        except TimeoutError:
            self.late = True
            self.record(ModelError("not answered in time"), samples)
            return None
        except ModelError as error:
            self.record(error, samples)
            return None
        self.answered += samples
        return answer

    def all_failed(self) -> bool:
        """Whether there is nothing to go on with."""
        return bool(self.errors) and not self.answered

    def record(self, error: ModelError, samples: int) -> None:
        """Go on without them; raises `error` where the server, which has answered nothing yet, refuses the request."""
        self.samples += samples
        self.errors.append(error)
        if _for_good(error) and not self.answered:
            raise error


def _for_good(error: ModelError) -> bool:
    """Whether it is the request that the server does not take."""
    status = error.status if isinstance(error, ServerError) else None
    return status is not None and status >= 400 and not worth_retrying(status)


MOST = 1 << 23

"""Ids kept in all: 32 MB."""


class TokenIdCache:
    """Ids by the text they spell; where there are more than `most`, the oldest are forgotten."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._kept = 0
        self._ids: OrderedDict[bytes, array[int]] = OrderedDict()

    def keep(self, text: str, ids: Sequence[int]) -> None:
        """Remember."""
        key = _digest(text)
        self._kept += len(ids) - len(self._ids.pop(key, ()))
        self._ids[key] = array("i", ids)
        while self._kept > self._most:
            self._kept -= len(self._ids.popitem(last=False)[1])

    def find(self, text: str) -> tuple[int, ...] | None:
        """Those of exactly this text; None where they are not known."""
        held = self._ids.get(_digest(text))
        return None if held is None else tuple(held)


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=16).digest()
