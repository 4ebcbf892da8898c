"""What a run may spend: checked before every request, so that what is under way never exceeds it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import NamedTuple

from computewise.errors import CeilingError


class Spent(NamedTuple):
    """Sampled tokens and dollars."""

    tokens: int = 0
    dollars: float = 0.0

    def and_also(self, other: Spent) -> Spent:
        """Both together."""
        return Spent(self.tokens + other.tokens, self.dollars + other.dollars)


@dataclass(slots=True)
class Ceiling:
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
        """Wait until `most` more fits; raises `CeilingError` where it will not."""
        while not self._fits(most.and_also(self._held)):
            if not self._fits(most):
                raise CeilingError(self._reached(most))
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
