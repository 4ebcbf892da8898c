"""Monte Carlo labels for reward models: rollouts from every step, and the labels they come to."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path

from computewise.core import Candidate, Problem
from computewise.models.embedded.engine import EngineLoop, one_thread
from computewise.models.embedded.model import EmbeddedModel
from computewise.session import Session, derive_seed
from computewise.tasks.arithmetic import TASKS, EmbeddedTask
from computewise.training.generator import STORY_SHARE


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


CHUNK = 50


@dataclass(frozen=True, slots=True)
class Labelling:
    """How many training questions `small` answers, and how its solutions are labelled.

    The first `questions` get `rollouts` from every step of each of their `solutions`; `outcome_questions` more are
    labelled by their answers only.
    """

    questions: int
    outcome_questions: int
    solutions: int
    rollouts: int
    seed: int
    temperature: float = 1.0


def _label_chunk(weights: Path, labelling: Labelling, first: int) -> list[LabelledQuestion]:
    with one_thread():
        model = EmbeddedModel("small", EngineLoop(), path=weights)
        seed = derive_seed(labelling.seed, first)
        labelled: list[LabelledQuestion] = []
        for task, problems in problems_of_chunk(seed):
            labelled += asyncio.run(
                label_questions(
                    task,
                    problems,
                    model,
                    solutions=labelling.solutions,
                    rollouts=labelling.rollouts if first < labelling.questions else 0,
                    seed=seed,
                    temperature=labelling.temperature,
                )
            )
    return labelled


def problems_of_chunk(seed: int) -> list[tuple[EmbeddedTask, list[Problem]]]:
    """`CHUNK` training problems, in the generators' proportion of the tasks."""
    stories = round(CHUNK * STORY_SHARE)
    counts = {"expressions": CHUNK - stories, "stories": stories}
    return [(TASKS[name], TASKS[name].problems("train", count, seed)) for name, count in counts.items()]


def label_all(labelling: Labelling, weights: Path, directory: Path, workers: int) -> list[LabelledQuestion]:
    """All questions with at least one answered solution; chunks already in `directory` are not computed again."""
    count = labelling.questions + labelling.outcome_questions
    return collect(partial(_label_chunk, weights, labelling), count, directory, workers)


def collect(
    chunk_from: Callable[[int], list[LabelledQuestion]], count: int, directory: Path, workers: int
) -> list[LabelledQuestion]:
    """Collect `count` questions by worker processes; `chunk_from` maps the index of a chunk's first question to it."""
    path = directory / "labels.jsonl"
    firsts = range(0, count, CHUNK)
    done = _read_labels(path)
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool, path.open("a") as file:
        missing = [first for first in firsts if first not in done]
        for first, labelled in zip(missing, pool.map(chunk_from, missing), strict=True):
            done[first] = labelled
            file.write(json.dumps({"first": first, "questions": [asdict(question) for question in labelled]}) + "\n")
            file.flush()
    return [question for first in firsts for question in done[first] if question.solutions]


def _read_labels(path: Path) -> dict[int, list[LabelledQuestion]]:
    done: dict[int, list[LabelledQuestion]] = {}
    if not path.exists():
        return done
    whole = path.read_bytes().rpartition(b"\n")[0]
    os.truncate(path, len(whole) + 1 if whole else 0)
    for line in whole.splitlines():
        record = json.loads(line)
        done[record["first"]] = [
            LabelledQuestion(
                q["prompt"],
                tuple(
                    LabelledSolution(
                        tuple(s["steps"]), tuple(s["labels"]), s["logprob"], s["count"], tuple(s["history"])
                    )
                    for s in q["solutions"]
                ),
            )
            for q in record["questions"]
        ]
    return done


def hold_out(questions: Sequence[LabelledQuestion]) -> tuple[list[LabelledQuestion], list[LabelledQuestion]]:
    """Nine tenths to train on, every tenth question held out."""
    return [q for i, q in enumerate(questions) if i % 10], [q for i, q in enumerate(questions) if i % 10 == 0]
