"""The expression language: what is read, how it is written, what a reduction may change."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from computewise.errors import ProblemError
from computewise.models.embedded.network import decode, encode
from computewise.tasks.arithmetic import (
    MAX_LITERAL,
    MAX_OPERATIONS,
    MAX_VALUE,
    Expression,
    Operation,
    count_operations,
    evaluate,
    parse,
    random_expression,
    random_expression_problem,
    reduce,
    render,
    solution,
)


def trees(leaves: st.SearchStrategy[int]) -> st.SearchStrategy[Expression]:
    return st.recursive(
        leaves,
        lambda inner: st.builds(Operation, st.sampled_from("+-*"), inner, inner),
        max_leaves=MAX_OPERATIONS + 1,
    ).filter(lambda tree: 1 <= count_operations(tree) <= MAX_OPERATIONS)


EXPRESSIONS = trees(st.integers(-MAX_LITERAL, MAX_LITERAL))


@given(EXPRESSIONS)
def test_what_is_rendered_parses_as_the_same_tree(tree: Expression) -> None:
    assert parse(render(tree)) == tree


@given(EXPRESSIONS)
def test_rendering_means_what_python_says_it_means(tree: Expression) -> None:
    assert eval(render(tree)) == evaluate(tree)


@given(EXPRESSIONS)
def test_a_reduction_keeps_the_value_and_takes_one_operation(tree: Operation) -> None:
    reduced = reduce(tree)
    assert evaluate(reduced) == evaluate(tree)
    assert count_operations(reduced) == count_operations(tree) - 1


@given(EXPRESSIONS)
def test_the_solution_has_a_line_for_every_operation_and_ends_in_the_value(tree: Expression) -> None:
    lines = solution(tree)
    assert len(lines) == count_operations(tree)
    assert lines[-1] == str(evaluate(tree))
    assert all(eval(line) == evaluate(tree) for line in lines)


@given(st.randoms(use_true_random=False), st.integers(1, MAX_OPERATIONS))
def test_generated_expressions_keep_to_their_bounds(rng: random.Random, operations: int) -> None:
    tree = random_expression(rng, operations)
    assert count_operations(tree) == operations
    assert all(abs(eval(line)) <= MAX_VALUE for line in solution(tree))


def test_generated_problems_are_in_the_models_vocabulary() -> None:
    rng = random.Random(0)
    for _ in range(200):
        prompt, lines = random_expression_problem(rng)
        text = "\n".join([prompt, *lines])
        assert decode(encode(text)) == text


@pytest.mark.parametrize(
    ("text", "spelling"),
    [
        (" 3 * ( 4 + 5 ) - 6 ", "3*(4+5)-6"),
        ("-5+3", "(-5)+3"),
        ("1-(2-3)", "1-(2-3)"),
        ("(1-2)-3", "1-2-3"),
        ("(((1)))+2", "1+2"),
        ("2*(3*4)", "2*(3*4)"),
    ],
)
def test_users_may_spell_as_they_like(text: str, spelling: str) -> None:
    assert render(parse(text)) == spelling


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "\n",
        "7",
        "-7",
        "()",
        "1+",
        "1+2)",
        "1 2",
        "1+2\n3+4",
        "1+2;3",
        "1.5+2",
        "1e3+2",
        "2j+1",
        "1/2",
        "7//2",
        "2**3",
        "5%2",
        "x+1",
        "one plus two",
        "__import__('os')",
        "f(1)+2",
        "True+1",
        "'1'+'2'",
        "[1]+[2]",
        "1 if 2 else 3",
        "lambda: 1",
        "--1+2",
        "-(1+2)",
        "~1+2",
        "1+2==3",
        "007+1",
        "10000+1",
        "9" * 5000 + "+1",
        "0x" + "f" * 5000 + "+1",
        "1+" * 8 + "1",
        "1+" * 50_000 + "1",
        "(" * 500 + "1+2" + ")" * 500,
        "-" * 50_000 + "1",
        "１+２",
        "2×3",
        "1−2",
        "٣+٤",
        "1+2\x00",
        "\ud800+1",
        "1+2🙂",
    ],
    ids=lambda text: ascii(text[:24]),
)
def test_what_is_no_expression_is_a_problem_error_of_one_line(text: str) -> None:
    with pytest.raises(ProblemError) as error:
        parse(text)
    message = str(error.value)
    assert "\n" not in message
    assert len(message) < 250
    assert "allowed are" in message


def is_read_or_refused(text: str) -> bool:
    """Read as an expression that renders as itself, or refused in one line; anything else raises."""
    try:
        tree = parse(text)
    except ProblemError as error:
        return "\n" not in str(error)
    return parse(render(tree)) == tree


@given(st.text(max_size=30))
def test_any_text_is_read_or_refused(text: str) -> None:
    assert is_read_or_refused(text)


@given(st.text("0123456789+-*() \n", max_size=20))
def test_any_text_of_the_right_characters_is_read_or_refused(text: str) -> None:
    assert is_read_or_refused(text)
