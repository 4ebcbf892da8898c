"""A verifier whose calls are cached on disk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import NamedTuple

from computewise.cache import Codec, GenerationCache, Key, Plain, SingleFlight, cache_key
from computewise.core import Candidate, Problem, Usage, Verifier
from computewise.errors import ModelError


class Scored(NamedTuple):
    """The result of one call."""

    scores: list[tuple[float, ...]]
    usage: Usage


_PACKING = Codec(Scored)


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
            return {key: _PACKING.unpack(data) for key, data in held.items()}
        scored = Scored(*await self._verifier.score(problem, candidates))
        if [len(steps) for steps in scored.scores] != [len(candidate.steps) for candidate in candidates]:
            raise ModelError(f"{self.name} did not give one score for each step of each candidate")
        new.update(keys)
        self.paid += scored.usage
        await self._store.keep(dict.fromkeys(keys, _PACKING.pack(scored)))
        return dict.fromkeys(keys, scored)


def _plain(candidate: Candidate) -> list[object]:
    history = [attempt.steps for attempt in candidate.history]
    return [[step.text for step in candidate.steps], len(candidate.scores), candidate.finished, history]
