"""Verifiers that are Python functions of the problem and the steps of a solution."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any

from computewise.core import Candidate, Problem, Usage, Verifier
from computewise.errors import ModelError, UsageError
from computewise.registry import as_instance, reason, takes
from computewise.session import gather

Scores = float | Sequence[float]
VerifierFunction = Callable[[str, Sequence[str]], Scores | Awaitable[Scores]]
"""A function, plain or async, of the problem and the texts of the steps."""

_PROTOCOL = ("name", "parameters", "score", "value")


@dataclass(frozen=True, slots=True)
class FunctionVerifier:
    """A verifier of ``function(problem, steps)``: a number for the whole solution, or one number for each step.

    Scores are in [0, 1]. Steps that have a score are scored again only where the function gives one number for each. A
    plain function runs in a thread, solution by solution; of several problems it may run at the same time.
    """

    name: str
    function: VerifierFunction
    parameters: int = 0

    async def score(self, problem: Problem, candidates: Sequence[Candidate]) -> tuple[list[tuple[float, ...]], Usage]:
        """See `computewise.core.Verifier.score`; the function's errors are raised as `ModelError`."""
        if inspect.iscoroutinefunction(self.function):
            return list(await gather(self._scores(problem, candidate) for candidate in candidates)), Usage()
        return [await self._scores(problem, candidate) for candidate in candidates], Usage()

    def value(self, scores: Sequence[float]) -> float:
        """The score of the last step; 0 without one."""
        return scores[-1] if scores else 0.0

    async def _scores(self, problem: Problem, candidate: Candidate) -> tuple[float, ...]:
        steps = [step.text for step in candidate.steps]
        try:
            found = await self._called(problem.prompt, steps)
        except Exception as error:
            raise ModelError(f"the verifier {self.name} failed: {reason(error)}") from error
        scores: tuple[float, ...] = ()
        if isinstance(found, Real):
            scores = (*candidate.scores, *[float(found)] * (len(steps) - len(candidate.scores)))
        elif isinstance(found, Iterable) and all(isinstance(score, Real) for score in found):
            scores = tuple(float(score) for score in found)
        if len(scores) != len(steps) or not all(0 <= score <= 1 for score in scores):
            raise ModelError(
                f"the verifier {self.name} returned {found!r:.60} for {len(steps)} steps: allowed are a number in "
                "[0, 1], or one for each step"
            )
        return scores

    async def _called(self, prompt: str, steps: Sequence[str]) -> Any:
        function = self.function
        if not inspect.iscoroutinefunction(function):
            found = await asyncio.to_thread(_call, function, prompt, steps)
        else:
            found = function(prompt, steps)
        # Also of a plain function that returns a coroutine, such as a partial of an async one.
        found = await found if inspect.isawaitable(found) else found
        return found.tolist() if hasattr(found, "tolist") else found  # an array is no sequence of Python's numbers


def _call(function: VerifierFunction, prompt: str, steps: Sequence[str]) -> Any:
    try:
        return function(prompt, steps)
    except StopIteration as error:
        raise RuntimeError("StopIteration") from error  # which no thread can hand over to a coroutine


def verifier(function: VerifierFunction) -> FunctionVerifier:
    """Decorator: a verifier of a function, plain or async, of the problem and the texts of a solution's steps."""
    name = str(getattr(function, "__name__", type(function).__name__))
    if inspect.isclass(function) or not takes(function, 2):
        raise UsageError(f"{name} is no function of two arguments: a verifier takes the problem and the steps")
    return FunctionVerifier(name, function)


def as_verifier(name: str, found: Any) -> Verifier:
    """The verifier that an object is, or that a class or a function without arguments makes, or that calls a function.

    Raises `UsageError` for anything else; `name` is what the object is called there.
    """
    makes = inspect.isfunction(found) and not inspect.iscoroutinefunction(found) and takes(found, 0)
    if inspect.isclass(found) or makes:
        found = as_instance(name, found)
    lacking = [part for part in _PROTOCOL if not hasattr(found, part)]
    if not lacking:
        made: Verifier = found
        return made
    if takes(found, 2):
        return verifier(found)
    known = "" if len(lacking) == len(_PROTOCOL) else f", it has no {', '.join(lacking)}"
    raise UsageError(
        f"{name} is not a verifier{known}: a verifier is a function of the problem and the steps, or an object with "
        f"{', '.join(_PROTOCOL)}"
    )


def may_be_verifier(found: Any) -> bool:
    """Whether a module's object can be named as a verifier, as far as it shows."""
    return all(hasattr(found, part) for part in ("score", "value")) or (not inspect.isclass(found) and takes(found, 2))
