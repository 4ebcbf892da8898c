"""Problems that reasoning-gym generates and scores.

Some of its scorers evaluate an answer as Python, by `eval` or by SymPy, which does. All scorers run in worker processes
that are killed, and those that evaluate only with permission.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from computewise.core import Problem
from computewise.errors import ProblemError, UsageError
from computewise.grading.normalize import SHORT_ANSWER
from computewise.grading.processes import ask_worker
from computewise.grading.reading import final_answer
from computewise.grading.worker import answer_in_child, evaluation
from computewise.registry import reason
from computewise.tasks.dataset import FILE_SPLITS, split_of_prompt

PREFIX = "reasoning_gym:"
_SIZE = 20_000
"""What a data set says its size is: some make that many problems at once, and one has no more."""
_TRIES = 50
"""The most problems generated for each that is wanted: duplicates and those of another split are skipped."""
SCORING_SECONDS = 10.0
"""What it may take to score one answer."""
_MAKING = 120.0
"""Seconds that making the problem may take beside it."""


@dataclass(frozen=True, slots=True)
class GymTask:
    """One of reasoning-gym's datasets; an answer is correct where its `score_answer` returns 1.

    A problem's id is name/seed/index, from which any process can generate the problem again to grade an answer.
    """

    dataset: str
    delimiter: str
    instruction: str
    allow_code_execution: bool = False
    """Whether a scorer that evaluates may."""
    warnings: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The name in records."""
        return PREFIX + self.dataset

    def answer(self, solution: str) -> str | None:
        """The final answer as it is written, without white space at the ends."""
        return final_answer(solution)

    def correct(self, problem: Problem, answer: str | None) -> bool:
        """Whether reasoning-gym scores the answer with 1, in a process that is killed after `SCORING_SECONDS`.

        Raises `ProblemError` where the scorer fails or does not end, or may not evaluate the answer as it would.
        """
        if answer is None:
            return False
        if not self.allow_code_execution and (how := evaluated_by(self.dataset)) is not None:
            raise ProblemError(_refusal(self.name, how))
        _, seed, index = problem.id.rsplit("/", 2)
        service = (f"{__name__}:open_scorer", self.dataset)
        try:
            score = ask_worker(service, (int(seed), int(index), answer, SCORING_SECONDS), SCORING_SECONDS + _MAKING)
        except ProblemError as error:
            raise ProblemError(f"the scorer of {self.name}, asked about {answer!r:.60}, {error}") from None
        return isinstance(score, float) and score >= 1

    def problems(self, split: str, count: int, seed: int) -> list[Problem]:
        """The first `count` distinct problems of a split; the prompt alone decides its split."""
        if split not in FILE_SPLITS:
            raise UsageError(f"unknown split {split!r}: allowed are {', '.join(FILE_SPLITS)}")
        made, found = made_dataset(self.dataset, seed), dict[str, Problem]()
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


def open_scorer(dataset: str) -> Callable[[int, int, str, float], object]:
    """The service that scores answers to a data set's problems, each of which is given by its seed and index.

    Problems are made in the worker itself, without a limit of time, and answers are scored in forks of it.
    """

    def score(seed: int, index: int, answer: str, seconds: float) -> object:
        made, entry = made_dataset(dataset, seed), _made_entry(dataset, seed, index)
        return answer_in_child(seconds, lambda: float(made.score_answer(answer, entry)))

    made_dataset(dataset, 0)
    return score


@lru_cache(maxsize=1024)
def _made_entry(dataset: str, seed: int, index: int) -> dict[str, Any]:
    return dict(made_dataset(dataset, seed)[index])


@lru_cache(maxsize=16)
def made_dataset(name: str, seed: int) -> Any:
    """The data set; raises `UsageError` where it does not exist, or reasoning-gym cannot make it."""
    create_dataset, _ = _gym(name)
    try:
        return create_dataset(name, size=_SIZE, seed=seed)
    except Exception as error:  # code that is not ours; one data set has no default settings
        raise UsageError(f"reasoning-gym cannot make its data set {name}: {reason(error)}") from error


def _gym(name: str) -> tuple[Any, Any]:
    """reasoning-gym's `create_dataset`, and the class of that data set."""
    try:
        from reasoning_gym import create_dataset
        from reasoning_gym.factory import DATASETS
    except ImportError:
        raise UsageError("reasoning_gym tasks need reasoning-gym: pip install 'computewise[reasoning-gym]'") from None
    if name not in DATASETS:
        raise UsageError(f"reasoning-gym has no {name!r}: it has {', '.join(sorted(DATASETS))}")
    return create_dataset, DATASETS[name][0]


def gym_task(
    name: str, delimiter: str, instruction: str | None, *, allow_code_execution: bool = False, strict: bool = False
) -> GymTask:
    """The task of that data set; raises `UsageError` if it does not exist or reasoning-gym is not installed.

    `strict` raises it also where no answer could be graded for want of `allow_code_execution`.
    """
    task = GymTask(name, delimiter, instruction or SHORT_ANSWER, allow_code_execution)
    if strict and not allow_code_execution and (how := evaluated_by(name)) is not None:
        raise UsageError(_refusal(task.name, how))
    made_dataset(name, 0)
    return task


def _refusal(name: str, how: str) -> str:
    return f"the scorer of {name} runs answers as Python ({how}), without a sandbox: --allow-code-execution permits it"


_HARMLESS = {"numpy", "zss", "magiccube"}
"""Packages that scorers use and that evaluate no text."""
_OWN_TEXT = {"bitwise_arithmetic", "number_sorting"}
"""Data sets whose scorers evaluate the problem, which reasoning-gym wrote, and never the answer."""


@lru_cache(maxsize=256)
def evaluated_by(name: str) -> str | None:
    """By what a data set's scorer may evaluate an answer; None where all that it reaches is known not to."""
    kind = _gym(name)[1]
    found = evaluation(kind.score_answer, kind, known=_HARMLESS)
    return None if name in _OWN_TEXT and found == "eval" else found
