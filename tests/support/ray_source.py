"""A simulated source whose calls are noted in a file, with the node that makes them; Ray's workers import it."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Literal

from simulated_source import SimulatedSource

from computewise.core import Attempt, Completion, Model, Verifier
from computewise.errors import SpendLimitError
from computewise.setups.base import Setup


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

    async def sample(
        self,
        prompt: str,
        prefix: str,
        n: int,
        *,
        stop: str | None,
        max_tokens: int,
        temperature: float,
        seeds: Sequence[int],
        attempts: Sequence[Attempt] = (),
    ) -> list[Completion]:
        """See `computewise.core.Model.sample`."""
        import ray

        node = ray.get_runtime_context().get_node_id() if ray.is_initialized() else "here"
        note(self.log, f"call {seeds[0]} {node}")
        return await self.model.sample(
            prompt,
            prefix,
            n,
            stop=stop,
            max_tokens=max_tokens,
            temperature=temperature,
            seeds=seeds,
            attempts=attempts,
        )


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

    def model(self, role: str) -> Model:
        """Noted."""
        return Noted(self.opened.model(role), self.log)

    def verifier(self) -> Verifier:
        """As it was."""
        return self.opened.verifier()


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
