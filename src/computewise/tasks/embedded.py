"""The embedded tasks: `expressions` and `stories`, generated from a seed, graded exactly, split by content."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from dataclasses import dataclass

from computewise.core import Problem
from computewise.errors import UsageError
from computewise.tasks import expressions, stories
from computewise.tasks.split import SPLITS, split_of

LEAST_OPERATIONS = 2
"""A single operation leaves nothing to search; the models are trained on those too."""

_NUMBER = re.compile(r"-?[0-9]{1,40}")


def read_expression(text: str) -> Problem:
    """A user's expression as a problem, in the spelling the models know, with its true value as reference."""
    tree = expressions.parse(text)
    prompt = expressions.render(tree)
    return Problem(id=prompt, prompt=prompt, answer=str(expressions.evaluate(tree)))


def read_story(text: str) -> Problem:
    """A user's story as a problem, whose answer nobody knows."""
    prompt = " ".join(text.split())
    return Problem(id=prompt, prompt=prompt)


@dataclass(frozen=True, slots=True)
class EmbeddedTask:
    """A generated family whose solutions end in a line that is an integer."""

    name: str
    random_problem: Callable[[random.Random, int], tuple[str, list[str]]]
    read: Callable[[str], Problem]
    delimiter: str = "\n"
    instruction: str = ""
    """What a served model is told: the embedded ones, exported, know their task."""
    findings: tuple[str, ...] = ()

    def answer(self, solution: str) -> str | None:
        """The integer on the last line, without leading zeros; None where the last line is anything else."""
        line = solution.rstrip("\n").rsplit("\n", 1)[-1]
        return str(int(line)) if _NUMBER.fullmatch(line) else None

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
            prompt, lines = self.random_problem(rng, LEAST_OPERATIONS)
            if split_of(prompt) == split:
                found.setdefault(prompt, Problem(id=prompt, prompt=prompt, answer=lines[-1]))
        return list(found.values())


TASKS = {
    "expressions": EmbeddedTask("expressions", expressions.random_expression_problem, read_expression),
    "stories": EmbeddedTask("stories", stories.random_story, read_story),
}


def find_task(name: str) -> EmbeddedTask:
    """The task of that name."""
    try:
        return TASKS[name]
    except KeyError:
        raise UsageError(f"unknown task {name!r}: allowed are {', '.join(TASKS)}") from None
