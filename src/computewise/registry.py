"""Names of strategies, verifiers, graders, tasks and servers: built in, registered here, or of installed packages."""

from __future__ import annotations

import importlib
import inspect
import logging
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from functools import cached_property
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Literal, TypeVar, get_type_hints

from computewise.errors import UsageError

Kind = Literal["strategies", "verifiers", "graders", "tasks", "servers"]
T = TypeVar("T")

_LOGGER = logging.getLogger(__name__)
"""Without a handler of the program's own, it writes warnings to standard error."""

_REGISTERED: dict[str, dict[str, Any]] = {}
_BUILT_IN: dict[str, tuple[str, ...]] = {}
UNSAID = {"unsaid": True}
"""Metadata of a setting that labels and records name only where it differs from its default."""
_STRATEGY_DEFAULTS: dict[str, Any] = {
    "needs_history": False,
    "needs_steps": False,
    "needs_verifier": False,
    "default_select": "weighted",
}


class Registry(Mapping[str, T]):
    """The objects of one kind by name, in the order: built in, registered, of installed packages.

    A package adds names by entry points of the group ``computewise.KIND``. An entry point is imported when its name is
    looked up, and `prepare` makes the object of what was imported or registered.
    """

    def __init__(self, kind: Kind, built_in: Mapping[str, T], prepare: Callable[[str, Any], T] | None = None) -> None:
        # What is registered before this kind is first used could not be checked by then.
        for name in _REGISTERED.get(kind, {}):
            if name in built_in:
                raise _taken(name, kind)
        self._kind = kind
        self._built_in = _BUILT_IN[kind] = tuple(built_in)
        self._known = dict(built_in)
        self._prepare = prepare or (lambda name, found: found)

    @property
    def added(self) -> list[str]:
        """The names that are not built in."""
        return [name for name in self if name not in self._built_in]

    @cached_property
    def _points(self) -> dict[str, EntryPoint]:
        points = {point.name: point for point in entry_points(group=f"computewise.{self._kind}")}
        for name in points.keys() & set(self._built_in):
            _LOGGER.warning(
                "computewise: %s of an installed package is not used: the name %s among the %s is built in",
                points[name].value,
                name,
                self._kind,
            )
        return points

    def __getitem__(self, name: str) -> T:
        self._points  # noqa: B018 - says, once, which of them have a name that is taken
        if name not in self._known:
            registered = _REGISTERED.get(self._kind, {})
            found = registered[name] if name in registered else self._load(name)
            self._known[name] = self._prepare(name, found)
        return self._known[name]

    def __contains__(self, name: object) -> bool:
        return name in self._known or name in _REGISTERED.get(self._kind, {}) or name in self._points

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys((*self._built_in, *_REGISTERED.get(self._kind, {}), *self._points)))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def of_a_package(self, name: str) -> bool:
        """Whether the name is that of an entry point, which any process of this installation can import."""
        return name in self._points and name not in self._built_in and name not in _REGISTERED.get(self._kind, {})

    def imported(self, name: str) -> Any:
        """What the entry point of that name is, as the package made it; raises `UsageError`."""
        return self._load(name)

    def _load(self, name: str) -> Any:
        point = self._points[name]
        try:
            return point.load()
        except Exception as error:
            raise UsageError(
                f"{name}, {point.value} of an installed package, cannot be imported: {reason(error)}"
            ) from error


def register(item: T, *, name: str | None = None) -> T:
    """Make a strategy, verifier, grader, task or server known by its name; usable as a decorator.

    The name is `name`, else the item's own, else its class's in snake case. A strategy is the class of a frozen
    dataclass of numbers. Of the other kinds, an object is registered, or a class that needs no arguments. Raises
    `UsageError` where the kind of the item cannot be recognised, or another item has the name.
    """
    kind = _kind_of(item)
    called = name or name_of(item)
    known = _REGISTERED.setdefault(kind, {})
    if called in _BUILT_IN.get(kind, ()) or (called in known and not _same(known[called], item)):
        raise _taken(called, kind)
    if kind == "strategies":
        as_strategy(called, item)
    known[called] = item
    return item


def _taken(name: str, kind: str) -> UsageError:
    return UsageError(f"the name {name!r} is taken among the {kind}: give another")


def as_strategy(name: str, found: Any) -> Any:
    """A strategy's class with the attributes that every strategy has; raises `UsageError` for anything else."""
    if not isinstance(found, type) or not is_dataclass(found):
        raise UsageError(f"the strategy {name} is no dataclass: a strategy is a frozen dataclass of numbers")
    if not found.__dataclass_params__.frozen:  # type: ignore[attr-defined]
        raise UsageError(f"the strategy {name} can be changed: write @dataclass(frozen=True) above its class")
    if odd := _not_numbers(found):
        raise UsageError(
            f"the strategy {name} has settings that are not numbers: {', '.join(odd)}; allowed: int, float"
        )
    if not inspect.iscoroutinefunction(found.__call__):
        raise UsageError(f"the strategy {name} is not async: write async def __call__(self, problem, session)")
    for attribute, value in {"name": name, **_STRATEGY_DEFAULTS}.items():
        if not isinstance(getattr(found, attribute, None), type(value)):
            setattr(found, attribute, value)
    if name_of(found) != name:
        raise UsageError(f"the strategy {name_of(found)} cannot have a second name, {name}")
    return found


def _not_numbers(strategy: type) -> list[str]:
    """The settings that are declared as anything but int and float."""
    try:
        declared = get_type_hints(strategy)
    except NameError:  # a name that is known inside a function only; `check_strategy` sees the values
        return []
    kinds = {field.name: declared[field.name] for field in fields(strategy)}
    return [name for name, kind in kinds.items() if kind not in (int, float, int | float)]


def takes(found: Any, count: int) -> bool:
    """Whether it can be called with so many arguments."""
    if not callable(found):
        return False
    try:
        inspect.signature(found).bind(*[None] * count)
    except (TypeError, ValueError):
        return False
    return True


def as_instance(name: str, found: Any) -> Any:
    """The object itself, or what a class or a function without arguments makes; raises `UsageError` where none does."""
    if not (inspect.isclass(found) or inspect.isfunction(found)):
        return found
    if not takes(found, 0):
        kind = "class" if inspect.isclass(found) else "function"
        raise UsageError(f"the {kind} {name} needs arguments: name an object, or what makes one without arguments")
    try:
        return found()
    except Exception as error:  # it is not ours, so it may raise anything
        raise UsageError(f"{name} failed where it was called without arguments: {reason(error)}") from error


def import_object(name: str, what: str, usable: Callable[[Any], bool] = callable) -> Any:
    """The object that ``module:object`` names; modules are looked for in the current directory too.

    Raises `UsageError` where there is none, with the objects of the module that are `usable`.
    """
    module_name, _, object_name = name.partition(":")
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    try:
        module = importlib.import_module(module_name)
    except Exception as error:
        raise UsageError(f"the {what} {name} cannot be imported: {reason(error)}") from error
    if not hasattr(module, object_name):
        own = {
            key: value for key, value in vars(module).items() if not key.startswith("_") and _is_of(module_name, value)
        }
        listed = ", ".join(key for key, value in own.items() if usable(value)) or "nothing"
        raise UsageError(f"{module_name} has no {object_name!r}: what may be a {what} there is {listed}")
    return getattr(module, object_name)


def _is_of(module_name: str, value: Any) -> bool:
    """Whether an object is no class or function that the module's package has imported from elsewhere."""
    if not (inspect.isclass(value) or inspect.isroutine(value)):
        return not inspect.ismodule(value)
    return str(getattr(value, "__module__", "")).partition(".")[0] == module_name.partition(".")[0]


def is_reference(name: str) -> bool:
    """Whether a name has the form ``module:object``."""
    module, _, found = name.partition(":")
    return found.isidentifier() and all(part.isidentifier() for part in module.split("."))


def reason(error: Exception) -> str:
    """One line, for a person."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:300]


def _kind_of(item: Any) -> Kind:
    """By the methods of its protocol."""
    protocols: tuple[tuple[Kind, tuple[str, ...]], ...] = (
        ("verifiers", ("score", "value")),
        ("tasks", ("problems", "answer", "delimiter")),
        ("graders", ("key", "answer", "accepts")),
        ("servers", ("sampling", "keep_stop")),
    )
    for kind, methods in protocols:
        if all(hasattr(item, method) for method in methods):
            return kind
    if isinstance(item, type) and any("__call__" in vars(base) for base in item.__mro__):
        return "strategies"
    raise UsageError(
        f"{item!r:.100} cannot be registered: allowed are a strategy's class, a verifier, a grader, a task or a "
        "server; a function becomes one by the decorator computewise.verifier or computewise.grader"
    )


def name_of(item: Any) -> str:
    """The item's own name, else that of its class or function in snake case."""
    own = getattr(item, "name", None)
    if isinstance(own, str):
        return own
    called = getattr(item, "__name__", type(item).__name__)
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", called).lower()


def _same(one: Any, other: Any) -> bool:
    """Whether both are one definition: a module that is imported twice registers twice."""
    return one is other or (getattr(one, "__module__", 1), getattr(one, "__qualname__", 1)) == (
        getattr(other, "__module__", 2),
        getattr(other, "__qualname__", 2),
    )
