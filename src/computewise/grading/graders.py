"""The graders: mathematics, choices, exact text, code, and functions of one's own."""

from __future__ import annotations

import ast
import importlib
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from computewise.errors import ProblemError, UsageError
from computewise.grading.equivalence import AnswerEquivalence
from computewise.grading.extraction import after_hashes, boxed, fenced, final_answer, stated_formula, tagged
from computewise.grading.normalize import LONGEST, SHORT_ANSWER, ChoiceGrader, ExactGrader
from computewise.grading.processes import isolation, run_program


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
    def warnings(self) -> tuple[str, ...]:
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


WITHOUT_MATHEMATICS = (
    "Answers are compared as normalised text, so equal ones that are written differently count as different: "
    "pip install 'computewise[math]'."
)


@dataclass(frozen=True)
class MathGrader:
    r"""Numbers, expressions, tuples, sets, intervals, matrices, equations and words, compared by `AnswerEquivalence`.

    Reads the last \boxed{}; without one, what is behind ``####``, in ``<answer>``, or a formula after "the answer is".
    """

    equal: AnswerEquivalence = field(default_factory=AnswerEquivalence)
    instruction: str = (
        "Solve the problem step by step. Keep each step short, leave a blank line between steps, and put the final "
        r"answer, in its simplest form and without units, inside \boxed{} on the last line."
    )

    @property
    def warnings(self) -> tuple[str, ...]:
        """What is missing where math-verify is not installed."""
        return () if self.equal.by_mathematics else (WITHOUT_MATHEMATICS,)

    def answer(self, solution: str) -> str | None:
        """The final answer as it is written; None where nothing but prose says it."""
        return boxed(solution) or after_hashes(solution) or tagged(solution) or stated_formula(solution)

    def key(self, answer: str) -> str:
        """A text that equal answers share."""
        return self.equal.key(answer)

    def correct(self, reference: str, answer: str) -> bool:
        """Whether they are equal; an answer that cannot be read in time is not."""
        return self.equal(reference, answer)

    def accepts(self, reference: str) -> bool:
        """Whether it can be boxed, is not endless, and its own key is found equal to it."""
        if boxed(rf"\boxed{{{reference}}}") != reference.strip() or len(reference) > LONGEST:
            return False
        return self.correct(reference, self.key(reference))


HALF = 0.5


@dataclass(frozen=True, slots=True)
class FunctionGrader:
    """Calls ``function(answer, reference)``: a bool, or a number in [0, 1] that is correct from a half on.

    Answers vote for the same where they are the same text but for white space at the ends. The function runs in this
    process, in any thread, for as long as it takes.
    """

    name: str
    function: Callable[[str, str], Any]
    instruction: str = SHORT_ANSWER
    warnings: tuple[str, ...] = ()

    def answer(self, solution: str) -> str | None:
        r"""What is in the last \boxed{}, behind ``####``, in ``<answer>`` or after "the answer is"."""
        return final_answer(solution)

    def key(self, answer: str) -> str:
        """The text itself."""
        return answer.strip()

    def correct(self, reference: str, answer: str) -> bool:
        """What the function says; raises `ProblemError` where it raises or says something else."""
        try:
            said = self.function(answer, reference)
        except Exception as error:
            raise ProblemError(f"the grader {self.name} failed: {_reason(error)}") from error
        if not isinstance(said, (bool, int, float)) or not 0 <= said <= 1:
            raise ProblemError(
                f"the grader {self.name} returned {said!r:.60}: allowed are a bool, or a number in [0, 1]"
            )
        return said >= HALF

    def accepts(self, reference: str) -> bool:
        """Whether the function finds the reference correct."""
        return bool(reference.strip()) and self.correct(reference, reference)


def load_function(name: str) -> FunctionGrader:
    """The grader of that name; modules are looked for in the current directory too. Raises `UsageError`."""
    module_name, _, function_name = name.partition(":")
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    try:
        module = importlib.import_module(module_name)
    except Exception as error:
        raise UsageError(f"the grader {name} cannot be imported: {_reason(error)}") from error
    function = getattr(module, function_name, None)
    if not callable(function):
        listed = ", ".join(key for key, value in vars(module).items() if callable(value) and not key.startswith("_"))
        raise UsageError(f"{module_name} has no function {function_name!r}: it has {listed or 'none'}")
    return FunctionGrader(name, function)


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:300]


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
    def warnings(self) -> tuple[str, ...]:
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


def find_grader(name: str, *, allow_code_execution: bool = False) -> Grader:
    """The grader `math`, `choice`, `exact`, `code` or `module:function`; raises `UsageError` for any other."""
    match name:
        case "math":
            return MathGrader()
        case "choice":
            return ChoiceGrader()
        case "exact":
            return ExactGrader()
        case "code":
            return allowed_code_grader(allow_code_execution)
        case _ if all(name.partition(":")):
            return load_function(name)
        case _:
            raise UsageError(f"unknown grader {name!r}: allowed are math, choice, exact, code or module:function")
