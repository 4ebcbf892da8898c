"""Solve one problem by one strategy."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from functools import partial

from computewise.core import Candidate, Model, Problem, Result, Task, Usage, Verifier
from computewise.costs import known_flops
from computewise.errors import ProblemError, UsageError
from computewise.selection import Ballot, Select, vote_share, weighted
from computewise.session import Ledger, Limits, Session, Strategy, run


async def solve(
    problem: Problem,
    strategy: Strategy,
    model: Model,
    verifier: Verifier | None,
    task: Task,
    *,
    select: Select = weighted,
    budget: int | None = None,
    seed: int = 0,
    temperature: float = 1.0,
    limits: Limits | None = None,
    ledger: Ledger | None = None,
) -> Result:
    """Run `strategy` on `problem` and select its answer.

    `budget` caps the sampled tokens, discarded ones included; where it ends the search, the answer is selected from the
    candidates that had finished by then. A caller that passes a `ledger` can watch the tree grow in it. Errors of the
    model or the verifier are raised as `ModelError`.
    """
    if budget is not None and budget < 1:
        raise UsageError(f"budget {budget} is not allowed: at least 1 sampled token")
    session = Session(
        problem,
        model,
        verifier,
        task.delimiter,
        budget=budget,
        seed=seed,
        temperature=temperature,
        limits=limits,
        ledger=ledger,
        read_answer=partial(read_answer, task),
    )
    candidates = await session.score(await run(strategy, session))
    spent = session.ledger
    # In a thread, since a grader that compares answers as mathematics may take seconds while other problems continue.
    answers = await asyncio.to_thread(extract_answers, candidates, task, spent)
    ballots = [Ballot(answers[c.id], session.value(c), c.chain) for c in candidates]
    chosen = select(ballots)
    alone = None if chosen is None or verifier is None else ballots[chosen].value
    return Result(
        chosen=None if chosen is None else candidates[chosen],
        candidates=tuple(candidates),
        answers=answers,
        tree=tuple(spent.in_order()),
        costs=spent.costs,
        usages={model.name: spent.usage},
        exhausted=spent.exhausted,
        flops=total_flops({model.name: model}, {model.name: spent.usage}, verifier),
        confidence=None if chosen is None else vote_share(ballots, ballots[chosen].answer, alone),
        notes=spent.different_notes(),
    )


def total_flops(models: Mapping[str, Model], usages: Mapping[str, Usage], verifier: Verifier | None) -> float | None:
    """The operations of all usages, by the name of the model, with prefix caching; None where a size is unknown."""
    read = 0 if verifier is None else verifier.parameters
    each = [known_flops(usage, models[name].parameters, read) for name, usage in usages.items()]
    return None if None in each else sum(one.total for one in each if one)


def answer_of(candidate: Candidate, task: Task) -> str | None:
    """The candidate's answer; a solution that is unfinished, or that a limit cut off, has none."""
    return task.answer(candidate.text) if candidate.end == "stop" else None


def read_answer(task: Task, candidate: Candidate, ledger: Ledger) -> str | None:
    """One candidate's answer, as `extract_answers` extracts it."""
    return extract_answers([candidate], task, ledger)[candidate.id]


def extract_answers(candidates: Iterable[Candidate], task: Task, ledger: Ledger) -> dict[str, str | None]:
    """The candidates' answers by id, each extracted once: `ledger` keeps them.

    Where the grader fails on a solution, that solution has no answer: the others are paid for too.
    """
    answers = ledger.answers
    for candidate in candidates:
        if candidate.id not in answers:
            try:
                answers[candidate.id] = answer_of(candidate, task)
            except ProblemError as error:
                answers[candidate.id], ledger.ungraded[candidate.id] = None, str(error)
    return {candidate.id: answers[candidate.id] for candidate in candidates}
