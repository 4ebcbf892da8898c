"""Continuous batching computes what reading every text alone and anew computes."""

from __future__ import annotations

import asyncio
from itertools import pairwise

import naive
import numpy as np
import pytest

from computewise.models.embedded.engine import Continuation, Decoder, EngineLoop, PrefixStore, Tokens
from computewise.models.embedded.model import NEWLINE, prompt_tokens
from computewise.models.embedded.network import END, TOKENS, Floats, Ints, Trunk, Weights, draw, uniforms
from computewise.session import derive_seed

PROMPTS = [
    prompt_tokens(prompt) for prompt in ("3+4", "12*(3-4)", "7", "Ann has 12 apples. How many apples?", "1-(2+3)*4")
]


def decoder(weights: Weights, *, rows: int = 64, prefix_bytes: int = 1 << 20) -> Decoder:
    return Decoder(Trunk(weights), EngineLoop(), rows=rows, prefix_bytes=prefix_bytes)


async def sample(
    decoder: Decoder,
    tokens: Tokens = PROMPTS[0],
    seeds: list[int] | None = None,
    *,
    stop: int | None = None,
    max_tokens: int = 30,
    temperature: float = 1.0,
) -> list[Continuation]:
    return await decoder.sample(tokens, seeds or [1], stop=stop, max_tokens=max_tokens, temperature=temperature)


async def until_idle() -> None:
    """Let the engine notice that nothing is left."""
    for _ in range(20):
        await asyncio.sleep(0)


def assert_same(one: list[Continuation], other: list[Continuation]) -> None:
    assert [continuation.tokens for continuation in one] == [continuation.tokens for continuation in other]
    for a, b in zip(one, other, strict=True):
        assert a.logprobs == pytest.approx(b.logprobs, abs=1e-4)


async def test_greedy_decoding_agrees_with_the_naive_forward_pass(tiny: Weights) -> None:
    engine = decoder(tiny)
    together = await asyncio.gather(*(sample(engine, prompt, temperature=0.0) for prompt in PROMPTS))
    for prompt, (continuation,) in zip(PROMPTS, together, strict=True):
        assert continuation.tokens == naive.greedy(tiny, list(prompt), 30)
        expected = naive.logprobs(tiny, list(prompt), continuation.tokens)
        assert continuation.logprobs == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("temperature", [0.6, 1.0])
async def test_sampling_agrees_with_the_naive_forward_pass(tiny: Weights, temperature: float) -> None:
    """Every token is the one that its uniform number picks; its log-probability is that at temperature 1."""
    engine, seeds = decoder(tiny), [derive_seed("row", index) for index in range(8)]
    for prompt in PROMPTS[:3]:
        for seed, one in zip(seeds, await sample(engine, prompt, seeds, temperature=temperature), strict=True):
            predicted = naive.log_probabilities(tiny, [*prompt, *one.tokens])[len(prompt) - 1 : -1]
            count = len(one.tokens)
            uniform = uniforms(np.full(count, seed, np.uint64), np.arange(count))
            assert draw(predicted.astype(np.float32), np.full(count, temperature), uniform).tolist() == one.tokens
            assert one.logprobs == pytest.approx(naive.logprobs(tiny, list(prompt), one.tokens), abs=1e-4)


async def test_a_continuation_ends_at_the_end_token_the_delimiter_or_the_limit(tiny: Weights) -> None:
    engine, seeds = decoder(tiny), list(range(60))
    for stop in (None, NEWLINE):
        ends = set()
        for one in await sample(engine, seeds=seeds, stop=stop):
            ends.add(one.tokens[-1] if len(one.tokens) < 30 else None)
            assert END not in one.tokens[:-1]
            assert stop not in one.tokens[:-1]
            assert len(one.tokens) == len(one.logprobs) <= 30
        assert {END, stop} <= ends <= {END, stop, None}


async def test_a_row_does_not_depend_on_its_neighbours(tiny: Weights) -> None:
    alone = await sample(decoder(tiny), PROMPTS[1], [7, 8], max_tokens=60)
    engine = decoder(tiny, rows=16)
    crowd = [sample(engine, prompt, list(range(9)), max_tokens=5 + 9 * i) for i, prompt in enumerate(PROMPTS)]
    among, *_ = await asyncio.gather(sample(engine, PROMPTS[1], [7, 8], max_tokens=60), *crowd)
    assert_same(among, alone)


async def test_more_rows_are_asked_for_than_there_are(tiny: Weights) -> None:
    wide, narrow = decoder(tiny), decoder(tiny, rows=3)
    expected = [await sample(wide, prompt, [1, 2, 3, 4]) for prompt in PROMPTS]
    for one, other in zip(
        await asyncio.gather(*(sample(narrow, p, [1, 2, 3, 4]) for p in PROMPTS)), expected, strict=True
    ):
        assert_same(one, other)


async def test_rows_that_end_apart_leave_holes_that_change_nothing(tiny: Weights) -> None:
    """Limits of 1 to 40 tokens, arriving one by one: rows are parked, moved and taken over all the time."""

    async def later(turns: int, engine: Decoder) -> list[Continuation]:
        for _ in range(turns * 3):
            await asyncio.sleep(0)
        return await sample(engine, PROMPTS[turns % 5], [turns, turns + 1], max_tokens=1 + 7 * turns % 40)

    engine = decoder(tiny, rows=20)
    crowd = await asyncio.gather(*(later(turns, engine) for turns in range(50)))
    quiet = decoder(tiny)
    for turns, found in enumerate(crowd):
        assert_same(found, await later(turns, quiet))


async def test_the_cache_grows_past_its_first_capacity(tiny: Weights) -> None:
    long = [one for one in await sample(decoder(tiny), seeds=list(range(40)), max_tokens=1000) if len(one.tokens) > 70]
    assert long
    assert max(len(one.tokens) for one in long) <= tiny.config.context - len(PROMPTS[0])
    for one in long[:4]:
        assert one.logprobs == pytest.approx(naive.logprobs(tiny, list(PROMPTS[0]), one.tokens), abs=1e-4)


async def test_samples_of_one_prompt_are_independent_draws_from_the_softmax(tiny: Weights) -> None:
    """A chi-squared test of the first token, at five standard deviations, and of pairs of neighbours."""
    seeds = [derive_seed(0, "problem", str(index)) for index in range(3000)]
    drawn = [one.tokens[0] for one in await sample(decoder(tiny, rows=256), seeds=seeds, max_tokens=1)]
    probabilities = np.exp(naive.log_probabilities(tiny, list(PROMPTS[0]))[-1])
    assert _surprise(np.bincount(drawn, minlength=len(TOKENS)), probabilities) < 5
    same = np.mean([a == b for a, b in pairwise(drawn)])
    assert same == pytest.approx((probabilities**2).sum(), abs=0.03)


def _surprise(counts: Ints, probabilities: naive.Array) -> float:
    """How many standard deviations the chi-squared statistic lies above its mean; rare tokens are pooled."""
    expected = probabilities * counts.sum()
    common = expected >= 5
    counts = np.append(counts[common], counts[~common].sum())
    expected = np.append(expected[common], expected[~common].sum())
    freedom = len(counts) - 1
    return float((((counts - expected) ** 2 / expected).sum() - freedom) / np.sqrt(2 * freedom))


class CountingTrunk(Trunk):
    """Remembers how many tokens each forward pass read, a row."""

    def __init__(self, weights: Weights) -> None:
        super().__init__(weights)
        self.read: list[int] = []

    def states(self, tokens: Ints, cache: Floats, past: Ints) -> Floats:
        self.read.append(tokens.shape[1])
        return super().states(tokens, cache, past)


async def test_a_fork_of_a_step_equals_a_fresh_computation_and_reads_nothing_again(tiny: Weights) -> None:
    trunk = CountingTrunk(tiny)
    engine = Decoder(trunk, EngineLoop())
    first = [one for one in await sample(engine, seeds=list(range(40)), stop=NEWLINE) if one.tokens[-1] == NEWLINE]
    assert first
    for step in first[:4]:
        prefix = (*PROMPTS[0], *step.tokens)
        trunk.read.clear()
        forked = await sample(engine, prefix, [5, 6])
        assert set(trunk.read) == {1}
        assert_same(forked, await sample(decoder(tiny), prefix, [5, 6]))


async def test_a_store_that_holds_nothing_costs_time_but_no_result(tiny: Weights) -> None:
    poor = decoder(tiny, prefix_bytes=1)
    found = await asyncio.gather(*(sample(poor, prompt, [1, 2], stop=NEWLINE) for prompt in PROMPTS))
    rich = decoder(tiny)
    for prompt, one in zip(PROMPTS, found, strict=True):
        assert_same(one, await sample(rich, prompt, [1, 2], stop=NEWLINE))


async def test_cancelled_requests_give_their_rows_back(tiny: Weights) -> None:
    engine = decoder(tiny, rows=2)
    long = [asyncio.ensure_future(sample(engine, seeds=[1, 2, 3], max_tokens=150)) for _ in range(3)]
    for _ in range(12):
        await asyncio.sleep(0)
    for task in long:
        task.cancel()
    after = await sample(engine, PROMPTS[1], [4])
    assert_same(after, await sample(decoder(tiny), PROMPTS[1], [4]))
    assert all(task.cancelled() for task in long)
    await until_idle()
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert not engine.busy


async def test_the_loop_ends_with_the_work(tiny: Weights) -> None:
    engine = decoder(tiny)
    await sample(engine)
    await until_idle()
    assert asyncio.all_tasks() == {asyncio.current_task()}


def test_an_engine_outlives_the_event_loop_it_was_used_in(tiny: Weights) -> None:
    engine = decoder(tiny)
    assert_same(asyncio.run(sample(engine)), asyncio.run(sample(engine)))


class FailingTrunk(Trunk):
    """Fails once."""

    failed = False

    def states(self, tokens: Ints, cache: Floats, past: Ints) -> Floats:
        if not self.failed:
            self.failed = True
            raise MemoryError("no room")
        return super().states(tokens, cache, past)


async def test_an_error_reaches_everybody_who_waits_and_the_engine_goes_on(tiny: Weights) -> None:
    engine = Decoder(FailingTrunk(tiny), EngineLoop(), rows=2)
    failed = await asyncio.gather(*(sample(engine, p, [1, 2]) for p in PROMPTS), return_exceptions=True)
    assert all(isinstance(one, MemoryError) for one in failed)
    assert_same(await sample(engine), await sample(decoder(tiny)))


def test_the_prefix_store_forgets_what_was_used_least_recently() -> None:
    store: PrefixStore[Floats] = PrefixStore(3 * 8)
    for name in range(3):
        store.put((name,), np.zeros(2, np.float32))
    assert store.get((0,)) is not None
    store.put((3,), np.zeros(2, np.float32))
    assert [store.get((name,)) is not None for name in range(4)] == [True, False, True, True]
    store.put((4,), np.zeros(100, np.float32))
    assert [store.get((name,)) is not None for name in range(5)] == [False, False, False, False, True]


def test_uniform_numbers_depend_on_seed_and_count_alone() -> None:
    seeds = np.array([derive_seed(index) for index in range(500)], np.uint64)
    numbers = np.array([uniforms(seeds, np.full(500, count)) for count in range(40)])
    assert ((numbers >= 0) & (numbers < 1)).all()
    assert len(np.unique(numbers)) == numbers.size
    assert abs(numbers.mean() - 0.5) < 0.01
    assert abs(np.corrcoef(numbers[0], numbers[1])[0, 1]) < 0.15
    assert uniforms(seeds[3:4], np.array([7]))[0] == numbers[7, 3]


def test_the_limits_of_a_draw() -> None:
    log_probabilities = np.log(np.array([[0.5, 0.25, 0.25]] * 4, np.float32))
    uniform = np.array([0.0, 0.4999, 0.5001, 1 - 2.0**-53])
    assert draw(log_probabilities, np.ones(4), uniform).tolist() == [0, 0, 1, 2]
    assert draw(log_probabilities, np.zeros(4), uniform).tolist() == [0, 0, 0, 0]
