"""How many requests are under way."""

from __future__ import annotations

import asyncio
import random

import pytest

from computewise.http.concurrency import Limiter, fairness_key


async def entered(limiter: Limiter, name: int, order: list[int], leave: asyncio.Event) -> None:
    async with limiter:
        order.append(name)
        await leave.wait()


async def turns(count: int = 5) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_no_more_than_the_window_and_first_come_first_served() -> None:
    limiter, order = Limiter(2), list[int]()
    leaves = [asyncio.Event() for _ in range(5)]
    tasks = [asyncio.create_task(entered(limiter, name, order, leaves[name])) for name in range(5)]
    await turns()
    assert order == [0, 1]
    for name in range(5):
        assert limiter.in_flight <= 2
        leaves[name].set()
        await turns()
    assert order == [0, 1, 2, 3, 4]
    await asyncio.gather(*tasks)
    assert limiter.in_flight == 0


async def test_nobody_overtakes_those_who_wait() -> None:
    limiter, order, leave = Limiter(1), list[int](), asyncio.Event()
    async with limiter:
        tasks = [asyncio.create_task(entered(limiter, 1, order, leave))]
        await turns()
    tasks.append(asyncio.create_task(entered(limiter, 2, order, leave)))
    leave.set()
    await asyncio.gather(*tasks)
    assert order == [1, 2]


def test_it_is_halved_once_for_all_that_were_under_way() -> None:
    limiter = Limiter(64)
    began = limiter.epoch
    for _ in range(10):
        limiter.overloaded(began)
    assert limiter.window == 32
    limiter.overloaded(limiter.epoch)
    assert limiter.window == 16
    limiter.overloaded(began)
    assert limiter.window == 16


def test_it_never_falls_below_one_nor_rises_above_the_most() -> None:
    limiter = Limiter(4)
    for _ in range(10):
        limiter.overloaded(limiter.epoch)
    assert limiter.window == 1
    for _ in range(100):
        limiter.answered()
    assert limiter.window == 4


def test_a_window_of_answers_adds_one() -> None:
    limiter = Limiter(256)
    limiter.overloaded(limiter.epoch)
    for _ in range(128):
        limiter.answered()
    assert limiter.window == pytest.approx(129, abs=0.01)


async def test_a_smaller_window_lets_those_under_way_finish_and_no_other_in() -> None:
    limiter, order = Limiter(4), list[int]()
    leaves = [asyncio.Event() for _ in range(8)]
    tasks = [asyncio.create_task(entered(limiter, name, order, leaves[name])) for name in range(8)]
    await turns()
    limiter.overloaded(limiter.epoch)
    for name in (0, 1):
        leaves[name].set()
    await turns()
    assert order == [0, 1, 2, 3]
    leaves[2].set()
    await turns()
    assert order == [0, 1, 2, 3, 4]
    for leave in leaves:
        leave.set()
    await asyncio.gather(*tasks)
    assert limiter.in_flight == 0


async def test_whoever_is_cancelled_while_waiting_leaks_no_place() -> None:
    limiter, order, leave = Limiter(1), list[int](), asyncio.Event()
    tasks = [asyncio.create_task(entered(limiter, name, order, leave)) for name in range(4)]
    await turns()
    tasks[1].cancel()
    await turns()
    leave.set()
    done = await asyncio.gather(*tasks, return_exceptions=True)
    assert order == [0, 2, 3]
    assert isinstance(done[1], asyncio.CancelledError)
    assert limiter.in_flight == 0


async def test_whoever_is_cancelled_at_the_moment_its_place_comes_passes_it_on() -> None:
    limiter, order, leave = Limiter(1), list[int](), asyncio.Event()
    await limiter.__aenter__()
    tasks = [asyncio.create_task(entered(limiter, name, order, leave)) for name in range(3)]
    await turns()
    await limiter.__aexit__(None, None, None)
    tasks[0].cancel()
    leave.set()
    done = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(done[0], asyncio.CancelledError)
    assert order == [1, 2]
    assert limiter.in_flight == 0


async def test_whoever_is_cancelled_before_its_place_comes_is_passed_over() -> None:
    """Both in one turn of the loop, as when all of a search is cancelled: those under way leave first."""
    limiter, order, leave = Limiter(2), list[int](), asyncio.Event()
    tasks = [asyncio.create_task(entered(limiter, name, order, leave)) for name in range(6)]
    await turns()
    for task in tasks:
        task.cancel()
    done = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(one, asyncio.CancelledError) for one in done)
    assert limiter.in_flight == 0
    async with limiter:
        assert limiter.in_flight == 1


@pytest.mark.parametrize("seed", range(30))
async def test_no_place_is_lost_or_made_whatever_happens(seed: int) -> None:
    rng = random.Random(seed)
    limiter = Limiter(5)
    inside = 0

    async def request() -> None:
        nonlocal inside
        async with limiter:
            inside += 1
            began = limiter.epoch
            try:
                assert inside <= limiter.in_flight <= 5
                await turns(rng.randrange(4))
            finally:
                inside -= 1
            (limiter.overloaded(began) if rng.random() < 0.2 else limiter.answered())

    tasks = [asyncio.create_task(request()) for _ in range(60)]
    while not all(task.done() for task in tasks):
        rng.choice(tasks).cancel()
        await turns(rng.randrange(3))
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(one is None or isinstance(one, asyncio.CancelledError) for one in outcomes)
    assert (limiter.in_flight, inside) == (0, 0)
    async with limiter:
        assert limiter.in_flight == 1


class Owners:
    """Those who wait for one place, in the order in which they come to it."""

    def __init__(self) -> None:
        self.limiter, self.order, self.leave = Limiter(1), list[str](), asyncio.Event()
        self.tasks: dict[str, asyncio.Task[None]] = {}

    async def ask(self, owner: str, name: str) -> None:
        fairness_key.set(owner)
        async with self.limiter:
            self.order.append(name)
            await self.leave.wait()

    async def wait(self, owner: str, *names: str) -> None:
        for name in names:
            self.tasks[name] = asyncio.create_task(self.ask(owner, name))
        await turns()

    async def end(self) -> list[str]:
        self.leave.set()
        await asyncio.gather(*self.tasks.values(), return_exceptions=True)
        assert (self.limiter.in_flight, self.limiter.waiting) == (0, 0)
        return self.order


async def test_owners_take_turns_and_each_is_served_in_its_own_order() -> None:
    owners = Owners()
    await owners.wait("a", "a0", "a1", "a2", "a3")
    await owners.wait("b", "b0", "b1")
    await owners.wait("c", "c0")
    assert owners.limiter.waiting == 6
    assert await owners.end() == ["a0", "a1", "b0", "c0", "a2", "b1", "a3"]


async def test_whoever_comes_back_stands_behind_the_others() -> None:
    owners = Owners()
    await owners.wait("a", "a0", "a1")
    await owners.wait("b", "b0")
    owners.leave.set()
    await turns(1)
    await owners.wait("a", "a2")
    assert await owners.end() == ["a0", "a1", "b0", "a2"]


async def test_a_request_that_was_given_up_costs_its_owner_no_turn() -> None:
    """Else whoever gives up and asks again, as clients do, waits for a turn of everybody's each time."""
    owners = Owners()
    await owners.wait("x", "x0")
    await owners.wait("a", "a0", "a1", "a2", "a3")
    await owners.wait("b", "b0", "b1", "b2")
    for name in ("a0", "a1", "a2"):
        owners.tasks[name].cancel()
    await turns()
    assert owners.limiter.waiting == 4
    assert await owners.end() == ["x0", "a3", "b0", "b1", "b2"]


async def test_owners_whose_requests_were_all_given_up_are_forgotten() -> None:
    """While the places are taken for long, clients come and go."""
    owners = Owners()
    await owners.wait("x", "x0")
    for number in range(50):
        await owners.wait(f"owner {number}", *(f"{number}/{index}" for index in range(10)))
    for name, task in owners.tasks.items():
        if name != "x0":
            task.cancel()
    await turns()
    assert owners.limiter.waiting == 0
    assert not owners.limiter._waiting
    assert await owners.end() == ["x0"]
