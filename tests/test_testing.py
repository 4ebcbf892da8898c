"""The checks for extensions pass for what keeps the protocols, and name what does not."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any

import pytest

from computewise.core import Candidate, Completion, Problem, Usage
from computewise.errors import ModelError
from computewise.models.embedded.engine import EngineLoop
from computewise.models.embedded.model import EmbeddedModel
from computewise.session import Session, Strategy
from computewise.strategies import BestOfN
from computewise.tasks.arithmetic import find_task
from computewise.testing import (
    STRATEGY_CHECKS,
    SimulatedModel,
    SimulatedPRM,
    check_model,
    check_strategy,
    check_verifier,
    simulated_problem,
)
from computewise.verifiers.base import verifier
from computewise.verifiers.embedded import EmbeddedPRM


@dataclass(frozen=True)
class Sampling(Strategy):
    """What every faulty strategy below does right."""

    n: int = 4
    name = "sampling"

    async def __call__(self, problem: Problem, session: Session) -> list[Candidate]:
        return await session.score(await session.sample(self.n))


class WithText(Sampling):
    n: Any = "4"

    async def __call__(self, problem: Problem, session: Session) -> list[Candidate]:
        return await session.score(await session.sample(int(self.n)))


THROWS = count(1)


class OwnDice(Sampling):
    async def __call__(self, problem: Problem, session: Session) -> list[Candidate]:
        return await session.score(await session.sample(1 + next(THROWS) % 4))


class SwallowsErrors(Sampling):
    async def __call__(self, problem: Problem, session: Session) -> list[Candidate]:
        try:
            return await session.score(await session.sample(self.n))
        except ModelError:
            return []


class SwallowsCancellation(Sampling):
    async def __call__(self, problem: Problem, session: Session) -> list[Candidate]:
        try:
            return await session.score(await session.sample(self.n))
        except asyncio.CancelledError:
            return []


class LeavesTasks(Sampling):
    async def __call__(self, problem: Problem, session: Session) -> list[Candidate]:
        tasks = [asyncio.ensure_future(session.sample(1)) for _ in range(self.n)]
        return await session.score([candidate for task in tasks for candidate in await task])


class MadeUp(Sampling):
    async def __call__(self, problem: Problem, session: Session) -> list[Candidate]:
        found = await super().__call__(problem, session)
        return [replace(candidate, id=f"{candidate.id}.9") for candidate in found]


class Empty(Sampling):
    async def __call__(self, problem: Problem, session: Session) -> list[Candidate]:
        await super().__call__(problem, session)
        return []


SHARED: list[int] = []


class Shares(Sampling):
    async def __call__(self, problem: Problem, session: Session) -> list[Candidate]:
        SHARED.append(1)
        await asyncio.sleep(0)
        try:
            return await session.score(await session.sample(len(SHARED) + 1))
        finally:
            SHARED.pop()


def test_a_strategy_that_keeps_the_protocol_passes() -> None:
    check_strategy(Sampling())
    check_strategy(BestOfN(2))


@pytest.mark.parametrize(
    ("faulty", "fault"),
    [
        (OwnDice, "two results with one seed: draw random numbers from session.random"),
        (SwallowsErrors, "hid that the model failed"),
        (SwallowsCancellation, "swallowed its cancellation"),
        (MadeUp, "candidates that its session does not hold"),
        (Shares, "other results where other problems run beside"),
    ],
)
def test_a_strategy_with_a_fault_is_told_what_it_is(faulty: type[Sampling], fault: str) -> None:
    with pytest.raises(AssertionError, match=fault):
        check_strategy(faulty())


def test_settings_are_numbers() -> None:
    with pytest.raises(AssertionError, match="n = 'four' is not a number: every setting is an int or a float"):
        check_strategy(replace(Sampling(), n="four"))  # type: ignore[arg-type]


@dataclass(frozen=True)
class Nothing(Sampling):
    async def __call__(self, problem: Problem, session: Session) -> list[Candidate]:
        return None  # type: ignore[return-value]


@dataclass(frozen=True)
class NotAsync(Sampling):
    def __call__(self, problem: Problem, session: Session) -> list[Candidate]:  # type: ignore[override]
        return []


@dataclass
class Changing:
    n: int = 1

    async def __call__(self, problem: Problem, session: Session) -> list[Candidate]:
        return await session.score(await session.sample(self.n))


@dataclass(frozen=True)
class OfText(Sampling):
    kind: str = "x"


class Loose:
    async def __call__(self, problem: Problem, session: Session) -> list[Candidate]:
        return []


@pytest.mark.parametrize(
    ("item", "fault"),
    [
        (Nothing(), "the strategy sampling returned None: it returns a list of candidates"),
        (NotAsync(), "the strategy sampling is not async: write async def __call__"),
        (Changing(), "the strategy changing can be changed: write @dataclass"),
        (OfText(), "the strategy sampling has settings that are not numbers: kind"),
        (Loose(), "the strategy loose is no dataclass"),
        (Sampling, "is no strategy: give an object of its class"),
        ("best_of_n", "'best_of_n' is no strategy"),
        (None, "None is no strategy"),
        (8, "8 is no strategy"),
    ],
)
def test_what_is_no_strategy_is_told_so(item: Any, fault: str) -> None:
    with pytest.raises(AssertionError, match=fault):
        check_strategy(item)


def test_a_strategy_without_a_name_is_named_after_its_class() -> None:
    @dataclass(frozen=True)
    class ManySamples:
        n: int = 2

        async def __call__(self, problem: Problem, session: Session) -> list[Candidate]:
            return await session.score(await session.sample(self.n))

    check_strategy(ManySamples())  # type: ignore[arg-type]
    assert ManySamples().name == "many_samples"  # type: ignore[attr-defined]


def test_the_checks_can_be_run_one_by_one() -> None:
    names = [check.__name__ for check in STRATEGY_CHECKS]
    assert len(set(names)) == len(names) == 14
    assert all(check.__doc__ for check in STRATEGY_CHECKS)


# Verifiers


@verifier
async def constant(problem: str, steps: Sequence[str]) -> float:
    return 0.5


@dataclass
class Faulty:
    """A verifier of one fault."""

    scores: Any = None
    usage: Usage = field(default_factory=lambda: Usage(verifier_tokens=3))
    of_value: float = 0.5
    name: str = "faulty"
    parameters: int = 0

    async def score(self, problem: Problem, candidates: Sequence[Candidate]) -> tuple[list[tuple[float, ...]], Usage]:
        given = [self.scores or (0.5,) * len(c.steps) for c in candidates]
        return given, self.usage

    def value(self, scores: Sequence[float]) -> float:
        return self.of_value


class Forgetful(Faulty):
    """Scores steps anew that have a score, by where they are in the call."""

    async def score(self, problem: Problem, candidates: Sequence[Candidate]) -> tuple[list[tuple[float, ...]], Usage]:
        return [tuple(0.1 * (i + len(c.id)) for i in range(len(c.steps))) for c in candidates], Usage()


def test_verifiers_that_keep_the_protocol_pass() -> None:
    check_verifier(constant)
    check_verifier(lambda problem, steps: 0.5)
    check_verifier(Faulty())
    check_verifier(SimulatedPRM(noise=0.2), simulated_problem(41734, 2), ("right\n", "right 41734"))
    check_verifier(EmbeddedPRM(EngineLoop()), find_task("expressions").read("2+3*4"), ("12+2\n", "14"))


@pytest.mark.parametrize(
    ("faulty", "fault"),
    [
        (Faulty(name=""), "name is not empty"),
        (Faulty(scores=(0.5,)), "gave 1 scores for a solution of 2 steps"),
        (Faulty(scores=[0.5, 0.5]), "gave a list of scores: give a tuple"),
        (Faulty(scores=(0.5, 1.5)), r"the score 1.5: a score is a number in \[0, 1\]"),
        (Faulty(of_value=3.0), r"the value 3.0: a value is in \[0, 1\]"),
        (Faulty(usage=Usage(samples=1)), "charges samples"),
        (Faulty(usage=Usage(cached_verifier_tokens=1)), "more from the cache than in all"),
        (Forgetful(), "another score to a step that has one"),
    ],
)
def test_a_verifier_with_a_fault_is_told_what_it_is(faulty: Faulty, fault: str) -> None:
    with pytest.raises(AssertionError, match=fault):
        check_verifier(faulty)


def test_what_is_no_verifier_is_told_so() -> None:
    items: list[Any] = ["prm", 3, None, object]
    for item in items:
        with pytest.raises(AssertionError, match="it is not a verifier: a verifier is a function of"):
            check_verifier(item)


# Models


@dataclass
class FaultyModel:
    """A simulated model with one fault."""

    fault: str
    name: str = "faulty"
    parameters: int = 0
    revises: bool = False
    revises_steps: bool = False
    steps: bool = True

    async def sample(self, prompt: str, prefix: str, n: int, **settings: Any) -> list[Completion]:
        if self.fault == "limit":
            settings["max_tokens"] = 256
        if self.fault == "stop":
            settings["stop"] = None
        found = await SimulatedModel().sample(prompt, prefix, n, **settings)
        match self.fault:
            case "count":
                return found[:1]
            case "usage":
                return [replace(one, usage=replace(one.usage, samples=3)) for one in found]
            case "cached":
                return [replace(one, usage=replace(one.usage, cached_prompt_tokens=10_000)) for one in found]
            case "reason":
                return [replace(one, finish_reason="ended") for one in found]  # type: ignore[arg-type]
        return found


def test_models_that_keep_the_protocol_pass() -> None:
    check_model(SimulatedModel(), simulated_problem(41734, 3), "\n")
    check_model(SimulatedModel(steps=False), simulated_problem(41734, 3), "\n")
    check_model(EmbeddedModel("small", EngineLoop()), find_task("expressions").read("2+3*4"), "\n")


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("count", "returned 1 samples of 3"),
        ("limit", "sampled .* tokens where 4 are allowed"),
        ("stop", "went on behind the end of a step"),
        ("usage", "charges for another number of samples than 3"),
        ("cached", "more cached than read"),
        ("reason", "ended by 'ended'"),
    ],
)
def test_a_model_with_a_fault_is_told_what_it_is(fault: str, message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        check_model(FaultyModel(fault), simulated_problem(41734, 3), "\n")
