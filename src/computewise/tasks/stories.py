"""Short word problems: translated into an expression, then solved like one.

Ann has 12 apples. Ann buys 3 bags of 4. Ann loses 5. How many apples?

12+3*4-5
12+12-5
24-5
19
"""

from __future__ import annotations

import random

from computewise.tasks.expressions import (
    MAX_VALUE,
    Expression,
    Operation,
    count_operations,
    evaluate,
    render,
    solution,
)

NAMES = ("Ann", "Ben", "Cora", "Dan", "Eve", "Finn")
THINGS = ("apples", "books", "coins", "pens", "shells", "stamps")
STORY_MAX_OPERATIONS = 4
_GAINS = ("buys", "finds", "wins")
_LOSSES = ("loses", "sells", "drops")


def _event(rng: random.Random, name: str, have: Expression) -> tuple[str, Expression]:
    small, other = rng.randint(2, 9), rng.randint(2, 99)
    match rng.choice(("gain", "loss", "bags", "friends", "times")):
        case "gain":
            return f"{name} {rng.choice(_GAINS)} {other}.", Operation("+", have, other)
        case "loss":
            return f"{name} {rng.choice(_LOSSES)} {other}.", Operation("-", have, other)
        case "bags":
            return f"{name} buys {small} bags of {other}.", Operation("+", have, Operation("*", small, other))
        case "friends":
            return f"{name} gives {small} friends {other} each.", Operation("-", have, Operation("*", small, other))
        case _:
            return f"Then {name} has {small} times as many.", Operation("*", have, small)


def random_story(rng: random.Random, least: int = 1) -> tuple[str, list[str]]:
    """Prompt and reference solution of one random story, `least` to `MAX_OPERATIONS` operations, nobody in debt."""
    name, thing = rng.choice(NAMES), rng.choice(THINGS)
    start = rng.randint(2, 99)
    sentences = [f"{name} has {start} {thing}."]
    have: Expression = start
    wanted = rng.randint(least, STORY_MAX_OPERATIONS)
    while count_operations(have) < wanted:
        sentence, after = _event(rng, name, have)
        if 0 <= evaluate(after) <= MAX_VALUE and count_operations(after) <= wanted:
            sentences.append(sentence)
            have = after
    return f"{' '.join(sentences)} How many {thing}?", [render(have), *solution(have)]
