"""A verifier that is asked for nothing it has scored before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import astuple
from functools import partial
from itertools import accumulate, pairwise
from typing import NamedTuple

from computewise.cache.flights import Flights
from computewise.cache.keys import Key, Plain, key_of
from computewise.cache.packing import Packing
from computewise.cache.store import Generations
from computewise.core import Candidate, Problem, Usage, Verifier
from computewise.errors import ModelError


class Scored(NamedTuple):
    """One candidate's scores and its share of what the call cost."""

    scores: tuple[float, ...]
    usage: Usage


_PACKING = Packing(Scored)


class CachedVerifier:
    """Asks `verifier` for the scores that `store` does not hold, and keeps them before it returns them.

    `identity` is what decides its scores beside problem and candidate: model id and revision, template and the like.
    A candidate is known by its steps, how many of them it brings scores for, how it ended, and the attempts
    before it. What a call cost is shared out by the length of what it read, so that the same candidates cost the same
    again. `paid`, `saved` and errors as with `computewise.models.cached.CachedModel`.
    """

    def __init__(self, verifier: Verifier, store: Generations, identity: Mapping[str, Plain]) -> None:
        self.name = verifier.name
        self.parameters = verifier.parameters
        self.paid = Usage()
        self.saved = Usage()
        self._verifier = verifier
        self._store = store
        self._identity = dict(identity)
        self._flights: Flights[Scored] = Flights()

    def value(self, scores: Sequence[float]) -> float:
        """See `computewise.core.Verifier.value`."""
        return self._verifier.value(scores)

    async def score(self, problem: Problem, candidates: Sequence[Candidate]) -> tuple[list[tuple[float, ...]], Usage]:
        """See `computewise.core.Verifier.score`."""
        if not candidates:
            return [], Usage()
        keys = [self._key(problem, candidate) for candidate in candidates]
        by_key = dict(zip(keys, candidates, strict=True))
        new: set[Key] = set()
        found = await self._flights.get(keys, partial(self._fetch, problem, by_key, new))
        self.saved += sum((one.usage for key, one in zip(keys, found, strict=True) if key not in new), Usage())
        return [one.scores for one in found], sum((one.usage for one in found), Usage())

    def _key(self, problem: Problem, candidate: Candidate) -> Key:
        steps = [step.text for step in candidate.steps]
        history = [attempt.steps for attempt in candidate.history]
        known = len(candidate.scores)
        return key_of(["score", self._identity, problem.prompt, steps, known, candidate.end, history])

    async def _fetch(
        self, problem: Problem, candidates: Mapping[Key, Candidate], new: set[Key], keys: list[Key]
    ) -> dict[Key, Scored]:
        held = {key: _PACKING.unpack(data) for key, data in (await self._store.find(keys)).items()}
        missing = [key for key in keys if key not in held]
        if not missing:
            return held
        asked = [candidates[key] for key in missing]
        scores, usage = await self._verifier.score(problem, asked)
        if [len(steps) for steps in scores] != [len(candidate.steps) for candidate in asked]:
            raise ModelError(f"{self.name} did not give one score for each step of each candidate")
        new.update(missing)
        self.paid += usage
        shares = shared_out(usage, [1 + len(problem.prompt) + len(candidate.text) for candidate in asked])
        fresh = dict(zip(missing, map(Scored, scores, shares), strict=True))
        await self._store.keep({key: _PACKING.pack(one) for key, one in fresh.items()})
        return held | fresh


def shared_out(usage: Usage, weights: Sequence[int]) -> list[Usage]:
    """Whole tokens in proportion to `weights`, which sum to `usage` exactly."""
    total = sum(weights)
    until = [0, *accumulate(weights)]

    def share(tokens: int, start: int, end: int) -> int:
        return tokens * end // total - tokens * start // total

    return [Usage(*(share(tokens, start, end) for tokens in astuple(usage))) for start, end in pairwise(until)]
