"""The conversions of samples to what a controller looks at, and the rule for samples without scores."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace
from random import Random
from typing import Any

import numpy as np
import pytest
from doubles import TASK, problem

from computewise.controller.controller import ARM, read_samples
from computewise.controller.orders import SampleOrders
from computewise.controller.replay import RecordedPool
from computewise.controller.state import LiveState
from computewise.core import ROOT, Candidate, Step
from computewise.metrics import UNANSWERED
from computewise.runs import CandidateRecord
from computewise.samples import (
    LEAST_PROBABILITY,
    ProblemSamples,
    SampleArrays,
    arrays_of_observed,
    arrays_of_records,
    arrays_of_step_scores,
    mean_probabilities,
    observe,
    observe_candidate,
    recorded_probabilities,
    repeated_samples,
)
from computewise.session import Ledger, Session
from computewise.solver import extract_answers
from computewise.strategies import BestOfN
from computewise.study.recorded.rows import RecordedProblem, Sample, to_drawn
from computewise.testing import SimulatedModel, SimulatedPRM

DRAWS, PROBLEMS = 8, 20
RIGHT = "1"


def answers_of_problems() -> list[list[str]]:
    """Of problems on which no two answers are ahead together, so that the order of the samples decides nothing."""
    dice, found = Random(5), list[list[str]]()
    while len(found) < PROBLEMS:
        answers = [dice.choice("1123") for _ in range(DRAWS)]
        first, second = [*Counter(answers).most_common(2), ("", 0)][:2]
        if first[1] > second[1]:
            found.append(answers)
    return found


ANSWERS = answers_of_problems()
LEADERS = [Counter(answers).most_common(1)[0][0] for answers in ANSWERS]
MAJORITY = float(np.mean([leader == RIGHT for leader in LEADERS]))


def of_a_file(number: int, answers: list[str]) -> ProblemSamples:
    samples = tuple(Sample(one, (), one, int(one), one == RIGHT, tokens=5) for one in answers)
    return to_drawn(RecordedProblem(str(number), "?", RIGHT, samples), "last", ARM)


def of_rows(number: int, answers: list[str]) -> ProblemSamples:
    samples: list[dict[str, Any]] = [{"answer": one, "correct": one == RIGHT} for one in answers]
    return read_samples([{"problem": str(number), "answer": RIGHT, "samples": samples}])[0]


def of_records(number: int, answers: list[str]) -> ProblemSamples:
    each = np.arange(DRAWS)
    records = [CandidateRecord(one, 0.0, 0.5, 5, one == RIGHT) for one in answers]
    return ProblemSamples(str(number), "?", {ARM: arrays_of_records(records, {}, [1.0] * DRAWS, each, each)})


@pytest.mark.parametrize("read", [of_a_file, of_rows, of_records])
def test_samples_without_scores_give_the_accuracy_of_a_plain_majority(read: Any) -> None:
    problems = [read(number, answers) for number, answers in enumerate(ANSWERS)]
    for one in problems:
        arrays = one.arms[ARM]
        assert set(arrays.values) == set(arrays.means) == set(arrays.lows) == {1.0}
    same = SampleOrders.of(RecordedPool(problems), repeats=3, seed=0).uniform(DRAWS)
    accuracy, cost = same.accuracy, same.cost
    assert 0.5 < MAJORITY < 1
    assert accuracy.mean() == pytest.approx(MAJORITY)
    assert set(cost) == {DRAWS}


def test_live_samples_without_scores_vote_by_majority_too() -> None:
    for answers, leader in zip(ANSWERS, LEADERS, strict=True):
        state = LiveState({ARM: DRAWS})
        for answer in answers:
            state.add(ARM, [observe(answer, None, 5)])
        assert state.leader == leader


def test_beside_scored_samples_one_without_a_score_counts_nothing() -> None:
    arrays = arrays_of_step_scores([0, 1], [True, False], [(0.25, 0.5), ()], "last", [0.0, 0.0], [5, 5])
    assert (arrays.values.tolist(), arrays.means.tolist(), arrays.lows.tolist()) == ([0.5, 0], [0.375, 0], [0.25, 0])
    samples: list[dict[str, Any]] = [{"answer": 1, "correct": True, "score": 0.5}, {"answer": 2, "correct": False}]
    [read] = read_samples([{"problem": "p", "answer": 1, "samples": samples}])
    assert read.arms[ARM].values.tolist() == [0.5, 0]
    each = np.arange(2)
    records = [
        CandidateRecord("1", 0.5, 0.5, 5, True, score_mean=0.5, score_min=0.5),
        CandidateRecord(None, 0, 0, 0, False),
    ]
    assert arrays_of_records(records, {}, [1, 1], each, each).values.tolist() == [0.5, 0]


def test_a_score_of_nothing_is_a_score() -> None:
    each = np.arange(1)
    record = CandidateRecord("1", 0.0, 0.5, 5, True, scores=(0.0, 0.0))
    assert arrays_of_records([record], {}, [1.0], each, each).values.tolist() == [0]
    assert arrays_of_step_scores([0], [True], [(0.0,)], "last", [0.0], [5]).values.tolist() == [0]
    assert observe("1", 0.0, 5).value == 0


async def test_a_candidate_is_the_same_live_and_recorded() -> None:
    """What a study records of it, and what a controller sees of it while it is drawn."""
    verifier = SimulatedPRM(noise=0.3)
    session = Session(problem(), SimulatedModel(), verifier, TASK.delimiter)
    candidates = await BestOfN(6)(problem(), session)
    answers = extract_answers(candidates, TASK, Ledger())
    live = [observe_candidate(c, answers[c.id], verifier) for c in candidates]
    correct = [TASK.correct(problem(), answers[c.id]) for c in candidates]
    records = [
        CandidateRecord(
            one.answer,
            one.value,
            math.exp(one.logprob),
            one.tokens,
            right,
            score_mean=one.score_mean,
            score_min=one.score_min,
            scores=candidate.scores,
        )
        for candidate, one, right in zip(candidates, live, correct, strict=True)
    ]
    each = np.arange(len(candidates))
    seen, recorded = arrays_of_observed(live, correct), arrays_of_records(records, {}, [1.0] * 6, each, each)
    for name in SampleArrays.__dataclass_fields__:
        np.testing.assert_allclose(getattr(seen, name), getattr(recorded, name), rtol=1e-12, err_msg=name)
    assert 0 < recorded.values.max() <= 1


def test_without_a_verifier_a_candidate_counts_one() -> None:
    done = Candidate("0", None, (Step("right 41734", 11, -2.2),), end="stop")
    seen = observe_candidate(done, "41734", None)
    assert (seen.value, seen.score_mean, seen.score_min, seen.tokens) == (1, 1, 1, 11)
    assert seen.logprob == pytest.approx(-0.2)
    assert observe_candidate(replace(ROOT, end="failed"), None, None).logprob == math.log(LEAST_PROBABILITY)


def test_what_did_not_answer_is_never_correct() -> None:
    arrays = arrays_of_step_scores([None, 0], [True, True], [(), ()], "min", [0.0, 0.0], [5, 5])
    assert arrays.answers.tolist() == [UNANSWERED, 0]
    assert arrays.correct.tolist() == [False, True]


UNKNOWN_STEP = Step("x", 3, math.nan)


def test_what_is_not_known_of_a_candidate_is_left_out_of_its_mean() -> None:
    one = Candidate("0", None, (UNKNOWN_STEP, Step("a", 2, -1.0), UNKNOWN_STEP, Step("b", 2, -3.0)), end="stop")
    first, *others = mean_probabilities(one)
    assert math.isnan(first)
    assert others == pytest.approx([math.exp(-0.5), math.exp(-0.5), math.exp(-1.0)])
    unknown = Candidate("1", None, (UNKNOWN_STEP,), end="stop")
    assert observe_candidate(unknown, "1", None).logprob == 0
    assert recorded_probabilities([one, unknown]) == pytest.approx([math.exp(-1.0), 0])
    assert recorded_probabilities([unknown, Candidate("2", None)]) == [1, 0]


SAME, SHORT = "the same long text " * 20, "42"


@pytest.mark.parametrize(
    ("problems", "said"),
    [
        (
            [[(SAME, None)] * 4] * 3,
            "All samples of 3 of 3 problems are one and the same text. At more than 300 characters",
        ),
        (
            [[(SAME, None)] * 4],
            "All samples are one and the same text. At more than 300 characters this is hardly a chance",
        ),
        ([[(SAME, 1e-30)] * 4] * 3, "By the model's own probabilities this is no chance: the server answers from a"),
        ([[(SAME, 0.99)] * 4] * 3, "Either the model is certain of it, or the server answers from a cache"),
        ([[(SHORT, None)] * 4] * 3, "Either the model is certain of it, or the server answers from a cache"),
        ([[(SHORT, 1e-9)] * 4] * 3, "By the model's own probabilities this is no chance"),
        ([[(SAME, None)] * 2 + [("a", None), ("b", None)]] * 3, "3 of 12 samples repeat another one of their problem"),
        ([[(SAME, 0.4)] * 2 + [("a", 0.1), ("b", 0.1)]] * 3, None),
        ([[(SHORT, None)] * 3 + [("a", None)]] * 3, None),
        ([[(f"{SAME}{at}", None) for at in range(4)]] * 3, None),
        ([[("", None)] * 4, [(SAME, None)]], None),
        ([], None),
    ],
)
def test_samples_that_repeat_one_another_are_named_by_how_sure_that_is(problems: Any, said: str | None) -> None:
    found = repeated_samples(problems)
    assert found is None if said is None else found is not None and said in found
