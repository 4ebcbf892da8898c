"""A model that was never trained to revise, in strategies that do: it samples again, in view of nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from computewise.core import Attempt, Completion, Model
from computewise.models.embedded.model import EmbeddedModel
from computewise.strategies import KEPT_STEPS


def as_needed(model: Model, strategy: str) -> Model:
    """As a strategy needs it: forgetful where steps of attempts are kept that the model was not trained to be shown."""
    revises = isinstance(model, EmbeddedModel) and model.revises
    return Forgetful(model) if strategy in KEPT_STEPS and not revises else model


class Forgetful:
    """Passes everything on to `model` but the earlier attempts.

    With steps kept it still goes on from them: what a strategy gains with it comes from the verifier, not from history.
    """

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
        """See `computewise.core.Model.sample`; steps kept of an attempt are charged as read once more."""
        first, *others = await self._model.sample(
            prompt, prefix, n, stop=stop, max_tokens=max_tokens, temperature=temperature, seeds=seeds
        )
        if attempts and prefix:
            first = replace(first, usage=replace(first.usage, cached_prompt_tokens=0))
        return [first, *others]
