"""A controller fitted to rows of plain data and followed in a caller's own loop."""

from __future__ import annotations

import json
import math
import random
import re
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from computewise.controller.controller import ARM, UNNAMED, Controller, read_controller, read_samples
from computewise.controller.state import LiveState
from computewise.core import LARGE, MODEL, ObservedSample, Role
from computewise.errors import RunError, UsageError
from computewise.metrics import UNANSWERED
from computewise.runs import CandidateRecord, Record

Rows = list[dict[str, Any]]


def made_rows(problems: int = 30, samples: int = 8, *, scores: bool = False) -> Rows:
    """Problems from easy to hard; wrong answers are spread over four others."""
    rng = random.Random(5)
    rows: Rows = []
    for number in range(problems):
        drawn: Rows = []
        for _ in range(samples):
            right = rng.random() < (number + 1) / problems
            drawn.append({"answer": "1" if right else str(rng.randint(2, 5)), "correct": right})
            if scores:
                drawn[-1] |= {"score": rng.uniform(0.3, 1) if right else rng.uniform(0, 0.7), "tokens": 20}
        rows.append({"problem": f"problem {number}", "answer": "1", "samples": drawn})
    return rows


@cache
def fitted() -> Controller:
    return Controller.fit(made_rows())


@cache
def scored() -> Controller:
    return Controller.fit(made_rows(scores=True), model="small", verifier="a PRM")


def test_a_sample_without_a_score_is_one_vote() -> None:
    [problem] = read_samples([{"problem": "p", "answer": 1, "samples": [{"answer": 1, "correct": True}] * 2}])
    arrays = problem.arms[ARM]
    assert arrays.values.tolist() == arrays.means.tolist() == arrays.lows.tolist() == [1.0, 1.0]
    assert arrays.costs.tolist() == [1.0, 1.0]


def test_equal_answers_are_equal_text_or_one_class() -> None:
    samples: Rows = [
        {"answer": " 42", "correct": True},
        {"answer": 42, "correct": True},
        {"answer": None, "correct": False},
        {"answer": "41", "correct": False},
    ]
    [problem] = read_samples([{"problem": "p", "answer": "42", "samples": samples}])
    assert problem.arms[ARM].answers.tolist() == [0, 0, UNANSWERED, 1]
    classes = [{**sample, "answer_class": None if sample["answer"] is None else 7} for sample in samples[:3]]
    [problem] = read_samples([{"problem": "p", "answer": "42", "samples": classes}])
    assert problem.arms[ARM].answers.tolist() == [0, 0, UNANSWERED]


def test_a_score_is_the_weight_of_a_vote_and_steps_give_the_last() -> None:
    samples = [
        {"answer": "1", "correct": True, "score": 0.25, "tokens": 7},
        {"answer": "1", "correct": True, "step_scores": [0.5, 0.75], "logprob": -0.5},
    ]
    [problem] = read_samples([{"problem": "p", "answer": "1", "samples": samples}])
    arrays = problem.arms[ARM]
    assert arrays.values.tolist() == [0.25, 0.75]
    assert arrays.means.tolist() == [0.25, 0.625]
    assert arrays.lows.tolist() == [0.25, 0.5]
    assert arrays.tokens.tolist() == [7, 0]
    assert arrays.logprobs.tolist() == [0.0, -0.5]


@pytest.mark.parametrize(
    ("sample", "fault"),
    [
        ({"answer": "1"}, "missing required field `correct`"),
        ({"answer": "1", "correct": True, "score": 1.5}, r"<= 1.0.*samples\[0\].score"),
        ({"answer": "1", "correct": True, "score": float("nan")}, "score"),
        ({"answer": "1", "correct": True, "scores": 0.5}, "unknown field `scores`"),
    ],
)
def test_a_malformed_row_is_named_with_the_form_it_should_have(sample: dict[str, Any], fault: str) -> None:
    rows = [*made_rows(3), {"problem": "p", "answer": "1", "samples": [sample]}]
    with pytest.raises(RunError, match=f"row 4 is malformed: .*{fault}.*a row is") as error:
        Controller.fit(rows)
    assert "\n" not in str(error.value)


def test_an_answer_cannot_be_both_right_and_wrong() -> None:
    samples = [{"answer": "1", "correct": True}, {"answer": "1", "correct": False}]
    with pytest.raises(RunError, match=r"row 1 .* the answer 1 is correct in one sample and wrong in another"):
        Controller.fit([{"problem": "p", "answer": "1", "samples": samples}])


def test_too_little_to_fit_on_is_refused() -> None:
    for rows, fault in (([], "no samples"), (made_rows(2), "at least 3"), (made_rows(4, samples=1), "nothing to fit")):
        with pytest.raises(UsageError, match=fault):
            Controller.fit(rows)


def test_a_file_of_rows_is_the_rows(tmp_path: Path) -> None:
    path = tmp_path / "samples.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in made_rows()))
    assert Controller.fit(path).to_json() == fitted().to_json()
    assert Controller.fit(str(path)).to_json() == fitted().to_json()


def test_saved_and_loaded_it_decides_the_same(tmp_path: Path) -> None:
    path = tmp_path / "controller.json"
    scored().save(path)
    again = Controller.load(path)
    assert again.to_json() == path.read_text()
    assert [arm.name for arm in again.arms] == ["samples"]
    for seed in range(5):
        for price in (0.0, 0.01, 0.1):
            assert followed(again, price, seed) == followed(scored(), price, seed)


def followed(controller: Controller, price: float, seed: int) -> tuple[int, str | None]:
    rng, episode, draws = random.Random(seed), controller.start(price=price), 0
    while episode.next().draw:
        episode.observe(answer=str(rng.randint(1, 3)), score=round(rng.random(), 1), tokens=20)
        draws += 1
    return draws, episode.answer


def test_names_are_checked_and_none_are_made_up(tmp_path: Path) -> None:
    path = tmp_path / "controller.json"
    scored().save(path)
    assert read_controller(path, models=["small"], verifier="a PRM").models == ["small"]
    with pytest.raises(RunError, match="for the verifier 'a PRM', not for 'none'"):
        read_controller(path, models=["small"], verifier=None)
    fitted().save(path)
    assert fitted().verifier is None
    with pytest.raises(RunError, match="fitted without the name of its model"):
        read_controller(path, models=["small"], verifier=None)
    assert Controller.fit(made_rows(scores=True)).verifier == UNNAMED


def test_an_episode_decides_as_the_rule_does_for_the_same_draws() -> None:
    episode, state = scored().start(price=0.004), LiveState(scored().limits)
    rng = random.Random(3)
    while (action := episode.next()).draw:
        assert action == episode.next() == scored().rule.choose(state, 0.004)
        answer, score, tokens = str(rng.randint(1, 3)), rng.random(), rng.randint(1, 50)
        episode.observe(answer=answer, score=score, tokens=tokens)
        state.add("samples", [ObservedSample(answer, score, score, score, 0.0, tokens)])
        assert episode.answer == state.leader
    assert action == scored().rule.choose(state, 0.004)
    assert 0 < episode.confidence == action.confidence < 1


def test_an_episode_stops_at_its_limit_and_then_observes_nothing() -> None:
    episode = fitted().start(price=0.0)
    draws = 0
    while episode.next().draw:
        episode.observe(answer=str(draws))
        draws += 1
    assert 1 < draws <= 8
    with pytest.raises(UsageError, match="ended"):
        episode.observe(answer="1")


def test_an_episode_abstains_below_the_confidence_it_needs() -> None:
    for needed, answer in ((0.0, "1"), (1.0, None)):
        episode = fitted().start(price=1.0, min_confidence=needed)
        assert episode.confidence == 0
        episode.next()
        episode.observe(answer="1")
        assert not episode.next().draw
        assert episode.answer == answer


def test_a_mean_cost_is_the_listed_price_that_spends_no_more() -> None:
    prices = fitted().rule.prices
    price = fitted().price_for(mean_cost=4)
    assert max(p.mean_cost for p in prices if p.price >= price) <= 4
    assert followed(fitted(), price, 2) == followed_at_cost(4, 2)
    assert fitted().price_for(accuracy=prices[0].accuracy) == prices[0].price
    for settings in ({}, {"price": 0.1, "mean_cost": 4}):
        with pytest.raises(UsageError, match="either price or mean_cost"):
            fitted().start(**settings)
    with pytest.raises(UsageError, match=r"no price comes to a mean cost of 0\.5"):
        fitted().start(mean_cost=0.5)


def followed_at_cost(mean_cost: float, seed: int) -> tuple[int, str | None]:
    rng, episode, draws = random.Random(seed), fitted().start(mean_cost=mean_cost), 0
    while episode.next().draw:
        episode.observe(answer=str(rng.randint(1, 3)), score=round(rng.random(), 1), tokens=20)
        draws += 1
    return draws, episode.answer


@pytest.mark.parametrize("score", [-0.1, 1.1, float("nan")])
def test_a_score_outside_the_unit_interval_is_refused(score: float) -> None:
    episode = fitted().start(price=0.1)
    with pytest.raises(UsageError, match=re.escape("in [0, 1]")):
        episode.observe(answer="1", score=score)


def test_the_frontier_is_measured_on_problems_it_was_not_fitted_on() -> None:
    """With one draw there is nothing to decide: both columns are the mean share of right samples."""
    frontier = fitted().frontier([1, 2, 4])
    first = frontier.points[0]
    share = np.mean([np.mean([s["correct"] for s in row["samples"]]) for row in made_rows()])
    assert first.accuracy == first.uniform == pytest.approx(share, abs=0.05)
    assert first.gain.low < 0 < first.gain.high  # no difference in thirty problems is not certainty
    for point in frontier.points:
        assert point.cost <= point.budget + 1e-6
        assert point.interval.low <= point.accuracy <= point.interval.high
        assert point.uniform_interval.low <= point.uniform <= point.uniform_interval.high
    lines = str(frontier).splitlines()
    assert len(lines) == 4
    assert lines[1].split()[:3] == ["1", "1.00", f"{100 * first.accuracy:.1f}"]


def test_noise_is_not_learned_as_a_gain() -> None:
    """Where every answer is a coin's, a cross-validated controller gains nothing."""
    rng = random.Random(1)
    coins = [
        {
            "problem": str(number),
            "answer": "1",
            "samples": [{"answer": str(int(right)), "correct": right} for right in rng.choices((True, False), k=8)],
        }
        for number in range(40)
    ]
    for point in Controller.fit(coins).frontier([2, 4]).points:
        assert point.gain.low <= 0.02


def test_a_controller_from_a_file_has_no_frontier(tmp_path: Path) -> None:
    fitted().save(tmp_path / "controller.json")
    with pytest.raises(UsageError, match=r"call frontier on the result of Controller\.fit"):
        Controller.load(tmp_path / "controller.json").frontier([1])
    for budgets in ([], [0]):
        with pytest.raises(UsageError, match="each at least 1"):
            fitted().frontier(budgets)
    with pytest.raises(UsageError, match="at least 10"):
        Controller.fit(made_rows(9)).frontier([1])


def test_a_directory_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"cannot write .*missing"):
        fitted().save(tmp_path / "missing" / "controller.json")


def test_a_run_directory_gives_the_samples_a_study_recorded(tmp_path: Path) -> None:
    runs: list[tuple[str, Role, int, str | None]] = [
        ("pool", MODEL, 0, None),
        ("pool", MODEL, 1, None),
        ("pool", MODEL, 2, "no answer"),
        ("pool", LARGE, 0, None),
        ("difficulty", MODEL, -1, None),
    ]
    records = [
        Record(purpose, role, {"name": "best_of_n", "n": 2}, seed, "p", candidates=[candidate] * 2, error=error)
        for purpose, role, seed, error in runs
        for candidate in [CandidateRecord("7", 0.5, math.exp(-1), 9, seed == 0, score_mean=0.4, score_min=0.3)]
    ]
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "records.jsonl").write_bytes(b"".join(msgspec.json.encode(record) + b"\n" for record in records))
    [problem] = read_samples(tmp_path)
    arrays = problem.arms[ARM]
    assert arrays.correct.tolist() == [True, True, False, False]
    assert arrays.answers.tolist() == [0] * 4
    assert (arrays.values[0], arrays.means[0], arrays.lows[0], arrays.tokens[0]) == (0.5, 0.4, 0.3, 9)
    assert arrays.logprobs[0] == pytest.approx(-1)
    with pytest.raises(RunError, match="no run directory"):
        read_samples(tmp_path.parent)
    (tmp_path / "records.jsonl").write_bytes(b"")
    with pytest.raises(UsageError, match="holds no recorded samples"):
        Controller.fit(tmp_path)
