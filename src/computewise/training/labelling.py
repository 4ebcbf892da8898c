"""The labelled questions for a training, sampled by worker processes in chunks that survive a kill."""

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

from computewise.core import Problem
from computewise.models.embedded.engine import EngineLoop, one_thread
from computewise.models.embedded.model import EmbeddedModel
from computewise.session import derive_seed
from computewise.tasks.arithmetic import TASKS, EmbeddedTask
from computewise.training.corpus import STORY_SHARE
from computewise.training.rollouts import LabelledQuestion, LabelledSolution, label_questions

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
