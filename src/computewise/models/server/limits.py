"""Limits of a served model: the spending limit, the samples that may fail, and the cache of token ids."""

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

    def plus(self, other: Spent) -> Spent:
        """The sum of both."""
        return Spent(self.tokens + other.tokens, self.dollars + other.dollars)


@dataclass(slots=True)
class SpendLimit:
    """At most `tokens` sampled and `dollars` spent by all models of a run together; None is no limit.

    A request reserves the most it may spend until it is answered; where that does not fit beside the reservations of
    others, it waits. A request that fails or is cancelled counts as 0, since the server does not report what it spent.
    """

    tokens: int | None = None
    dollars: float | None = None
    spent: Spent = field(default_factory=Spent)
    _held: Spent = field(default_factory=Spent)
    _holders: int = 0
    _waiting: list[asyncio.Future[None]] = field(default_factory=list)

    async def hold(self, most: Spent) -> None:
        """Wait until `most` fits, and reserve it; raises `SpendLimitError` where it can never fit."""
        while not self._fits(most.plus(self._held)):
            if not self._fits(most):
                raise SpendLimitError(self._reached(most))
            freed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append(freed)
            await freed
        self._held = self._held.plus(most)
        self._holders += 1

    def release(self, most: Spent, spent: Spent) -> None:
        """End a request that reserved `most` and spent `spent`."""
        self.spent = self.spent.plus(spent)
        self._holders -= 1
        # Without holders the reservation is exactly 0: a rounding error in dollars could make a request wait forever.
        left = Spent(self._held.tokens - most.tokens, self._held.dollars - most.dollars)
        self._held = left if self._holders else Spent()
        waiting, self._waiting = self._waiting, []
        for freed in waiting:
            if not freed.done():
                freed.set_result(None)

    def _fits(self, more: Spent) -> bool:
        total = self.spent.plus(more)
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
            f"the spending limit of {' and '.join(bounds)} is reached: {spent}, and the next request may take "
            f"{' and '.join(more)}"
        )


T = TypeVar("T")


@dataclass(slots=True)
class FailedSamples:
    """Counts the samples of one problem that failed and those that were answered.

    `until` is the deadline in the event loop's time; samples that arrive later count as failed.
    """

    until: float | None = None
    answered: int = 0
    samples: int = 0
    late: bool = False
    errors: list[ModelError] = field(default_factory=list)

    async def attempt(self, ask: Callable[[], Awaitable[T]], samples: int) -> T | None:
        """The result of `ask`; None where its `samples` fail, which is recorded.

        Raises an error that every other request would meet too, and `TimeoutError` if the deadline has already passed.
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
        """Whether samples failed and none was answered."""
        return bool(self.errors) and not self.answered

    def record(self, error: ModelError, samples: int) -> None:
        """Record failed samples; raises `error` where it is a permanent refusal and nothing was answered before."""
        self.samples += samples
        self.errors.append(error)
        if _for_good(error) and not self.answered:
            raise error


def _for_good(error: ModelError) -> bool:
    """Whether the server refuses this kind of request, so that a retry cannot help."""
    status = error.status if isinstance(error, ServerError) else None
    return status is not None and status >= 400 and not worth_retrying(status)


MAX_IDS = 1 << 23

"""The most ids that are kept: 32 MB."""


class TokenIdCache:
    """Token ids by the text they encode; the oldest entries are dropped beyond `max_ids`."""

    def __init__(self, max_ids: int = MAX_IDS) -> None:
        self._most = max_ids
        self._kept = 0
        self._ids: OrderedDict[bytes, array[int]] = OrderedDict()

    def keep(self, text: str, ids: Sequence[int]) -> None:
        """Keep the ids of a text."""
        key = _digest(text)
        self._kept += len(ids) - len(self._ids.pop(key, ()))
        self._ids[key] = array("i", ids)
        while self._kept > self._most:
            self._kept -= len(self._ids.popitem(last=False)[1])

    def find(self, text: str) -> tuple[int, ...] | None:
        """The ids of exactly this text; None where they are not kept."""
        held = self._ids.get(_digest(text))
        return None if held is None else tuple(held)


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=16).digest()
