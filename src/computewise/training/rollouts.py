"""Labels for the process reward model without human labels: how often `small`, continuing from a step, ends right.

Snell et al. 2024, appendix D, after Wang et al. 2023 (Math-Shepherd): 16 solutions a question, Monte Carlo rollouts
from every step, soft labels. Equal prefixes are labelled once, and a whole solution's last step needs no rollout.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from computewise.core import Candidate, Problem
from computewise.models.embedded.model import EmbeddedModel
from computewise.session import Session, derive_seed
from computewise.tasks.arithmetic import EmbeddedTask


@dataclass(frozen=True, slots=True)
class LabelledSolution:
    """A solution with a soft label for each step; None where there was no rollout."""

    steps: tuple[str, ...]
    labels: tuple[float | None, ...]
    logprob: float
    """The generator's mean log-probability a token."""
    count: int
    """How many of the question's samples were this text."""
    history: tuple[str, ...] = ()
    """The attempts that were shown to the model, oldest first."""


@dataclass(frozen=True, slots=True)
class LabelledQuestion:
    """The distinct answered solutions of one question."""

    prompt: str
    solutions: tuple[LabelledSolution, ...]


async def label_questions(
    task: EmbeddedTask,
    problems: list[Problem],
    model: EmbeddedModel,
    *,
    solutions: int,
    rollouts: int,
    seed: int,
    temperature: float = 1.0,
) -> list[LabelledQuestion]:
    """Sample and label `problems`, all at once; `rollouts` = 0 labels only the last step, by the answer."""
    labelled = (
        _label_question(
            task,
            problem,
            Session(problem, model, None, task.delimiter, seed=seed, temperature=temperature),
            model,
            solutions,
            rollouts,
            seed,
        )
        for problem in problems
    )
    return list(await asyncio.gather(*labelled))


async def _label_question(
    task: EmbeddedTask,
    problem: Problem,
    session: Session,
    model: EmbeddedModel,
    solutions: int,
    rollouts: int,
    seed: int,
) -> LabelledQuestion:
    distinct: dict[str, list[Candidate]] = {}
    for candidate in await session.sample(solutions):
        if candidate.end == "stop" and task.answer(candidate.text) is not None:
            distinct.setdefault(candidate.text, []).append(candidate)
    prefixes = {
        "".join(step.text for step in same[0].steps[:end])
        for same in distinct.values()
        for end in range(1, len(same[0].steps))
    }
    values: dict[str, float | None] = dict.fromkeys(prefixes)
    if rollouts:
        ordered = sorted(prefixes)
        values = dict(
            zip(
                ordered,
                await asyncio.gather(*(_reward_to_go(task, problem, model, p, rollouts, seed) for p in ordered)),
                strict=True,
            )
        )
    found = []
    for text, same in distinct.items():
        steps = tuple(step.text for step in same[0].steps)
        partial = tuple(values["".join(steps[:end])] for end in range(1, len(steps)))
        right = float(task.correct(problem, task.answer(text)))
        logprob = sum(s.logprob for s in same[0].steps) / sum(s.tokens for s in same[0].steps)
        found.append(LabelledSolution(steps, (*partial, right), logprob, len(same)))
    return LabelledQuestion(problem.prompt, tuple(found))


async def _reward_to_go(
    task: EmbeddedTask, problem: Problem, model: EmbeddedModel, prefix: str, rollouts: int, seed: int
) -> float:
    completions = await model.sample(
        problem.prompt,
        prefix,
        rollouts,
        stop=None,
        max_tokens=240,
        temperature=1.0,
        seeds=[derive_seed(seed, "rollout", problem.id, prefix, index) for index in range(rollouts)],
    )
    right = 0
    for completion in completions:
        text = prefix + "".join(step.text for step in completion.steps)
        right += completion.finish_reason == "stop" and task.correct(problem, task.answer(text))
    return right / rollouts
