"""The grader of programs: it runs them against tests."""

from __future__ import annotations

import ast
from dataclasses import dataclass

from computewise.errors import UsageError
from computewise.grading.extraction import fenced
from computewise.grading.running import isolation, run_program

SECONDS = 10.0
MAX_SOURCE_CHARACTERS = 100_000
"""Characters of a program."""


@dataclass(frozen=True, slots=True)
class CodeGrader:
    """Runs the solution's last fenced block and then the reference, which is Python that raises where a test fails.

    It must be allowed: what a model wrote is executed with the rights of whoever runs this. See `run_program` for the
    limits, which are no sandbox.
    """

    seconds: float = SECONDS
    instruction: str = (
        "Think about the problem step by step and leave a blank line between steps. End with the complete program in "
        "one fenced block of Python code."
    )

    @property
    def findings(self) -> tuple[str, ...]:
        """Whether the programs it runs can reach the network."""
        cut = any("--net" in part for part in isolation())
        return () if cut else ("Programs that are graded can reach the network: unshare does not work here.",)

    def answer(self, solution: str) -> str | None:
        """The last fenced block; a program that is endless is none."""
        program = fenced(solution)
        return program if program is not None and len(program) <= MAX_SOURCE_CHARACTERS else None

    def key(self, answer: str) -> str:
        """The program without comments and layout, where it is Python."""
        return _normalised(answer) or answer.strip()

    def correct(self, reference: str, answer: str) -> bool:
        """Whether the tests pass."""
        return run_program(answer, reference, self.seconds)

    def accepts(self, reference: str) -> bool:
        """Whether the tests are Python; that they can be passed is not known."""
        return bool(_normalised(reference))


def allowed_code_grader(allowed: bool) -> CodeGrader:
    """The grader, where running what models write is allowed; raises `UsageError` where not."""
    if not allowed:
        raise UsageError(
            "the grader code runs what the model writes, and it is no sandbox: allow_code_execution allows it"
        )
    return CodeGrader()


def _normalised(program: str) -> str | None:
    try:
        return ast.unparse(ast.parse(program))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
