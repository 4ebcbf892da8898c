"""The exceptions that computewise raises, and checks of settings that raise them.

ComputewiseError
|-- UsageError          a setting that cannot be used: unknown strategy, budget < 1, n not divisible by the width
|-- ProblemError        a problem the task cannot read
|-- WeightsError        a weights file that is missing, corrupt or of another kind
|-- RunError            a run directory or cache that cannot be read or written, or belongs to another configuration
|-- SpendLimitError     a run that has reached its limit of tokens or dollars; what is recorded is kept
`-- ModelError          a model or verifier that failed on one problem; it is recorded, and the other problems go on
    `-- ServerError     a server that refused a request, or did not answer after every retry
"""

from __future__ import annotations

import math


class ComputewiseError(Exception):
    """Base class; its text is one line for a person."""


class UsageError(ComputewiseError, ValueError):
    """A setting that cannot be used."""


class ProblemError(ComputewiseError, ValueError):
    """A problem the task cannot read."""


class WeightsError(ComputewiseError):
    """A weights file that is missing, corrupt or of another kind."""


class RunError(ComputewiseError):
    """A run directory or cache that cannot be read or written, or belongs to another configuration."""


class ModelError(ComputewiseError):
    """A model or verifier that failed on one problem."""


class ServerError(ModelError):
    """A server that refused a request, or did not answer after every retry.

    `status` is the HTTP status, None where there was no answer; `wait` is the Retry-After in seconds, if there is one;
    `body` is what the server wrote, without the key.
    """

    def __init__(self, text: str, status: int | None = None, wait: float | None = None, body: str = "") -> None:
        super().__init__(text)
        self.status = status
        self.wait = wait
        self.body = body


class SpendLimitError(ComputewiseError):
    """A run has reached its limit of tokens or dollars."""


def at_least_one(**settings: int) -> None:
    """Raise `UsageError` for a setting that is not a whole number of at least 1."""
    for name, value in settings.items():
        if not isinstance(value, int):
            raise UsageError(f"{name} = {value} is not allowed: a whole number, at least 1")
        if value < 1:
            raise UsageError(f"{name} = {value} is not allowed: at least 1")


def zero_or_one(**settings: int) -> None:
    """Raise `UsageError` for a setting that is neither 0, off, nor 1, on."""
    for name, value in settings.items():
        if value not in (0, 1):
            raise UsageError(f"{name} = {value} is not allowed: 0 or 1")


def probability(**settings: float) -> None:
    """Raise `UsageError` for a setting that is not between 0 and 1; NaN is not."""
    for name, value in settings.items():
        if not 0 <= value <= 1:
            raise UsageError(f"{name} = {value} is not allowed: between 0 and 1")


def above_zero(**settings: float) -> None:
    """Raise `UsageError` for a setting that is not positive and finite."""
    for name, value in settings.items():
        if not 0 < value < math.inf:
            raise UsageError(f"{name} = {value} is not allowed: above 0")


def divisible(n: int, width: int) -> None:
    """Raise `UsageError` where `width` does not divide `n` beams into survivors with `width` children each."""
    at_least_one(n=n, width=width)
    if n % width:
        allowed = [divisor for divisor in range(1, n + 1) if n % divisor == 0]
        raise UsageError(f"n = {n} is not divisible by width = {width}: allowed widths are {_listed(allowed)}")


def _listed(numbers: list[int]) -> str:
    return ", ".join(map(str, numbers))
