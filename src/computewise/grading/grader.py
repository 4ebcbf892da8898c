"""What says *correct*: one protocol, sync, for any number of threads at once."""

from __future__ import annotations

from typing import Protocol


class Grader(Protocol):
    """Reads answers off solutions and compares them.

    An answer whose `key` equals the reference's is correct; some others may be, for a comparison knows both sides. A
    key is an answer too: `correct` takes it in place of what it was made of. One problem's failure is a `ProblemError`.
    """

    @property
    def instruction(self) -> str:
        """What a model is asked to do so that its answers can be read."""
        ...

    @property
    def findings(self) -> tuple[str, ...]:
        """What a person should know about how this grader works here."""
        ...

    def answer(self, solution: str) -> str | None:
        """The final answer as it is written; None where there is none, which is never a vote."""
        ...

    def key(self, answer: str) -> str:
        """The answer in canonical form: equal keys are equivalent answers, so that votes are counted without pairs."""
        ...

    def correct(self, reference: str, answer: str) -> bool:
        """Whether an answer, or its key, is right."""
        ...

    def accepts(self, reference: str) -> bool:
        """Whether a solution that gives the reference as its answer would be found correct."""
        ...
