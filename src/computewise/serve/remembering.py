"""A task that reads every solution once: comparing answers as mathematics may take long."""

from __future__ import annotations

from computewise.core import Problem, Task


class Remembering:
    """One request's view of a task."""

    def __init__(self, task: Task) -> None:
        self.name, self.delimiter = task.name, task.delimiter
        self._task = task
        self._answers: dict[str, str | None] = {}

    def answer(self, solution: str) -> str | None:
        """See `computewise.core.Task.answer`."""
        if solution not in self._answers:
            self._answers[solution] = self._task.answer(solution)
        return self._answers[solution]

    def correct(self, problem: Problem, answer: str | None) -> bool:
        """See `computewise.core.Task.correct`."""
        return self._task.correct(problem, answer)

    def problems(self, split: str, count: int, seed: int) -> list[Problem]:
        """See `computewise.core.Task.problems`."""
        return self._task.problems(split, count, seed)
