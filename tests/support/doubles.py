"""Models that misbehave in one way each, and the means to look over a model's shoulder."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from computewise.core import Candidate, Completion, Model, Problem, Result, Step, Usage
from computewise.session import Limits, Strategy
from computewise.solver import solve
from computewise.testing import SimulatedModel, SimulatedPRM, SimulatedTask, simulated_problem

TASK = SimulatedTask()


def problem(depth: int = 5, number: int = 41734) -> Problem:
    return simulated_problem(number, depth)


async def solved(
    strategy: Strategy,
    *,
    model: Model | None = None,
    verifier: SimulatedPRM | None = None,
    of: Problem | None = None,
    budget: int | None = None,
    seed: int = 0,
    limits: Limits | None = None,
) -> Result:
    """`solve` with the simulated family wherever a test does not say otherwise."""
    return await solve(
        of or problem(),
        strategy,
        model or SimulatedModel(),
        verifier or SimulatedPRM(noise=0.2),
        TASK,
        budget=budget,
        seed=seed,
        limits=limits,
    )


@dataclass(frozen=True, slots=True)
class CountingTask(SimulatedTask):
    """Counts how often each solution's answer is extracted."""

    asked: Counter[str] = field(default_factory=Counter)

    def answer(self, solution: str) -> str | None:
        """See `SimulatedTask.answer`."""
        self.asked[solution] += 1
        return SimulatedTask.answer(self, solution)


Script = Callable[[str, int], Completion]


@dataclass(slots=True)
class Scripted:
    """Says what `script` says for (prefix, how many continuations of it were drawn before)."""

    script: Script
    name: str = "scripted"
    parameters: int = 0
    revises: bool = True
    revises_steps: bool = True
    steps: bool = True
    _drawn: dict[str, int] = field(default_factory=dict)

    async def sample(self, prompt: str, prefix: str, n: int, **settings: object) -> list[Completion]:
        first = self._drawn.get(prefix, 0)
        self._drawn[prefix] = first + n
        return [self.script(prefix, first + index) for index in range(n)]


def completion(text: str, reason: str) -> Completion:
    """One step that costs a token a character, and one for the end token where there is no text."""
    tokens = max(len(text), 1)
    return Completion((Step(text, tokens, -1.0),), reason, Usage(samples=1, completion_tokens=tokens))  # type: ignore[arg-type]


@dataclass(slots=True)
class ByText:
    """A verifier that scores the text up to a step by a function of it, and remembers what it was given."""

    score_of: Callable[[str], float]
    read: list[str] = field(default_factory=list)
    name: str = "by_text"
    parameters: int = 0

    async def score(self, problem: Problem, candidates: Sequence[Candidate]) -> tuple[list[tuple[float, ...]], Usage]:
        self.read += [candidate.text for candidate in candidates]
        texts = [["".join(s.text for s in c.steps[: i + 1]) for i in range(len(c.steps))] for c in candidates]
        return [tuple(map(self.score_of, steps)) for steps in texts], Usage()

    def value(self, scores: Sequence[float]) -> float:
        return scores[-1] if scores else 0.0
