"""What a usage costs, by hand, and against a count that goes token by token."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from computewise.core import Usage
from computewise.costs import (
    NO_VERIFIER,
    CostModel,
    FlopsCost,
    LatencyCost,
    MemoryCost,
    Parameters,
    PriceCost,
    Prices,
    Shape,
    Speeds,
    flops,
)
from computewise.errors import UsageError

MODEL = Shape(parameters=10, layers=2, kv_width=3, bytes_per_number=2)
"""20 bytes of weights; 2 * 2 * 3 * 2 = 24 bytes a position."""
VERIFIER = Shape(parameters=5, layers=1, kv_width=2, bytes_per_number=2)
"""10 bytes of weights; 8 bytes a position."""
PRICES = Prices(input=3, cached_input=0.3, output=15, verifier=1)
SPEEDS = Speeds(decoded=0.02, read=0.0001, verified=0.0002)
MODELS: list[CostModel] = [FlopsCost(10, 5), MemoryCost(MODEL, VERIFIER), PriceCost(PRICES), LatencyCost(SPEEDS)]
USAGE = Usage(
    samples=2,
    prompt_tokens=10,
    cached_prompt_tokens=5,
    completion_tokens=8,
    verifier_tokens=18,
    cached_verifier_tokens=5,
)
"""Two samples of 4 tokens after one prompt of 5, the second from the cache; both scored, likewise."""


def test_a_report_can_switch_between_all_models() -> None:
    named = {model.name: (model.unit, model.cost(USAGE, 4)) for model in MODELS}
    assert {name: unit for name, (unit, _) in named.items()} == {
        "flops": "FLOP",
        "memory": "bytes",
        "price": "$",
        "latency": "seconds",
    }
    assert all(cost > 0 for _, cost in named.values())


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
def test_nothing_costs_nothing(model: CostModel) -> None:
    assert model.cost(Usage(), 0) == 0


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
def test_more_tokens_never_cost_less_and_a_cache_never_more(model: CostModel) -> None:
    for name in ("prompt_tokens", "completion_tokens", "verifier_tokens"):
        assert model.cost(replace(USAGE, **{name: getattr(USAGE, name) + 1}), 4) >= model.cost(USAGE, 4)
    for name in ("cached_prompt_tokens", "cached_verifier_tokens"):
        assert model.cost(replace(USAGE, **{name: getattr(USAGE, name) - 1}), 4) >= model.cost(USAGE, 4)


def test_flops_are_those_of_compute_with_a_prefix_cache() -> None:
    assert FlopsCost(10, 5).cost(USAGE, 4) == flops(USAGE, 10, 5).total == 2 * 10 * (5 + 8) + 2 * 5 * 13


def test_attention_is_counted_token_by_token() -> None:
    """One sample: 5 tokens of prompt read, 4 sampled behind them; the verifier reads 6 behind 3 that it holds."""
    model, verifier = Parameters(10, 7), Parameters(5, 2)
    one = Usage(1, 5, 0, 4, 9, 3)
    found, again = (flops(replace(one, cached_prompt_tokens=cached), model, verifier) for cached in (0, 5))
    assert found.prompt == 2 * 10 * 5 + 4 * 7 * sum(range(1, 6))
    assert found.completion == again.completion == 2 * 10 * 4 + 4 * 7 * sum(range(6, 10))
    assert found.verifier == 2 * 5 * 6 + 4 * 2 * sum(range(4, 10))
    assert again.uncached_total == found.uncached_total
    assert flops(one, Parameters(10), 5) == flops(one, 10, 5)


def test_long_contexts_cost_nearly_as_much_again() -> None:
    """Qwen3-0.6B, 28 layers of 16 heads of 128: attention adds four fifths to a solution of 8,192 tokens."""
    one = Usage(samples=1, completion_tokens=8192)
    size = Parameters(596_000_000, 28 * 16 * 128)
    assert flops(one, size, 0).total / flops(one, int(size), 0).total - 1 == pytest.approx(0.79, abs=0.01)


def test_weights_and_cache_of_a_real_shape() -> None:
    """The numbers that `MemoryCost` says of 8 billion parameters: MB a token, over a solution of 8,192 tokens."""
    shape, whole = Shape(8_030_000_000, 32, 1024, 2), Usage(samples=1, completion_tokens=8192)
    cache = MemoryCost(Shape(0, 32, 1024, 2), NO_VERIFIER).cost(whole, 0) / 8192
    assert cache / 1e6 == pytest.approx(537, abs=1)
    for batch, weights in ((16, 1004), (64, 251), (256, 63)):
        each = MemoryCost(shape, NO_VERIFIER, batch).cost(whole, 0) / 8192
        assert (each - cache) / 1e6 == pytest.approx(weights, abs=1)


def test_a_size_survives_a_process() -> None:
    size = Parameters(10, 7)
    again = pickle.loads(pickle.dumps(size))
    assert (again, again.attention, json.dumps(size), size + 1) == (10, 7, "10", 11)


def test_memory_by_hand() -> None:
    """Contexts: each sample reads 6 + 7 + 8 + 9 = 30 positions. One prompt is read, two samples are scored."""
    decoding = 8 * 20 + 2 * 30 * 24 + 8 * 24
    prompt = 1 * 20 + 5 * 24
    verifier = 2 * 10 + 18 * 8
    assert MemoryCost(MODEL, VERIFIER).cost(USAGE, 4) == decoding + prompt + verifier


def test_a_batch_shares_the_weights_and_nothing_else() -> None:
    one, four = (MemoryCost(MODEL, VERIFIER, batch).cost(USAGE, 4) for batch in (1, 4))
    weights = 8 * 20 + 1 * 20 + 2 * 10
    assert one - four == weights * 3 / 4


def test_without_a_cache_every_sample_reads_its_prompt() -> None:
    alone = replace(USAGE, cached_prompt_tokens=0)
    more = MemoryCost(MODEL, VERIFIER).cost(alone, 4) - MemoryCost(MODEL, VERIFIER).cost(USAGE, 4)
    assert more == 20 + 5 * 24


def test_no_verifier_moves_nothing_and_is_charged_nothing() -> None:
    unverified = replace(USAGE, verifier_tokens=0, cached_verifier_tokens=0)
    assert MemoryCost(MODEL, NO_VERIFIER).cost(USAGE, 4) == MemoryCost(MODEL, VERIFIER).cost(unverified, 4)


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(1, 30)), min_size=1, max_size=8))
def test_what_mean_lengths_leave_out_is_the_variance(samples: list[tuple[int, int]]) -> None:
    """Token by token against the estimate: n (cov(c, p) + var(c) / 2) positions are missing, none of equal lengths."""
    before, sampled = np.array(samples).T
    exact = sum(p + j for p, c in samples for j in range(1, c + 1))
    usage = Usage(len(samples), int(before.sum()), int(before.sum()), int(sampled.sum()))
    cache_only = Shape(0, layers=1, kv_width=1, bytes_per_number=0.5)
    read = MemoryCost(cache_only, NO_VERIFIER).cost(usage, 0) - sampled.sum()  # less what is written
    missing = len(samples) * (np.cov(sampled, before, bias=True)[0, 1] + sampled.var() / 2)
    assert read == pytest.approx(exact - missing)


def test_decoding_alone_moves_far_more_for_its_arithmetic_than_reading() -> None:
    """Why FLOPs flatter: the same 200 tokens, sampled or read, are equal in FLOPs and 200 times apart in weights."""
    sampled, read = Usage(1, 0, 0, 200), Usage(1, 200, 0, 0)
    weights_only = Shape(10, 0, 0, 2)
    assert FlopsCost(10, 0).cost(sampled, 200) == FlopsCost(10, 0).cost(read, 0)
    memory = MemoryCost(weights_only, NO_VERIFIER)
    assert memory.cost(sampled, 200) == 200 * memory.cost(read, 0)


def test_price_by_hand() -> None:
    usage = Usage(4, 4_000_000, 3_000_000, 2_000_000, 6_000_000, 1_000_000)
    assert PriceCost(PRICES).cost(usage, 0) == pytest.approx(1 * 3 + 3 * 0.3 + 2 * 15 + 6 * 1)


def test_latency_by_hand() -> None:
    """The longest path is decoded; every token is read, whoever it is for."""
    assert LatencyCost(SPEEDS).cost(USAGE, 4) == pytest.approx(4 * 0.02 + 5 * 0.0001 + 13 * 0.0002)


def test_what_runs_in_parallel_does_not_wait() -> None:
    chain, pool = (LatencyCost(SPEEDS).cost(Usage(16, 0, 0, 1600), sequential) for sequential in (1600, 100))
    assert chain == 16 * pool


@pytest.mark.parametrize("sequential", [-1, 9])
def test_a_path_longer_than_what_was_sampled_is_refused(sequential: int) -> None:
    with pytest.raises(UsageError, match="allowed: 0 to the 8 tokens"):
        LatencyCost(SPEEDS).cost(USAGE, sequential)


@pytest.mark.parametrize("value", [-1, float("nan"), float("inf")])
def test_settings_that_are_no_amount_are_refused(value: float) -> None:
    with pytest.raises(UsageError, match=r"bytes_per_number = .* is not allowed: at least 0, and finite"):
        replace(MODEL, bytes_per_number=value)
    with pytest.raises(UsageError, match="cached_input"):
        replace(PRICES, cached_input=value)
    with pytest.raises(UsageError, match="verified"):
        replace(SPEEDS, verified=value)


def test_negative_parameters_and_an_empty_batch_are_refused() -> None:
    with pytest.raises(UsageError, match="verifier_parameters = -1"):
        FlopsCost(10, -1)
    with pytest.raises(UsageError, match="batch = 0 is not allowed: at least 1"):
        MemoryCost(MODEL, VERIFIER, batch=0)
