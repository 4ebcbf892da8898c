"""Which models, verifier and task a study runs on: plain data that can open them in whichever process runs a job."""

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
"""Problems worked on at the same time, where servers do the work."""

ROLES: tuple[Role, ...] = get_args(Role)
GENERATORS: tuple[Role, ...] = (MODEL, LARGE, REVISER)
"""The roles of the models that sample."""


@dataclass(frozen=True, slots=True)
class Roles:
    """What an analysis has to know of the models, each by its role.

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
    """Prices, speeds and shapes are assumed, not those of what was run."""

    @property
    def generators(self) -> list[Role]:
        """The roles that there is a model for, without the verifier's."""
        return [role for role in GENERATORS if role in self.sizes]


class Setup(Protocol):
    """A source's models, ready to be called."""

    def model(self, role: Role) -> Model:
        """The generator of that role; only the reviser is called with attempts."""
        ...

    def verifier(self) -> Verifier:
        """The one verifier."""
        ...


class SetupSpec(ABC):
    """A frozen dataclass of plain data that can be pickled; numbers depend on nothing else of it."""

    @abstractmethod
    def roles(self) -> Roles:
        """What there is."""

    @abstractmethod
    def to_dict(self) -> dict[str, object]:
        """As `config.json` keeps it beside the study's settings; "task" is the task's name."""

    @abstractmethod
    def task(self) -> Task:
        """The problems and their grader; called for every job."""

    @abstractmethod
    def open(self) -> AbstractAsyncContextManager[Setup]:
        """The models, until it is left; entered and left in one task."""

    def split(self) -> str:
        """Which of the task's problems: those that nothing was trained on."""
        return "test"

    def limits(self) -> Limits:
        """Bounds on one solution."""
        return Limits()

    def temperature(self) -> float:
        """At which everything but greedy is sampled."""
        return 1.0

    def slow_grader(self) -> bool:
        """Whether grading takes long enough to be kept off the event loop."""
        return True

    def batch(self, purpose: str, budget: int) -> int:
        """How many problems of a run are one job, whatever the executor: 1 unless the numbers depend on it."""
        return 1

    def kind(self) -> Literal["compute", "io"]:
        """Whether this machine computes the samples ("compute"), or waits for servers that do ("io")."""
        return "io"

    def in_flight(self) -> int:
        """How many problems are worked on at the same time, where servers do the work."""
        return IN_FLIGHT

    def shipped(self) -> StoppingRule | None:
        """A controller that was fitted beforehand for these very models and this task."""
        return None
