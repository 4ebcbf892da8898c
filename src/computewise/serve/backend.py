"""What answers: models, a verifier, a task, a policy; embedded or behind their servers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from computewise.core import Model, Problem, Verifier
from computewise.errors import RunError
from computewise.http.client import HttpClient
from computewise.models.server.lost import Lost
from computewise.policy.file import Fitted, read_policy
from computewise.policy.shipped import policy_path
from computewise.serve.reading import Asked
from computewise.session import Limits
from computewise.tasks.load import LoadedTask


class Upstream(NamedTuple):
    """Where a request passes through to: a server, and the model's name there."""

    client: HttpClient
    model: str


class Cast(NamedTuple):
    """Who plays in one request: models by their names, the one that solves alone first."""

    models: Mapping[str, Model]
    problem: Problem
    transcript: str
    """What the verifier reads as the problem: the conversation."""


class Backend(Protocol):
    """Everything that outlives a request."""

    @property
    def models(self) -> Sequence[str]:
        """Names that clients may ask for; the policy is for the first."""
        ...

    @property
    def task(self) -> LoadedTask:
        """Who reads answers."""
        ...

    @property
    def grader(self) -> str:
        """How answers are compared: which prompts look answerable hangs on it; empty where all are."""
        ...

    @property
    def verifier(self) -> Verifier | None:
        """None: answers are voted on by majority."""
        ...

    @property
    def fitted(self) -> Fitted | None:
        """The policy."""
        ...

    @property
    def limits(self) -> Limits:
        """Bounds on one solution."""
        ...

    @property
    def temperature(self) -> float:
        """Where a client names none."""
        ...

    @property
    def example(self) -> str:
        """A problem to begin with; empty where there is none."""
        ...

    def strategies(self, model: str) -> Mapping[str, str | None]:
        """Every strategy offered, with why that model is refused it; None where it is not."""
        ...

    def upstream(self, model: str) -> Upstream | None:
        """Where to pass a request for that model through to; None for an embedded one."""
        ...

    def cast(self, asked: Asked, model: str, strategy: str | None, lost: Lost) -> Cast:
        """Who plays, by a strategy or, without one, by the policy.

        Samples that a server loses are noted in `lost`. Raises `Refused` for a field that does not reach the model,
        `ProblemError` for a problem that the task cannot read.
        """
        ...


def open_policy(policy: str, models: Sequence[str], verifier: str) -> Fitted:
    """The policy of a file, or the shipped one of that name; raises `RunError` where it is not for these models."""
    fitted = read_policy(policy_path(policy), models=models, verifier=verifier)
    if not fitted.policy.prices:
        raise RunError(f"the policy {policy} has no list of prices: what an effort is worth cannot be read from it")
    return fitted
