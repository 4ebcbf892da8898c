"""Samples that a server lost, for whoever would rather have the others than none."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TypeVar

from computewise.errors import ModelError, ServerError
from computewise.http.retry import worth_retrying

T = TypeVar("T")


@dataclass(slots=True)
class Lost:
    """What was lost while one problem was solved, and how much was not.

    `until` is the event loop's time at which what is not there counts as lost.
    """

    until: float | None = None
    answered: int = 0
    samples: int = 0
    late: bool = False
    errors: list[ModelError] = field(default_factory=list)

    async def tried(self, ask: Callable[[], Awaitable[T]], samples: int) -> T | None:
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
            self.note(ModelError("not answered in time"), samples)
            return None
        except ModelError as error:
            self.note(error, samples)
            return None
        self.answered += samples
        return answer

    def nothing(self) -> bool:
        """Whether there is nothing to go on with."""
        return bool(self.errors) and not self.answered

    def note(self, error: ModelError, samples: int) -> None:
        """Go on without them; raises `error` where the server, which has answered nothing yet, refuses the request."""
        self.samples += samples
        self.errors.append(error)
        if _for_good(error) and not self.answered:
            raise error


def _for_good(error: ModelError) -> bool:
    """Whether it is the request that the server does not take."""
    status = error.status if isinstance(error, ServerError) else None
    return status is not None and status >= 400 and not worth_retrying(status)
