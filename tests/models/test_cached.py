"""What was answered before is served at its price, and what is asked for twice at a time is asked once."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from doubles import TASK, ByText, problem, solved

from computewise.cache import GenerationCache
from computewise.core import Attempt, Candidate, Completion, Model, Problem, Result, Step, Usage
from computewise.errors import ModelError, RunError, ServerError
from computewise.models.cached import CachedModel, CachedVerifier
from computewise.solver import solve
from computewise.strategies import BeamSearch, BestOfN, Revisions
from computewise.testing import SimulatedModel, SimulatedPRM

PROMPT = problem().prompt
SETTINGS: dict[str, Any] = {"prompt": PROMPT, "prefix": "", "stop": None, "max_tokens": 200, "temperature": 1.0}


@dataclass
class Counting:
    """Passes on to a simulated model and remembers the seeds it was asked for; answers when `gate` is open."""

    model: Model = field(default_factory=SimulatedModel)
    asked: list[list[int]] = field(default_factory=list)
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    error: Exception | None = None
    cancelled: int = 0
    called: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(0))
    name: str = "simulated"
    parameters: int = 5
    revises: bool = True
    revises_steps: bool = True
    steps: bool = True

    async def sample(self, prompt: str, prefix: str, n: int, **settings: Any) -> list[Completion]:
        self.asked.append(list(settings["seeds"]))
        self.called.release()
        assert n == len(settings["seeds"])
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            for _ in range(9):
                await asyncio.sleep(0)
            self.cancelled += 1
            raise
        if self.error:
            raise self.error
        return await self.model.sample(prompt, prefix, n, **settings)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[GenerationCache]:
    with GenerationCache(tmp_path / "cache.db") as opened:
        yield opened


def ready(error: Exception | None = None) -> Counting:
    model = Counting(error=error)
    model.gate.set()
    return model


async def sample(model: Model, seeds: Sequence[int], **other: Any) -> list[Completion]:
    return await model.sample(n=len(seeds), seeds=seeds, **(SETTINGS | other))


def total(completions: Sequence[Completion]) -> Usage:
    return sum((completion.usage for completion in completions), Usage())


async def test_only_what_is_missing_is_asked_for_and_the_price_is_the_experiments(store: GenerationCache) -> None:
    inner = ready()
    model = CachedModel(inner, store, {})
    few = await sample(model, [1, 2])
    many = await sample(model, [1, 2, 3, 4])
    assert inner.asked == [[1, 2], [3, 4]]
    bare = await sample(SimulatedModel(), [1, 2, 3, 4])
    assert (few, many) == (bare[:2], bare)  # the third was the first of its call: charged as the third all the same
    assert model.saved == total(few)
    assert model.paid.samples == 4
    assert model.paid.cached_prompt_tokens == 2 * len(PROMPT)


async def test_another_object_and_another_loop_find_it(tmp_path: Path, store: GenerationCache) -> None:
    bare = await sample(SimulatedModel(), [7, 8])
    assert await sample(CachedModel(ready(), store, {"revision": "a"}), [7, 8]) == bare
    with GenerationCache(tmp_path / "cache.db") as other:
        model = CachedModel(ready(ModelError("must not be asked")), other, {"revision": "a"})
        assert await asyncio.to_thread(lambda: asyncio.run(sample(model, [7, 8]))) == bare
        assert (model.paid, model.saved) == (Usage(), total(bare))


ATTEMPT = Attempt("0", ("right\n", "wrong 1"), (0.5, 0.2))
OTHERS: dict[str, dict[str, Any]] = {
    "prompt": {"prompt": problem(number=31313).prompt},
    "prefix": {"prefix": "right\n"},
    "stop": {"stop": "\n"},
    "max_tokens": {"max_tokens": 199},
    "temperature": {"temperature": 0.9},
    "attempts": {"attempts": [ATTEMPT]},
    "their scores": {"attempts": [replace(ATTEMPT, scores=(0.5, 0.3))]},
    "their steps": {"attempts": [replace(ATTEMPT, steps=("right\nwrong 1",))]},
    "seed": {"seeds": [2]},
    "identity": {"identity": {"revision": "b"}},
    "place": {"seeds": [9, 1]},
}


async def test_everything_that_decides_an_answer_is_in_its_key(store: GenerationCache) -> None:
    asked = 0
    for settings in ({}, *OTHERS.values()):
        inner = ready()
        other = dict(settings)
        model = CachedModel(inner, store, other.pop("identity", {"revision": "a"}))
        seeds = other.pop("seeds", [1])
        await sample(model, seeds, **other)
        assert inner.asked == [seeds], settings
        asked += len(seeds)
    assert len(store) == asked


async def test_equal_requests_at_a_time_are_asked_once(store: GenerationCache) -> None:
    inner = Counting()
    model = CachedModel(inner, store, {})
    callers = [asyncio.ensure_future(sample(model, seeds)) for seeds in ([1, 2, 3], [1, 2, 3], [1, 3, 4], [1, 4])]
    await inner.called.acquire()
    await inner.called.acquire()
    inner.gate.set()
    found = await asyncio.gather(*callers)
    assert inner.asked == [[1, 2, 3], [4]]
    assert found[2] == [found[0][0], found[0][2], found[2][2]]
    assert found[3] == [found[0][0], found[2][2]]
    assert model.paid.samples == 4
    assert model.saved.samples == 3 + 2 + 2


async def test_a_seed_asked_for_twice_in_one_call_is_one_sample(store: GenerationCache) -> None:
    inner = ready()
    _, second, third = await sample(CachedModel(inner, store, {}), [1, 2, 2])
    assert inner.asked == [[1, 2]]
    assert second == third


@pytest.mark.parametrize("leaver", [0, 1])
async def test_one_who_is_cancelled_does_not_take_it_from_the_other(store: GenerationCache, leaver: int) -> None:
    inner = Counting()
    model = CachedModel(inner, store, {})
    callers = [asyncio.ensure_future(sample(model, [1, 2])) for _ in range(2)]
    await inner.called.acquire()
    callers[leaver].cancel()
    with pytest.raises(asyncio.CancelledError):
        await callers[leaver]
    inner.gate.set()
    assert await callers[1 - leaver] == await sample(SimulatedModel(), [1, 2])
    assert (len(inner.asked), inner.cancelled) == (1, 0)


async def test_what_nobody_waits_for_is_cancelled_and_leaves_nothing_behind(store: GenerationCache) -> None:
    inner = Counting()
    model = CachedModel(inner, store, {})
    before = asyncio.all_tasks()
    callers = [asyncio.ensure_future(sample(model, [1, 2])) for _ in range(2)]
    await inner.called.acquire()
    for caller in callers:
        caller.cancel()
    assert all(isinstance(e, asyncio.CancelledError) for e in await asyncio.gather(*callers, return_exceptions=True))
    assert asyncio.all_tasks() == before
    assert (inner.cancelled, len(store)) == (1, 0)
    inner.gate.set()
    assert await sample(model, [1, 2]) == await sample(SimulatedModel(), [1, 2])


async def test_who_asks_while_it_is_being_cancelled_is_not_cancelled(store: GenerationCache) -> None:
    inner = Counting()
    model = CachedModel(inner, store, {})
    leaving = asyncio.ensure_future(sample(model, [1]))
    await inner.called.acquire()
    leaving.cancel()
    await asyncio.sleep(0)
    inner.gate.set()
    assert await sample(model, [1]) == await sample(SimulatedModel(), [1])
    assert leaving.cancelled()


async def test_errors_go_to_all_who_wait_and_are_not_kept(store: GenerationCache) -> None:
    inner = Counting(error=ServerError("overloaded", 503))
    model = CachedModel(inner, store, {})
    callers = [asyncio.ensure_future(sample(model, seeds)) for seeds in ([1, 2], [1, 2], [1, 3])]
    await inner.called.acquire()
    await inner.called.acquire()
    inner.gate.set()
    errors = await asyncio.gather(*callers, return_exceptions=True)
    assert [type(error) for error in errors] == [ServerError] * 3
    assert (len(store), model.paid, model.saved) == (0, Usage(), Usage())
    inner.error = None
    assert len(await sample(model, [1, 2])) == 2


async def test_too_few_answers_are_an_error(store: GenerationCache) -> None:
    class Short(Counting):
        async def sample(self, prompt: str, prefix: str, n: int, **settings: Any) -> list[Completion]:
            return (await super().sample(prompt, prefix, n, **settings))[1:]

    inner = Short()
    inner.gate.set()
    with pytest.raises(ModelError, match="gave 1 samples where 2"):
        await sample(CachedModel(inner, store, {}), [1, 2])


async def test_what_was_answered_is_kept_although_the_caller_is_cancelled_just_then(store: GenerationCache) -> None:
    class Answering(Counting):
        async def sample(self, prompt: str, prefix: str, n: int, **settings: Any) -> list[Completion]:
            answer = await self.model.sample(prompt, prefix, n, **settings)
            caller.cancel()  # arrives at the next await: that of the store
            return answer

    caller = asyncio.ensure_future(sample(CachedModel(Answering(), store, {}), [1, 2]))
    with pytest.raises(asyncio.CancelledError):
        await caller
    await store.keep({})  # after what was asked for before
    assert len(store) == 2


async def test_a_completion_comes_back_to_the_last_bit(store: GenerationCache) -> None:
    usage = Usage(1, 2, 3, 4, 5, 6)
    odd = Completion(
        (Step("é\n\x00∑", 3, -0.1), Step("", 1, -math.inf), Step("nan", 1, math.nan)), "length", usage, "hm"
    )

    class Odd(Counting):
        async def sample(self, *args: Any, **settings: Any) -> list[Completion]:
            return [odd]

    await sample(CachedModel(Odd(), store, {}), [1])
    (back,) = await sample(CachedModel(ready(ModelError("asked")), store, {}), [1])
    assert repr(back) == repr(odd)


async def test_a_store_of_other_bytes_is_one_line(store: GenerationCache) -> None:
    model = CachedModel(ready(), store, {})
    await sample(model, [1])
    store._writer._connection.execute("UPDATE held SET value = x'00'")
    with pytest.raises(RunError, match="holds an entry that is not an answer"):
        await sample(model, [1])


@pytest.mark.parametrize("strategy", [BestOfN(8), BeamSearch(8, 4), Revisions(4, 2)], ids=lambda s: s.name)
async def test_a_search_comes_to_the_same_bare_cold_and_warm(store: GenerationCache, strategy: Any) -> None:
    verifier = SimulatedPRM(noise=0.2)
    bare = await solved(strategy, verifier=verifier)

    async def cached(model: Model) -> tuple[Result, CachedModel, CachedVerifier]:
        used, scorer = CachedModel(model, store, {"of": "model"}), CachedVerifier(verifier, store, {"of": "verifier"})
        return await solve(problem(), strategy, used, scorer, TASK), used, scorer

    await cached_by_others(store, verifier)
    cold, _, _ = await cached(SimulatedModel())
    warm, model, scorer = await cached(ready(ModelError("asked")))
    assert bare == cold == warm
    assert (model.paid, scorer.paid) == (Usage(), Usage())
    assert model.saved + scorer.saved == bare.usage


async def cached_by_others(store: GenerationCache, verifier: SimulatedPRM) -> None:
    """Smaller searches, which have samples and candidates in common with those after them."""
    for strategy in (BestOfN(3), BeamSearch(4, 2)):
        model = CachedModel(SimulatedModel(), store, {"of": "model"})
        await solve(problem(), strategy, model, CachedVerifier(verifier, store, {"of": "verifier"}), TASK)


def candidate(*texts: str, scores: tuple[float, ...] = (), **other: Any) -> Candidate:
    return Candidate("0", None, tuple(Step(text, 1, -1.0) for text in texts), scores, "stop", **other)


async def test_scores_are_asked_for_once_and_cost_the_same_again(store: GenerationCache) -> None:
    inner = SimulatedPRM(noise=0.2)
    given = [candidate("right\n", "wrong 1"), candidate("right\n"), candidate("wrong\n", "right\n")]
    bare = await inner.score(problem(), given)
    model = CachedVerifier(inner, store, {})
    assert [await model.score(problem(), given) for _ in range(2)] == [bare, bare]
    assert (model.paid, model.saved) == (bare[1], bare[1])
    assert model.value((0.5, 0.25)) == 0.25


async def test_equal_scores_at_a_time_are_asked_once(store: GenerationCache) -> None:
    inner = ByText(len)
    model = CachedVerifier(inner, store, {})
    one, other = candidate("right\n"), candidate("wrong\n", "right\n")
    found = await asyncio.gather(*(model.score(problem(), given) for given in ([one, other], [one, other], [other])))
    assert [scores for scores, _ in found] == [[(6.0,), (6.0, 12.0)]] * 2 + [[(6.0, 12.0)]]
    assert sorted(inner.read) == sorted([one.text, other.text, other.text])


UNLIKE = [
    (problem(), candidate("a\n", "b")),
    (problem(number=31313), candidate("a\n", "b")),
    (problem(), candidate("a\nb")),
    (problem(), replace(candidate("a\n", "b"), end=None)),
    (problem(), candidate("a\n", "b", scores=(0.5,))),
    (problem(), candidate("a\n", "b", history=(ATTEMPT,))),
]


async def test_everything_that_decides_a_score_is_in_its_key(store: GenerationCache) -> None:
    inner = ByText(len)
    for identity in ("a", "b"):
        for of, one in UNLIKE:
            await CachedVerifier(inner, store, {"revision": identity}).score(of, [one])
    assert len(inner.read) == len(store) == 2 * len(UNLIKE)


async def test_a_score_too_few_is_not_kept(store: GenerationCache) -> None:
    class Short(ByText):
        async def score(
            self, problem: Problem, candidates: Sequence[Candidate]
        ) -> tuple[list[tuple[float, ...]], Usage]:
            scores, usage = await super().score(problem, candidates)
            return [steps[1:] for steps in scores], usage

    with pytest.raises(ModelError, match="one score for each step"):
        await CachedVerifier(Short(len), store, {}).score(problem(), [candidate("right\n", "wrong 1")])
    assert len(store) == 0
