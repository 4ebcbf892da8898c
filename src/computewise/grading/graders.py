"""The graders: mathematics, multiple choice, exact text, code, and user functions."""

from __future__ import annotations

import ast
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from computewise.errors import ProblemError, UsageError
from computewise.grading.equivalence import AnswerEquivalence
from computewise.grading.normalize import LONGEST, SHORT_ANSWER, ChoiceGrader, ExactGrader
from computewise.grading.processes import ask_worker, failure, isolation, run_program
from computewise.grading.reading import boxed, fenced, final_answer
from computewise.grading.worker import evaluation
from computewise.registry import Registry, import_object, is_reference, reason, takes


class Grader(Protocol):
    """Extracts the answers of solutions and compares them.

    An answer whose `key` equals the reference's key is correct; other answers may be correct too, since a comparison
    sees both sides. A key is itself an answer: `correct` accepts it in place of the answer. A failure on one problem is
    a `ProblemError`.
    """

    @property
    def instruction(self) -> str:
        """The instruction to a model, so that its answer can be extracted."""
        ...

    @property
    def warnings(self) -> tuple[str, ...]:
        """Notes for a person about the limits of this grader on this machine."""
        ...

    def answer(self, solution: str) -> str | None:
        """The final answer as it is written; None where there is none, which never counts as a vote."""
        ...

    def key(self, answer: str) -> str:
        """The answer in canonical form: equivalent answers have equal keys, so votes need no pairwise comparison."""
        ...

    def correct(self, reference: str, answer: str) -> bool:
        """Whether an answer, or its key, is right."""
        ...

    def accepts(self, reference: str) -> bool:
        """Whether a solution whose answer is the reference would be graded correct."""
        ...


WITHOUT_MATHEMATICS = (
    "Answers are compared as normalised text, so equal ones that are written differently count as different: "
    "pip install 'computewise[math]'."
)


@dataclass(frozen=True)
class MathGrader:
    """Numbers, expressions, tuples, sets, intervals, matrices, equations and words, compared by `AnswerEquivalence`."""

    equal: AnswerEquivalence = field(default_factory=AnswerEquivalence)
    instruction: str = (
        "Solve the problem step by step. Keep each step short, leave a blank line between steps, and put the final "
        r"answer, in its simplest form and without units, inside \boxed{} on the last line."
    )

    @property
    def warnings(self) -> tuple[str, ...]:
        """A note where math-verify is not installed."""
        return () if self.equal.by_mathematics else (WITHOUT_MATHEMATICS,)

    def answer(self, solution: str) -> str | None:
        """See `final_answer`."""
        return final_answer(solution)

    def key(self, answer: str) -> str:
        """A text that equal answers share."""
        return self.equal.key(answer)

    def correct(self, reference: str, answer: str) -> bool:
        """Whether they are equal; an answer that cannot be parsed in time is not."""
        return self.equal(reference, answer)

    def accepts(self, reference: str) -> bool:
        """Whether the reference can be put into a box, is not too long, and equals its own key."""
        if boxed(rf"\boxed{{{reference}}}") != reference.strip() or len(reference) > LONGEST:
            return False
        return self.correct(reference, self.key(reference))


HALF = 0.5


@dataclass(frozen=True, slots=True)
class FunctionGrader:
    """Calls ``function(answer, reference)``, which returns a bool or a number in [0, 1]; a half or more is correct.

    Answers are one vote where their texts are equal, apart from white space at the ends. The function runs in this
    process, in any thread, without a time limit; one that has a name is a `WorkerGrader`.
    """

    name: str
    function: Callable[[str, str], Any]
    instruction: str = SHORT_ANSWER
    warnings: tuple[str, ...] = ()

    def answer(self, solution: str) -> str | None:
        """See `final_answer`."""
        return final_answer(solution)

    def key(self, answer: str) -> str:
        """The text itself."""
        return answer.strip()

    def correct(self, reference: str, answer: str) -> bool:
        """The function's result; raises `ProblemError` where it raises or returns another type."""
        try:
            said = self.function(answer, reference)
        except Exception as error:
            raise ProblemError(f"the grader {self.name} failed: {reason(error)}") from error
        if not isinstance(said, (bool, int, float)) or not 0 <= said <= 1:
            raise ProblemError(
                f"the grader {self.name} returned {said!r:.60}: allowed are a bool, or a number in [0, 1]"
            )
        return said >= HALF

    def accepts(self, reference: str) -> bool:
        """Whether the function grades the reference itself correct."""
        return bool(reference.strip()) and self.correct(reference, reference)


GRADING_SECONDS = 20.0
"""What one call of a grader that is not ours may take."""


@dataclass(frozen=True, slots=True)
class WorkerGrader:
    """A grader that is not ours, by a name from which a worker process loads it again.

    What a model wrote reaches it in that process alone, which is killed after `GRADING_SECONDS`; its exceptions, and an
    end without a verdict, are the problem's, as `ProblemError`. Of a grader that is a function, `answers` finds the
    answers, in this process.
    """

    name: str
    instruction: str
    warnings: tuple[str, ...]
    answers: FunctionGrader | None = None

    def answer(self, solution: str) -> str | None:
        """The final answer that it finds."""
        if self.answers is not None:
            return self.answers.answer(solution)
        found = self._ask("answer", solution)
        if found is None or isinstance(found, str):
            return found
        raise self._no_verdict(found, "a text or None")

    def key(self, answer: str) -> str:
        """Its key of the answer."""
        found = answer.strip() if self.answers is not None else self._ask("key", answer)
        if isinstance(found, str):
            return found
        raise self._no_verdict(found, "a text")

    def correct(self, reference: str, answer: str) -> bool:
        """Whether it finds the answer right."""
        return self._judged("correct", reference, answer)

    def accepts(self, reference: str) -> bool:
        """Whether it accepts the reference."""
        return self._judged("accepts", reference)

    def _judged(self, method: str, *given: str) -> bool:
        found = self._ask(method, *given)
        if isinstance(found, bool):
            return found
        raise self._no_verdict(found, "a bool")

    def _ask(self, *question: str) -> object:
        try:
            return ask_worker((f"{__name__}:open_grader", self.name), question, GRADING_SECONDS)
        except ProblemError as error:
            begin = f"the grader {self.name} "
            raise ProblemError(begin + str(error).removeprefix(begin)) from None

    def _no_verdict(self, said: object, allowed: str) -> ProblemError:
        return ProblemError(f"the grader {self.name} returned {said!r:.60}: allowed is {allowed}")


def open_grader(name: str) -> Callable[..., object]:
    """The service of a grader, in a worker: a method's name and its arguments."""
    held = _grader_factory(name, _imported(name))()
    held = replace(held, name=name) if isinstance(held, FunctionGrader) else held

    def judge(method: str, *given: str) -> object:
        try:
            return getattr(held, method)(*given)
        except ProblemError as error:
            return {"error": str(error)}
        except Exception as error:  # noqa: BLE001 - the grader is not ours: what it raises is that problem's
            return failure(error)

    return judge


def _may_be_grader(found: Any) -> bool:
    """Whether a module's object can be named as a grader, as far as it shows."""
    return hasattr(found, "accepts") or (not isinstance(found, type) and takes(found, 2))


def load_function(name: str, *, allow_code_execution: bool = False) -> Grader:
    """The grader, or the grader around the function, that ``module:object`` names; raises `UsageError`."""
    return _apart(name, allow_code_execution)


def _imported(name: str) -> Any:
    return import_object(name, "grader", _may_be_grader) if is_reference(name) else GRADERS.imported(name)


def _apart(name: str, allowed: bool) -> WorkerGrader:
    """The grader of that name, which a worker process can load too, with its judgements made there."""
    held = permitted(name, _grader_factory(name, _imported(name))(), allowed=allowed)
    return WorkerGrader(
        name, held.instruction, tuple(held.warnings), held if isinstance(held, FunctionGrader) else None
    )


def permitted(name: str, held: Grader, *, allowed: bool) -> Grader:
    """The grader; raises `UsageError` where its source shows that it evaluates texts, which is not allowed."""
    judges = (held.function,) if isinstance(held, FunctionGrader) else (held.answer, held.key, held.correct)
    for judge in () if allowed else judges:
        if (how := evaluation(judge, type(held))) is not None:
            raise UsageError(
                f"the grader {name} may run what the model writes as Python ({how}), without a sandbox: "
                "allow_code_execution permits it"
            )
    return held


def _grader_factory(name: str, found: Any) -> Callable[[], Grader]:
    """From a grader's class, a grader, or a function of an answer and its reference."""
    if isinstance(found, type):
        return found
    if all(hasattr(found, method) for method in ("key", "answer", "accepts")):
        return lambda: found
    if not callable(found):
        raise UsageError(f"the grader {name} is neither a function nor a grader")
    return lambda: FunctionGrader(name, found)


SECONDS = 10.0

MAX_SOURCE_CHARACTERS = 100_000

"""The most characters of a program that is run."""


@dataclass(frozen=True, slots=True)
class CodeGrader:
    """Runs the solution's last fenced block, then the reference: Python code that raises where a test fails.

    It needs permission, because code that a model wrote is executed with the rights of the user. See `run_program` for
    the limits; they are not a sandbox.
    """

    seconds: float = SECONDS
    instruction: str = (
        "Think about the problem step by step and leave a blank line between steps. End with the complete program in "
        "one fenced block of Python code."
    )

    @property
    def warnings(self) -> tuple[str, ...]:
        """A note where the programs that it runs can reach the network."""
        cut = any("--net" in part for part in isolation())
        return () if cut else ("Programs that are graded can reach the network: unshare does not work here.",)

    def answer(self, solution: str) -> str | None:
        """The last fenced block; None where there is none, or it is too long."""
        program = fenced(solution)
        return program if program is not None and len(program) <= MAX_SOURCE_CHARACTERS else None

    def key(self, answer: str) -> str:
        """The program without comments and layout where it is Python, else its text."""
        return _normalised(answer) or answer.strip()

    def correct(self, reference: str, answer: str) -> bool:
        """Whether the tests pass."""
        return run_program(answer, reference, self.seconds)

    def accepts(self, reference: str) -> bool:
        """Whether the tests are valid Python; whether a program can pass them is not checked."""
        return bool(_normalised(reference))


def allowed_code_grader(allowed: bool) -> CodeGrader:
    """The grader, if running the code of models is allowed; else raises `UsageError`."""
    if not allowed:
        raise UsageError(
            "the grader code runs programs that the model writes, without a sandbox: allow_code_execution permits it"
        )
    return CodeGrader()


def _normalised(program: str) -> str | None:
    try:
        return ast.unparse(ast.parse(program))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


GRADERS: Registry[Callable[[], Grader]] = Registry(
    "graders",
    {"math": MathGrader, "choice": ChoiceGrader, "exact": ExactGrader, "code": CodeGrader},
    _grader_factory,
)


def find_grader(name: str, *, allow_code_execution: bool = False) -> Grader:
    """The grader of that name, built in, registered or ``module:object``; raises `UsageError` for any other."""
    if name == "code":
        return allowed_code_grader(allow_code_execution)
    if GRADERS.of_a_package(name) or is_reference(name):
        return _apart(name, allow_code_execution)
    if name in GRADERS.added:
        return permitted(name, GRADERS[name](), allowed=allow_code_execution)
    if name in GRADERS:
        return GRADERS[name]()
    raise UsageError(f"unknown grader {name!r}: allowed are {', '.join(GRADERS)} or module:function")


def grader(function: Callable[[str, str], Any]) -> FunctionGrader:
    """Decorator: a grader of ``function(answer, reference)``, a bool or a number in [0, 1]."""
    if isinstance(function, type) or not takes(function, 2):
        raise UsageError(
            f"{function!r:.80} is no function of two arguments: a grader takes an answer and its reference"
        )
    return FunctionGrader(function.__name__, function)
