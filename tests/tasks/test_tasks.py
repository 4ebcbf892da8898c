"""Every task: problems, splits, and a grader that says yes to what is right and no to the rest."""

from __future__ import annotations

import random
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from computewise.core import Task
from computewise.errors import ProblemError, UsageError
from computewise.models.embedded.network import decode, encode
from computewise.tasks import arithmetic
from computewise.tasks.arithmetic import (
    TASKS,
    EmbeddedTask,
    evaluate,
    find_task,
    parse,
    read_expression,
    render,
    solution,
)
from computewise.tasks.dataset import SPLITS, split_of
from computewise.testing import SimulatedTask

ALL_TASKS: list[Task] = [*TASKS.values(), SimulatedTask()]
every_task = pytest.mark.parametrize("task", ALL_TASKS, ids=lambda task: task.name)
every_embedded_task = pytest.mark.parametrize("task", TASKS.values(), ids=lambda task: task.name)


@every_task
def test_problems_are_distinct_and_the_same_again(task: Task) -> None:
    for split in SPLITS:
        problems = task.problems(split, 60, seed=5)
        assert problems == task.problems(split, 60, seed=5)
        assert problems[:20] == task.problems(split, 20, seed=5)
        assert problems != task.problems(split, 60, seed=6)
        assert len({problem.id for problem in problems}) == len({problem.prompt for problem in problems}) == 60


@every_task
def test_no_seed_moves_a_problem_between_splits(task: Task) -> None:
    prompts = {
        split: {problem.prompt for seed in range(3) for problem in task.problems(split, 80, seed)} for split in SPLITS
    }
    assert not prompts["train"] & prompts["validation"]
    assert not prompts["train"] & prompts["test"]
    assert not prompts["validation"] & prompts["test"]
    assert all(split_of(prompt) == split for split in SPLITS for prompt in prompts[split])


@every_task
def test_an_unknown_split_is_refused_instead_of_searched_for(task: Task) -> None:
    with pytest.raises(UsageError, match="train, validation, test"):
        task.problems("dev", 1, seed=0)


def test_a_twentieth_is_test_and_a_twentieth_validation() -> None:
    splits = [split_of(str(number)) for number in range(4000)]
    assert splits.count("test") / 4000 == pytest.approx(0.05, abs=0.015)
    assert splits.count("validation") / 4000 == pytest.approx(0.05, abs=0.015)


@every_embedded_task
def test_every_reference_solution_grades_correct(task: EmbeddedTask) -> None:
    rng = random.Random(0)
    references = dict(task.random_problem(rng, 1) for _ in range(400))
    for split in SPLITS:
        for problem in task.problems(split, 40, seed=1):
            assert task.correct(problem, problem.answer)
            assert task.answer(problem.answer or "") == problem.answer
    for prompt, lines in references.items():
        problem = task.read(prompt)
        answer = task.answer("\n".join(lines))
        assert answer == lines[-1]
        assert problem.prompt == prompt
        if problem.answer is not None:
            assert task.correct(problem, answer)


@every_task
def test_wrong_and_missing_answers_grade_wrong(task: Task) -> None:
    for problem in task.problems("test", 20, seed=2):
        assert not task.correct(problem, None)
        assert not task.correct(problem, str(int(problem.answer or 0) + 1))


@every_embedded_task
@given(text=st.text(max_size=20))
def test_an_answer_is_canonical_or_none(task: EmbeddedTask, text: str) -> None:
    answer = task.answer(text)
    assert answer is None or re.fullmatch("0|-?[1-9][0-9]*", answer)
    if answer is not None:
        assert task.answer(answer) == answer


@pytest.mark.parametrize(
    ("solution", "answer"),
    [
        ("3*9\n27", "27"),
        ("27\n", "27"),
        ("0027", "27"),
        ("-0", "0"),
        ("-12", "-12"),
        ("3*9", None),
        ("", None),
        ("\n", None),
        ("27\n3*", None),
        ("27 ", None),
        ("٢٧", None),
        ("--3", None),
        ("9" * 5000, None),
    ],
)
def test_only_an_integer_on_the_last_line_is_an_answer(solution: str, answer: str | None) -> None:
    assert find_task("expressions").answer(solution) == answer


def test_the_largest_expression_a_user_may_ask_grades_correct() -> None:
    text = "9999" + "*9999" * 7
    problem = read_expression(text)
    task = find_task("expressions")
    assert task.correct(problem, task.answer("\n".join(solution(parse(text)))))


def test_a_story_is_solved_as_it_is_told() -> None:
    """An independent reading of the sentences comes to the reference answer."""
    for problem in find_task("stories").problems("train", 300, seed=0):
        have = 0
        for sentence in problem.prompt.split(".")[:-1]:
            numbers = [int(number) for number in re.findall("[0-9]+", sentence)]
            if "times as many" in sentence:
                have *= numbers[0]
            elif "bags" in sentence:
                have += numbers[0] * numbers[1]
            elif "friends" in sentence:
                have -= numbers[0] * numbers[1]
            elif any(verb in sentence for verb in ("loses", "sells", "drops")):
                have -= numbers[0]
            else:
                have += numbers[0]
            assert have >= 0
        assert str(have) == problem.answer


def test_a_storys_first_line_is_its_expression() -> None:
    rng = random.Random(3)
    for _ in range(100):
        prompt, lines = arithmetic.random_story(rng)
        tree = parse(lines[0])
        assert render(tree) == lines[0]
        assert lines[1:] == solution(tree)
        assert str(evaluate(tree)) == lines[-1]
        assert decode(encode(prompt)) == prompt


def test_what_the_models_cannot_read_is_a_problem_error_that_says_where() -> None:
    for text, position in (("Zoe has 3 apples.", 1), ("3+4=", 4), ("1+2🙂", 4), ("1\t2", 2)):
        with pytest.raises(ProblemError, match=f"position {position}") as error:
            encode(text)
        assert "\n" not in str(error.value)


def test_an_unknown_task_names_the_known_ones() -> None:
    with pytest.raises(UsageError, match="expressions, stories"):
        find_task("chess")
