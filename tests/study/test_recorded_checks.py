"""What published files have been wrong in is found, and a file in good order is left alone."""

from __future__ import annotations

import math
import os
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from computewise.study.recorded.checks import check, each_text_once, misplaced
from computewise.study.recorded.read import read_recording
from computewise.study.recorded.rows import Finding, RecordedProblem, Sample

SHARED = os.environ.get("COMPUTEWISE_SHARED_DATA")
needs_recordings = pytest.mark.skipif(not SHARED, reason="COMPUTEWISE_SHARED_DATA names no folder of recordings")
NAMES = ("Ann", "Ben", "Cora", "Dan", "Eve", "Finn", "Gus", "Hal", "Ida", "Joe")
THINGS = ("apples", "books", "coins", "pens", "shells", "stamps", "nuts", "kites")


def sample(text: str, answer: str = "7", *, correct: bool = True, scores: tuple[float, ...] | None = None) -> Sample:
    """One with a score a step and counted tokens."""
    steps = len(text.split("\n\n"))
    return Sample(text, (0.5,) * steps if scores is None else scores, answer, 0 if correct else 1, correct, tokens=9)


def problem(number: int, samples: Sequence[Sample] | None = None) -> RecordedProblem:
    """A word problem of its own numbers, whose samples restate it and add two steps."""
    rng = random.Random(number)
    name, friend = rng.sample(NAMES, 2)
    thing, many, few = rng.choice(THINGS), rng.randint(100, 999), rng.randint(10, 99)
    prompt = f"{name} has {many} {thing} and gives {few} of them to {friend}. How many {thing} are left to {name}?"
    restated = f"{name} has {many} {thing}. Of these {few} go to {friend}."
    given = samples or [
        sample(f"{restated}\n\nTry {draw}: {many - few} {thing} are left to {name}.") for draw in range(5)
    ]
    return RecordedProblem(f"p{number}", prompt, "7", tuple(given))


def found(problems: Sequence[RecordedProblem]) -> dict[str, Finding]:
    return {finding.kind: finding for finding in check(problems)}


def permuted(problems: Sequence[RecordedProblem], places: Sequence[int]) -> list[RecordedProblem]:
    """Each problem with the samples of the one at its place in `places`."""
    return [replace(problem, samples=problems[place].samples) for problem, place in zip(problems, places, strict=True)]


GOOD = [problem(number) for number in range(40)]


def test_a_file_in_good_order_has_no_findings() -> None:
    assert check(GOOD) == []


def test_a_single_problem_is_nobody_elses() -> None:
    assert check(GOOD[:1]) == []


def test_shifted_rows_are_found_with_where_they_belong() -> None:
    shifted = permuted(GOOD, [*range(1, 40), 0])
    assert misplaced(shifted) == [(own, (own + 1) % 40) for own in range(40)]
    finding = found(shifted)["misplaced completions"]
    assert (finding.count, finding.example) == (40, "p0")
    assert "40 of 40 problems" in finding.text
    assert "'p1' in the example" in finding.text


def test_two_exchanged_rows_are_found_and_no_other() -> None:
    places = list(range(40))
    places[3], places[8] = 8, 3
    assert misplaced(permuted(GOOD, places)) == [(3, 8), (8, 3)]


def test_interleaved_batches_are_found() -> None:
    batch = [each for problem in GOOD[:5] for each in problem.samples]
    dealt = [replace(problem, samples=tuple(batch[place::5])) for place, problem in enumerate(GOOD[:5])]
    assert {own for own, _ in misplaced([*dealt, *GOOD[5:]])} == set(range(5))


def test_a_problem_much_like_another_is_not_accused() -> None:
    # Its completions fit the twin's text better, but the twin's fit it too.
    twin = replace(GOOD[0], id="twin", prompt="How many?")
    assert misplaced([*GOOD, twin]) == []


def test_completions_that_restate_nothing_accuse_nobody() -> None:
    terse = [replace(problem, samples=(sample("7"), sample("The answer is 7."))) for problem in GOOD]
    assert misplaced(terse) == []


def test_a_completion_of_two_problems_is_found() -> None:
    borrowed = replace(GOOD[0], samples=(*GOOD[0].samples[:4], sample(GOOD[1].samples[0].text * 2)))
    lent = replace(GOOD[1], samples=(*GOOD[1].samples[1:], sample(GOOD[1].samples[0].text * 2)))
    finding = found([borrowed, lent, *GOOD[2:]])["completions of two problems"]
    assert (finding.count, finding.example) == (2, "p0")
    assert "2 of 200 samples (1.0%)" in finding.text


def test_short_completions_may_agree() -> None:
    short = [replace(problem, samples=tuple(sample(f"It is {n}") for n in (1, 1, 2, 3, 4))) for problem in GOOD]
    assert not found(short).keys() & {"equal texts", "completions of two problems"}


def test_long_equal_texts_are_counted_and_the_first_can_be_kept() -> None:
    text = "x" * 301
    first, other = sample(text, scores=(0.9,)), sample(text, scores=(0.1,))
    doubled = replace(GOOD[0], samples=(*GOOD[0].samples, first, other, other))
    assert each_text_once(doubled).samples == (*GOOD[0].samples, first)
    finding = found([doubled, *GOOD[1:]])["equal texts"]
    assert (finding.count, finding.example) == (2, "p0")
    assert "(1.0%)" in finding.text
    textless = replace(GOOD[0], samples=(sample("", scores=()),) * 3)
    assert each_text_once(textless) == textless


def test_refusals_under_many_problems_are_not_called_misplaced() -> None:
    refusal = replace(sample("I cannot help with this request. " * 4), answer=None, answer_class=None, correct=False)
    refused = [replace(problem, samples=(*problem.samples, refusal)) for problem in GOOD]
    finding = found(refused)["completions of two problems"]
    assert finding.count == 40
    assert "refusals" in finding.text
    assert "wrong one" not in finding.text


@pytest.mark.parametrize(("alike", "said"), [(40, "sampling seems to have been off"), (3, "may be sure of them")])
def test_problems_whose_samples_are_all_the_same_are_said(alike: int, said: str) -> None:
    same = [replace(problem, samples=problem.samples[:1] * 5) for problem in GOOD[:alike]]
    finding = found([*same, *GOOD[alike:]])["samples all the same"]
    assert finding.count == alike
    assert said in finding.text


def test_problems_without_a_text_are_not_said_to_hold_others_completions() -> None:
    places = list(range(40))
    places[3], places[8] = 8, 3
    nameless = [replace(problem, prompted=False) for problem in permuted(GOOD, places)]
    assert "misplaced completions" not in found(nameless)


def test_ids_in_several_rows_are_found() -> None:
    finding = found([*GOOD, replace(problem(41), id="p5"), replace(problem(42), id="p5")])["same id"]
    assert (finding.count, finding.example) == (2, "p5")


def test_grades_that_contradict_each_other_are_found() -> None:
    base = GOOD[0].samples[:4]
    for strange in (
        replace(base[0], answer="8", answer_class=2),  # a second right class
        replace(base[0], answer="8", correct=False),  # wrong, in the right class
        replace(base[0], answer="7.0", answer_class=3, correct=False),  # the reference, graded wrong
    ):
        finding = found([replace(GOOD[0], samples=(*base, strange)), *GOOD[1:]])["grades"]
        assert (finding.count, finding.example) == (1, "p0")


def test_unanswered_samples_contradict_nothing() -> None:
    strange = [replace(GOOD[0].samples[0], answer=None, answer_class=None, correct=right) for right in (True, False)]
    assert "grades" not in found([replace(GOOD[0], samples=(*GOOD[0].samples, *strange)), *GOOD[1:]])


def test_references_that_no_sample_gives_are_found() -> None:
    wrong = tuple(replace(each, answer="8", answer_class=1, correct=False) for each in GOOD[2].samples)
    finding = found([*GOOD[:2], replace(GOOD[2], samples=wrong), *GOOD[3:]])["no right answer"]
    assert (finding.count, finding.example) == (1, "p2")


def test_too_few_samples_are_found() -> None:
    few = replace(GOOD[0], samples=GOOD[0].samples[:3])
    assert found([few, *GOOD[1:]])["few samples"].example == "p0"


@pytest.mark.parametrize(
    ("text", "scores", "kind"),
    [
        ("one\n\ntwo", (), "unscored"),
        ("one\n\ntwo", (0.5, math.nan), "scores out of range"),
        ("one\n\ntwo", (0.5, 1.5), "scores out of range"),
        ("one\n\ntwo", (-0.1, 0.5), "scores out of range"),
        ("one\n\ntwo", (0.5,), "scores and steps"),
        ("one\n\ntwo", (0.5, 0.5, 0.5), "scores and steps"),
        ("one\n\ntwo\n\n", (0.5, 0.5, 0.1), "blank last steps"),
    ],
)
def test_scores_that_are_no_scores_of_the_steps_are_found(text: str, scores: tuple[float, ...], kind: str) -> None:
    strange = replace(GOOD[4], samples=(*GOOD[4].samples, sample(text, scores=scores)))
    assert [(each.kind, each.count, each.example) for each in check([*GOOD[:4], strange])] == [(kind, 1, "p4")]


def test_a_blank_end_without_a_score_is_in_order() -> None:
    strange = replace(GOOD[4], samples=(*GOOD[4].samples, sample("one\n\ntwo\n\n", scores=(0.5, 0.5))))
    assert check([*GOOD[:4], strange]) == []


def test_one_score_a_solution_is_in_order() -> None:
    outcome = [
        replace(problem, samples=tuple(replace(each, step_scores=(0.5,)) for each in problem.samples))
        for problem in GOOD
    ]
    assert check(outcome) == []


@pytest.mark.parametrize("tokens", [None, 0, -1])
def test_missing_token_counts_are_found_with_what_is_used_instead(tokens: int | None) -> None:
    uncounted = [
        replace(problem, samples=tuple(replace(each, tokens=tokens) for each in problem.samples)) for problem in GOOD
    ]
    finding = found(uncounted)["tokens"]
    assert finding.count == 200
    assert "characters / 3.6" in finding.text


@needs_recordings
@pytest.mark.parametrize("model", ["3.1-8b", "3.2-3b", "3.2-1b"])
def test_permutations_of_real_rows_are_found_and_clean_files_are_not_accused(model: str) -> None:
    problems = read_recording(Path(SHARED or "") / f"math500_llama{model}-awq.dev.jsonl.gz").problems
    everyone = list(range(len(problems)))
    assert misplaced(problems) == []
    shifted = misplaced(permuted(problems, [*everyone[1:], 0]))
    assert len(shifted) > 0.94 * len(problems)
    assert sum(rival == (own + 1) % len(problems) for own, rival in shifted) > 0.98 * len(shifted)

    moved = random.Random(0).sample(everyone, 30)
    places = everyone.copy()
    for own, source in zip(moved, [*moved[1:], moved[0]], strict=True):
        places[own] = source
    accused = {own for own, _ in misplaced(permuted(problems, places))}
    assert accused <= set(moved)
    assert len(accused) >= 26


@needs_recordings
def test_what_a_published_beam_search_is_known_for_is_found() -> None:
    path = Path(SHARED or "") / "search_and_learn" / "llama-3.2-1b_beam_n4_10.jsonl"
    findings = {finding.kind: finding for finding in read_recording(path).findings}
    assert findings["equal texts"].count == 22
    assert findings["tokens"].count == 40
    assert findings["scores and steps"].count == 3
    assert "misplaced completions" not in findings
