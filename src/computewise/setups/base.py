"""Which models, verifier and task a study runs on: plain data that can open them in whichever process runs a job."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Literal, Protocol

from computewise.controller.rule import StoppingRule
from computewise.core import Model, Task, Verifier
from computewise.costs import Prices, Shape, Speeds
from computewise.session import Limits

IN_FLIGHT = 64
"""Problems worked on at the same time, where servers do the work."""

GENERATORS = ("small", "large", "revision")
"""Roles of the models that sample: the one studied, a larger one, one that was trained to revise."""


@dataclass(frozen=True, slots=True)
class Roles:
    """What an analysis has to know of the models, each by its role: a generator's or "prm", the verifier.

    `sizes` are parameters; "small" is always there, the others where there is such a model, "prm" with 0 where the
    verifier has none. `labels` are what a person reads. `steps` says whether `small` can go on from the steps before.
    A revision model without a price or a speed of its own has those of `small`.
    """

    sizes: Mapping[str, int]
    labels: Mapping[str, str]
    steps: bool = True
    prices: Mapping[str, Prices] = field(default_factory=dict)
    speeds: Mapping[str, Speeds] = field(default_factory=dict)
    shapes: Mapping[str, Shape] = field(default_factory=dict)
    nominal: bool = False
    """Prices, speeds and shapes are assumed, not those of what was run."""

    @property
    def generators(self) -> list[str]:
        """The roles that there is a model for, the verifier's apart."""
        return [role for role in GENERATORS if role in self.sizes]


class Setup(Protocol):
    """A source's models, ready to be called."""

    def model(self, role: str) -> Model:
        """The generator of that role; only "revision" is called with attempts."""
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
