"""Problems made of rows: which columns they need, what is left out, and what is to be said about it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from computewise.core import Problem
from computewise.errors import ProblemError, RunError, UsageError
from computewise.grading.code import CodeGrader
from computewise.grading.extraction import after_hashes
from computewise.grading.grader import Grader
from computewise.tasks.known import Known

_LISTED = 20
"""Rows left out that are named one by one."""
Row = Mapping[str, Any]


class Columns(NamedTuple):
    """What prompt, answer and id are called; an id there need not be."""

    prompt: str
    answer: str
    id: str | None


def choose_columns(source: str, present: Sequence[str], known: Known, named: Mapping[str, str]) -> Columns:
    """The columns to read; raises `UsageError` naming those that are there."""

    def choose(role: str, usual: Sequence[str]) -> str | None:
        wanted = (named[role],) if role in named else usual
        return next((name for name in wanted if name in present), None)

    chosen = {"prompt": choose("prompt", known.prompt), "answer": choose("answer", known.answer)}
    chosen["id"] = choose("id", known.id)
    for role, usual in (("prompt", known.prompt), ("answer", known.answer), ("id", ())):
        if chosen[role] is None and (usual or role in named):
            wanted = named.get(role) or " or ".join(usual)
            raise UsageError(f"{source} has no column {wanted} for the {role}: it has {', '.join(present) or 'none'}")
    return Columns(str(chosen["prompt"]), str(chosen["answer"]), chosen["id"])


def read_problems(
    source: str, rows: Iterable[tuple[str, Row]], known: Known, named: Mapping[str, str], grader: Grader
) -> tuple[tuple[Problem, ...], tuple[str, ...]]:
    """The problems, each prompt once, each with a reference that its grader accepts; and what was left out."""
    problems: dict[str, Problem] = {}
    names: set[str] = set()
    repeated: list[str] = []
    refused: list[str] = []
    for where, problem in _convert(source, rows, known, named, isinstance(grader, CodeGrader)):
        if problem.prompt in problems:
            repeated.append(where)
        elif fault := _fault(where, problem.answer, grader):
            refused.append(fault)
        else:
            problems[problem.prompt] = _with_own_name(problem, names)
    if not problems:
        raise RunError(f"{source} holds no problems that can be graded" + (f": {refused[0]}" if refused else ""))
    return tuple(problems.values()), tuple(_findings(repeated, refused))


def _fault(where: str, reference: str | None, grader: Grader) -> str | None:
    """Why the reference cannot be used; None where it can."""
    if reference is None:
        return f"{where} has no reference answer"
    try:
        accepted = grader.accepts(reference)
    except ProblemError as error:
        return f"{where}: {error}"
    return None if accepted else f"{where}: the reference {reference!r:.80} does not grade correct against itself"


def _convert(
    source: str, rows: Iterable[tuple[str, Row]], known: Known, named: Mapping[str, str], tests: bool
) -> Iterator[tuple[str, Problem]]:
    columns = None
    for where, row in rows:
        columns = columns or choose_columns(source, list(row), known, named)
        prompt, answer = row.get(columns.prompt), row.get(columns.answer)
        if not isinstance(prompt, str) or not prompt.strip():
            raise RunError(f"{source}, {where} is malformed: {columns.prompt} must be a text")
        if tests and isinstance(answer, list):
            answer = "\n".join(map(str, answer))
        if isinstance(answer, (list, dict)):
            raise RunError(f"{source}, {where} is malformed: {columns.answer} must be a text or a number")
        text = "" if answer is None else str(answer).strip()
        name = row.get(columns.id) if columns.id else None
        reference = text if tests else after_hashes(text) or text
        yield where, Problem(_digest(prompt) if name is None else str(name), prompt.strip(), reference or None)


def _digest(prompt: str) -> str:
    return hashlib.blake2b(prompt.strip().encode(errors="surrogatepass"), digest_size=8).hexdigest()


def _with_own_name(problem: Problem, taken: set[str]) -> Problem:
    """The problem; with its prompt's digest in its id where another has the same."""
    name = problem.id if problem.id not in taken else f"{problem.id}#{_digest(problem.prompt)}"
    taken.add(name)
    return Problem(name, problem.prompt, problem.answer)


def _findings(repeated: list[str], refused: list[str]) -> Iterator[str]:
    if repeated:
        rows = "1 row repeats" if len(repeated) == 1 else f"{len(repeated)} rows repeat"
        yield f"{rows} an earlier prompt and are left out, the first at {repeated[0]}"
    if refused:
        rows = "1 row is" if len(refused) == 1 else f"{len(refused)} rows are"
        yield f"{rows} left out because of the reference answer"
    yield from refused[:_LISTED]
    if len(refused) > _LISTED:
        yield f"and {len(refused) - _LISTED} more rows like these"
