"""The models of the package as a source: what a study runs on where nobody names another."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Literal

from computewise.controller.controller import read_controller
from computewise.controller.file import POLICIES
from computewise.controller.rule import StoppingRule
from computewise.core import LARGE, MODEL, REVISER, VERIFIER, Model, Role, Task, Verifier
from computewise.costs import Prices, Shape, Speeds
from computewise.models.embedded.engine import EngineLoop
from computewise.models.embedded.model import EmbeddedModel
from computewise.models.embedded.weights import WEIGHTS_DIRECTORY, load_weights
from computewise.setups.base import Roles, Setup, SetupSpec
from computewise.tasks.arithmetic import find_task
from computewise.verifiers.embedded import EmbeddedPRM

WEIGHTS: dict[Role, str] = {MODEL: "small", LARGE: "large", VERIFIER: "prm", REVISER: "revision"}
"""The names of the weights by their roles."""
BYTES_A_NUMBER = 4
LAYERS_AND_WIDTH = {MODEL: (4, 128), REVISER: (4, 128), LARGE: (6, 384), VERIFIER: (6, 128)}
"""What a position takes in a cache."""
PRICES: dict[Role, Prices] = {
    MODEL: Prices(input=0.05, cached_input=0.025, output=0.1, verifier=0.1),
    LARGE: Prices(input=0.2, cached_input=0.1, output=0.4, verifier=0.1),
}
"""Dollars a million tokens, nominal: hosts ask about four times as much for a model fourteen times as large."""
SPEEDS: dict[Role, Speeds] = {
    MODEL: Speeds(decoded=1 / 200, read=1 / 20_000, verified=1 / 20_000),
    LARGE: Speeds(decoded=1 / 50, read=1 / 4_000, verified=1 / 20_000),
}
"""Seconds a token, nominal: a model of one and one of fourteen billion parameters on one accelerator."""


@cache
def embedded_roles() -> Roles:
    """The shipped weights, with nominal prices and speeds."""
    sizes = {role: load_weights(WEIGHTS_DIRECTORY / f"{name}.safetensors").parameters for role, name in WEIGHTS.items()}
    return Roles(
        sizes=sizes,
        labels=WEIGHTS,
        prices=PRICES,
        speeds=SPEEDS,
        shapes={role: Shape(sizes[role], *LAYERS_AND_WIDTH[role], BYTES_A_NUMBER) for role in WEIGHTS},
        nominal=True,
    )


class EmbeddedSetup:
    """One engine, and what is asked for of the models on it."""

    def __init__(self) -> None:
        self._loop = EngineLoop()
        self._models: dict[Role, EmbeddedModel] = {}

    def model(self, role: Role) -> Model:
        """The weights of that role."""
        if role not in self._models:
            self._models[role] = EmbeddedModel(WEIGHTS[role], self._loop)
        return self._models[role]

    @cached_property
    def _verifier(self) -> EmbeddedPRM:
        return EmbeddedPRM(self._loop)

    def verifier(self) -> Verifier:
        """The process reward model."""
        return self._verifier


@dataclass(frozen=True, slots=True)
class EmbeddedSpec(SetupSpec):
    """The embedded models on the embedded task of that name."""

    name: str = "expressions"

    def roles(self) -> Roles:
        """The shipped weights."""
        return embedded_roles()

    def to_dict(self) -> dict[str, object]:
        """The task: there is nothing else to choose."""
        return {"task": self.name}

    def task(self) -> Task:
        """Raises `UsageError` for an unknown name."""
        return find_task(self.name)

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Setup]:
        """A new engine for every job.

        What an earlier job left in the prefix stores would decide how rows are batched, and with it the last bits of
        every number. So a job's records do not depend on which jobs its worker had before.
        """
        yield EmbeddedSetup()

    def slow_grader(self) -> bool:
        """No: it compares two integers."""
        return False

    def batch(self, purpose: str, budget: int) -> int:
        """So many that a job keeps the engine's batch full and two workers are done at about the same time."""
        return 25 if budget >= 64 or purpose == "difficulty" else 50

    def kind(self) -> Literal["compute", "io"]:
        """The engine computes in Python's thread: a process for each core."""
        return "compute"

    def shipped(self) -> StoppingRule | None:
        """The shipped controller of the task, if there is one."""
        path = POLICIES / f"{self.name}.json"
        if not path.exists():
            return None
        names = WEIGHTS[MODEL], WEIGHTS[LARGE]
        return read_controller(path, models=names, verifier=WEIGHTS[VERIFIER]).rule
