"""What a person passes to `solve` and `connect`, checked in one place: every mistake is a `UsageError` of one line."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from numbers import Integral, Real
from typing import Any

from computewise.controller.controller import Controller
from computewise.core import Candidate, Model, Problem, Task
from computewise.errors import ProblemError, UsageError
from computewise.models.embedded.engine import EngineLoop, one_thread
from computewise.models.embedded.model import EmbeddedModel
from computewise.registry import as_strategy, name_of
from computewise.selection import Select, find_selection
from computewise.session import Limits, Strategy
from computewise.setups.embedded import MODELS
from computewise.strategies import load_strategy
from computewise.tasks.arithmetic import TASKS, find_task
from computewise.tasks.load import QUESTION, TaskSpec, load_task

_MODEL = ("name", "parameters", "revises", "revises_steps", "steps", "sample")
_TASK = ("name", "delimiter", "answer", "correct")
EMBEDDED_TASK = "expressions"
"""The task of the embedded models where none is named."""


def open_embedded(name: object) -> EmbeddedModel:
    """The embedded model of that name."""
    if name not in MODELS:
        raise UsageError(
            f"unknown model {_shown(name)}: allowed are {', '.join(MODELS)}; a server's model is opened by connect"
        )
    one_thread()
    return EmbeddedModel(str(name), EngineLoop())


def models_of(given: object) -> list[Model]:
    """One model or several; a name is that of an embedded one."""
    several = given if isinstance(given, Sequence) and not isinstance(given, str) else [given]
    found = [_model_of(one) for one in several]
    if not found:
        raise UsageError("no model is given: allowed are a model, or several for a controller")
    return found


def _model_of(given: Any) -> Model:
    if isinstance(given, str):
        return open_embedded(given)
    _check_parts(given, _MODEL, "model", "what load_model and connect return")
    model: Model = given
    return model


def task_of(given: object, models: Sequence[Model]) -> Task:
    """A task, also by its name; by default that of the embedded models, or the question of a served one."""
    if given is None:
        given = EMBEDDED_TASK if all(isinstance(model, EmbeddedModel) for model in models) else QUESTION
    if isinstance(given, str):
        return load_task(TaskSpec(given))
    _check_parts(given, _TASK, "task", "a name such as 'expressions', or what load_task returns")
    task: Task = given  # type: ignore[assignment]
    return task


def problem_of(given: object, task: Task, *, named: bool) -> Problem:
    """A problem, or its text; of an embedded task with its true answer. `named`: somebody chose the task."""
    if isinstance(given, Problem) and isinstance(given.prompt, str):
        return given
    if not isinstance(given, str):
        raise UsageError(f"{_shown(given)} is not a problem: allowed are a text, and a Problem with a text")
    if task.name not in TASKS:
        return Problem(id=given, prompt=given)
    try:
        return find_task(task.name).read(given)
    except ProblemError as error:
        if named:
            raise
        raise ProblemError(
            f"{error}; a story needs task='stories', any other question a server's model, which connect opens"
        ) from None


def strategy_of(given: object) -> Strategy | Controller:
    """A strategy, also as text, or a controller."""
    if isinstance(given, Controller):
        return given
    if isinstance(given, str):
        return load_strategy(given)
    if isinstance(given, type):
        raise UsageError(f"{given.__name__} is a class: give an object, {given.__name__}(...) with its settings")
    if not callable(given):
        raise UsageError(
            f"{_shown(given)} is not a strategy: allowed are a text such as 'best_of_n(n=8)', an object such as "
            "BestOfN(8), and a controller"
        )
    as_strategy(name_of(type(given)), type(given))
    strategy: Strategy = given  # type: ignore[assignment]
    return strategy


def selection_of(given: object, strategy: Strategy) -> Select:
    """A selection, also by its name; by default the strategy's."""
    if given is None or isinstance(given, str):
        return find_selection(given or strategy.default_select)
    if not callable(given):
        raise UsageError(f"{_shown(given)} is not a selection: allowed are a name such as 'majority', and a function")
    select: Select = given
    return select


def limits_of(given: object, otherwise: Limits) -> Limits:
    """Bounds on one solution."""
    if given is None:
        return otherwise
    if not isinstance(given, Limits):
        raise UsageError(f"limits = {_shown(given)} is not allowed: give Limits(steps=40, tokens=240)")
    return given


def callback(name: str, given: Callable[..., object] | None) -> None:
    """Raise for what cannot be called."""
    if given is not None and not callable(given):
        raise UsageError(f"{name} = {_shown(given)} is not allowed: a function")


class Watched(dict[str, Candidate]):
    """The nodes of a search tree by id; calls `on_step` with each new one."""

    def __init__(self, on_step: Callable[[Candidate], None]) -> None:
        super().__init__()
        self._on_step = on_step

    def update(self, nodes: Iterable[tuple[str, Candidate]]) -> None:  # type: ignore[override]
        """As a dictionary's; a session updates by nothing else."""
        held = dict(nodes)
        new = [node for id, node in held.items() if id not in self]
        super().update(held)
        each(new, self._on_step)


def each(candidates: Iterable[Candidate], on_step: Callable[[Candidate], None]) -> None:
    """Call `on_step` with each."""
    for candidate in candidates:
        on_step(candidate)


def text(name: str, given: object, example: str) -> str:
    """A text that is not empty."""
    if not isinstance(given, str) or not given.strip():
        raise UsageError(f"{name} = {_shown(given)} is not allowed: a text such as {example}")
    return given


def whole(name: str, given: object, least: int | None = None) -> int:
    """A whole number, of at least `least`."""
    if isinstance(given, bool) or not isinstance(given, Integral) or (least is not None and int(given) < least):
        beyond = "" if least is None else f", at least {least}"
        raise UsageError(f"{name} = {_shown(given)} is not allowed: a whole number{beyond}")
    return int(given)


def number(name: str, given: object, *, above: bool = False) -> float:
    """A finite number of at least 0, or above it."""
    if isinstance(given, bool) or not isinstance(given, Real) or not 0 <= float(given) < math.inf:
        raise UsageError(f"{name} = {_shown(given)} is not allowed: a number {'above' if above else 'of at least'} 0")
    if above and not float(given):
        raise UsageError(f"{name} = {_shown(given)} is not allowed: a number above 0")
    return float(given)


def _check_parts(given: object, parts: Sequence[str], what: str, allowed: str) -> None:
    """Raise for an object that is no `what`, by the parts of its protocol."""
    lacking = list(parts) if isinstance(given, type) else [part for part in parts if not hasattr(given, part)]
    if lacking:
        without = "" if len(lacking) == len(parts) else f", it has no {', '.join(lacking)}"
        raise UsageError(f"{_shown(given)} is not a {what}{without}: allowed is {allowed}")


def _shown(given: object) -> str:
    """An object in one short line."""
    return " ".join(repr(given).split())[:80]
