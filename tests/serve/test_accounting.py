"""What a request is said to have taken, by hand: a prompt of 24 tokens, solutions of 35."""

from __future__ import annotations

from collections import Counter

import pytest
from doubles import ByText
from serve_doubles import PERFECT, PROMPT, RIGHT, SimulatedBackend, fitted, of, perfect, tried

from computewise.serve.accounting import account, usage_of


def test_the_numbers_of_the_accounts_below() -> None:
    assert (len(PROMPT), len(PERFECT)) == (24, 35)


async def test_best_of_n_by_hand() -> None:
    work = await tried(perfect(), "small:best_of_n@4")
    assert usage_of(work) == {
        "prompt_tokens": 4 * 24,
        "completion_tokens": 4 * 35,
        "total_tokens": 4 * 24 + 4 * 35,
        "prompt_tokens_details": {"cached_tokens": 3 * 24, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": 3 * 35,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }
    held = account(work)
    model, read = 2 * 1_000, 2 * 500
    spent = {"prompt": model * 24, "completion": model * 140, "verifier": read * (24 + 140)}
    cached = (model + read) * 3 * 24
    assert held["flops"] == {**spent, "cached": cached, "total": sum(spent.values())}
    assert held["flops"]["total"] == 492_000
    assert held["difficulty"] == {"estimate": 0.0, "samples": 4, "bin": 1}
    assert (held["answer"], held["confidence"], held["exhausted"]) == (RIGHT, 1.0, None)
    assert held["baseline"] == {"name": "best_of_n(n=4)", "flops": 492_000}
    assert held["saved"] == 0
    assert (held["generations"], held["verifier_tokens"], held["verifier_calls"]) == (4, 4 * 59, 1)
    assert (held["strategy"], held["price"], held["trace"]) == ("best_of_n(n=4)", None, "id")
    assert held["stopped"] == "best_of_n(n=4) ran to its end"
    assert list(held["models"]) == ["small"]
    assert held["models"]["small"]["samples"] == 4
    assert (held["lost_samples"], held["failures"]) == (0, [])


async def test_a_search_that_takes_what_best_of_n_takes_saves_nothing() -> None:
    """Four beams whose every step is kept alive by one: 4 * 35 tokens sampled and read, the prompt once."""
    work = await tried(perfect(), "small:beam_search@4")
    assert work.usage.completion_tokens == 140
    held = account(work)
    assert held["flops"]["total"] == 492_000
    assert held["baseline"] == {"name": "best_of_n(n=4)", "flops": pytest.approx(492_000)}
    assert held["saved"] == pytest.approx(0)


async def test_a_policy_by_hand() -> None:
    work = await tried(perfect(fitted=fitted({"samples": 0.15})), reasoning_effort="low")
    held = account(work)
    spent = 2 * 1_500 * (24 + 35)
    assert held["flops"]["total"] == spent == 177_000
    assert held["baseline"] == {"name": "best_of_n(n=2)", "flops": pytest.approx(2 * 1_500 * (24 + 2 * 35))}
    assert held["saved"] == pytest.approx(1 - spent / 282_000)
    assert (held["price"], held["strategy"], held["confidence"]) == (0.2, "policy", 0.9)


async def test_a_larger_model_may_cost_more_than_it_saves() -> None:
    work = await tried(perfect(fitted=fitted({"large": 0.5})), reasoning_effort="low")
    spent = 2 * 1_500 * 59 + 2 * 14_500 * 59
    held = account(work)
    assert held["flops"]["total"] == spent
    assert held["saved"] == pytest.approx(1 - spent / 282_000)
    assert held["saved"] < 0
    assert {name: one["completion_tokens"] for name, one in held["models"].items()} == {"small": 35, "large": 35}


async def test_difficulty_is_what_the_verifier_thinks_of_the_solutions() -> None:
    verifier = ByText(lambda text: 0.25)
    work = await tried(perfect(verifier=verifier), "small:best_of_n@4")
    assert account(work)["difficulty"] == {"estimate": 0.75, "samples": 4, "bin": 4}


@pytest.mark.parametrize(("value", "number"), [(1.0, 1), (0.81, 1), (0.79, 2), (0.5, 3), (0.3, 4), (0.1, 5), (0.0, 5)])
async def test_difficulty_has_five_bins(value: float, number: int) -> None:
    work = await tried(perfect(verifier=ByText(lambda text: value)), "small:best_of_n@2")
    assert account(work)["difficulty"]["bin"] == number


async def test_without_a_verifier_difficulty_is_the_share_that_disagrees() -> None:
    work = await tried(SimulatedBackend(verifier=None), "small:best_of_n@16")
    votes = Counter(of(work).answers.values())
    (answer, most), *others = votes.most_common()
    assert others
    assert of(work).answer == answer
    assert account(work)["difficulty"] == {
        "estimate": pytest.approx(1 - most / 16),
        "samples": 16,
        "bin": int((1 - most / 16) * 5) + 1,
    }
    assert account(work)["verifier_calls"] == 0
    assert account(await tried(SimulatedBackend(verifier=None), "small:single"))["difficulty"] is None


async def test_where_nothing_ended_nobody_knows_what_it_would_have_cost() -> None:
    work = await tried(perfect(), "small:beam_search@4", max_tokens=7)
    held = account(work)
    assert (held["difficulty"], held["baseline"], held["saved"], held["answer"]) == (None, None, None, None)
    assert usage_of(work)["completion_tokens_details"]["reasoning_tokens"] == work.usage.completion_tokens - 7


@pytest.mark.parametrize(
    "model", ["small", "small:best_of_n@8", "small:beam_search@8", "small:revisions@8", "small:adaptive_branching@8"]
)
async def test_usage_adds_up(model: str) -> None:
    work = await tried(SimulatedBackend(fitted=fitted({"samples": 0.9, "large": 0.8})), model)
    held, usage = account(work), usage_of(work)
    for name in ("prompt_tokens", "completion_tokens"):
        assert sum(one[name] for one in held["models"].values()) == usage[name]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    costs = [cost for ledger in work.ledgers.values() for cost in ledger.costs.values()]
    assert sum(cost.completion_tokens for cost in costs) == usage["completion_tokens"]
    chosen = of(work).chosen
    assert chosen is not None
    shown = sum(step.tokens for step in chosen.steps)
    assert usage["completion_tokens_details"]["reasoning_tokens"] == usage["completion_tokens"] - shown
    assert held["flops"]["total"] == sum(held["flops"][part] for part in ("prompt", "completion", "verifier"))
