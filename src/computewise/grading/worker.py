"""A process that reads LaTeX, so that what hangs can be killed: `python -m computewise.grading.worker`.

It answers one line of JSON for each: ``["form", seconds, text]`` by a text or null, ``["equal", seconds, reference,
answer]`` by true or false. After its seconds the kernel ends it, also where the process that asked is dead by then and
where one operation on huge numbers holds the interpreter: no thread of this process could do that.
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
"""Bytes of address space: a number that needs more is a failure to read, not a machine out of memory."""
_GRACE = 1.0
"""Seconds; the process that asked is to give up first."""


def serve() -> None:
    """Answer until the input ends, which it does where the other process dies."""
    with os.fdopen(os.dup(1), "w") as replies:
        os.dup2(2, 1)  # what libraries print is no reply
        _limit_memory()
        logging.disable()  # math-verify warns that timeouts are now its caller's
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
    with suppress(ImportError, ValueError, OSError):  # not every system can
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (WORKER_MEMORY, WORKER_MEMORY))


@lru_cache(maxsize=4096)
def _parsed(text: str) -> list[Any]:
    from math_verify import parse

    return list(parse(f"${text}$", parsing_timeout=None))


def _equal(reference: str, answer: str) -> bool:
    """As they are written, or as `canonical` writes them: it knows units and spellings that math-verify does not."""
    from math_verify import verify

    pairs = {(reference, answer): None, (normalize(reference), normalize(answer)): None}
    return any(verify(_parsed(gold), _parsed(other), timeout_seconds=None) for gold, other in pairs)


def _form(text: str) -> str | None:
    """The canonical text of its form, if that is read as itself; None where there is none."""
    found = _form_once(text)
    return found if found is not None and (is_number(found) or _form_once(found) == found) else None


def _form_once(text: str) -> str | None:
    from computewise.grading.symbolic import form

    parsed = _parsed(text)
    found = form(parsed[0]) if parsed else None
    return None if found is None else normalize(found)


if __name__ == "__main__":
    serve()
