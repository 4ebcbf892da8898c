"""A grader that is somebody's Python function, named as `module:function`."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from computewise.errors import ProblemError, UsageError
from computewise.grading.extraction import final_answer
from computewise.grading.text import SHORT_ANSWER

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
    findings: tuple[str, ...] = ()

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
