"""What a run may spend is never exceeded."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping
from typing import Any

import httpx
import pytest
from requests_to_servers import PROMPT, ask
from servers import TGI, VLLM, Hosted, Little, served

from computewise.costs import Prices
from computewise.errors import ModelError, ServerError, SpendLimitError
from computewise.models.server.limits import SpendLimit, Spent

PRICES = Prices(input=1.0, cached_input=0.1, output=10.0, verifier=0.0)


async def test_without_bounds_everything_fits_and_is_counted() -> None:
    ceiling = SpendLimit()
    await ceiling.hold(Spent(1 << 60, 1e9))
    ceiling.release(Spent(1 << 60, 1e9), Spent(7, 0.5))
    assert ceiling.spent == Spent(7, 0.5)


async def test_what_would_go_over_waits_for_those_who_hold_and_then_takes_what_is_left() -> None:
    ceiling = SpendLimit(tokens=10)
    await ceiling.hold(Spent(8))
    waiting = asyncio.create_task(ceiling.hold(Spent(5)))
    await asyncio.sleep(0)
    assert not waiting.done()
    ceiling.release(Spent(8), Spent(3))
    await waiting
    with pytest.raises(SpendLimitError):
        await ceiling.hold(Spent(8))
    ceiling.release(Spent(5), Spent(5))
    assert ceiling.spent == Spent(8)


async def test_what_will_not_fit_any_more_is_an_error_of_one_line() -> None:
    ceiling = SpendLimit(tokens=10, dollars=0.5)
    await ceiling.hold(Spent(8, 0.1))
    waiting = asyncio.create_task(ceiling.hold(Spent(5, 0.1)))
    await asyncio.sleep(0)
    ceiling.release(Spent(8, 0.1), Spent(6, 0.1))
    with pytest.raises(SpendLimitError) as error:
        await waiting
    assert str(error.value) == (
        "the spending limit of 10 tokens and $0.5 is reached: 6 tokens sampled, $0.1 spent, and the next request may "
        "take 5 tokens and $0.1"
    )
    assert not isinstance(error.value, ModelError), "it must end the run, not one problem"


async def test_dollars_bound_by_themselves() -> None:
    ceiling = SpendLimit(dollars=1.0)
    await ceiling.hold(Spent(10**9, 0.9))
    with pytest.raises(SpendLimitError, match=r"spending limit of \$1 is reached"):
        await ceiling.hold(Spent(0, 1.1))


async def test_whoever_is_cancelled_while_waiting_holds_nothing() -> None:
    ceiling = SpendLimit(tokens=10)
    await ceiling.hold(Spent(8))
    waiting = [asyncio.create_task(ceiling.hold(Spent(5))) for _ in range(3)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    ceiling.release(Spent(8), Spent(0))
    waiting[1].cancel()  # at the very moment it might go on
    done = await asyncio.gather(*waiting, return_exceptions=True)
    assert [isinstance(one, asyncio.CancelledError) for one in done] == [True, True, False]
    await ceiling.hold(Spent(5))
    assert ceiling._held == Spent(10)


async def test_rounding_leaves_nothing_held() -> None:
    """0.1 + 0.2 - 0.1 - 0.2 is not 0; whoever needs all that is left would wait for ever."""
    ceiling = SpendLimit(dollars=0.5)
    for one in (0.1, 0.2):
        await ceiling.hold(Spent(0, one))
    for one in (0.1, 0.2):
        ceiling.release(Spent(0, one), Spent())
    await asyncio.wait_for(ceiling.hold(Spent(0, 0.5)), 5)


@pytest.mark.parametrize("seed", range(20))
async def test_it_is_never_exceeded_however_requests_fall(seed: int) -> None:
    rng = random.Random(seed)
    ceiling = SpendLimit(tokens=200, dollars=2.0)
    outcomes = []

    async def request() -> None:
        most = Spent(rng.randint(1, 60), rng.random() / 2)
        try:
            await ceiling.hold(most)
        except SpendLimitError:
            outcomes.append("over")
            return
        spent = Spent(rng.randint(0, most.tokens), rng.random() * most.dollars)
        try:
            for _ in range(rng.randrange(4)):
                await asyncio.sleep(0)
        finally:
            ceiling.release(most, spent)
        outcomes.append("done")

    tasks = [asyncio.create_task(request()) for _ in range(40)]
    for task in rng.sample(tasks, 8):
        await asyncio.sleep(0)
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert ceiling.spent.tokens <= 200
    assert ceiling.spent.dollars <= 2.0
    assert (ceiling._holders, ceiling._held) == (0, Spent())
    assert "done" in outcomes


async def test_a_model_asks_for_nothing_it_may_not_pay() -> None:
    server, ceiling = TGI(Little(skill=1.0)), SpendLimit(tokens=100)
    async with served(server, chat_template="plain", ceiling=ceiling) as model:
        with pytest.raises(SpendLimitError, match="100 tokens"):
            await ask(model, n=30, max_tokens=20)
        assert server.peak <= 5
        assert 80 < ceiling.spent.tokens <= 100
        assert ceiling.spent.tokens == 6 * len(server.asked)
        assert ceiling._holders == 0


async def test_two_models_share_one_ceiling() -> None:
    ceiling = SpendLimit(tokens=50)
    async with (
        served(VLLM(Little(skill=1.0)), ceiling=ceiling) as small,
        served(TGI(Little(skill=1.0)), chat_template="plain", ceiling=ceiling) as large,
    ):
        await asyncio.gather(ask(small, max_tokens=30), ask(large, max_tokens=30))
        assert ceiling.spent.tokens == 12
        with pytest.raises(SpendLimitError):
            await ask(small, n=2, max_tokens=20)


async def test_dollars_are_what_the_prices_say_and_hold_for_the_prompt_too() -> None:
    ceiling = SpendLimit(dollars=1.0)
    async with served(VLLM(Little(skill=1.0), reports_cache=True), ceiling=ceiling, prices=PRICES) as model:
        (found,) = await ask(model)
        read = found.usage.prompt_tokens
        assert ceiling.spent.dollars == pytest.approx((1 + 0.1 * (read - 1) + 10 * 6) / 1e6)
        ceiling.dollars = ceiling.spent.dollars + (read - 1 + 10 * 60) / 1e6
        with pytest.raises(SpendLimitError):
            await ask(model, max_tokens=60)
        ceiling.dollars = ceiling.spent.dollars + (read + 10 * 60) / 1e6
        await ask(model, max_tokens=60)
        with pytest.raises(SpendLimitError):
            await ask(model, max_tokens=60)


async def test_a_prompt_of_which_no_usage_tells_is_paid_for_all_the_same() -> None:
    class Silent(TGI):
        def completions(self, body: dict[str, Any]) -> Any:
            return {"choices": TGI.completions(self, body)["choices"]}

    ceiling = SpendLimit(dollars=1.0)
    async with served(Silent(), chat_template="plain", ceiling=ceiling, prices=PRICES) as model:
        (found,) = await ask(model)
    assert ceiling.spent.dollars * 1e6 > len(PROMPT) + 10 * found.usage.completion_tokens


@pytest.mark.parametrize("budget", [1e-3, 2e-3, 5e-3])
async def test_dollars_are_never_exceeded_by_a_chat(budget: float) -> None:
    ceiling = SpendLimit(dollars=budget)
    async with served(Hosted(), ceiling=ceiling, prices=PRICES) as model:
        found = await asyncio.gather(
            *(ask(model, n=2, stop=None, max_tokens=30) for _ in range(40)), return_exceptions=True
        )
    assert {type(one) for one in found} == {list, SpendLimitError}
    assert budget / 2 < ceiling.spent.dollars <= budget


async def test_a_request_that_fails_gives_back_what_it_held() -> None:
    def intercept(path: str, body: Mapping[str, Any]) -> httpx.Response | None:
        return httpx.Response(400, json={"message": "no"})

    server, ceiling = VLLM(), SpendLimit(tokens=60)
    async with served(server, ceiling=ceiling) as model:
        server.intercept = intercept
        for _ in range(3):
            with pytest.raises(ServerError):
                await ask(model, max_tokens=60)
        server.intercept = None
        assert len(await ask(model, max_tokens=60)) == 1
