"""The setup of the embedded models: what every command runs on without --base-url."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

from computewise.controller.controller import read_controller
from computewise.controller.file import POLICIES
from computewise.controller.rule import StoppingRule
from computewise.core import LARGE, MODEL, REVISER, VERIFIER, Model, Role, Task, Verifier
from computewise.costs import Prices, Shape, Speeds
from computewise.errors import UsageError
from computewise.models.embedded.engine import EngineLoop, one_thread
from computewise.models.embedded.model import EmbeddedModel
from computewise.models.embedded.network import WEIGHTS_DIRECTORY, load_weights
from computewise.setups.base import Roles, SetupSpec
from computewise.tasks.arithmetic import find_task
from computewise.verifiers.base import ADDED_VERIFIERS, LogprobVerifier, is_added
from computewise.verifiers.embedded import EmbeddedORM, EmbeddedPRM
from computewise.verifiers.load import added_verifier
from computewise.verifiers.templates import find_template, known_templates

WEIGHTS: dict[Role, str] = {MODEL: "small", LARGE: "large", VERIFIER: "prm", REVISER: "revision"}
"""The names of the weights by their roles."""
PRM = WEIGHTS[VERIFIER]
MODELS = ("small", "large", "revision", "revision_paper")
VERIFIERS = (PRM, "orm", "logprob", "none")
BYTES_A_NUMBER = 4
LAYERS_AND_WIDTH = {MODEL: (4, 128), REVISER: (4, 128), LARGE: (6, 384), VERIFIER: (6, 128)}
"""What decides how much memory one position of the cache takes."""
PRICES: dict[Role, Prices] = {
    MODEL: Prices(input=0.05, cached_input=0.025, output=0.1, verifier=0.1),
    LARGE: Prices(input=0.2, cached_input=0.1, output=0.4, verifier=0.1),
}
"""Dollars a million tokens, nominal: hosts charge about four times as much for a model fourteen times as large."""
SPEEDS: dict[Role, Speeds] = {
    MODEL: Speeds(decoded=1 / 200, read=1 / 20_000, verified=1 / 20_000),
    LARGE: Speeds(decoded=1 / 50, read=1 / 4_000, verified=1 / 20_000),
}
"""Seconds a token, nominal: models of one and of fourteen billion parameters on one accelerator."""


PRETRAINED = 3.0
"""The verifier's trunk is `small`, trained for twice as many steps again (the verifier's model card)."""


@cache
def embedded_roles() -> Roles:
    """The shipped weights, with nominal prices and speeds."""
    sizes = {role: load_weights(WEIGHTS_DIRECTORY / f"{name}.safetensors").size for role, name in WEIGHTS.items()}
    return Roles(
        sizes=sizes,
        labels=WEIGHTS,
        prices=PRICES,
        speeds=SPEEDS,
        shapes={role: Shape(sizes[role], *LAYERS_AND_WIDTH[role], BYTES_A_NUMBER) for role in WEIGHTS},
        nominal=True,
        pretrained=PRETRAINED,
    )


class EmbeddedSetup:
    """The embedded models on one engine of this process, each read when it is first needed.

    `solver` is the name of the model that solves, `weights` is a file in place of its shipped weights. Raises
    `UsageError` for an unknown verifier.
    """

    def __init__(self, solver: str = WEIGHTS[MODEL], verifier: str = PRM, weights: Path | None = None) -> None:
        if verifier not in VERIFIERS and not is_added(verifier):
            raise UsageError(_unknown(verifier))
        one_thread()
        self._loop = EngineLoop()
        self._models: dict[str, EmbeddedModel] = {}
        self._solver, self._weights = solver, weights
        self._verifier: Verifier | None = None
        match verifier:
            case "prm":
                self._verifier = EmbeddedPRM(self._loop)
            case "orm":
                self._verifier = EmbeddedORM(self._loop)
            case "logprob":
                self._verifier = LogprobVerifier()
            case name if is_added(name):
                self._verifier = added_verifier(name)

    def model(self, role: Role) -> Model:
        """See `Setup.model`."""
        return self.named(self._solver if role == MODEL else WEIGHTS[role])

    def named(self, name: str) -> EmbeddedModel:
        """The model whose weights have that name; raises `UsageError` for an unknown one."""
        if name not in MODELS:
            raise UsageError(f"unknown model {name!r}: allowed are {', '.join(MODELS)}, or others with --base-url")
        if name not in self._models:
            path = self._weights if name == self._solver else None
            self._models[name] = EmbeddedModel(name, self._loop, path=path)
        return self._models[name]

    def verifier(self) -> Verifier | None:
        """See `Setup.verifier`."""
        return self._verifier


def _unknown(verifier: str) -> str:
    """What is wrong with a verifier that is not here; raises `UsageError` for a file that is no template."""
    if verifier.endswith(".toml") or verifier in known_templates():
        find_template(verifier)
        return f"the verifier {verifier} needs a server, which computes it: give --base-url too"
    allowed = ", ".join((*VERIFIERS, *ADDED_VERIFIERS))
    return f"unknown verifier {verifier!r}: allowed are {allowed}, your own module:object, or others with --base-url"


@dataclass(frozen=True, slots=True)
class EmbeddedSpec(SetupSpec):
    """The embedded models on the embedded task of that name."""

    name: str = "expressions"
    solver: str = WEIGHTS[MODEL]
    """The model that solves, one of `MODELS`."""
    judge: str = PRM
    """The verifier, one of `VERIFIERS`."""
    weights: Path | None = None
    """A file in place of the solver's shipped weights."""
    sampling_temperature: float = 1.0

    def roles(self) -> Roles:
        """The shipped weights."""
        return embedded_roles()

    def labels(self) -> Mapping[Role, str]:
        """The names of the weights."""
        return {**WEIGHTS, MODEL: self.solver, VERIFIER: self.judge}

    def to_dict(self) -> dict[str, object]:
        """The task: a study has nothing else to choose."""
        return {"task": self.name}

    def temperature(self) -> float:
        """See `SetupSpec.temperature`."""
        return self.sampling_temperature

    def task(self) -> Task:
        """Raises `UsageError` for an unknown name."""
        return find_task(self.name)

    @asynccontextmanager
    async def open(self) -> AsyncIterator[EmbeddedSetup]:
        """A new engine for every job.

        The prefix stores that an earlier job left behind would decide how rows are batched, and with that the last bits
        of every number. With a new engine, a job's records do not depend on the jobs that its worker ran before.
        """
        yield EmbeddedSetup(self.solver, self.judge, self.weights)

    def slow_grader(self) -> bool:
        """No: the grader compares two integers."""
        return False

    def batch(self, purpose: str, budget: int) -> int:
        """Enough to keep the engine's batch full, few enough that two workers end at about the same time."""
        return 25 if budget >= 64 or purpose == "difficulty" else 50

    def kind(self) -> Literal["compute", "io"]:
        """The engine computes in this process: an executor starts one process for each core."""
        return "compute"

    def shipped(self) -> StoppingRule | None:
        """The shipped controller of the task, if there is one."""
        path = POLICIES / f"{self.name}.json"
        if not path.exists():
            return None
        names = WEIGHTS[MODEL], WEIGHTS[LARGE]
        return read_controller(path, models=names, verifier=WEIGHTS[VERIFIER]).rule
