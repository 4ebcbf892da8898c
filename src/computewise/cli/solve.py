"""`computewise solve`."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.console import Console
from rich.live import Live
from rich.tree import Tree

from computewise.cli.adaptive import solve_by_policy
from computewise.cli.attempts import draw_attempts
from computewise.cli.tree import draw
from computewise.compute import Flops, flops
from computewise.core import Candidate, Problem, Result, Verifier
from computewise.errors import UsageError
from computewise.models.embedded import EmbeddedModel
from computewise.models.forgetful import Forgetful
from computewise.models.loop import EngineLoop
from computewise.models.threads import one_thread
from computewise.selection import find_selection
from computewise.session import Ledger, Strategy
from computewise.solve import solve as solve_problem
from computewise.strategies import build, describe, label
from computewise.tasks.embedded import find_task
from computewise.verifiers.logprob import LogprobVerifier
from computewise.verifiers.orm import EmbeddedORM
from computewise.verifiers.prm import EmbeddedPRM

VERIFIERS = ("prm", "orm", "logprob", "none")
MODELS = ("small", "large", "revision", "revision_paper")
SHOWN_ATTEMPTS = ("revisions", "gated_revisions", "ratio_pool")
"""Strategies that make sense only for a model trained to revise."""
KEPT_STEPS = ("step_revisions", "adaptive_branching")
"""Strategies that any model can follow: it goes on from what is kept."""


def solve(
    problem: str,
    *,
    task: str = "expressions",
    strategy: str | None = None,
    policy: str | None = None,
    price: float | None = None,
    mean_cost: float | None = None,
    accuracy: float | None = None,
    abstain_under: float = 0.0,
    n: int | None = None,
    width: int | None = None,
    k: int | None = None,
    chain_length: int | None = None,
    chains: int | None = None,
    trust: float | None = None,
    balance_temperature: float | None = None,
    select: str | None = None,
    model: str | None = None,
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
        single, greedy, best_of_n, beam_search, lookahead, dvts, rebase, particle_filter, revisions, gated_revisions,
        step_revisions or adaptive_branching (default beam_search).
    policy:
        In place of a strategy: decide after every draw by a policy, a file (controller.json of a study) or one that is
        shipped (expressions). The model, the strategies and their settings are then the policy's.
    price:
        What one draw is worth in accuracy, for a policy; a higher price spends less.
    mean_cost:
        The price that a policy needed for this many draws a problem on average (default 8).
    accuracy:
        The highest price at which a policy reached this accuracy, 0 to 1.
    abstain_under:
        Let a policy give no answer where it stops less sure than this.
    n:
        Samples of best_of_n, beams, particles, attempts of adaptive_branching (default 16).
    width:
        Continuations of each surviving beam (the paper's M); divides n.
    k:
        Steps that lookahead looks ahead.
    chain_length:
        Attempts of a chain of revisions, gated_revisions or step_revisions, the first included (default 4).
    chains:
        Chains of those side by side (default 4).
    trust:
        The verifier's value, 0 to 1, from which on gated_revisions, step_revisions and adaptive_branching do not revise
        an attempt (default 0.9, which suits prm; logprob is above it nearly always).
    balance_temperature:
        How evenly rebase shares its width out (default 0.2).
    select:
        weighted, majority, best or hierarchical (inside each chain, then across chains: the default for revisions).
    model:
        small, large, or one trained to revise: revision (the default for revisions and gated_revisions),
        revision_paper.
    verifier:
        prm, orm (reads the earlier attempts), logprob (the generator's own confidence) or none.
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
    settings = {
        "n": n,
        "width": width,
        "k": k,
        "chain_length": chain_length,
        "chains": chains,
        "trust": trust,
        "balance_temperature": balance_temperature,
    }
    if policy is not None:
        named = [
            name for name, value in {**settings, "strategy": strategy, "model": model}.items() if value is not None
        ]
        if named:
            raise UsageError(f"--policy chooses itself: leave out {', '.join(named)}")
        chosen_task = find_task(task)
        one_thread()
        solve_by_policy(
            chosen_task.read(problem),
            chosen_task,
            policy,
            price=price,
            mean_cost=mean_cost,
            accuracy=accuracy,
            abstain_under=abstain_under,
            seed=seed,
            as_json=as_json,
        )
        return
    strategy = strategy or "beam_search"
    built = build(strategy, {name: value for name, value in settings.items() if value is not None})
    model = model or ("revision" if strategy in SHOWN_ATTEMPTS else "small")
    if model not in MODELS:
        raise UsageError(f"unknown model {model!r}: allowed are {', '.join(MODELS)}")
    if verifier not in VERIFIERS:
        raise UsageError(f"unknown verifier {verifier!r}: allowed are {', '.join(VERIFIERS)}")
    if verifier == "none" and "trust" in describe(built):
        raise UsageError(f"strategy {strategy!r} needs a verifier: without one everything is trusted, nothing revised")
    if not temperature >= 0:  # NaN is none either
        raise UsageError(f"temperature = {temperature} is not allowed: at least 0")
    chosen_task = find_task(task)
    question = chosen_task.read(problem)
    one_thread()
    loop = EngineLoop()
    generator = EmbeddedModel(model, loop, path=weights)
    solver = Forgetful(generator) if strategy in KEPT_STEPS and not generator.revises else generator
    judge = _judge(verifier, loop)
    chosen_selection = find_selection(
        select or ("hierarchical" if strategy in (*SHOWN_ATTEMPTS, *KEPT_STEPS) else "weighted")
    )
    ledger = Ledger()

    async def run() -> Result:
        searching = asyncio.ensure_future(
            solve_problem(
                question,
                built,
                solver,
                judge,
                chosen_task,
                select=chosen_selection,
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


def _judge(name: str, loop: EngineLoop) -> Verifier | None:
    match name:
        case "prm":
            return EmbeddedPRM(loop)
        case "orm":
            return EmbeddedORM(loop)
        case "logprob":
            return LogprobVerifier()
        case _:
            return None


async def _watch(problem: Problem, ledger: Ledger, searching: asyncio.Future[Result]) -> None:
    """Redraw the growing tree until the search is over, then leave the screen to the final picture."""
    with Live(draw(problem.prompt, []), transient=True, auto_refresh=False) as live:
        while not searching.done():
            live.update(_picture(problem, ledger.in_order(), None, coloured=True), refresh=True)
            await asyncio.wait([searching], timeout=0.1)


def _picture(problem: Problem, explored: Sequence[Candidate], chosen: Candidate | None, *, coloured: bool) -> Tree:
    """Chains of attempts where anything was revised, else the search tree."""
    if any(candidate.revises for candidate in explored):
        return draw_attempts(problem.prompt, explored, chosen, coloured=coloured)
    return draw(problem.prompt, explored, chosen)


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
                "revises": c.revises,
                "step": c.steps[-1].text.strip() if c.steps else "",
                "scores": list(c.scores),
                "end": c.end,
            }
            for c in result.explored
        ],
    }


def _show(problem: Problem, result: Result, strategy: Strategy, answer: str | None, spent: Flops) -> None:
    console = Console()
    console.print(_picture(problem, result.explored, result.chosen, coloured=console.color_system is not None))
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
