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

    A request holds the most it may sample until it is answered; where that does not fit beside what others hold, it
    waits for them. Prompt tokens are known once answered: dollars can be exceeded by those of the requests under way.
    """

    tokens: int | None = None
    dollars: float | None = None
    spent: Spent = field(default_factory=Spent)
    _held: Spent = field(default_factory=Spent)
    _freed: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def hold(self, most: Spent) -> None:
        """Wait until `most` more fits; raises `CeilingError` where it will not."""
        async with self._freed:
            while not self._fits(most.and_also(self._held)):
                if not self._fits(most):
                    raise CeilingError(self._reached())
                await self._freed.wait()
            self._held = self._held.and_also(most)

    async def release(self, most: Spent, spent: Spent) -> None:
        """The request that held `most` is over, and took `spent`."""
        self.spent = self.spent.and_also(spent)
        self._held = Spent(self._held.tokens - most.tokens, self._held.dollars - most.dollars)
        async with self._freed:
            self._freed.notify_all()

    def _fits(self, more: Spent) -> bool:
        total = self.spent.and_also(more)
        return (self.tokens is None or total.tokens <= self.tokens) and (
            self.dollars is None or total.dollars <= self.dollars
        )

    def _reached(self) -> str:
        bounds = [f"{self.tokens} tokens"] if self.tokens is not None else []
        bounds += [f"${self.dollars:g}"] if self.dollars is not None else []
        spent = f"{self.spent.tokens} tokens sampled, ${self.spent.dollars:.4g} spent"
        return f"the ceiling of {' and '.join(bounds)} is reached ({spent}); what is recorded is kept"
