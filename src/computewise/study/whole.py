"""A model that is asked for whole solutions only, in strategies that would take them step by step."""

from __future__ import annotations

from collections.abc import Sequence

from computewise.core import Attempt, Completion, Model


class Whole:
    """Passes everything on to `model` but where to stop: the first step of a greedy solution is then all of it."""

    def __init__(self, model: Model) -> None:
        self.name = model.name
        self.parameters = model.parameters
        self._model = model

    async def sample(
        self,
        prompt: str,
        prefix: str,
        n: int,
        *,
        stop: str | None,
        max_tokens: int,
        temperature: float,
        seeds: Sequence[int],
        attempts: Sequence[Attempt] = (),
    ) -> list[Completion]:
        """See `computewise.core.Model.sample`."""
        return await self._model.sample(
            prompt, prefix, n, stop=None, max_tokens=max_tokens, temperature=temperature, seeds=seeds, attempts=attempts
        )
