"""Whether a function evaluates text as code, as far as its source shows."""

from __future__ import annotations

import ast
import inspect
import sys
import textwrap
from collections.abc import Collection
from types import FunctionType, ModuleType
from typing import Any

_BUILT_IN = {"eval", "exec", "compile", "__import__"}

_EVALUATING = {"sympy", "numexpr", "pickle", "marshal", "runpy", "code", "asteval", "dill", "cloudpickle"}
"""Packages whose functions evaluate a text; SymPy's do it with every text that is to become an expression."""

_REACHING = {"os", "subprocess", "importlib", "shelve", "ctypes", "builtins", "getattr", "open", "input"}
"""What else a scorer has no use for, unless it evaluates."""


def evaluation(function: Any, owner: type | None = None, *, known: Collection[str] | None = None) -> str | None:
    """By what a function, or a method of `owner`, may evaluate a text; None where nothing shows that it does.

    Its source is followed through the functions and methods of its own package. With `known`, packages that evaluate no
    text, everything beyond these and Python's library counts as evaluating, and so does a function without source.
    """
    function = inspect.unwrap(getattr(function, "func", function))
    waiting, seen = [function], set[Any]()
    own = _package(function)
    while waiting:
        one = waiting.pop()
        if one in seen:
            continue
        seen.add(one)
        try:
            tree = ast.parse(textwrap.dedent(inspect.getsource(one)))
        except (OSError, TypeError, SyntaxError):
            if known is not None:
                return "its source cannot be read"
            continue
        for node in ast.walk(tree):
            found = _reached(node, one.__globals__, owner, own, known)
            if isinstance(found, str):
                return found
            waiting += map(inspect.unwrap, found)
    return None


def _reached(
    node: ast.AST, names: dict[str, Any], owner: type | None, own: str, known: Collection[str] | None
) -> list[FunctionType] | str:
    """The functions of the same package that a node reaches, or the name of what may evaluate."""
    if isinstance(node, (ast.Import, ast.ImportFrom)):
        listed = [node.module or own] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
        return next((name for name in listed if _evaluates(name.partition(".")[0], own, known)), [])
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in ("self", "cls"):
        return _functions(inspect.getattr_static(owner, node.attr, None))
    if not isinstance(node, ast.Name):
        return []
    if node.id not in names:
        return node.id if node.id in _BUILT_IN or (known is not None and node.id in _REACHING) else []
    found = names[node.id]
    package = _package(found)
    if package == own:
        return _written(found) if inspect.isclass(found) else _functions(found)
    return f"{node.id} of {package}" if _evaluates(package, own, known) else []


def _written(kind: type) -> list[FunctionType]:
    """The methods of a class, but for those that dataclasses makes."""
    held = [one for value in vars(kind).values() for one in _functions(value)]
    return [one for one in held if inspect.unwrap(one).__code__.co_filename != "<string>"]


def _functions(found: Any) -> list[FunctionType]:
    held = found.__func__ if isinstance(found, (staticmethod, classmethod)) else found
    return [held] if isinstance(held, FunctionType) else []


def _evaluates(package: str, own: str, known: Collection[str] | None) -> bool:
    if known is None:
        return package in _EVALUATING
    if package in _EVALUATING | _REACHING - {"builtins"}:
        return True
    return package not in {own, "builtins", *known, *sys.stdlib_module_names}


def _package(found: Any) -> str:
    module = found.__name__ if isinstance(found, ModuleType) else getattr(found, "__module__", None)
    return module.partition(".")[0] if isinstance(module, str) else "builtins"
