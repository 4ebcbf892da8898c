"""What solving a problem comes to: each answer is extracted once, and the result holds it."""

from __future__ import annotations

from collections import Counter

import pytest
from doubles import TASK, CountingTask, problem

from computewise.core import Candidate, Step
from computewise.selection import Ballot, find_selection, majority, vote_share
from computewise.session import Ledger, Limits
from computewise.solver import extract_answers, solve
from computewise.strategies import STRATEGIES, BestOfN
from computewise.testing import SimulatedModel, SimulatedPRM


@pytest.mark.parametrize("name", STRATEGIES)
async def test_each_candidate_is_asked_for_its_answer_once(name: str) -> None:
    task, strategy = CountingTask(), STRATEGIES[name]()
    model, verifier = SimulatedModel(skill=0.7), SimulatedPRM(noise=0.3)
    select = find_selection(strategy.default_select)
    result = await solve(problem(), strategy, model, verifier, task, select=select)
    finished = {c.id: c.text for c in result.candidates if c.end == "stop"}
    assert task.asked == Counter(finished.values())
    assert result.answers.keys() == {c.id for c in result.candidates}
    assert result.answers == {c.id: TASK.answer(c.text) if c.id in finished else None for c in result.candidates}
    assert result.chosen is not None
    assert (result.answer, result.text) == (TASK.answer(result.chosen.text), result.chosen.text)
    assert result.confidence is not None
    assert 0 <= result.confidence <= 1
    assert (result.usage, result.decisions) == (result.usages[model.name], ())


async def test_where_nothing_finishes_there_is_no_answer() -> None:
    task = CountingTask()
    result = await solve(problem(), BestOfN(3), SimulatedModel(), SimulatedPRM(), task, limits=Limits(tokens=9))
    assert (result.chosen, result.answer, result.text, result.confidence) == (None, None, None, None)
    assert set(result.answers.values()) == {None}
    assert not task.asked


async def test_confidence_is_the_answers_share_of_the_vote() -> None:
    model, verifier = SimulatedModel(skill=0.8), SimulatedPRM(noise=0.3)
    result = await solve(problem(), BestOfN(8), model, verifier, TASK)
    values = {c.id: verifier.value(c.scores) for c in result.candidates}
    agreeing = sum(values[id] for id, answer in result.answers.items() if answer == result.answer)
    assert result.confidence == pytest.approx(agreeing / sum(values.values()))
    unweighted = await solve(problem(), BestOfN(8), model, None, TASK, select=majority)
    counts = Counter(unweighted.answers.values())
    assert unweighted.confidence == counts[unweighted.answer] / 8


async def test_one_solution_alone_is_as_sure_as_the_verifier() -> None:
    model, verifier = SimulatedModel(), SimulatedPRM(noise=0.3)
    result = await solve(problem(), BestOfN(1), model, verifier, TASK)
    assert result.chosen is not None
    assert result.confidence == verifier.value(result.chosen.scores)
    assert (await solve(problem(), BestOfN(1), model, None, TASK)).confidence is None


def test_a_share_is_of_those_that_answered() -> None:
    ballots = [Ballot("1", 0.6), Ballot(None, 9.0), Ballot("2", 0.2), Ballot("1", 0.0)]
    assert vote_share(ballots, "1", None) == pytest.approx(0.75)
    assert vote_share(ballots, "2", None) == pytest.approx(0.25)
    assert vote_share([Ballot("1", 0.6), Ballot(None, 9.0)], "1", 0.6) == 0.6
    assert vote_share([Ballot("1", 0.0), Ballot("1", 0.0)], "1", None) is None


def test_a_ledger_keeps_the_answers() -> None:
    task, ledger = CountingTask(), Ledger()
    done = Candidate("0", None, (Step("right 41734", 11, 0.0),), end="stop")
    cut = Candidate("1", None, (Step("right 41734", 11, 0.0),), end="length")
    for _ in range(2):
        assert extract_answers([done, cut], task, ledger) == {"0": "41734", "1": None}
    assert task.asked == {"right 41734": 1}
