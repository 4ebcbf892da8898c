"""Tasks by name or file: their specification, and how they are loaded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

from computewise.core import Problem, Task
from computewise.errors import ProblemError, UsageError
from computewise.grading.graders import find_grader
from computewise.registry import Registry, as_instance, reason
from computewise.tasks.arithmetic import TASKS
from computewise.tasks.dataset import (
    KNOWN_DATASETS,
    OTHER,
    DatasetTask,
    is_file_of_rows,
    read_hub,
    read_problems,
    read_rows,
)
from computewise.tasks.reasoning_gym import PREFIX, gym_task

COLUMNS = ("prompt", "answer", "id")


@dataclass(frozen=True, slots=True)
class TaskSpec:
    """A task by name, with settings that replace the name's defaults; None keeps the default.

    `name` is `expressions`, `stories`, `math500`, `gsm8k`, `aime`, `reasoning_gym:DATASET`, a registered task, or any
    other name, or a path, for a data set of your own. `path` is a .jsonl, .csv or .parquet file (the first two also
    .gz), or `hf:OWNER/NAME[/CONFIG][:SPLIT]` on the Hugging Face hub. `columns` maps prompt, answer and id to the
    file's column names. `grader` is `math`, `choice`, `exact`, `code`, a registered grader or `module:function`.
    """

    name: str
    path: str | None = None
    columns: Mapping[str, str] = field(default_factory=dict, hash=False)
    grader: str | None = None
    delimiter: str | None = None
    instruction: str | None = None
    allow_code_execution: bool = False

    def __post_init__(self) -> None:
        unknown = [name for name in self.columns if name not in COLUMNS]
        if unknown:
            raise UsageError(f"unknown column {unknown[0]!r}: allowed are {', '.join(COLUMNS)}")
        if self.delimiter == "":
            raise UsageError("the delimiter must not be empty: it ends a step")

    def to_dict(self) -> dict[str, Any]:
        """For JSON; `TaskSpec(**plain)` is the same again."""
        return asdict(self)


def read_columns(text: str) -> dict[str, str]:
    """The columns that a text such as "prompt=question,answer=gold" names."""
    pairs = [pair.partition("=") for pair in text.split(",")]
    if not all(name.strip() and column.strip() for name, _, column in pairs):
        raise UsageError(f"columns {text!r} are not understood: write them as prompt=question,answer=gold")
    return {name.strip(): column.strip() for name, _, column in pairs}


HUB = "hf:"

DELIMITER = "\n\n"

QUESTION = "question"

"""The task without problems of its own: a person's question, whose answers are compared by the grader."""


class LoadedTask(Task, Protocol):
    """A task with what a served model needs of it."""

    @property
    def instruction(self) -> str:
        """The system's message; empty for none."""
        ...

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a person should know about the problems, such as rows that were left out, and why."""
        ...


@dataclass(frozen=True, slots=True)
class _AddedTask:
    """A registered task; `instruction` and `warnings` are empty where it has none."""

    task: Task
    instruction: str
    warnings: tuple[str, ...]

    @property
    def name(self) -> str:
        return self.task.name

    @property
    def delimiter(self) -> str:
        return self.task.delimiter

    def answer(self, solution: str) -> str | None:
        try:
            return self.task.answer(solution)
        except Exception as error:
            raise self._failed(error) from error

    def correct(self, problem: Problem, answer: str | None) -> bool:
        try:
            return self.task.correct(problem, answer)
        except Exception as error:
            raise self._failed(error) from error

    def _failed(self, error: Exception) -> ProblemError:
        return ProblemError(f"the task {self.name} cannot grade an answer: {reason(error)}")

    def problems(self, split: str, count: int, seed: int) -> list[Problem]:
        return self.task.problems(split, count, seed)


def _added_task(name: str, found: Any) -> LoadedTask:
    task = as_instance(name, found)
    return _AddedTask(task, getattr(task, "instruction", ""), getattr(task, "warnings", ()))


ADDED_TASKS: Registry[LoadedTask] = Registry("tasks", {}, _added_task)


def load_task(spec: TaskSpec) -> LoadedTask:
    """The task; a data set is read as a whole, and every reference answer is graded against itself.

    Problems whose reference does not pass are left out and named in the task's `warnings`. Raises `UsageError` for
    unknown names and settings, `RunError` for a file that is unreadable or malformed, with the line.
    """
    delimiter = DELIMITER if spec.delimiter is None else spec.delimiter
    if spec.name in TASKS:
        _refuse_other_settings(spec, ())
        return TASKS[spec.name]
    if spec.name in ADDED_TASKS:
        _refuse_other_settings(spec, ())
        return ADDED_TASKS[spec.name]
    if spec.name.startswith(PREFIX):
        _refuse_other_settings(spec, ("delimiter", "instruction", "allow_code_execution"))
        return gym_task(
            spec.name.removeprefix(PREFIX),
            delimiter,
            spec.instruction,
            allow_code_execution=spec.allow_code_execution,
            strict=True,
        )
    if spec.name == QUESTION:
        _refuse_other_settings(spec, ("delimiter", "instruction", "grader", "allow_code_execution"))
        grader = find_grader(spec.grader or "math", allow_code_execution=spec.allow_code_execution)
        instruction = grader.instruction if spec.instruction is None else spec.instruction
        return DatasetTask(QUESTION, (), grader, delimiter, instruction, grader.warnings)
    return _read(spec, delimiter)


def _read(spec: TaskSpec, delimiter: str) -> DatasetTask:
    known = KNOWN_DATASETS.get(spec.name, OTHER)
    path = spec.path or known.path or spec.name
    if not path.startswith(HUB) and not is_file_of_rows(path):
        raise UsageError(
            f"unknown task {path!r}: allowed are {', '.join((*TASKS, *KNOWN_DATASETS, *ADDED_TASKS))}, "
            f"{PREFIX}NAME, or a data set's path"
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
        warnings=(*grader.warnings, *findings),
    )


def _refuse_other_settings(spec: TaskSpec, allowed: tuple[str, ...]) -> None:
    set_ = [name for name, value in spec.to_dict().items() if value and name not in ("name", *allowed)]
    if set_:
        raise UsageError(f"the task {spec.name} has no setting {set_[0]}: allowed are {', '.join(allowed) or 'none'}")
