"""A model whose samples are kept in a cache and not sampled again."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Protocol

from computewise.cache import Codec, GenerationCache, Key, Plain, SingleFlight, cache_key
from computewise.core import Attempt, Completion, Model, Usage
from computewise.errors import ModelError

_PACKING = Codec(Completion)


class _Ask(Protocol):
    def __call__(self, n: int, *, seeds: Sequence[int]) -> Awaitable[list[Completion]]: ...


class CachedModel:
    """Asks `model` for the samples that `store` does not hold, and stores them before it returns them.

    `identity` is what decides the model's answers beside the arguments of `sample`: model id and revision, template,
    top-p and the like. The usage of a sample is what it cost when it was sampled, also where it comes from the cache,
    since that is what the experiment costs. `paid` is the usage of what this object had sampled, `saved` that of what
    it found. Equal requests at the same time are made once. Errors are not stored. One event loop uses it at a time.
    """

    def __init__(self, model: Model, store: GenerationCache, identity: Mapping[str, Plain]) -> None:
        self.name = model.name
        self.parameters = model.parameters
        self.revises, self.revises_steps, self.steps = model.revises, model.revises_steps, model.steps
        self.paid = Usage()
        self.saved = Usage()
        self._model = model
        self._store = store
        self._identity = dict(identity)
        self._flights: SingleFlight[Completion] = SingleFlight()

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
        if n == 0:
            return []
        shown = [(attempt.steps, attempt.scores) for attempt in attempts]
        request = [self._identity, prompt, prefix, stop, max_tokens, temperature, shown]
        # The first sample of a call is charged for reading the prompt, so it differs from a later one of the same seed.
        keys = [cache_key([*request, seed, index == 0]) for index, seed in enumerate(seeds)]
        ask = partial(
            self._model.sample,
            prompt,
            prefix,
            stop=stop,
            max_tokens=max_tokens,
            temperature=temperature,
            attempts=attempts,
        )
        new: set[Key] = set()
        found = await self._flights.get(
            keys, partial(self._fetch, ask, dict(zip(keys, seeds, strict=True)), keys[0], new)
        )
        self.saved += sum((c.usage for key, c in zip(keys, found, strict=True) if key not in new), Usage())
        return found

    async def _fetch(
        self, ask: _Ask, seeds: Mapping[Key, int], first: Key, new: set[Key], keys: list[Key]
    ) -> dict[Key, Completion]:
        held = {key: _PACKING.unpack(data) for key, data in (await self._store.find(keys)).items()}
        missing = [key for key in keys if key not in held]
        if not missing:
            return held
        sampled = list(await ask(len(missing), seeds=[seeds[key] for key in missing]))
        if len(sampled) != len(missing):
            raise ModelError(f"{self.name} gave {len(sampled)} samples where {len(missing)} were asked for")
        new.update(missing)
        self.paid += sum((completion.usage for completion in sampled), Usage())
        if missing[0] != first:
            sampled[0] = _as_the_others([*held.values(), *sampled], sampled[0])
        fresh = dict(zip(missing, sampled, strict=True))
        await self._store.keep({key: _PACKING.pack(completion) for key, completion in fresh.items()})
        return held | fresh


def _as_the_others(samples: Sequence[Completion], completion: Completion) -> Completion:
    """Charged as a later sample of its call, since the samples before it were held: its prompt is in the cache."""
    cached = max(sample.usage.cached_prompt_tokens for sample in samples)
    return replace(completion, usage=replace(completion.usage, cached_prompt_tokens=cached))
