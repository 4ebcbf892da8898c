"""A process that parses LaTeX, so that it can be killed when it hangs: `python -m computewise.grading.worker`.

It answers each line of JSON with one: ``["form", seconds, text]`` with a text or null, ``["equal", seconds, reference,
answer]`` with true or false. After `seconds` a timer of the kernel ends the process, even if its parent is dead or one
operation on huge numbers holds the interpreter, which no thread of the process could interrupt.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
from contextlib import suppress
from functools import lru_cache
from typing import Any

from computewise.grading.normalize import is_number, normalize

WORKER_MEMORY = 2 << 30
"""Bytes of address space: a number that needs more fails to parse, and does not exhaust the machine's memory."""
_GRACE = 1.0
"""Seconds beyond the limit, so that the parent gives up first."""


def serve() -> None:
    """Answer until the input ends, which also happens when the parent dies."""
    with os.fdopen(os.dup(1), "w") as replies:
        os.dup2(2, 1)  # so that text which libraries print is not read as a reply
        _limit_memory()
        logging.disable()  # math-verify warns that its caller is responsible for timeouts
        import math_verify  # noqa: F401

        from computewise.grading.symbolic import form  # noqa: F401

        _reply(replies, True)
        for line in sys.stdin:
            kind, seconds, *texts = json.loads(line)
            signal.setitimer(signal.ITIMER_REAL, seconds + _GRACE)
            _reply(replies, _form(*texts) if kind == "form" else _equal(*texts))
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


if __name__ == "__main__":
    serve()
