"""A process that grades what a model wrote, so that it can be killed: `python -m computewise.grading.worker KIND`.

It answers each line of JSON, ``[question, seconds, ...]``, with one. Of the kind "math" questions are ``form`` of a
text, answered by a text or null, and ``equal`` of a reference and an answer. Of the kind "scorer" they are ``call`` of
a function that uses a scorer, and ``grader``, a method of a grader that is not ours; an exception of theirs is answered
by ``{"error": TEXT}``. After `seconds` a timer of the kernel ends the process, even if its parent is dead or one operation
on huge numbers holds the interpreter, which no thread of the process could interrupt.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import lru_cache
from typing import Any

from computewise.grading.normalize import is_number, normalize
from computewise.registry import import_object, reason

WORKER_MEMORY = 2 << 30
"""Bytes of address space: a number that needs more fails to parse, and does not exhaust the machine's memory."""
_GRACE = 1.0
"""Seconds beyond the limit, so that the parent gives up first."""


def serve(kind: str) -> None:
    """Answer until the input ends, which also happens when the parent dies."""
    with os.fdopen(os.dup(1), "w") as replies:
        os.dup2(2, 1)  # so that text which libraries print is not read as a reply
        _limit_memory()
        logging.disable()  # math-verify warns that its caller is responsible for timeouts
        answers = _QUESTIONS[kind]
        if kind == "math":
            import math_verify  # noqa: F401

            from computewise.grading.symbolic import form  # noqa: F401

        _reply(replies, True)
        for line in sys.stdin:
            question, seconds, *given = json.loads(line)
            signal.setitimer(signal.ITIMER_REAL, seconds + _GRACE)
            _reply(replies, answers[question](*given))
            signal.setitimer(signal.ITIMER_REAL, 0)


def _reply(replies: Any, value: object) -> None:
    replies.write(json.dumps(value) + "\n")
    replies.flush()


def _limit_memory() -> None:
    with suppress(ImportError, ValueError, OSError):  # not supported on every system
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (WORKER_MEMORY, WORKER_MEMORY))


@lru_cache(maxsize=4096)
def _parsed(text: str) -> list[Any]:
    from math_verify import parse

    return list(parse(f"${text}$", parsing_timeout=None))


def _equal(reference: str, answer: str) -> bool:
    """Compare the texts and their normalised forms: `normalize` knows units and spellings unknown to math-verify."""
    from math_verify import verify

    pairs = {(reference, answer): None, (normalize(reference), normalize(answer)): None}
    return any(verify(_parsed(gold), _parsed(other), timeout_seconds=None) for gold, other in pairs)


def _form(text: str) -> str | None:
    """The canonical text, if it is its own canonical text; None where there is none."""
    found = _form_once(text)
    return found if found is not None and (is_number(found) or _form_once(found) == found) else None


def _form_once(text: str) -> str | None:
    from computewise.grading.symbolic import form

    parsed = _parsed(text)
    found = form(parsed[0]) if parsed else None
    return None if found is None else normalize(found)


def _call(function: str, *given: object) -> object:
    """What a function of this package returns, ``module:function``, that hands the answer to code that is not ours."""
    try:
        return import_object(function, "scorer")(*given)
    except Exception as error:  # noqa: BLE001 - the scorer is not ours: what it raises is that problem's
        return {"error": reason(error)}


def _grader(path: list[str], name: str, method: str, *given: str) -> object:
    """What a method of the grader of that name returns; `path` is where the asking process finds modules."""
    sys.path.extend(part for part in path if part not in sys.path)
    try:
        return getattr(_loaded(name), method)(*given)
    except Exception as error:  # noqa: BLE001 - the grader is not ours: what it raises is that problem's
        return {"error": reason(error)}


@lru_cache(maxsize=16)
def _loaded(name: str) -> Any:
    from computewise.grading.graders import grader_in_process

    return grader_in_process(name)


_QUESTIONS: Mapping[str, Mapping[str, Callable[..., object]]] = {
    "math": {"form": _form, "equal": _equal},
    "scorer": {"call": _call, "grader": _grader},
}


if __name__ == "__main__":
    serve(sys.argv[1])
