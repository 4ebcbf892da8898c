"""What is said of a replay: true for whatever came out."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from computewise.replay.rules import FOLDS
from computewise.report.families import Entry
from computewise.report.words import MINUS, listed, number, percent, points

FILES = {"fit": "The file", "evaluate": "The file measured on", "large": "The larger model's file"}


def findings(summary: Entry) -> list[dict[str, str]]:
    """Each with the file it is about, the first file by its name alone."""
    return [
        {
            "about": f"{FILES[one['file']]}, {Path(summary[one['file']]).name}",
            "text": one["text"],
            "example": "" if one["example"] is None else str(one["example"]),
        }
        for one in summary["findings"]
    ]


def sentence(summary: Entry) -> str:
    """The summary's own, its signs as the page writes them."""
    return str(summary["sentence"]).replace("is -", f"is {MINUS}")


def validated(summary: Entry) -> str:
    """On which problems everything was measured."""
    orders = f"in {summary['orders']} random order{'s' * (summary['orders'] > 1)} of each problem's samples"
    if summary["evaluate"] is not None:
        return (
            f"Fitted on the {summary['problems']['fit']} problems of one file and measured on the "
            f"{summary['problems']['evaluate']} of another, {orders}."
        )
    splits = summary["splits"]
    times = "once" if splits == 1 else f"{splits} times anew"
    return (
        f"Split by problem, {times} at random, into {FOLDS} parts: each part is measured with what was fitted on the "
        f"other {FOLDS - 1}, so no problem is measured by a policy that saw it, {orders}."
    )


def recorded(summary: Entry) -> str:
    """That no rule draws more than was recorded, where budgets ask for it."""
    most = summary["samples"]["most"]
    if most >= summary["frontier"]["uniform"][-1]["budget"]:
        return ""
    return f"No problem has more than {most} samples: budgets beyond that show what all recorded samples come to."


def plain_rule(summary: Entry) -> str:
    """Where the rule without a fit is ahead of the controller; they were not compared pairwise."""
    rules = summary["frontier"]
    pairs = zip(rules["plain_rule"], rules["controller"], strict=True)
    ahead = [
        f"{plain['budget']:g} (by {number(100 * (plain['accuracy'] - fitted['accuracy']), 1)} points)"
        for plain, fitted in pairs
        if plain["accuracy"] - fitted["accuracy"] >= 0.0005
    ]
    if not ahead:
        return "The plain rule, which is fitted on nothing, is ahead of the controller at no budget here."
    return (
        f"The plain rule, which is fitted on nothing, is ahead of the controller at {listed(ahead)}; whether that is "
        "more than chance was not tested."
    )


def equal_cost(escalation: Entry) -> Iterator[str]:
    """What the small model does at the cost of one answer of the large one."""
    one = escalation["at_equal_cost"][0]
    moved, stays = one["escalating"]["minus_large"], one["small_alone"]["minus_large"]
    cost = escalation["large_alone"][0]["cost"]
    yield f"One sample of the large model costs as much as {number(cost, 1)} of the small one."
    yield (
        f"At no more than that, the controller that may escalate is {points(moved['difference'], moved['ci95'])} from "
        f"the large model, and asks it about {percent(one['escalated'])} of problems; the small model alone with "
        f"its controller is {points(stays['difference'], stays['ci95'])} from it."
    )
