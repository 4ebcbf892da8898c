"""Which models, verifier and task a command runs on: plain data that opens them in whichever process runs a job."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Literal, Protocol, get_args

from computewise.controller.rule import StoppingRule
from computewise.core import LARGE, MODEL, REVISER, Model, Role, Task, Verifier
from computewise.costs import Prices, Shape, Speeds
from computewise.session import Limits

IN_FLIGHT = 64
"""Problems that are solved at the same time, where servers compute the samples."""

ROLES: tuple[Role, ...] = get_args(Role)
GENERATORS: tuple[Role, ...] = (MODEL, LARGE, REVISER)
"""The roles of the models that sample."""


@dataclass(frozen=True, slots=True)
class Roles:
    """What an analysis needs to know about the models, each by its role.

    `sizes` are numbers of parameters: the model's is always there, the others where there is such a model, the
    verifier's is 0 where it has none. `labels` are the names that a person reads. `steps` says whether the model can
    continue from the steps before. A reviser without a price or a speed of its own has those of the model.
    """

    sizes: Mapping[Role, int]
    labels: Mapping[Role, str]
    steps: bool = True
    prices: Mapping[Role, Prices] = field(default_factory=dict)
    speeds: Mapping[Role, Speeds] = field(default_factory=dict)
    shapes: Mapping[Role, Shape] = field(default_factory=dict)
    nominal: bool = False
    """Whether prices, speeds and shapes are assumed, not measured on what was run."""
    pretrained: float = 1.0
    """Tokens that the model and its verifier were trained on, in those of the model; 1 where that is unknown."""

    @property
    def generators(self) -> list[Role]:
        """The roles that have a model, without the verifier's."""
        return [role for role in GENERATORS if role in self.sizes]


class Setup(Protocol):
    """Models that are open, ready to be called."""

    def model(self, role: Role) -> Model:
        """The generator of that role."""
        ...

    def verifier(self) -> Verifier | None:
        """The verifier; None: answers are chosen by majority vote."""
        ...


class SetupSpec(ABC):
    """A frozen dataclass of plain data that can be pickled; no number depends on anything else."""

    @abstractmethod
    def roles(self) -> Roles:
        """Sizes, prices and names of the models; raises `UsageError` where a size is unknown."""

    def labels(self) -> Mapping[Role, str]:
        """The labels of `roles`, also where a size is unknown."""
        return self.roles().labels

    @abstractmethod
    def to_dict(self) -> dict[str, object]:
        """What `config.json` holds of it beside the study's settings; "task" is the task's name."""

    @abstractmethod
    def task(self) -> Task:
        """The problems and their grader; called for every job."""

    @abstractmethod
    def open(self) -> AbstractAsyncContextManager[Setup]:
        """A context in which the models are open; enter and leave it in the same asyncio task."""

    def split(self) -> str:
        """The split of the task that nothing was trained on."""
        return "test"

    def limits(self) -> Limits:
        """Bounds on one solution."""
        return Limits()

    def temperature(self) -> float:
        """The temperature of every strategy but greedy."""
        return 1.0

    def slow_grader(self) -> bool:
        """Whether grading takes so long that it has to run outside the event loop."""
        return True

    def batch(self, purpose: str, budget: int) -> int:
        """How many problems of a run make one job, whatever the executor: 1 unless the numbers depend on it."""
        return 1

    def kind(self) -> Literal["compute", "io"]:
        """Whether this machine computes the samples ("compute") or waits for servers ("io")."""
        return "io"

    def in_flight(self) -> int:
        """How many problems are solved at the same time, where servers compute the samples."""
        return IN_FLIGHT

    def shipped(self) -> StoppingRule | None:
        """The controller that is shipped for these models and this task, if there is one."""
        return None
