"""A set of problems with a grader, and the split that a problem belongs to."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from computewise.core import Problem
from computewise.errors import UsageError
from computewise.grading.graders import Grader

Split = Literal["train", "validation", "test"]

SPLITS: tuple[Split, ...] = ("train", "validation", "test")


def split_of(text: str) -> Split:
    """The split a text belongs to: 5 % test, 5 % validation, the rest train."""
    bucket = int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest()) % 20
    return "test" if bucket == 0 else "validation" if bucket == 1 else "train"


FILE_SPLITS = ("test", "validation", "all")


@dataclass(frozen=True)
class DatasetTask:
    """Problems in memory; `warnings` says which rows were left out, and why."""

    name: str
    rows: tuple[Problem, ...]
    grader: Grader
    delimiter: str
    instruction: str
    warnings: tuple[str, ...] = ()

    def answer(self, solution: str) -> str | None:
        """The grader's key of the final answer, which equivalent answers share; None where there is no answer."""
        found = self.grader.answer(solution)
        return None if found is None else self.grader.key(found)

    def correct(self, problem: Problem, answer: str | None) -> bool:
        """Whether the grader finds `answer` correct; raises `ProblemError` where the grader fails."""
        return answer is not None and problem.answer is not None and self.grader.correct(problem.answer, answer)

    def problems(self, split: str, count: int, seed: int) -> list[Problem]:
        """The first `count` problems of a split in the order of `seed`.

        A fifth of the problems is `validation`, the rest is `test`. The prompt alone decides, so neither a seed nor the
        order of rows moves a problem to another split; `all` is both. Raises `UsageError` if there are too few.
        """
        if split not in FILE_SPLITS:
            raise UsageError(f"unknown split {split!r}: allowed are {', '.join(FILE_SPLITS)}")
        held = [row for row in self.rows if split in (split_of_prompt(row.prompt), "all")]
        if count > len(held):
            raise UsageError(f"{self.name} has {len(held)} problems in {split}, {len(self.rows)} in total, not {count}")
        return shuffled(held, seed)[:count]


def split_of_prompt(prompt: str) -> str:
    """`validation` for a fifth of all prompts, `test` for the others."""
    return "validation" if _hash(prompt) % 5 == 0 else "test"


def shuffled(problems: Sequence[Problem], seed: int) -> list[Problem]:
    """The problems in an order that depends only on `seed` and the prompts."""
    return sorted(problems, key=lambda problem: _hash(f"{seed}/{problem.prompt}"))


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=8).digest())
