"""Search trees, attempts and decisions in the terminal."""

from __future__ import annotations

import asyncio
import json
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from computewise.cli import open_console, say_notes
from computewise.controller.controller import Controller, read_controller
from computewise.controller.file import controller_path
from computewise.controller.solve import solve_adaptively, why
from computewise.core import VERIFIER, Candidate, Decision, Problem, Result
from computewise.costs import known_flops
from computewise.session import Ledger
from computewise.setups.base import SetupSpec
from computewise.viewer.tree import diff


def draw(title: str, explored: Sequence[Candidate], chosen: Candidate | None = None) -> Tree:
    """The explored tree; branches that finished or may still grow are bright."""
    children: dict[str | None, list[Candidate]] = defaultdict(list)
    for candidate in explored:
        children[candidate.parent].append(candidate)
    deepest = max((len(candidate.steps) for candidate in explored), default=0)
    tree = Tree(Text(title, style="bold"))
    _grow(tree, [None], children, deepest, chosen, 0)
    return tree


def _grow(
    tree: Tree,
    parents: Sequence[str | None],
    children: dict[str | None, list[Candidate]],
    deepest: int,
    chosen: Candidate | None,
    depth: int,
) -> None:
    groups: dict[tuple[str, bool], list[Candidate]] = defaultdict(list)
    for parent in parents:
        for child in children[parent]:
            groups[child.text, child.end == "stop"].append(child)
    for same in sorted(groups.values(), key=lambda same: -_score(same[0])):
        ids = [candidate.id for candidate in same]
        alive = any(_alive(candidate, children, deepest) for candidate in same)
        branch = tree.add(_line(same, depth, chosen, alive))
        _grow(branch, ids, children, deepest, chosen, len(same[0].steps))


def _alive(candidate: Candidate, children: dict[str | None, list[Candidate]], deepest: int) -> bool:
    if candidate.end == "stop" or len(candidate.steps) == deepest:
        return True
    return any(_alive(child, children, deepest) for child in children[candidate.id])


def _score(candidate: Candidate) -> float:
    return candidate.scores[-1] if candidate.scores and len(candidate.scores) == len(candidate.steps) else 0.0


def _line(same: Sequence[Candidate], depth: int, chosen: Candidate | None, alive: bool) -> Text:
    candidate = same[0]
    is_chosen = chosen is not None and chosen.text == candidate.text and candidate.finished
    line = Text(style="" if alive else "dim")
    line.append(
        " → ".join(step.text.strip() for step in candidate.steps[depth:]), style="bold green" if is_chosen else ""
    )
    if candidate.scores and len(candidate.scores) == len(candidate.steps):
        line.append(f"  {candidate.scores[-1]:.2f}", style="cyan" if alive else "")
    if len(same) > 1:
        line.append(f"  x{len(same)}", style="dim")
    if candidate.end == "length":
        line.append("  cut off", style="dim")
    if is_chosen:
        line.append("  ◀ answer", style="bold green")
    return line


_PIECES = re.compile(r"\d+|\w+|\s+|.")


def draw_attempts(
    title: str, explored: Sequence[Candidate], chosen: Candidate | None = None, *, coloured: bool = True
) -> Tree:
    """Every chain of attempts, the oldest first; an only revision follows its attempt, several branch off it.

    Without colours a diff is marked as in git's word diff: [-gone-]{+new+}.
    """
    children: dict[str | None, list[Candidate]] = defaultdict(list)
    for candidate in explored:
        children[candidate.parent].append(candidate)
    tree = Tree(Text(title, style="bold"))
    for first in children[None]:
        _grow_attempts(tree, first, None, children, chosen, coloured, only=False)
    return tree


def _grow_attempts(
    tree: Tree,
    attempt: Candidate,
    before: Candidate | None,
    children: dict[str | None, list[Candidate]],
    chosen: Candidate | None,
    coloured: bool,
    *,
    only: bool,
) -> None:
    branch = tree.add(_attempt_line(attempt, before, chosen, coloured))
    revisions = children[attempt.id]
    # The only revision of an only revision has the same depth: a chain of sixteen must fit the screen.
    alone = len(revisions) == 1
    for revision in revisions:
        _grow_attempts(tree if only and alone else branch, revision, attempt, children, chosen, coloured, only=alone)


def _attempt_line(attempt: Candidate, before: Candidate | None, chosen: Candidate | None, coloured: bool) -> Text:
    line = Text()
    if before is None:
        line.append(_shown(attempt))
    elif _shown(attempt) == _shown(before):
        line.append("unchanged", style="dim")
    else:
        line.append_text(changes(_shown(before), _shown(attempt), coloured=coloured))
    if attempt.scores and len(attempt.scores) == len(attempt.steps):
        line.append(f"  {attempt.scores[-1]:.2f}", style="cyan")
    if attempt.end == "length":
        line.append("  cut off", style="dim")
    if chosen is not None and chosen.id == attempt.id:
        line.append("  ◀ answer", style="bold green")
    return line


def _shown(attempt: Candidate) -> str:
    return " → ".join(step.text.strip() for step in attempt.steps)


def changes(before: str, after: str, *, coloured: bool) -> Text:
    """`after` with its changes against `before`, by whole numbers and words."""
    marks = ("", "", "", "") if coloured else ("[-", "-]", "{+", "+}")
    text = Text()
    for kind, words in diff(before, after, _PIECES):
        match kind:
            case "-":
                text.append(f"{marks[0]}{words}{marks[1]}", style="red strike")
            case "+":
                text.append(f"{marks[2]}{words}{marks[3]}", style="bold green")
            case _:
                text.append(words, style="dim")
    return text


def shown_flops(flops: float | None) -> str:
    """For a person; None where a model's size is unknown."""
    return "FLOPs unknown" if flops is None else f"{flops:.2e} FLOPs"


MEAN_COST = 8.0
"""Samples for each problem on average, where neither a price nor a mean cost nor an accuracy is given."""


@dataclass(frozen=True, slots=True)
class Request:
    """One problem for a controller, and what it may spend on it."""

    problem: Problem
    policy: str
    """A file, or the name of a shipped controller."""
    price: float | None
    mean_cost: float | None
    accuracy: float | None
    min_confidence: float
    seed: int


def solve_by_policy(request: Request, spec: SetupSpec, *, as_json: bool) -> None:
    """Let a controller solve a problem, and print what it did and why."""
    labels, ledgers = spec.labels(), dict[str, Ledger]()

    async def run() -> tuple[Result, Controller, float, float | None]:
        names = {label: role for role, label in labels.items() if role != VERIFIER}
        fitted = read_controller(controller_path(request.policy), models=list(names), verifier=labels[VERIFIER])
        price = fitted.resolve_price(
            price=request.price, mean_cost=request.mean_cost, accuracy=request.accuracy, default=MEAN_COST
        )
        async with spec.open() as setup:
            models, verifier = {name: setup.model(names[name]) for name in fitted.models}, setup.verifier()
            solved = await solve_adaptively(
                request.problem,
                fitted,
                price,
                models,
                verifier,
                spec.task(),
                seed=request.seed,
                min_confidence=request.min_confidence,
                temperature=spec.temperature(),
                limits=spec.limits(),
                ledgers=ledgers,
            )
            read = verifier.parameters if verifier else 0
            each = [known_flops(usage, models[name].parameters, read) for name, usage in solved.usages.items()]
            return solved, fitted, price, None if None in each else sum(one.total for one in each if one)

    solved, fitted, price, spent = asyncio.run(run())
    say_notes(ledgers.values())
    if as_json:
        print(json.dumps(_plain(request.problem, solved, fitted, price, spent), indent=2))
    else:
        _show(request.problem, solved, fitted, price, spent)


def _plain(
    problem: Problem, solved: Result, fitted: Controller, price: float, spent: float | None
) -> dict[str, object]:
    return {
        "problem": problem.prompt,
        "answer": solved.answer,
        "correct": None if problem.answer is None else solved.answer == problem.answer,
        "solution": solved.text,
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
        "usage": {name: asdict(usage) for name, usage in solved.usages.items()},
        "flops": spent,
        "draws_worth": _draws_worth(solved, fitted, spent),
    }


def _draws_worth(solved: Result, fitted: Controller, spent: float | None) -> float | None:
    """What was spent, in draws of the controller's first arm, in the unit that it was fitted in; None if unknown."""
    usages = solved.usages.values()
    match fitted.currency:
        case "FLOPs":
            return None if spent is None else spent / fitted.unit
        case "samples":
            return sum(usage.samples for usage in usages) / fitted.unit
        case "tokens":
            return sum(usage.completion_tokens for usage in usages) / fitted.unit
        case _:
            return None


def _show(problem: Problem, solved: Result, fitted: Controller, price: float, spent: float | None) -> None:
    console = open_console(width=120)
    table = Table(title=problem.prompt, title_style="bold")
    table.add_column("", no_wrap=True)
    for column in ("why", "drawn: answer (value)", "leader then"):
        table.add_column(column)
    for decision in solved.decisions:
        table.add_row(_what(decision), why(decision, price), _drawn(decision), decision.leader or "-")
    console.print(table)
    known = problem.answer
    verdict = "" if known is None else "  (right)" if solved.answer == known else f"  (wrong: {known})"
    abstained = solved.decisions[-1].action.kind == "abstain"
    unread = "none was found in what finished" if any(c.finished for c in solved.tree) else "none finished"
    answer = solved.answer if solved.answer is not None else "abstained" if abstained else unread
    console.print(f"answer: {answer}{verdict}", style="bold")
    draws = _draws_worth(solved, fitted, spent)
    beside = "" if draws is None else f", as many as {draws:.1f} samples of {fitted.arms[0].name}"
    console.print(f"{shown_flops(spent)} in all{beside}; a sample must gain {price:.2g} in accuracy")


def _what(decision: Decision) -> str:
    action = decision.action
    return f"{action.kind}: {action.arm}" if action.arm else action.kind


def _drawn(decision: Decision) -> str:
    return ", ".join(f"{one.answer or 'none'} ({one.value:.2f})" for one in decision.solutions)
