"""The one road every command takes: problem, strategy, models in; result out."""

from __future__ import annotations

import asyncio

from computewise.core import Candidate, Model, Problem, Result, Task, Verifier
from computewise.errors import UsageError
from computewise.selection import Ballot, Select, weighted
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

    `budget` caps the sampled tokens, discarded ones included; where it ends the search, what has finished by then is
    selected from. Whoever passes a `ledger` may watch the tree grow in it. Errors of the model or the verifier are
    raised as `ModelError`.
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
    )
    candidates = await session.score(await run(strategy, session))
    # In a thread: whoever compares answers as mathematics may take seconds, in which other problems go on.
    answers = await asyncio.to_thread(lambda: [answer_of(candidate, task) for candidate in candidates])
    chosen = select([Ballot(a, session.value(c), c.chain) for a, c in zip(answers, candidates, strict=True)])
    spent = session.ledger
    return Result(
        chosen=None if chosen is None else candidates[chosen],
        candidates=tuple(candidates),
        explored=tuple(spent.in_order()),
        costs=spent.costs,
        usage=spent.usage,
        exhausted=spent.exhausted,
    )


def answer_of(candidate: Candidate, task: Task) -> str | None:
    """What it answers: a solution that is unfinished, or that a limit cut off, answers nothing."""
    return task.answer(candidate.text) if candidate.end == "stop" else None
