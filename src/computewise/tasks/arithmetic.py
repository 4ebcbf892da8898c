"""The embedded tasks: arithmetic expressions and stories, generated."""

from __future__ import annotations

import ast
import operator
import random
import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass

from computewise.core import Problem
from computewise.errors import ProblemError, UsageError
from computewise.tasks.dataset import SPLITS, split_of

OPERATIONS = {"+": operator.add, "-": operator.sub, "*": operator.mul}

_SYMBOLS: dict[type[ast.operator], str] = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*"}

MAX_OPERATIONS = 7

MAX_VALUE = 999

MAX_LITERAL = 9999

ALLOWED = f"integers up to {MAX_LITERAL}, + - * and brackets, 1 to {MAX_OPERATIONS} operations"


@dataclass(frozen=True, slots=True)
class Operation:
    """An inner node of an expression tree."""

    symbol: str
    left: Expression
    right: Expression


Expression = int | Operation


def render(expression: Expression) -> str:
    """The text that `parse` reads as the same tree; a negative operand is put in brackets, a negative result is not."""
    return str(expression) if isinstance(expression, int) else _render(expression)


def _render(expression: Expression) -> str:
    if isinstance(expression, int):
        return f"({expression})" if expression < 0 else str(expression)
    left, right = _render(expression.left), _render(expression.right)
    if isinstance(expression.left, Operation) and expression.symbol == "*" and expression.left.symbol != "*":
        left = f"({left})"
    if isinstance(expression.right, Operation) and (expression.symbol == "*" or expression.right.symbol != "*"):
        right = f"({right})"
    return f"{left}{expression.symbol}{right}"


def parse(text: str) -> Expression:
    """Parse an expression; raises `ProblemError` where it is not one of this task."""
    try:
        with warnings.catch_warnings(action="ignore"):  # Python warns of "1or 2", which is refused anyway
            expression = _convert(ast.parse(text.strip(), mode="eval").body)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise ProblemError(f"malformed expression {_shorten(text)}: allowed are {ALLOWED}") from None
    if not 1 <= count_operations(expression) <= MAX_OPERATIONS:
        raise ProblemError(f"expression {_shorten(text)} is out of range: allowed are {ALLOWED}")
    return expression


def _shorten(text: str, limit: int = 60) -> str:
    return repr(text if len(text) <= limit else text[:limit] + "...")


def _convert(node: ast.expr) -> Expression:
    match node:
        case ast.Constant(value=int() as value) if not isinstance(value, bool) and abs(value) <= MAX_LITERAL:
            return value
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() as value)) if abs(value) <= MAX_LITERAL:
            return -value
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _SYMBOLS:
            return Operation(_SYMBOLS[type(op)], _convert(left), _convert(right))
        case _:
            raise ValueError(ast.dump(node))


def count_operations(expression: Expression) -> int:
    """Number of inner nodes."""
    if isinstance(expression, int):
        return 0
    return 1 + count_operations(expression.left) + count_operations(expression.right)


def evaluate(expression: Expression) -> int:
    """The value of an expression."""
    if isinstance(expression, int):
        return expression
    return int(OPERATIONS[expression.symbol](evaluate(expression.left), evaluate(expression.right)))


def reduce(expression: Operation) -> Expression:
    """Carry out the leftmost operation whose operands are both numbers."""
    if isinstance(expression.left, Operation):
        return Operation(expression.symbol, reduce(expression.left), expression.right)
    if isinstance(expression.right, Operation):
        return Operation(expression.symbol, expression.left, reduce(expression.right))
    return evaluate(expression)


def solution(expression: Expression) -> list[str]:
    """The reference solution, one line a reduction; the last line is the answer."""
    lines = []
    while isinstance(expression, Operation):
        expression = reduce(expression)
        lines.append(render(expression))
    return lines


def random_expression(rng: random.Random, operations: int) -> Expression:
    """A random tree with `operations` inner nodes, every value within +-`MAX_VALUE`, operands 1 to 99."""
    if operations == 0:
        return rng.randint(1, 9) if rng.random() < 0.5 else rng.randint(10, 99)
    on_the_left = rng.randrange(operations)
    left = random_expression(rng, on_the_left)
    right = random_expression(rng, operations - 1 - on_the_left)
    symbol = rng.choices("+-*", (0.4, 0.3, 0.3))[0]
    candidate = Operation(symbol, left, right)
    if abs(evaluate(candidate)) <= MAX_VALUE:
        return candidate
    symbol = "+" if (evaluate(left) > 0) != (evaluate(right) > 0) else "-"
    return Operation(symbol, left, right)


def random_expression_problem(rng: random.Random, least: int = 1) -> tuple[str, list[str]]:
    """Prompt and reference solution of one random problem, `least` to `MAX_OPERATIONS` operations, uniformly."""
    expression = random_expression(rng, rng.randint(least, MAX_OPERATIONS))
    return render(expression), solution(expression)


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
    """Prompt and reference solution of one random story: at least `least` operations, no negative amounts."""
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


LEAST_OPERATIONS = 2

"""Problems with a single operation leave nothing to search; the models are trained on those too."""


_NUMBER = re.compile(r"-?[0-9]{1,40}")


def read_expression(text: str) -> Problem:
    """A user's expression as a problem, in the models' notation, with its true value as the reference."""
    tree = parse(text)
    prompt = render(tree)
    return Problem(id=prompt, prompt=prompt, answer=str(evaluate(tree)))


def read_story(text: str) -> Problem:
    """A user's story as a problem without a reference."""
    prompt = " ".join(text.split())
    return Problem(id=prompt, prompt=prompt)


@dataclass(frozen=True, slots=True)
class EmbeddedTask:
    """A generated family whose solutions end in a line that is an integer."""

    name: str
    random_problem: Callable[[random.Random, int], tuple[str, list[str]]]
    read: Callable[[str], Problem]
    delimiter: str = "\n"
    instruction: str = ""
    """The instruction to a served model: "", since the embedded models, exported, know their task."""
    warnings: tuple[str, ...] = ()

    def answer(self, solution: str) -> str | None:
        """The integer on the last line, without leading zeros; None where the last line is anything else."""
        line = solution.rstrip("\n").rsplit("\n", 1)[-1]
        return str(int(line)) if _NUMBER.fullmatch(line) else None

    def correct(self, problem: Problem, answer: str | None) -> bool:
        """Exact equality with the reference."""
        return answer is not None and answer == problem.answer

    def problems(self, split: str, count: int, seed: int) -> list[Problem]:
        """The first `count` distinct problems of a split in the order of `seed`; ids are the prompts."""
        if split not in SPLITS:
            raise UsageError(f"unknown split {split!r}: allowed are {', '.join(SPLITS)}")
        rng = random.Random(f"{self.name}/{split}/{seed}")
        found: dict[str, Problem] = {}
        while len(found) < count:
            prompt, lines = self.random_problem(rng, LEAST_OPERATIONS)
            if split_of(prompt) == split:
                found.setdefault(prompt, Problem(id=prompt, prompt=prompt, answer=lines[-1]))
        return list(found.values())


TASKS = {
    "expressions": EmbeddedTask("expressions", random_expression_problem, read_expression),
    "stories": EmbeddedTask("stories", random_story, read_story),
}


def find_task(name: str) -> EmbeddedTask:
    """The task of that name."""
    try:
        return TASKS[name]
    except KeyError:
        raise UsageError(f"unknown task {name!r}: allowed are {', '.join(TASKS)}") from None
