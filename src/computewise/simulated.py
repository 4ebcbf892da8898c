"""A simulated model, verifier and task with closed-form truth, and models that misbehave in one way each."""

from __future__ import annotations

import asyncio
import math
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate
from typing import Any, ClassVar

from computewise.core import Attempt, Candidate, Completion, FinishReason, Model, Problem, Step, Usage
from computewise.errors import ModelError, ProblemError, UsageError
from computewise.session import derive_seed
from computewise.tasks.dataset import SPLITS, split_of


@dataclass(frozen=True, slots=True)
class SimulatedModel:
    """Gets every step right with probability `skill`, so pass@1 of a problem is `skill` ** its depth.

    A wrong solution ends in one of `wrong_answers` answers, equally likely: with 1 all errors agree, and a majority
    vote is lost wherever pass@1 is under a half. Characters are tokens; to end a solution takes none.

    In view of earlier attempts it is right with probability `hold` where the last one is right, with `mend` where it is
    wrong: along a chain, being right is a Markov chain of two states. Steps kept of an attempt raise the chance.
    """

    skill: float = 0.8
    wrong_answers: int = 4
    hold: float = 0.8
    mend: float = 0.3
    name: str = "simulated"
    parameters: int = 1_000
    revises: bool = True
    steps: bool = True

    @property
    def revises_steps(self) -> bool:
        """Whether it can be shown its attempts at all."""
        return self.revises

    async def sample(
        self,
        prompt: str,
        prefix: str,
        n: int,
        *,
        stop: str | None,
        max_tokens: int,
        temperature: float,
        seeds: Sequence[int],
        attempts: Sequence[Attempt] = (),
    ) -> list[Completion]:
        """See `computewise.core.Model.sample`; temperature 0 takes the likelier step every time."""
        if attempts and not self.revises:
            raise UsageError(f"{self.name} cannot be shown its attempts")
        if not self.steps and (prefix or stop):
            raise UsageError(f"{self.name} only samples whole solutions")
        depth = read_prompt(prompt)[1]
        done = prefix.count("\n")
        if done >= depth or not (prefix == "" or prefix.endswith("\n")):
            raise ModelError(f"{self.name} cannot go on behind {prefix[-20:]!r}: only behind a step before the last")
        ahead = 1 if stop else depth - done
        skill = self._skill(attempts, depth)
        ended: FinishReason = "stop" if done + ahead == depth else "step"
        read = len(prompt) + sum(len(attempt.text) for attempt in attempts) + len(prefix)
        completions = []
        for index, seed in enumerate(seeds):
            whole = self._steps(random.Random(seed), skill, prompt, prefix, ahead, greedy=temperature == 0)
            steps = _cut(whole, max_tokens)
            usage = Usage(
                samples=1,
                prompt_tokens=read,
                cached_prompt_tokens=read if index or (prefix and not attempts) else 0,
                completion_tokens=sum(step.tokens for step in steps),
            )
            completions.append(Completion(steps, ended if steps == whole else "length", usage))
        return completions

    def _skill(self, attempts: Sequence[Attempt], depth: int) -> float:
        """The chance that a step is right: over all steps, that of the whole solution."""
        if not attempts:
            return self.skill
        return float((self.hold if all_right(attempts[-1].text) else self.mend) ** (1 / depth))

    def _steps(
        self, rng: random.Random, skill: float, prompt: str, prefix: str, ahead: int, *, greedy: bool
    ) -> tuple[Step, ...]:
        """The next `ahead` steps; the last of a solution states its answer instead of going on."""
        number, depth = read_prompt(prompt)
        flawless = all_right(prefix)
        steps = []
        for position in range(prefix.count("\n") + 1, prefix.count("\n") + ahead + 1):
            right = skill >= 0.5 if greedy else rng.random() < skill
            flawless = flawless and right
            error = 1 if greedy else rng.randint(1, self.wrong_answers)
            text = RIGHT if right else WRONG
            text += "\n" if position < depth else f" {number if flawless else number + error}"
            steps.append(Step(text, len(text), math.log(skill if right else 1 - skill)))
        return tuple(steps)


def _cut(steps: tuple[Step, ...], room: int) -> tuple[Step, ...]:
    """What of `steps` fits `room` tokens, a part of a step included."""
    kept: list[Step] = []
    for step in steps:
        fits = min(step.tokens, room)
        if fits:
            kept.append(replace(step, text=step.text[:fits], tokens=fits))
        room -= fits
    return tuple(kept)


@dataclass(frozen=True, slots=True)
class SimulatedPRM:
    """Scores a step by the chance that a model of `skill`, going on from it, ends right: `skill` ** steps left, or 0.

    `noise` moves a score by up to that much either way, within [0, 1]. It is a function of the text, as a learned
    verifier's error is: asking again does not average it away, and a search can come to exploit it.
    """

    skill: float = 0.8
    noise: float = 0.0
    seed: int = 0
    name: str = "simulated_prm"
    parameters: int = 1_000
    holds_prompt: ClassVar[bool] = True

    async def score(self, problem: Problem, candidates: Sequence[Candidate]) -> tuple[list[tuple[float, ...]], Usage]:
        """See `computewise.core.Verifier.score`; the steps a candidate brings scores for are not read again."""
        usage = Usage()
        prompt_is_cached = False
        for candidate in candidates:
            known = "".join(step.text for step in candidate.steps[: len(candidate.scores)])
            read = len(problem.prompt) + len(candidate.text)
            cached = len(problem.prompt) + len(known) if known or prompt_is_cached else 0
            prompt_is_cached = prompt_is_cached or not known
            usage += Usage(verifier_tokens=read, cached_verifier_tokens=cached)
        return [self._scores(problem, candidate) for candidate in candidates], usage

    def value(self, scores: Sequence[float]) -> float:
        """The last step's score; 0 without one."""
        return scores[-1] if scores else 0.0

    def _scores(self, problem: Problem, candidate: Candidate) -> tuple[float, ...]:
        depth = read_prompt(problem.prompt)[1]
        texts = accumulate(step.text for step in candidate.steps)
        return tuple(
            self._blurred(self.skill ** (depth - done) if all_right(text) else 0.0, problem.id, text)
            for done, text in enumerate(texts, 1)
        )

    def _blurred(self, score: float, problem: str, text: str) -> float:
        error = random.Random(derive_seed(self.seed, problem, text)).uniform(-self.noise, self.noise)
        return min(max(score + error, 0.0), 1.0)


@dataclass(frozen=True, slots=True)
class UnequalModel:
    """Solutions of 2 to `longest` steps to one problem, each length equally likely; `skill` is pass@1 at every length.

    A step is right or wrong: the first with chance `skill`, later ones as the step before, but for a chance of `change`
    with which they are drawn anew. The last step gives the answer, right where it is right, or one of `wrong_answers`.
    Two continuations of one prefix need not be equally long. Characters are tokens; to end a solution takes none.
    """

    skill: float = 0.25
    longest: int = 20
    change: float = 0.1
    wrong_answers: int = 2
    name: str = "unequal"
    parameters: int = 1_000
    revises: bool = False
    revises_steps: bool = False
    steps: bool = True

    async def sample(
        self,
        prompt: str,
        prefix: str,
        n: int,
        *,
        stop: str | None,
        max_tokens: int,
        temperature: float,
        seeds: Sequence[int],
        attempts: Sequence[Attempt] = (),
    ) -> list[Completion]:
        """See `computewise.core.Model.sample`; it has no likeliest step, so every temperature is 1."""
        read = len(prompt) + len(prefix)
        completions = []
        for index, seed in enumerate(seeds):
            whole = self._steps(random.Random(seed), read_prompt(prompt)[0], prefix, one=bool(stop))
            steps = _cut(whole, max_tokens)
            ended: FinishReason = "step" if whole[-1].text.endswith("\n") else "stop"
            usage = Usage(1, read, read if index or prefix else 0, sum(step.tokens for step in steps))
            completions.append(Completion(steps, ended if steps == whole else "length", usage))
        return completions

    def chance(self, right: bool, done: int) -> float:
        """That a solution whose step number `done` is right, or wrong, and not the last, ends right."""
        left = self.longest - done
        same = sum((1 - self.change) ** more for more in range(1, left + 1)) / left
        return self.skill + (right - self.skill) * same

    def _steps(self, rng: random.Random, number: int, prefix: str, *, one: bool) -> tuple[Step, ...]:
        """The next step, or all that are left."""
        done, steps = prefix.count("\n"), list[Step]()
        right = last_right(prefix) if done else rng.random() < self.skill
        while not steps or (steps[-1].text.endswith("\n") and not one):
            done += 1
            if done > 1 and rng.random() < self.change:
                right = rng.random() < self.skill
            ends = done > 1 and rng.random() * (self.longest - done + 1) < 1
            text = (RIGHT if right else WRONG) + "\n"
            if ends:
                text = f"{text[:-1]} {number if right else number + rng.randint(1, self.wrong_answers)}"
            steps.append(Step(text, len(text), -1.0))
        return tuple(steps)


def last_right(text: str) -> bool:
    """Whether the last step of a solution is right."""
    return text.rstrip("\n").rsplit("\n", 1)[-1].startswith(RIGHT)


@dataclass(frozen=True, slots=True)
class UnequalPRM:
    """Scores each step of solutions by `model` once, with noise that every candidate draws for itself.

    Scores are Beta-distributed, all the closer to their mean the larger `precision`. The mean rises from `low` to
    `high` with the chance that the model, going on from the step, ends right: the score is an unbiased measure of it.
    With `drift`, below 1, the verifier grows surer along a solution, right or wrong: step t of `longest` brings the
    mean nearer to 1 by `drift` * t / `longest` of what is missing.
    """

    model: UnequalModel = UnequalModel()
    precision: float = 4.0
    low: float = 0.3
    high: float = 0.7
    drift: float = 0.0
    seed: int = 0
    name: str = "unequal_prm"
    parameters: int = 1_000

    async def score(self, problem: Problem, candidates: Sequence[Candidate]) -> tuple[list[tuple[float, ...]], Usage]:
        """See `computewise.core.Verifier.score`; scores that a candidate brings are left as they are."""
        read = sum(len(problem.prompt) + len(candidate.text) for candidate in candidates)
        return [self._scores(problem, candidate) for candidate in candidates], Usage(verifier_tokens=read)

    def value(self, scores: Sequence[float]) -> float:
        """The last step's score; 0 without one."""
        return scores[-1] if scores else 0.0

    def _scores(self, problem: Problem, candidate: Candidate) -> tuple[float, ...]:
        new = []
        for done, step in enumerate(candidate.steps[len(candidate.scores) :], len(candidate.scores) + 1):
            right = last_right(step.text)
            chance = self.model.chance(right, done) if step.text.endswith("\n") else float(right)
            mean = self.low + (self.high - self.low) * chance
            mean += self.drift * done / self.model.longest * (1 - mean)
            dice = random.Random(derive_seed(self.seed, problem.id, candidate.id, done))
            new.append(dice.betavariate(self.precision * mean, self.precision * (1 - mean)))
        return (*candidate.scores, *new)


RIGHT, WRONG = "right", "wrong"

_PROMPT = re.compile(r"problem ([0-9]{5}) of ([1-9][0-9]?) steps")

_LAST_LINE = re.compile(f"(?:{RIGHT}|{WRONG}) ([0-9]{{5}})")


@dataclass(frozen=True, slots=True)
class SimulatedTask:
    """Problems of 1 to `deepest` steps; the grader reads the answer on the last line."""

    deepest: int = 8
    name: str = "simulated"
    delimiter: str = "\n"

    def answer(self, solution: str) -> str | None:
        """The number on the last line; None where there is none."""
        match = _LAST_LINE.fullmatch(solution.rsplit("\n", 1)[-1])
        return match.group(1) if match else None

    def correct(self, problem: Problem, answer: str | None) -> bool:
        """Exact equality with the reference."""
        return answer is not None and answer == problem.answer

    def problems(self, split: str, count: int, seed: int) -> list[Problem]:
        """The first `count` distinct problems of a split in the order of `seed`; ids are the prompts."""
        if split not in SPLITS:
            raise UsageError(f"unknown split {split!r}: allowed are {', '.join(SPLITS)}")
        rng = random.Random(f"{self.name}/{split}/{seed}")
        found: dict[str, Problem] = {}
        while len(found) < count:
            problem = simulated_problem(rng.randint(10_000, 89_999), rng.randint(1, self.deepest))
            if split_of(problem.prompt) == split:
                found.setdefault(problem.id, problem)
        return list(found.values())


def simulated_problem(number: int, depth: int) -> Problem:
    """The problem of that number, whose solutions take `depth` steps."""
    prompt = f"problem {number} of {depth} steps"
    return Problem(id=prompt, prompt=prompt, answer=str(number))


def read_prompt(prompt: str) -> tuple[int, int]:
    """The number and the depth of a problem; raises `ProblemError` where the prompt is not of this family."""
    match = _PROMPT.fullmatch(prompt)
    if match is None:
        example = simulated_problem(41734, 3).prompt
        raise ProblemError(f"not a simulated problem: {prompt[:60]!r}, allowed are such as {example!r}")
    return int(match.group(1)), int(match.group(2))


def all_right(text: str) -> bool:
    """Whether no step of a solution is wrong so far."""
    return WRONG not in text


@dataclass(frozen=True, slots=True)
class Call:
    """One request to a model, and its completions."""

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
    """A model that passes every call to `model` and records it; `peak` is the most samples requested at once."""

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
        """See `computewise.core.Model.sample`."""
        self._rows += n
        self.peak = max(self.peak, self._rows)
        await asyncio.sleep(0)
        completions = await self.model.sample(prompt, prefix, n, **settings)
        self._rows -= n
        self.calls.append(Call(prompt, prefix, n, completions=completions, **settings))
        return completions


@dataclass(slots=True)
class Jittery:
    """A model that answers after a random number of turns of the event loop, so that requests overtake one another."""

    model: Model = field(default_factory=SimulatedModel)
    rng: random.Random = field(default_factory=lambda: random.Random(0))
    name: str = "simulated"
    parameters: int = 0
    revises: bool = True
    revises_steps: bool = True
    steps: bool = True

    async def sample(self, prompt: str, prefix: str, n: int, **settings: Any) -> list[Completion]:
        """See `computewise.core.Model.sample`."""
        for _ in range(self.rng.randrange(8)):
            await asyncio.sleep(0)
        return await self.model.sample(prompt, prefix, n, **settings)


@dataclass(slots=True)
class Hanging:
    """A model that never answers; `asked` is set once it is called."""

    model: Model = field(default_factory=SimulatedModel)
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    name: str = "hanging"
    parameters: int = 0
    revises: bool = True
    revises_steps: bool = True
    steps: bool = True

    async def sample(self, prompt: str, prefix: str, n: int, **settings: object) -> list[Completion]:
        """See `computewise.core.Model.sample`."""
        self.asked.set()
        await asyncio.Event().wait()
        raise AssertionError("nothing sets that event")


@dataclass(slots=True)
class Failing:
    """A model that fails on one problem, at the `at`-th call for it."""

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
        """See `computewise.core.Model.sample`."""
        if prompt == self.prompt:
            self._calls += 1
            if self._calls == self.at:
                raise ModelError("the model is out of order")
        await asyncio.sleep(0)
        return await self.model.sample(prompt, prefix, n, **settings)
