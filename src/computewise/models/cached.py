"""A model and a verifier whose answers are kept on disk and not paid for again."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple, Protocol

from computewise.cache import Codec, GenerationCache, Key, Plain, SingleFlight, cache_key
from computewise.core import Attempt, Candidate, Completion, Model, Problem, Usage, Verifier
from computewise.errors import ModelError
from computewise.session import holds_prompt

_COMPLETION = Codec(Completion)


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
        held = {key: _COMPLETION.unpack(data) for key, data in (await self._store.find(keys)).items()}
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
        await self._store.keep({key: _COMPLETION.pack(completion) for key, completion in fresh.items()})
        return held | fresh


def _as_the_others(samples: Sequence[Completion], completion: Completion) -> Completion:
    """Charged as a later sample of its call, since the samples before it were held: its prompt is in the cache."""
    cached = max(sample.usage.cached_prompt_tokens for sample in samples)
    return replace(completion, usage=replace(completion.usage, cached_prompt_tokens=cached))


class Scored(NamedTuple):
    """The result of one call."""

    scores: list[tuple[float, ...]]
    usage: Usage


_SCORED = Codec(Scored)


class CachedVerifier:
    """Returns the scores that `store` holds for a call; else calls `verifier` and stores the result first.

    `identity` holds what determines the scores beside problem and candidates: model id and revision, template and the
    like. The key of a candidate is its steps, how many of them have scores, whether it is finished, and its history.
    The call is cached as a whole, because its cost (one prompt for all candidates) is not a sum over them; so a search
    costs the same whatever was scored before. For `paid`, `saved`, concurrent equal calls and errors see
    `computewise.models.cached.CachedModel`.
    """

    def __init__(self, verifier: Verifier, store: GenerationCache, identity: Mapping[str, Plain]) -> None:
        self.name = verifier.name
        self.parameters = verifier.parameters
        self.holds_prompt = holds_prompt(verifier)
        self.paid = Usage()
        self.saved = Usage()
        self._verifier = verifier
        self._store = store
        self._identity = dict(identity)
        self._flights: SingleFlight[Scored] = SingleFlight()

    def value(self, scores: Sequence[float]) -> float:
        """See `computewise.core.Verifier.value`."""
        return self._verifier.value(scores)

    async def score(self, problem: Problem, candidates: Sequence[Candidate]) -> tuple[list[tuple[float, ...]], Usage]:
        """See `computewise.core.Verifier.score`."""
        key = cache_key(["score", self._identity, problem.prompt, [_plain(candidate) for candidate in candidates]])
        new: set[Key] = set()
        (found,) = await self._flights.get([key], partial(self._fetch, problem, candidates, new))
        if not new:
            self.saved += found.usage
        return found.scores, found.usage

    async def _fetch(
        self, problem: Problem, candidates: Sequence[Candidate], new: set[Key], keys: list[Key]
    ) -> dict[Key, Scored]:
        held = await self._store.find(keys)
        if held:
            return {key: _SCORED.unpack(data) for key, data in held.items()}
        scored = Scored(*await self._verifier.score(problem, candidates))
        if [len(steps) for steps in scored.scores] != [len(candidate.steps) for candidate in candidates]:
            raise ModelError(f"{self.name} did not give one score for each step of each candidate")
        new.update(keys)
        self.paid += scored.usage
        await self._store.keep(dict.fromkeys(keys, _SCORED.pack(scored)))
        return dict.fromkeys(keys, scored)


def _plain(candidate: Candidate) -> list[object]:
    history = [attempt.steps for attempt in candidate.history]
    return [[step.text for step in candidate.steps], len(candidate.scores), candidate.finished, history]
