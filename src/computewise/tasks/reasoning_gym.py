"""Problems that reasoning-gym generates and scores."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from computewise.core import Problem
from computewise.errors import UsageError
from computewise.grading.normalize import SHORT_ANSWER, final_answer
from computewise.tasks.dataset import FILE_SPLITS, split_of_prompt

PREFIX = "reasoning_gym:"
_SIZE = 1_000_000
_TRIES = 50
"""The most problems generated for each that is wanted: duplicates and those of another split are skipped."""


@dataclass(frozen=True, slots=True)
class GymTask:
    """One of reasoning-gym's datasets; an answer is correct where its `score_answer` returns 1.

    A problem's id is name/seed/index, from which any process can generate the problem again to grade an answer.
    """

    dataset: str
    delimiter: str
    instruction: str
    warnings: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The name in records."""
        return PREFIX + self.dataset

    def answer(self, solution: str) -> str | None:
        """The final answer as it is written, without white space at the ends."""
        return final_answer(solution)

    def correct(self, problem: Problem, answer: str | None) -> bool:
        """Whether reasoning-gym scores the answer with 1."""
        if answer is None:
            return False
        _, seed, index = problem.id.rsplit("/", 2)
        made = _dataset(self.dataset, int(seed))
        return bool(made.score_answer(answer, made[int(index)]) >= 1)

    def problems(self, split: str, count: int, seed: int) -> list[Problem]:
        """The first `count` distinct problems of a split; the prompt alone decides its split."""
        if split not in FILE_SPLITS:
            raise UsageError(f"unknown split {split!r}: allowed are {', '.join(FILE_SPLITS)}")
        made, found = _dataset(self.dataset, seed), dict[str, Problem]()
        for index in range(min(_SIZE, _TRIES * count)):
            if len(found) == count:
                break
            entry = made[index]
            prompt = entry["question"]
            if split in (split_of_prompt(prompt), "all"):
                name = f"{self.dataset}/{seed}/{index}"
                found.setdefault(prompt, Problem(name, prompt, _reference(entry)))
        if len(found) < count:
            raise UsageError(f"{self.name} has only {len(found)} distinct problems in {split}, not {count}")
        return list(found.values())


def _reference(entry: dict[str, Any]) -> str | None:
    answer = entry["answer"]
    return None if answer is None else str(answer)


@lru_cache(maxsize=16)
def _dataset(name: str, seed: int) -> Any:
    try:
        from reasoning_gym import create_dataset
        from reasoning_gym.factory import DATASETS
    except ImportError:
        raise UsageError("reasoning_gym tasks need reasoning-gym: pip install 'computewise[reasoning-gym]'") from None
    if name not in DATASETS:
        raise UsageError(f"reasoning-gym has no {name!r}: it has {', '.join(sorted(DATASETS))}")
    return create_dataset(name, size=_SIZE, seed=seed)


def gym_task(name: str, delimiter: str, instruction: str | None) -> GymTask:
    """The task of that dataset; raises `UsageError` if it does not exist or reasoning-gym is not installed."""
    _dataset(name, 0)
    return GymTask(name, delimiter, instruction or SHORT_ANSWER)
