"""Whether the methods do what they are for, where the truth is known: seconds, fixed seeds, generous margins."""

from __future__ import annotations

import asyncio

import pytest
from doubles import TASK, problem

from computewise.core import Result
from computewise.models.simulated import SimulatedModel
from computewise.selection import SELECTIONS
from computewise.session import Strategy
from computewise.solve import solve
from computewise.strategies import DVTS, BeamSearch, BestOfN, Lookahead, Single
from computewise.verifiers.simulated import SimulatedPRM

PROBLEMS = [problem(depth=8, number=50_000 + 20 * number) for number in range(120)]


async def run(
    strategy: Strategy, *, noise: float = 0.0, select: str = "weighted", skill: float = 0.7, wrong_answers: int = 4
) -> tuple[float, float]:
    """Accuracy and mean sampled tokens over `PROBLEMS`."""
    model, verifier = SimulatedModel(skill, wrong_answers), SimulatedPRM(skill, noise)
    results: list[Result] = await asyncio.gather(
        *(solve(one, strategy, model, verifier, TASK, select=SELECTIONS[select]) for one in PROBLEMS)
    )
    right = [
        result.chosen is not None and TASK.correct(one, TASK.answer(result.chosen.text))
        for one, result in zip(PROBLEMS, results, strict=True)
    ]
    return sum(right) / len(right), sum(result.usage.completion_tokens for result in results) / len(results)


async def test_one_sample_is_right_as_often_as_the_closed_form_says() -> None:
    accuracy, _ = await run(Single())
    assert accuracy == pytest.approx(0.7**8, abs=0.08)


async def test_best_of_n_with_an_exact_verifier_is_coverage() -> None:
    accuracy, _ = await run(BestOfN(16), select="best")
    assert accuracy == pytest.approx(1 - (1 - 0.7**8) ** 16, abs=0.1)


@pytest.mark.parametrize("search", [BeamSearch(8, 4), DVTS(8, 4)])
async def test_search_with_an_exact_verifier_beats_best_of_n_at_equal_tokens(search: Strategy) -> None:
    best_of_n, tokens = await run(BestOfN(8))
    searched, spent = await run(search)
    assert spent == pytest.approx(tokens, rel=0.05)
    assert searched > best_of_n + 0.2


async def test_lookahead_with_an_exact_verifier_finds_what_beam_search_finds_and_pays_more() -> None:
    beam, tokens = await run(BeamSearch(8, 4))
    ahead, spent = await run(Lookahead(8, 4, 1))
    assert ahead == pytest.approx(beam, abs=0.1)
    assert 1.5 * tokens < spent < 2.2 * tokens


async def test_the_majority_gains_nothing_where_the_mode_is_wrong() -> None:
    one, _ = await run(Single(), wrong_answers=1)
    many, _ = await run(BestOfN(32), wrong_answers=1, select="majority")
    assert many <= one
    assert many < 0.02


async def test_the_majority_gains_where_errors_disagree() -> None:
    one, _ = await run(Single(), skill=0.85, wrong_answers=40)
    many, _ = await run(BestOfN(32), skill=0.85, wrong_answers=40, select="majority")
    assert many > one + 0.4


@pytest.mark.parametrize("strategy", [BestOfN(8), BeamSearch(8, 4)])
async def test_noise_in_the_verifier_costs_accuracy(strategy: Strategy) -> None:
    exact, some, much = [(await run(strategy, noise=noise, select="best"))[0] for noise in (0.0, 0.5, 3.0)]
    assert exact >= some > much
    assert exact > much + 0.2
