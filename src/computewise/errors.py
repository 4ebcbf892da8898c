"""The exceptions that computewise raises.

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
