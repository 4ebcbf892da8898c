"""A process that grades what a model wrote, so that it can be killed: `python -m computewise.grading.worker SERVICE`.

SERVICE is ``module:function``. It is called with the arguments after it, and returns the function that answers
questions. Each line of JSON, ``[seconds, ...]``, is one question and is answered by one line; an exception of code that
is not ours is answered by ``{"error": TEXT}``. After `seconds` a timer of the kernel ends the process, even if its
parent is dead or one operation on huge numbers holds the interpreter, which no thread of the process could interrupt.

`evaluation` says which functions need such a process: those that evaluate text as code, as far as their source shows.
"""

from __future__ import annotations

import ast
import inspect
import json
import logging
import os
import resource
import signal
import sys
import textwrap
from collections.abc import Callable, Collection
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any, NoReturn

from computewise.grading.processes import failure, read_reply
from computewise.registry import import_object

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


WORKER_MEMORY = 2 << 30
"""Bytes of address space: a number that needs more fails to parse, and does not exhaust the machine's memory."""
_GRACE = 1.0
"""Seconds beyond the limit, so that the parent gives up first."""
_FILE = 16 << 20
"""Bytes that an answer which is evaluated may write to one file."""


def serve(service: str, *given: str) -> None:
    """Answer until the input ends, which also happens when the parent dies."""
    with os.fdopen(os.dup(1), "w") as replies, os.fdopen(os.dup(0)) as questions:
        # Neither is in reach of code that prints or reads.
        os.dup2(2, 1)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        logging.disable()  # math-verify warns that its caller is responsible for timeouts
        try:
            answers = import_object(service, "service")(*given)
        except Exception as error:  # noqa: BLE001 - a module of the user's may raise anything when it is imported
            _reply(replies, failure(error))
            return
        _reply(replies, True)
        for line in questions:
            seconds, *question = json.loads(line)
            signal.setitimer(signal.ITIMER_REAL, seconds + _GRACE)
            _reply(replies, answers(*question))
            signal.setitimer(signal.ITIMER_REAL, 0)


def _reply(replies: Any, value: object) -> None:
    replies.write(json.dumps(value) + "\n")
    replies.flush()


def limit_memory() -> None:
    """Let the process take `WORKER_MEMORY` more than it has."""
    with suppress(ValueError, OSError):  # not supported on every system
        held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (held + WORKER_MEMORY,) * 2)


def answer_in_child(seconds: float, function: Callable[[], object]) -> object:
    """What `function` returns, in a fork of this process that is killed after `seconds` with all that it started.

    What an answer changes by being evaluated, such as a module's functions, ends with the fork: no other answer is
    graded by it. Returns ``{"error": TEXT}`` for an exception, ``{"answered": False}`` where there is no result.
    """
    source, sink = os.pipe()
    child = os.fork()
    if child == 0:
        _answer_as_child(seconds, function, sink)
    os.close(sink)
    answered, said = read_reply(source, seconds)
    os.close(source)
    for kill in (partial(os.killpg, child), partial(os.kill, child)):
        with suppress(ProcessLookupError):
            kill(signal.SIGKILL)
    os.waitpid(child, 0)
    return said if answered else {"answered": False}


def _answer_as_child(seconds: float, function: Callable[[], object], sink: int) -> NoReturn:
    try:
        os.setsid()
        os.dup2(sink, 3)
        os.closerange(4, 256)  # the pipes to the process that asks
        signal.setitimer(signal.ITIMER_REAL, seconds + _GRACE)
        limit_memory()
        resource.setrlimit(resource.RLIMIT_FSIZE, (_FILE, _FILE))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        try:
            said = function()
        except Exception as error:  # noqa: BLE001 - what code that is not ours raises is that problem's
            said = failure(error)
        os.write(3, json.dumps(said).encode() + b"\n")
    finally:
        os._exit(0)


def open_mathematics() -> Callable[..., object]:
    """The service that parses LaTeX: ``form`` of a text is a text or None, ``equal`` of two texts a bool."""
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_AS, (WORKER_MEMORY, WORKER_MEMORY))
    from computewise.grading.mathematics import canonical_form, equal

    return lambda question, *texts: canonical_form(*texts) if question == "form" else equal(*texts)


if __name__ == "__main__":
    serve(*sys.argv[1:])
