"""A family of problems whose truth is known in closed form: a solution is right where every one of its steps is.

    problem 41734 of 3 steps

    right
    wrong
    right 41736

The last line carries the answer. It is the problem's number where all steps are right; one of the numbers behind it
where any is wrong, however right the last line claims to be: an error is carried on.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass

from computewise.core import Problem
from computewise.errors import ProblemError, UsageError
from computewise.tasks.split import SPLITS, split_of

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
