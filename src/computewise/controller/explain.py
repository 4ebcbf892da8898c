"""Explain in words what a controller did and why."""

from __future__ import annotations

import math

from computewise.core import Decision


def why(decision: Decision, price: float) -> str:
    """Why the controller went on, or stopped."""
    action = decision.action
    if math.isinf(action.worth) and action.worth > 0:
        return "nothing was drawn yet"
    sure = f"the leading answer is right with a probability of {action.confidence:.2f}"
    if math.isinf(action.worth):
        return f"{sure}; nothing is left to draw"
    relation = "above" if action.arm is not None else "not above"
    return f"{sure}; the best option gains {action.worth:.2g} a draw, {relation} the price of {price:.2g}"


def why_stopped(decision: Decision, price: float, *, exhausted: bool) -> str:
    """How the search ended and why; `decision` is the last one."""
    if exhausted:
        return "the token budget ended the search"
    if decision.leader is None and decision.action.worth > price:
        return "the first solutions ended, or were cut off, without an answer to compare: no more were drawn"
    verb = "abstained" if decision.action.kind == "abstain" else "stopped"
    return f"{verb}: {why(decision, price)}"
