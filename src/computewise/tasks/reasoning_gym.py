"""Problems that reasoning-gym generates and scores.

Some of its scorers evaluate an answer as Python, by `eval` or by SymPy, which does. All scorers run in worker processes
that are killed, and those that evaluate only with permission.
"""

from __future__ import annotations

import ast
import inspect
import sys
import textwrap
from dataclasses import dataclass
from functools import lru_cache
from types import FunctionType, ModuleType
from typing import Any

from computewise.core import Problem
from computewise.errors import ProblemError, UsageError
from computewise.grading.normalize import SHORT_ANSWER, final_answer
from computewise.grading.processes import ask_scorer
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
        """Whether reasoning-gym scores the answer with 1, in a process of its own; not where that takes too long.

        Raises `ProblemError` where the scorer fails, and where it would evaluate the answer without permission.
        """
        if answer is None:
            return False
        if not self.allow_code_execution and (how := evaluation(self.dataset)) is not None:
            raise ProblemError(_refusal(self.name, how))
        _, seed, index = problem.id.rsplit("/", 2)
        try:
            score = ask_scorer(("call", f"{__name__}:score", self.dataset, int(seed), int(index), answer))
        except ProblemError as error:
            raise ProblemError(f"the scorer of {self.name} failed: {error}") from None
        return score is not None and score >= 1

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


def score(dataset: str, seed: int, index: int, answer: str) -> float:
    """In a worker: reasoning-gym's score of an answer."""
    made = made_dataset(dataset, seed)
    return float(made.score_answer(answer, made[index]))


@lru_cache(maxsize=16)
def made_dataset(name: str, seed: int) -> Any:
    """The data set, whose problems are made when they are asked for; raises `UsageError`."""
    create_dataset, _ = _gym(name)
    return create_dataset(name, size=_SIZE, seed=seed)


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
    made_dataset(name, 0)
    task = GymTask(name, delimiter, instruction or SHORT_ANSWER, allow_code_execution)
    if strict and not allow_code_execution and (how := evaluation(name)) is not None:
        raise UsageError(_refusal(task.name, how))
    return task


def _refusal(name: str, how: str) -> str:
    return f"the scorer of {name} runs answers as Python ({how}), without a sandbox: --allow-code-execution permits it"


_EVALUATES = {"eval", "exec", "compile", "__import__", "open", "getattr", "input"}
_HARMLESS = {"numpy", "zss", "magiccube"}
"""Packages that scorers use and that evaluate no text."""
_HARMFUL = {"os", "subprocess", "pickle", "importlib", "builtins", "shelve", "marshal", "ctypes", "code", "runpy"}


@lru_cache(maxsize=256)
def evaluation(name: str) -> str | None:
    """By what a data set's scorer may evaluate an answer; None where all that it reaches is known not to.

    The scorer's source is followed through reasoning-gym. What it uses beyond that and Python's own library counts as
    evaluating unless it is known, and so does a scorer without source.
    """
    kind = _gym(name)[1]
    waiting, seen = [inspect.unwrap(kind.score_answer)], set[Any]()
    while waiting:
        function = waiting.pop()
        if function in seen:
            continue
        seen.add(function)
        try:
            tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
        except (OSError, TypeError, SyntaxError):
            return "its source cannot be read"
        for node in ast.walk(tree):
            found = _reached(node, kind, function.__globals__)
            if isinstance(found, str):
                return found
            if found is not None:
                waiting.append(inspect.unwrap(found))
    return None


def _reached(node: ast.AST, kind: type, names: dict[str, Any]) -> FunctionType | str | None:
    """A function that a node of a scorer reaches, or the name of what may evaluate."""
    if isinstance(node, (ast.Import, ast.ImportFrom)):
        return ast.unparse(node)
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in ("self", "cls"):
        found = inspect.getattr_static(kind, node.attr, None)
        found = found.__func__ if isinstance(found, (staticmethod, classmethod)) else found
        return found if isinstance(found, FunctionType) else None
    if not isinstance(node, ast.Name):
        return None
    if node.id not in names:
        return node.id if node.id in _EVALUATES else None
    found = names[node.id]
    module = found.__name__ if isinstance(found, ModuleType) else getattr(found, "__module__", None)
    package = module.partition(".")[0] if isinstance(module, str) else "builtins"
    if package == "reasoning_gym":
        return found if isinstance(found, FunctionType) else None
    if package in _HARMFUL - {"builtins"} or package not in {*sys.stdlib_module_names, *_HARMLESS, "builtins"}:
        return f"{node.id} of {package}"
    return None
