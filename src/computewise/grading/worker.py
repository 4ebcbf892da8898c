"""A process that grades what a model wrote, so that it can be killed: `python -m computewise.grading.worker SERVICE`.

SERVICE is ``module:function``. It is called with the arguments after it, and returns the function that answers
questions. Each line of JSON, ``[seconds, ...]``, is one question and is answered by one line; an exception of code that
is not ours is answered by ``{"error": TEXT}``. After `seconds` a timer of the kernel ends the process, even if its
parent is dead or one operation on huge numbers holds the interpreter, which no thread of the process could interrupt.
"""

from __future__ import annotations

import json
import logging
import os
import resource
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from computewise.grading.processes import failure, read_reply
from computewise.registry import import_object

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
