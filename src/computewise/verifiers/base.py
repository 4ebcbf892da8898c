"""What verifiers are made of: Python functions, specification, step-by-step reading, self-check; log-probabilities."""

from __future__ import annotations

import asyncio
import inspect
import math
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from numbers import Real
from typing import Any, Protocol

from computewise.core import Candidate, Problem, Step, Usage, Verifier
from computewise.errors import ModelError, UsageError
from computewise.registry import Registry, as_instance, is_reference, reason, takes
from computewise.samples import mean_probabilities
from computewise.selection import aggregate, check_aggregation
from computewise.session import gather
from computewise.verifiers.templates import Pair, ScoredSteps, read_solution

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


SERVERS = ("auto", "vllm", "vllm-scoring", "sglang", "llama", "openai")


LOGPROB = "logprob"


MODEL_FREE = ("none", LOGPROB)


ADDED_VERIFIERS: Registry[Verifier] = Registry("verifiers", {}, as_verifier)


def is_added(name: str) -> bool:
    """Whether the name is a registered verifier's, or ``module:object``."""
    return name in ADDED_VERIFIERS or is_reference(name)


@dataclass(frozen=True, slots=True)
class VerifierSpec:
    """A verifier by its template and its place: a served model, or one in a directory.

    `template` is "none" (a majority vote), "logprob" (the generator's own probability), the name of a known template or
    a path to a .toml file. `model` is its name on the server, the template's name if None. `path` is a directory in the
    form of the Hugging Face hub. `aggregation` and `samples` are the template's if None. FLOPs are counted from
    `parameters`, None where nobody knows them; for a model in this process, 0 means that they are counted. The
    specification holds no API key.
    """

    template: str
    model: str | None = None
    base_url: str | None = None
    path: str | None = None
    server: str = "auto"
    aggregation: str | None = None
    parameters: int | None = 0
    samples: int | None = None
    device: str = "auto"
    dtype: str = "auto"

    def __post_init__(self) -> None:
        if self.server not in SERVERS:
            raise UsageError(f"unknown server {self.server!r}: allowed are {', '.join(SERVERS)}")
        if self.aggregation is not None:
            check_aggregation(self.aggregation)
        if self.parameters is not None and self.parameters < 0:
            raise UsageError(f"parameters = {self.parameters} is not allowed: at least 0")
        if self.samples is not None and self.samples < 1:
            raise UsageError(f"samples = {self.samples} is not allowed: at least 1")
        if is_added(self.template):
            if self.base_url is not None or self.path is not None:
                raise UsageError(f"the verifier {self.template} is Python: it takes no base_url and no path")
        elif self.template not in MODEL_FREE and (self.base_url is None) == (self.path is None):
            raise UsageError(f"the verifier {self.template} needs a base_url or a path, and not both")

    def to_dict(self) -> dict[str, Any]:
        """The keyword arguments that build it again."""
        return asdict(self)


UNREAD = 0.5


"""The score of blank steps at the beginning, where there is nothing to read yet."""


_ROUNDING = 1e-4


"""How far a probability in half precision may lie outside [0, 1]."""


class Reader(Protocol):
    """A model that scores steps."""

    async def read(self, question: str, solutions: Sequence[ScoredSteps]) -> tuple[list[tuple[float, ...]], Usage]:
        """The scores of each solution's new steps, and the usage; every solution has at least one new step."""
        ...


class StepVerifier:
    """Scores the steps that have no score yet; a blank step has the score of the one before it."""

    def __init__(self, reader: Reader, *, name: str, parameters: int | None, aggregation: str) -> None:
        check_aggregation(aggregation)
        self.name = name
        self.parameters = parameters
        self.aggregation = aggregation
        self._reader = reader

    async def score(self, problem: Problem, candidates: Sequence[Candidate]) -> tuple[list[tuple[float, ...]], Usage]:
        """See `computewise.core.Verifier.score`; each candidate with new steps is read, and charged, once."""
        solutions = [read_solution(candidate) for candidate in candidates]
        unread = [solution for solution in solutions if solution.new]
        read, usage = await self._reader.read(problem.prompt, unread) if unread else ([], Usage())
        if len(read) != len(unread):
            raise ModelError(f"{self.name} read {len(read)} solutions of {len(unread)}")
        found = iter(read)
        new = [next(found) if solution.new else () for solution in solutions]
        return [self._scores(c, s, scores) for c, s, scores in zip(candidates, solutions, new, strict=True)], usage

    def value(self, scores: Sequence[float]) -> float:
        """The aggregate of the scores; 0 without a score."""
        return aggregate(scores, self.aggregation)

    def _scores(self, candidate: Candidate, solution: ScoredSteps, new: Sequence[float]) -> tuple[float, ...]:
        """One score for each step of the candidate, blank steps included."""
        if len(new) != solution.new:
            raise ModelError(f"{self.name} gave {len(new)} scores for {solution.new} steps")
        fresh, scores = iter(new), list(candidate.scores[: len(candidate.steps)])
        for step in candidate.steps[len(scores) :]:
            scores.append(self._checked(next(fresh)) if step.text.strip() else (scores[-1] if scores else UNREAD))
        return tuple(scores)

    def _checked(self, score: float) -> float:
        if not -_ROUNDING <= score <= 1 + _ROUNDING:  # also refuses NaN
            raise ModelError(f"{self.name} scored a step {score}: a score must be in [0, 1]")
        return min(max(score, 0.0), 1.0)


SUM = Pair(
    question="A box holds 12 pencils. How many pencils are in 7 boxes and 5 loose pencils together?",
    right=("7 boxes hold 7 * 12 = 84 pencils.", "With the 5 loose ones that is 84 + 5 = 89. The answer is 89."),
    wrong=("7 boxes hold 7 * 12 = 36 pencils.", "With the 5 loose ones that is 36 + 5 = 53. The answer is 53."),
)


"""A problem so simple that every working verifier of reasoning ranks the two solutions."""


CONSTANT = 1e-4


"""Values that differ by less than this count as equal."""


async def self_check(verifier: Verifier, pair: Pair = SUM) -> None:
    """Raise `UsageError` for a verifier that is constant, gives no numbers or ranks a wrong solution above a right one.

    A wrong template still gives plausible scores: one that reads the wrong place gives 0.50003 for everything.
    """
    problem = Problem("self-check", pair.question)
    candidates = [_solution("right", pair.right), _solution("wrong", pair.wrong)]
    (right, wrong), _ = await verifier.score(problem, candidates)
    seen = f"{verifier.name} scores a right solution {_shown(right)} and a wrong one {_shown(wrong)}"
    if (len(right), len(wrong)) != (len(pair.right), len(pair.wrong)):
        raise UsageError(
            f"{seen}, for {len(pair.right)} and {len(pair.wrong)} steps: it probably splits steps at other places"
        )
    if not all(math.isfinite(score) and 0 <= score <= 1 for score in (*right, *wrong)):
        raise UsageError(
            f"{seen}: a score must be in [0, 1]; the weights are probably damaged, or the data type overflows"
        )
    better, worse = verifier.value(right), verifier.value(wrong)
    if abs(better - worse) < CONSTANT:
        raise UsageError(f"{seen}, which are equal: the marker is probably wrong, so that no step is read")
    if better < worse:
        raise UsageError(f"{seen}, in the wrong order: the good and the bad label are probably swapped")


def _solution(name: str, steps: Sequence[str]) -> Candidate:
    return Candidate(name, None, tuple(Step(f"{step}\n\n", 1, 0.0) for step in steps), end="stop")


def _shown(scores: Sequence[float]) -> str:
    return "(" + ", ".join(f"{score:.4f}" for score in scores) + ")"


class LogprobVerifier:
    """Scores a step by the geometric mean of the token probabilities up to its end.

    Self-certainty (Kang et al. 2025) is another measure: the mean divergence between the uniform distribution and that
    of each next token. It needs the log-probabilities of the whole vocabulary; a `Step` holds only those of the sampled
    tokens.
    """

    name = "logprob"
    parameters = 0

    async def score(self, problem: Problem, candidates: Sequence[Candidate]) -> tuple[list[tuple[float, ...]], Usage]:
        """See `computewise.core.Verifier.score`.

        A step counts 0 where the server gives no log-probability up to its end, but does for other candidates;
        `ModelError` where it gives none at all.
        """
        found = [mean_probabilities(candidate) for candidate in candidates]
        unknown = all(math.isnan(score) for scores in found for score in scores)
        if unknown and any(candidate.text.strip() for candidate in candidates):
            raise ModelError("the server gave no log-probability that can be: name another verifier than logprob")
        return [tuple(0.0 if math.isnan(score) else score for score in scores) for scores in found], Usage()

    def value(self, scores: Sequence[float]) -> float:
        """The last step's score; 0 without one."""
        return scores[-1] if scores else 0.0
