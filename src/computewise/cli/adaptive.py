"""`computewise solve --policy`: one problem under a policy, every decision shown."""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import AbstractAsyncContextManager
from dataclasses import asdict

from rich.console import Console
from rich.table import Table

from computewise.adaptive import Adaptive, Decision, solve_adaptively
from computewise.cli.players import Players
from computewise.compute import flops
from computewise.core import Problem, Task
from computewise.errors import UsageError
from computewise.models.forgetful import Forgetful
from computewise.policy.file import Fitted, read_policy
from computewise.policy.shipped import policy_path

MEAN_COST = 8.0
"""Draws a problem on average, where neither a price nor a mean cost is named."""


def solve_by_policy(
    problem: Problem,
    task: Task,
    policy: str,
    open_players: AbstractAsyncContextManager[Players],
    *,
    price: float | None,
    mean_cost: float | None,
    accuracy: float | None,
    abstain_under: float,
    seed: int,
    temperature: float,
    as_json: bool,
) -> None:
    """Follow a policy file, or the one shipped for a task, and print what it did and why."""

    async def run() -> tuple[Adaptive, Fitted, float, float]:
        async with open_players as players:
            path = policy_path(policy)
            fitted = read_policy(path, models=list(players.models), verifier=players.verifier_name)
            asked = _price(fitted, price, mean_cost, accuracy)
            models = {name: Forgetful(players.models[name]) for name in fitted.models}
            solved = await solve_adaptively(
                problem,
                fitted,
                asked,
                models,
                players.verifier,
                task,
                seed=seed,
                least_confidence=abstain_under,
                temperature=temperature,
                limits=players.limits,
            )
            read = players.verifier_parameters
            each = [flops(usage, models[name].parameters, read).total for name, usage in solved.usage.items()]
            return solved, fitted, asked, sum(each)

    solved, fitted, asked, spent = asyncio.run(run())
    if as_json:
        print(json.dumps(_plain(problem, solved, fitted, asked, spent), indent=2))
    else:
        _show(problem, solved, fitted, asked, spent)


def _price(fitted: Fitted, price: float | None, mean_cost: float | None, accuracy: float | None) -> float:
    if sum(one is not None for one in (price, mean_cost, accuracy)) > 1:
        raise UsageError("name one of --price, --mean-cost and --accuracy: the others stand for a price")
    if price is not None:
        return price
    if accuracy is not None:
        return fitted.policy.price_for_accuracy(accuracy)
    return fitted.policy.price_for(MEAN_COST if mean_cost is None else mean_cost)


def _plain(problem: Problem, solved: Adaptive, fitted: Fitted, price: float, spent: float) -> dict[str, object]:
    return {
        "problem": problem.prompt,
        "answer": solved.answer,
        "correct": None if problem.answer is None else solved.answer == problem.answer,
        "solution": solved.chosen.text if solved.chosen else None,
        "price": price,
        "decisions": [
            {
                **asdict(decision.action),
                "worth": min(decision.action.worth, 1e9),  # before the first draw it is infinite, which JSON has not
                "drawn": [{"answer": one.answer, "value": one.value} for one in decision.solutions],
                "leader": decision.leader,
            }
            for decision in solved.decisions
        ],
        "usage": {name: asdict(usage) for name, usage in solved.usage.items()},
        "flops": spent,
        "draws_worth": spent / fitted.unit,
    }


def _show(problem: Problem, solved: Adaptive, fitted: Fitted, price: float, spent: float) -> None:
    console = Console(width=None if sys.stdout.isatty() else 120)
    table = Table(title=problem.prompt, title_style="bold")
    for column in ("", "why", "drawn: answer (value)", "leader then"):
        table.add_column(column)
    for decision in solved.decisions:
        table.add_row(_what(decision), _why(decision, price), _drawn(decision), decision.leader or "-")
    console.print(table)
    known = problem.answer
    verdict = "" if known is None else "  (right)" if solved.answer == known else f"  (wrong: {known})"
    abstained = solved.decisions[-1].action.kind == "abstain"
    unread = "none was found in what finished" if any(c.finished for c in solved.explored) else "none finished"
    answer = solved.answer if solved.answer is not None else "abstained" if abstained else unread
    console.print(f"answer: {answer}{verdict}", style="bold")
    console.print(
        f"{spent:.2e} FLOPs in all, as much as {spent / fitted.unit:.1f} draws of {fitted.arms[0].name}; "
        f"price {price:.2g} a draw, in accuracy"
    )


def _what(decision: Decision) -> str:
    action = decision.action
    return f"{action.kind}: {action.arm}" if action.arm else action.kind


def _why(decision: Decision, price: float) -> str:
    action = decision.action
    if action.worth == float("inf"):
        return "nothing drawn yet"
    if action.arm is None:
        return f"leader right with {action.confidence:.2f}; the best to do is worth {action.worth:.2g} a draw"
    return f"leader right with {action.confidence:.2f}; worth {action.worth:.2g} a draw, above {price:.2g}"


def _drawn(decision: Decision) -> str:
    return ", ".join(f"{one.answer or 'none'} ({one.value:.2f})" for one in decision.solutions)
