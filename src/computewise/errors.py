"""Everything computewise raises on purpose.

ComputewiseError
|-- UsageError          a setting that cannot be used: unknown strategy, budget < 1, n not divisible by the width
|-- ProblemError        a problem the task cannot read
|-- WeightsError        a weights file that is missing, corrupt or of another kind
|-- RunError            a run directory that is of another configuration, unreadable or cannot be written
|-- CeilingError        a run has spent the tokens or the money it may; what is recorded is kept
`-- ModelError          a model or verifier that failed on one problem; recorded, never fatal to its neighbours
    `-- ServerError     a server that refused, or did not answer however often it was asked
"""

from __future__ import annotations


class ComputewiseError(Exception):
    """Base of the tree; its text is one line for a person."""


class UsageError(ComputewiseError, ValueError):
    """A setting that cannot be used."""


class ProblemError(ComputewiseError, ValueError):
    """A problem the task cannot read."""


class WeightsError(ComputewiseError):
    """A weights file that is missing, corrupt or of another kind."""


class RunError(ComputewiseError):
    """A run directory that is of another configuration, unreadable or cannot be written."""


class ModelError(ComputewiseError):
    """A model or verifier that failed on one problem."""


class ServerError(ModelError):
    """A server that refused, or did not answer however often it was asked; `status` is None without an answer.

    `wait` is how many seconds it asks to be left alone, where it says so.
    """

    def __init__(self, text: str, status: int | None = None, wait: float | None = None) -> None:
        super().__init__(text)
        self.status = status
        self.wait = wait


class SpendLimitError(ComputewiseError):
    """A run has spent the tokens or the money it may."""
