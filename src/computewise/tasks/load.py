"""From a spec to its task."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from computewise.core import Task
from computewise.errors import UsageError
from computewise.grading.find import find_grader
from computewise.tasks.dataset import DatasetTask
from computewise.tasks.embedded import TASKS
from computewise.tasks.formats import is_file_of_rows, read_rows
from computewise.tasks.gym import PREFIX, gym_task
from computewise.tasks.hub import read_hub
from computewise.tasks.known import KNOWN, OTHER
from computewise.tasks.rows import read_problems
from computewise.tasks.spec import TaskSpec

HUB = "hf:"
DELIMITER = "\n\n"
QUESTION = "question"
"""No set of problems: whatever a person asks, its answer voted on as the grader compares."""


class LoadedTask(Task, Protocol):
    """A task as a served model meets it."""

    @property
    def instruction(self) -> str:
        """The system's message; empty for none."""
        ...

    @property
    def findings(self) -> tuple[str, ...]:
        """What a person should know of the problems: rows that were left out, and why."""
        ...


def load_task(spec: TaskSpec) -> LoadedTask:
    """The task; a data set is read as a whole, and every reference answer graded against itself.

    What does not pass is left out and said in the task's `findings`. Raises `UsageError` for what cannot be set so,
    `RunError` for a file that is unreadable or malformed, with the line.
    """
    delimiter = DELIMITER if spec.delimiter is None else spec.delimiter
    if spec.name in TASKS:
        _refuse_other_settings(spec, ())
        return TASKS[spec.name]
    if spec.name.startswith(PREFIX):
        _refuse_other_settings(spec, ("delimiter", "instruction"))
        return gym_task(spec.name.removeprefix(PREFIX), delimiter, spec.instruction)
    if spec.name == QUESTION:
        _refuse_other_settings(spec, ("delimiter", "instruction", "grader"))
        grader = find_grader(spec.grader or "math", allow_code_execution=False)
        instruction = grader.instruction if spec.instruction is None else spec.instruction
        return DatasetTask(QUESTION, (), grader, delimiter, instruction, grader.findings)
    return _read(spec, delimiter)


def _read(spec: TaskSpec, delimiter: str) -> DatasetTask:
    known = KNOWN.get(spec.name, OTHER)
    path = spec.path or known.path or spec.name
    if not path.startswith(HUB) and not is_file_of_rows(path):
        raise UsageError(
            f"unknown task {path!r}: allowed are {', '.join((*TASKS, *KNOWN))}, {PREFIX}NAME, or a data set's path"
        )
    grader = find_grader(spec.grader or "math", allow_code_execution=spec.allow_code_execution)
    rows = read_hub(path) if path.startswith(HUB) else read_rows(Path(path))
    problems, findings = read_problems(path, rows, known, spec.columns, grader)
    return DatasetTask(
        name=spec.name,
        rows=problems,
        grader=grader,
        delimiter=delimiter,
        instruction=grader.instruction if spec.instruction is None else spec.instruction,
        findings=(*grader.findings, *findings),
    )


def _refuse_other_settings(spec: TaskSpec, allowed: tuple[str, ...]) -> None:
    set_ = [name for name, value in spec.plain().items() if value and name not in ("name", *allowed)]
    if set_:
        raise UsageError(f"the task {spec.name} has no setting {set_[0]}: allowed are {', '.join(allowed) or 'none'}")
