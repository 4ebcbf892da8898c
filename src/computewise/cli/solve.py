"""`computewise solve`."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.live import Live
from rich.tree import Tree

from computewise.cli import open_console, say, say_notes
from computewise.cli._flags import SERVER, TASK, ServedFlags, ServerFlags, TaskFlags, with_setup
from computewise.cli._render import Request, draw, draw_attempts, shown_flops, solve_by_policy
from computewise.cli._setup import NO_VERIFIER, embedded_setup, notes, server_setup
from computewise.core import MODEL, REVISER, VERIFIER, Candidate, Problem, Result
from computewise.costs import Flops, known_flops
from computewise.errors import ProblemError, UsageError
from computewise.selection import find_selection
from computewise.session import Ledger, Strategy
from computewise.setups.base import SetupSpec
from computewise.setups.embedded import WEIGHTS
from computewise.solver import solve as solve_problem
from computewise.strategies import load_strategy, strategy_label, strategy_to_dict
from computewise.tasks.arithmetic import TASKS, find_task
from computewise.tasks.load import QUESTION


def solve(
    problem: str,
    *more: Annotated[str, Parameter(show=False)],
    strategy: str | None = None,
    select: str | None = None,
    budget: int | None = None,
    seed: int = 0,
    policy: str | None = None,
    mean_cost: float | None = None,
    price: float | None = None,
    accuracy: float | None = None,
    abstain_under: float = 0.0,
    as_json: Annotated[bool, Parameter(name="--json")] = False,
    no_cache: bool = False,
    weights: Path | None = None,
    served: Annotated[ServedFlags, Parameter(name="*", group=SERVER)] = ServedFlags(),
    task_flags: Annotated[TaskFlags, Parameter(name="*", group=TASK)] = TaskFlags(),
) -> None:
    """Solve one problem; show the search, the answer and its cost.

    With --base-url your own model solves it. Without, the small embedded models solve arithmetic, to try things out.

    Parameters
    ----------
    problem:
        Any question with --base-url; else an expression such as "3*(4+5)-6", or a story with --task stories.
    strategy:
        How the samples are drawn: a name, or a name with settings as "beam_search(n=16, width=4)". Names: single,
        greedy, best_of_n, beam_search, lookahead, dvts, rebase, particle_filter, revisions, gated_revisions,
        step_revisions, adaptive_branching, or your own module:Class. Default best_of_n with --base-url or without a
        verifier, else beam_search.
    select:
        How the answer is chosen: weighted, majority, best or hierarchical (in each chain, then across chains). The
        default suits the strategy.
    budget:
        Most tokens to sample, discarded ones included.
    seed:
        The seed of sampling; the embedded models give equal searches for equal seeds.
    policy:
        In place of a strategy: a fitted controller decides after every sample whether another one is worth its cost.
        A file (controller.json of a study), or expressions, which is shipped.
    mean_cost:
        Samples for each problem that the controller may draw on average (default 8).
    price:
        The gain in accuracy that a sample must be worth to the controller; a higher price spends less.
    accuracy:
        The accuracy, 0 to 1, that the controller is to reach at the lowest cost.
    abstain_under:
        The confidence, 0 to 1, below which the controller gives no answer.
    as_json:
        Print one JSON object in place of the picture.
    no_cache:
        Sample everything again, though a server's earlier answers are kept.
    weights:
        A weights file in place of the embedded model's.

    """
    if more:
        raise UsageError(f"solve takes one problem, in quotes: {problem!r:.60} is followed by {more[0]!r:.60}")
    flags, task_flags = with_setup(ServerFlags.of(served), task_flags)
    _check_policy_flags(policy, strategy, select, budget, flags, (price, mean_cost, accuracy, abstain_under or None))
    on_server = flags.base_url is not None
    if on_server and weights is not None:
        raise UsageError("--weights is for an embedded model: leave it out with --base-url")
    if not on_server and no_cache:
        raise UsageError("--no-cache is for a server's model: give --base-url too")
    usual = "best_of_n" if on_server or flags.verifier == NO_VERIFIER else "beam_search"
    built = None if policy is not None else load_strategy(strategy or usual)
    hints: list[str] = []
    spec: SetupSpec
    if on_server:
        spec = server = server_setup(replace(flags, no_cache=no_cache), task_flags.named(QUESTION))
        hints = notes(flags, server)
    else:
        solver = WEIGHTS[REVISER if built is not None and built.needs_history else MODEL]
        spec = embedded_setup(flags, task_flags, solver=solver, weights=weights)
    if built is not None and built.needs_verifier and spec.labels()[VERIFIER] == NO_VERIFIER:
        raise UsageError(f"the strategy {built.name} needs a verifier, which says what to go on with: --verifier NAME")
    task = spec.task()
    question = problem_of(problem, task.name, flags, task_flags)
    if policy is not None:
        request = Request(question, policy, price, mean_cost, accuracy, abstain_under, seed)
        solve_by_policy(request, spec, as_json=as_json)
    else:
        assert built is not None
        _solve_by_strategy(question, built, spec, select, budget, seed, as_json=as_json)
    for hint in hints:
        say(f"computewise: {hint}", stderr=True)


def problem_of(text: str, task: str, flags: ServerFlags, given: TaskFlags) -> Problem:
    """The problem in a text, of an embedded task with its true answer."""
    if task not in TASKS:
        return Problem(id=text, prompt=text)
    try:
        return find_task(task).read(text)
    except ProblemError as error:
        if given.task is not None or flags.base_url is not None:
            raise
        raise ProblemError(f"{error}; a story needs --task stories, any other question --base-url") from None


def _check_policy_flags(
    policy: str | None,
    strategy: str | None,
    select: str | None,
    budget: int | None,
    flags: ServerFlags,
    of_a_policy: Sequence[float | None],
) -> None:
    if policy is None:
        if any(value is not None for value in of_a_policy):
            raise UsageError("--price, --mean-cost, --accuracy and --abstain-under are for a policy: give --policy too")
        return
    given = {"strategy": strategy, "select": select, "budget": budget}
    named = [f"--{name}" for name, value in given.items() if value is not None]
    named += ["--model"] if flags.model is not None and flags.base_url is None else []
    if named:
        raise UsageError(f"--policy decides by itself: leave out {', '.join(named)}")


def _solve_by_strategy(
    question: Problem,
    strategy: Strategy,
    spec: SetupSpec,
    select: str | None,
    budget: int | None,
    seed: int,
    *,
    as_json: bool,
) -> None:
    task, ledger, chosen_by = spec.task(), Ledger(), find_selection(select or strategy.default_select)

    async def run() -> tuple[Result, Flops | None]:
        async with spec.open() as setup:
            model, verifier = setup.model(MODEL), setup.verifier()
            searching = asyncio.ensure_future(
                solve_problem(
                    question,
                    strategy,
                    model,
                    verifier,
                    task,
                    select=chosen_by,
                    budget=budget,
                    seed=seed,
                    temperature=spec.temperature(),
                    limits=spec.limits(),
                    ledger=ledger,
                )
            )
            if not as_json and sys.stdout.isatty():
                await _watch(question, ledger, searching)
            result = await searching
            return result, known_flops(result.usage, model.parameters, verifier.parameters if verifier else 0)

    result, spent = asyncio.run(run())
    say_notes([ledger])
    if as_json:
        print(json.dumps(_plain(question, result, strategy, spent), indent=2))
    else:
        _show(question, result, strategy, spent)


async def _watch(problem: Problem, ledger: Ledger, searching: asyncio.Future[Result]) -> None:
    """Redraw the growing tree until the search is over, then leave the screen to the final picture."""
    with Live(draw(problem.prompt, []), console=open_console(), transient=True, auto_refresh=False) as live:
        while not searching.done():
            live.update(_picture(problem, ledger.in_order(), None, coloured=True), refresh=True)
            await asyncio.wait([searching], timeout=0.1)


def _picture(problem: Problem, explored: Sequence[Candidate], chosen: Candidate | None, *, coloured: bool) -> Tree:
    """Chains of attempts where anything was revised, else the search tree."""
    if any(candidate.revises for candidate in explored):
        return draw_attempts(problem.prompt, explored, chosen, coloured=coloured)
    return draw(problem.prompt, explored, chosen)


def _plain(problem: Problem, result: Result, strategy: Strategy, spent: Flops | None) -> dict[str, object]:
    return {
        "problem": problem.prompt,
        "answer": result.answer,
        "correct": None if problem.answer is None else result.answer == problem.answer,
        "solution": result.text,
        "strategy": strategy_to_dict(strategy),
        "usage": asdict(result.usage),
        "flops": None if spent is None else {**asdict(spent), "total": spent.total},
        "exhausted": result.exhausted,
        "notes": list(result.notes),
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


def _show(problem: Problem, result: Result, strategy: Strategy, spent: Flops | None) -> None:
    console = open_console()
    console.print(_picture(problem, result.tree, result.chosen, coloured=console.color_system is not None))
    known = problem.answer
    verdict = "" if known is None else "  (right)" if result.answer == known else f"  (wrong: {known})"
    unread = "none was found in what finished" if any(c.finished for c in result.tree) else "none finished"
    console.print(f"answer: {unread if result.answer is None else result.answer}{verdict}", style="bold")
    read = sum(answer is not None for answer in result.answers.values())
    if 2 * read < len(result.answers) > 1:
        console.print(
            f"an answer could be read in {read} of {len(result.answers)} solutions only: the others do not vote"
        )
    if result.exhausted:
        console.print("the token budget ended the search")
    share = "" if not spent or not spent.total else f" ({spent.verifier / spent.total:.0%} of them by the verifier)"
    console.print(
        f"{strategy_label(strategy)}: {result.usage.completion_tokens} tokens sampled, "
        f"{result.usage.verifier_tokens - result.usage.cached_verifier_tokens} read by the verifier, "
        f"{shown_flops(None if spent is None else spent.total)}{share}"
    )
