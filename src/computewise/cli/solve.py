"""`computewise solve`."""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.console import Console
from rich.live import Live

from computewise.cli.tree import draw
from computewise.compute import Flops, flops
from computewise.core import Problem, Result, Verifier
from computewise.errors import UsageError
from computewise.models.embedded import EmbeddedModel
from computewise.models.loop import EngineLoop
from computewise.models.threads import one_thread
from computewise.selection import find_selection
from computewise.session import Ledger, Strategy
from computewise.solve import solve as solve_problem
from computewise.strategies import build, describe, label
from computewise.tasks.embedded import find_task
from computewise.verifiers.logprob import LogprobVerifier
from computewise.verifiers.prm import EmbeddedPRM

VERIFIERS = ("prm", "logprob", "none")


def solve(
    problem: str,
    *,
    task: str = "expressions",
    strategy: str = "beam_search",
    n: int | None = None,
    width: int | None = None,
    k: int | None = None,
    select: str = "weighted",
    model: str = "small",
    verifier: str = "prm",
    weights: Path | None = None,
    budget: int | None = None,
    temperature: float = 1.0,
    seed: int = 0,
    as_json: Annotated[bool, Parameter(name="--json")] = False,
) -> None:
    """Solve one problem with the embedded models, showing the search, the answer and what it cost.

    Parameters
    ----------
    problem:
        An expression such as "3*(4+5)-6", or a story with --task stories.
    task:
        expressions or stories.
    strategy:
        single, greedy, best_of_n, beam_search, lookahead or dvts.
    n:
        Samples or beams.
    width:
        Continuations of each surviving beam (the paper's M); divides n.
    k:
        Steps that lookahead looks ahead.
    select:
        weighted, majority or best.
    model:
        small or large.
    verifier:
        prm, logprob (the generator's own confidence) or none.
    weights:
        A weights file to use in place of the shipped model's.
    budget:
        Sampled tokens that may be spent, discarded ones included.
    temperature:
        Of sampling.
    seed:
        Of sampling: equal seeds give equal searches.
    as_json:
        Print one JSON object in place of the picture.

    """
    built = build(strategy, {name: v for name, v in {"n": n, "width": width, "k": k}.items() if v is not None})
    if model not in ("small", "large"):
        raise UsageError(f"unknown model {model!r}: allowed are small, large")
    if verifier not in VERIFIERS:
        raise UsageError(f"unknown verifier {verifier!r}: allowed are {', '.join(VERIFIERS)}")
    if not temperature >= 0:  # NaN is none either
        raise UsageError(f"temperature = {temperature} is not allowed: at least 0")
    chosen_task = find_task(task)
    question = chosen_task.read(problem)
    one_thread()
    loop = EngineLoop()
    generator = EmbeddedModel(model, loop, path=weights)
    judge: Verifier | None = (
        EmbeddedPRM(loop) if verifier == "prm" else LogprobVerifier() if verifier == "logprob" else None
    )
    ledger = Ledger()

    async def run() -> Result:
        searching = asyncio.ensure_future(
            solve_problem(
                question,
                built,
                generator,
                judge,
                chosen_task,
                select=find_selection(select),
                budget=budget,
                seed=seed,
                temperature=temperature,
                ledger=ledger,
            )
        )
        if not as_json and sys.stdout.isatty():
            await _watch(question, ledger, searching)
        return await searching

    result = asyncio.run(run())
    answer = chosen_task.answer(result.chosen.text) if result.chosen else None
    spent = flops(result.usage, generator.parameters, judge.parameters if judge else 0)
    if as_json:
        print(json.dumps(_plain(question, result, built, answer, spent), indent=2))
    else:
        _show(question, result, built, answer, spent)


async def _watch(problem: Problem, ledger: Ledger, searching: asyncio.Future[Result]) -> None:
    """Redraw the growing tree until the search is over, then leave the screen to the final picture."""
    with Live(draw(problem.prompt, []), transient=True, auto_refresh=False) as live:
        while not searching.done():
            live.update(draw(problem.prompt, ledger.in_order()), refresh=True)
            await asyncio.wait([searching], timeout=0.1)


def _plain(problem: Problem, result: Result, strategy: Strategy, answer: str | None, spent: Flops) -> dict[str, object]:
    return {
        "problem": problem.prompt,
        "answer": answer,
        "correct": None if problem.answer is None else answer == problem.answer,
        "solution": result.chosen.text if result.chosen else None,
        "strategy": describe(strategy),
        "usage": asdict(result.usage),
        "flops": {**asdict(spent), "total": spent.total},
        "exhausted": result.exhausted,
        "explored": [
            {
                "id": c.id,
                "parent": c.parent,
                "step": c.steps[-1].text.strip() if c.steps else "",
                "scores": list(c.scores),
                "end": c.end,
            }
            for c in result.explored
        ],
    }


def _show(problem: Problem, result: Result, strategy: Strategy, answer: str | None, spent: Flops) -> None:
    console = Console()
    console.print(draw(problem.prompt, result.explored, result.chosen))
    verdict = (
        "" if problem.answer is None else "  (right)" if answer == problem.answer else f"  (wrong: {problem.answer})"
    )
    console.print(f"answer: {answer if answer is not None else 'none finished'}{verdict}", style="bold")
    if result.exhausted:
        console.print("the token budget ended the search")
    console.print(
        f"{label(strategy)}: {result.usage.completion_tokens} tokens sampled, "
        f"{result.usage.verifier_tokens - result.usage.cached_verifier_tokens} read by the verifier, "
        f"{spent.total:.2e} FLOPs"
        + (f" ({spent.verifier / spent.total:.0%} of them the verifier's)" if spent.total else "")
    )
