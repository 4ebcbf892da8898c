"""Samples that a server lost, for whoever would rather have the others than none."""

from __future__ import annotations

from dataclasses import dataclass, field

from computewise.errors import ModelError, ServerError
from computewise.http.retry import worth_retrying


@dataclass(slots=True)
class Lost:
    """What was lost while one problem was solved, and how much was not."""

    answered: int = 0
    samples: int = 0
    errors: list[ModelError] = field(default_factory=list)

    def note(self, error: ModelError, samples: int) -> None:
        """Go on without them; raises `error` where the server would refuse all others too."""
        refused = isinstance(error, ServerError) and error.status is not None and not worth_retrying(error.status)
        self.samples += samples
        self.errors.append(error)
        if refused:
            raise error

    def nothing(self) -> bool:
        """Whether there is nothing to go on with."""
        return bool(self.errors) and not self.answered
