"""A source without a network: a study of any models in seconds. It can be told to fail in every way a server does.

`NotedSource` writes its calls into a file, with the node that makes them. Workers, of Ray too, import it from here.
"""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from computewise.core import LARGE, MODEL, REVISER, VERIFIER, Completion, Model, Problem, Role, Task, Verifier
from computewise.costs import Prices
from computewise.errors import ModelError, SpendLimitError, UsageError
from computewise.session import Limits
from computewise.setups.base import Roles, Setup, SetupSpec
from computewise.testing import SimulatedModel, SimulatedPRM, SimulatedTask

SKILLS: dict[Role, float] = {MODEL: 0.75, LARGE: 0.95, REVISER: 0.8}
SIZES: dict[Role, int] = {MODEL: 1_500_000_000, LARGE: 7_000_000_000, REVISER: 1_600_000_000, VERIFIER: 7_100_000_000}
LABELS: dict[Role, str] = {MODEL: "Tiny-1.5B", LARGE: "Big-7B", REVISER: "Tiny-1.5B-revising", VERIFIER: "Judge-7B"}


@dataclass
class Watched:
    """What has happened to the models of a source since the test began: in this process."""

    calls: int = 0
    running: int = 0
    peak: int = 0
    opened: int = 0
    closed: int = 0
    graders: set[int] = field(default_factory=set)


WATCHED = Watched()


@dataclass(slots=True)
class SomeModel:
    """A simulated model behind a wire: a call takes a turn of the loop; the source says what goes wrong."""

    model: SimulatedModel
    source: SimulatedSource
    name: str = field(init=False)
    parameters: int = field(init=False)
    revises: bool = field(init=False)
    revises_steps: bool = field(init=False)
    steps: bool = field(init=False)

    def __post_init__(self) -> None:
        self.name, self.parameters = self.model.name, self.model.parameters
        self.revises, self.revises_steps = self.model.revises, self.model.revises_steps
        self.steps = self.source.steps

    async def sample(self, prompt: str, prefix: str, n: int, **settings: Any) -> list[Completion]:
        """See `computewise.core.Model.sample`."""
        source = self.source
        WATCHED.calls += 1
        if source.ceiling is not None and WATCHED.calls > source.ceiling:
            raise SpendLimitError(f"{source.ceiling} calls are spent")
        if WATCHED.calls == source.interrupted:
            signal.raise_signal(signal.SIGINT)
        if not source.steps and (prefix or settings["stop"]):
            raise UsageError(f"{self.name} is a chat endpoint")
        WATCHED.running += 1
        WATCHED.peak = max(WATCHED.peak, WATCHED.running)
        try:
            await asyncio.sleep(source.pause)
        finally:
            WATCHED.running -= 1
        if source.gone or any(f" {lost} " in prompt for lost in source.lost):
            raise ModelError("the server is gone")
        found = await self.model.sample(prompt, prefix, n, **settings)
        return found if source.logprobs else [_mute(completion) for completion in found]


def _mute(completion: Completion) -> Completion:
    return replace(completion, steps=tuple(replace(step, logprob=0.0) for step in completion.steps))


@dataclass(frozen=True, slots=True)
class WatchedTask(SimulatedTask):
    """Says which thread grades; with `numbered`, ids that are not the prompts."""

    numbered: bool = False

    def correct(self, problem: Problem, answer: str | None) -> bool:
        """See `SimulatedTask.correct`."""
        WATCHED.graders.add(threading.get_ident())
        return SimulatedTask.correct(self, problem, answer)

    def problems(self, split: str, count: int, seed: int) -> list[Problem]:
        """See `SimulatedTask.problems`."""
        found = SimulatedTask.problems(self, split, count, seed)
        return [replace(one, id=f"{split}/{number:03}") if self.numbered else one for number, one in enumerate(found)]


@dataclass(slots=True)
class OpenedSimulation:
    """The models of one opening."""

    source: SimulatedSource

    def model(self, role: Role) -> Model:
        """Better ones are right oftener."""
        model = SimulatedModel(SKILLS[role], name=role, parameters=SIZES[role], revises=role == REVISER)
        return SomeModel(model, self.source)

    def verifier(self) -> Verifier:
        """Ranks fairly well."""
        return SimulatedPRM(noise=0.3, parameters=SIZES[VERIFIER])


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedSource(SetupSpec):
    """`of_models` are the roles beside the model and the verifier."""

    of_models: tuple[Role, ...] = ()
    steps: bool = True
    priced: bool = False
    logprobs: bool = True
    verified: bool = True
    pause: float = 0.0
    numbered: bool = False
    tokens: int = 60
    heat: float = 1.0
    ceiling: int | None = None
    interrupted: int | None = None
    lost: tuple[str, ...] = ()
    gone: bool = False

    def roles(self) -> Roles:
        """With names as models have them."""
        held: tuple[Role, ...] = (MODEL, *self.of_models, *((VERIFIER,) if self.verified else ()))
        price = Prices(input=0.1, cached_input=0.05, output=0.4, verifier=0.2)
        return Roles(
            sizes={role: SIZES[role] for role in held},
            labels={role: LABELS[role] for role in held},
            steps=self.steps,
            prices={role: price for role in held if role != VERIFIER} if self.priced else {},
        )

    def to_dict(self) -> dict[str, object]:
        """What decides the numbers; what goes wrong does not."""
        return {"task": "simulated", "roles": list(self.of_models), "steps": self.steps}

    def task(self) -> Task:
        """Problems of up to six steps."""
        return WatchedTask(deepest=6, numbered=self.numbered)

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Setup]:
        """Counted."""
        WATCHED.opened += 1
        try:
            yield OpenedSimulation(self)
        finally:
            WATCHED.closed += 1

    def limits(self) -> Limits:
        """All of a solution, where nobody asks for less: six steps are 41 characters."""
        return Limits(steps=40, tokens=self.tokens)

    def temperature(self) -> float:
        """At 0 the likelier step every time."""
        return self.heat


@dataclass(slots=True)
class Noted:
    """Notes what it is asked for before it answers."""

    model: Model
    log: str
    name: str = "noted"
    parameters: int = 1_000
    revises: bool = field(init=False)
    revises_steps: bool = field(init=False)
    steps: bool = field(init=False)

    def __post_init__(self) -> None:
        self.revises, self.revises_steps = self.model.revises, self.model.revises_steps
        self.steps = self.model.steps

    async def sample(self, prompt: str, prefix: str, n: int, **settings: Any) -> list[Completion]:
        """See `computewise.core.Model.sample`."""
        import ray

        node = ray.get_runtime_context().get_node_id() if ray.is_initialized() else "here"
        note(self.log, f"call {settings['seeds'][0]} {node}")
        return await self.model.sample(prompt, prefix, n, **settings)


def note(log: str, line: str) -> None:
    """Add a line, whoever else does at the time."""
    descriptor = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(descriptor, f"{line}\n".encode())
    os.close(descriptor)


@dataclass(slots=True)
class OpenedNoted:
    """The models of one opening."""

    opened: Setup
    log: str

    def model(self, role: Role) -> Model:
        """Noted."""
        return Noted(self.opened.model(role), self.log)

    def verifier(self) -> Verifier | None:
        """As it was."""
        return self.opened.verifier()


class Closed(SimulatedSource):
    """Cannot be opened."""

    def open(self) -> Any:
        """Raises."""
        raise ModelError("no such server")


@dataclass(frozen=True, slots=True, kw_only=True)
class NotedSource(SimulatedSource):
    """Waits for servers, or with `computes` keeps a core busy."""

    log: str
    computes: bool = False
    lanes: int = 4
    shut: bool = False

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Setup]:
        """Noted too."""
        note(self.log, f"open {os.getpid()}")
        if self.shut:
            raise SpendLimitError("nothing may be spent")
        async with SimulatedSource.open(self) as opened:
            yield OpenedNoted(opened, self.log)

    def kind(self) -> Literal["compute", "io"]:
        """As it was told."""
        return "compute" if self.computes else "io"

    def in_flight(self) -> int:
        """As it was told."""
        return self.lanes
