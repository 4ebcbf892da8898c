"""Models that misbehave in one way each, and the means to look over a model's shoulder."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from computewise.core import Attempt, Candidate, Completion, Model, Problem, Result, Step, Usage
from computewise.errors import ModelError
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


@dataclass(frozen=True, slots=True)
class Call:
    """One request to a model and what came of it."""

    prompt: str
    prefix: str
    n: int
    stop: str | None
    max_tokens: int
    temperature: float
    seeds: Sequence[int]
    completions: Sequence[Completion]
    attempts: Sequence[Attempt] = ()


@dataclass(slots=True)
class Recording:
    """Passes on to `model`, and remembers every call and how many rows were ever asked for at once."""

    model: Model = field(default_factory=SimulatedModel)
    calls: list[Call] = field(default_factory=list)
    peak: int = 0
    name: str = "simulated"
    parameters: int = 0
    revises: bool = True
    revises_steps: bool = True
    steps: bool = True
    _rows: int = 0

    async def sample(self, prompt: str, prefix: str, n: int, **settings: Any) -> list[Completion]:
        self._rows += n
        self.peak = max(self.peak, self._rows)
        await asyncio.sleep(0)
        completions = await self.model.sample(prompt, prefix, n, **settings)
        self._rows -= n
        self.calls.append(Call(prompt, prefix, n, completions=completions, **settings))
        return completions


@dataclass(slots=True)
class Jittery:
    """Answers late, by a random number of turns of the event loop, so that requests overtake one another."""

    model: Model = field(default_factory=SimulatedModel)
    rng: random.Random = field(default_factory=lambda: random.Random(0))
    name: str = "simulated"
    parameters: int = 0
    revises: bool = True
    revises_steps: bool = True
    steps: bool = True

    async def sample(self, prompt: str, prefix: str, n: int, **settings: Any) -> list[Completion]:
        for _ in range(self.rng.randrange(8)):
            await asyncio.sleep(0)
        return await self.model.sample(prompt, prefix, n, **settings)


@dataclass(slots=True)
class Hanging:
    """Never answers a call that goes on from a prefix; `asked` is set once one is made."""

    model: Model = field(default_factory=SimulatedModel)
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    name: str = "hanging"
    parameters: int = 0
    revises: bool = True
    revises_steps: bool = True
    steps: bool = True

    async def sample(self, prompt: str, prefix: str, n: int, **settings: object) -> list[Completion]:
        self.asked.set()
        await asyncio.Event().wait()
        raise AssertionError("nobody sets that event")


@dataclass(slots=True)
class Failing:
    """Fails on one problem, at the `at`-th call for it."""

    prompt: str
    at: int = 1
    model: Model = field(default_factory=SimulatedModel)
    name: str = "simulated"
    parameters: int = 0
    revises: bool = True
    revises_steps: bool = True
    steps: bool = True
    _calls: int = 0

    async def sample(self, prompt: str, prefix: str, n: int, **settings: Any) -> list[Completion]:
        if prompt == self.prompt:
            self._calls += 1
            if self._calls == self.at:
                raise ModelError("the model is out of order")
        await asyncio.sleep(0)
        return await self.model.sample(prompt, prefix, n, **settings)


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
