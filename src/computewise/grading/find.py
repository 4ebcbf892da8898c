"""Graders by name."""

from __future__ import annotations

from computewise.errors import UsageError
from computewise.grading.code import allowed_code_grader
from computewise.grading.function import load_function
from computewise.grading.grader import Grader
from computewise.grading.mathematics import MathGrader
from computewise.grading.text import ChoiceGrader, ExactGrader


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
