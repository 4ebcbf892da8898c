"""The labelled questions a training starts from: sampled by worker processes, in chunks that a kill cannot lose."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path

from computewise.models.embedded import EmbeddedModel
from computewise.models.loop import EngineLoop
from computewise.models.threads import one_thread
from computewise.seeds import derive_seed
from computewise.tasks.embedded import TASKS
from computewise.training.corpus import STORY_SHARE
from computewise.training.rollouts import LabelledQuestion, LabelledSolution, label_questions

_CHUNK = 50


@dataclass(frozen=True, slots=True)
class Labelling:
    """How many training questions of `small` are sampled, and how they are labelled.

    The first `questions` get `rollouts` from every step of each of their `solutions`, `outcome_questions` more are
    labelled by their answers alone.
    """

    questions: int
    outcome_questions: int
    solutions: int
    rollouts: int
    seed: int
    temperature: float = 1.0


def label_chunk(job: tuple[str, int, Labelling]) -> list[LabelledQuestion]:
    """Worker: label questions `first`.. of one chunk; a function of its arguments alone."""
    weights, first, labelling = job
    with one_thread():
        model = EmbeddedModel("small", EngineLoop(), path=Path(weights))
        seed = derive_seed(labelling.seed, first)
        stories = round(_CHUNK * STORY_SHARE)
        labelled: list[LabelledQuestion] = []
        for name, count in (("expressions", _CHUNK - stories), ("stories", stories)):
            task = TASKS[name]
            labelled += asyncio.run(
                label_questions(
                    task,
                    task.problems("train", count, seed),
                    model,
                    solutions=labelling.solutions,
                    rollouts=labelling.rollouts if first < labelling.questions else 0,
                    seed=seed,
                    temperature=labelling.temperature,
                )
            )
    return labelled


def label_all(labelling: Labelling, weights: Path, directory: Path, workers: int) -> list[LabelledQuestion]:
    """All questions that were answered at all; chunks already in `directory` are not computed again."""
    path = directory / "labels.jsonl"
    firsts = range(0, labelling.questions + labelling.outcome_questions, _CHUNK)
    done = _read_labels(path)
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool, path.open("a") as file:
        missing = [(str(weights), first, labelling) for first in firsts if first not in done]
        for (_, first, _), labelled in zip(missing, pool.map(label_chunk, missing), strict=True):
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
                    LabelledSolution(tuple(s["steps"]), tuple(s["labels"]), s["logprob"], s["count"])
                    for s in q["solutions"]
                ),
            )
            for q in record["questions"]
        ]
    return done


def hold_out(questions: Sequence[LabelledQuestion]) -> tuple[list[LabelledQuestion], list[LabelledQuestion]]:
    """Nine tenths to train on, every tenth question held out."""
    return [q for i, q in enumerate(questions) if i % 10], [q for i, q in enumerate(questions) if i % 10 == 0]
