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

from computewise.cli._flags import PROBLEMS, SERVED, ServerFlags, TaskFlags
from computewise.cli._players import embedded_players, question_of, served_players, served_source
from computewise.cli._render import draw, draw_attempts, solve_by_policy
from computewise.core import Candidate, Problem, Result
from computewise.costs import Flops, flops
from computewise.errors import UsageError
from computewise.selection import find_selection
from computewise.session import Ledger, Strategy
from computewise.solver import solve as solve_problem
from computewise.strategies import (
    make_strategy,
    strategy_label,
    strategy_to_dict,
)
from computewise.tasks.arithmetic import find_task


def solve(
    problem: str,
    *,
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
    weights: Path | None = None,
    budget: int | None = None,
    seed: int = 0,
    problem_set: Annotated[TaskFlags, Parameter(name="*", group=PROBLEMS)] = TaskFlags(),
    serving: Annotated[ServerFlags, Parameter(name="*", group=SERVED)] = ServerFlags(),
    as_json: Annotated[bool, Parameter(name="--json")] = False,
) -> None:
    """Solve one problem, showing the search, the answer and what it cost: with the embedded models, or served ones.

    Parameters
    ----------
    problem:
        An expression such as "3*(4+5)-6", a story with --task stories, any question with --base-url.
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
    weights:
        A weights file to use in place of the shipped model's.
    budget:
        Sampled tokens that may be spent, discarded ones included.
    seed:
        Of sampling: equal seeds give equal searches with the embedded models.
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
        named = [name for name, value in {**settings, "strategy": strategy}.items() if value is not None]
        named += [name for name, value in (("select", select), ("budget", budget)) if value is not None]
        named += ["model"] if serving.model is not None and serving.base_url is None else []
        if named:
            raise UsageError(f"--policy chooses itself: leave out {', '.join(named)}")
    else:
        if price is not None or mean_cost is not None or accuracy is not None or abstain_under:
            raise UsageError("--price, --mean-cost, --accuracy and --abstain-under are of a policy: give --policy too")
        strategy = strategy or "beam_search"
    if serving.base_url is not None and weights is not None:
        raise UsageError("--weights is of an embedded model: leave it out with --base-url")
    source = None if serving.base_url is None else served_source(serving, problem_set)
    task = find_task(problem_set.embedded()) if source is None else source.task()
    question = question_of(problem, task)
    open_players = embedded_players(serving, weights, strategy) if source is None else served_players(source)
    if policy is not None:
        solve_by_policy(
            question,
            task,
            policy,
            open_players,
            price=price,
            mean_cost=mean_cost,
            accuracy=accuracy,
            abstain_under=abstain_under,
            seed=seed,
            temperature=serving.temperature,
            as_json=as_json,
        )
        return
    assert strategy is not None
    built = make_strategy(strategy, {name: value for name, value in settings.items() if value is not None})
    if serving.verifier == "none" and built.needs_verifier:
        raise UsageError(f"strategy {strategy!r} needs a verifier: without one everything is trusted, nothing revised")
    chosen_selection = find_selection(select or built.default_select)
    ledger = Ledger()

    async def run() -> tuple[Result, Flops]:
        async with open_players as players:
            solver = players.solver
            searching = asyncio.ensure_future(
                solve_problem(
                    question,
                    built,
                    solver,
                    players.verifier,
                    task,
                    select=chosen_selection,
                    budget=budget,
                    seed=seed,
                    temperature=serving.temperature,
                    limits=players.limits,
                    ledger=ledger,
                )
            )
            if not as_json and sys.stdout.isatty():
                await _watch(question, ledger, searching)
            result = await searching
            return result, flops(result.usage, solver.parameters, players.verifier_parameters)

    result, spent = asyncio.run(run())
    if as_json:
        print(json.dumps(_plain(question, result, built, spent), indent=2))
    else:
        _show(question, result, built, spent)


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


def _plain(problem: Problem, result: Result, strategy: Strategy, spent: Flops) -> dict[str, object]:
    return {
        "problem": problem.prompt,
        "answer": result.answer,
        "correct": None if problem.answer is None else result.answer == problem.answer,
        "solution": result.text,
        "strategy": strategy_to_dict(strategy),
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
            for c in result.tree
        ],
    }


def _show(problem: Problem, result: Result, strategy: Strategy, spent: Flops) -> None:
    console = Console()
    console.print(_picture(problem, result.tree, result.chosen, coloured=console.color_system is not None))
    known = problem.answer
    verdict = "" if known is None else "  (right)" if result.answer == known else f"  (wrong: {known})"
    unread = "none was found in what finished" if any(c.finished for c in result.tree) else "none finished"
    console.print(f"answer: {unread if result.answer is None else result.answer}{verdict}", style="bold")
    if result.exhausted:
        console.print("the token budget ended the search")
    console.print(
        f"{strategy_label(strategy)}: {result.usage.completion_tokens} tokens sampled, "
        f"{result.usage.verifier_tokens - result.usage.cached_verifier_tokens} read by the verifier, "
        f"{spent.total:.2e} FLOPs"
        + (f" ({spent.verifier / spent.total:.0%} of them the verifier's)" if spent.total else "")
    )
