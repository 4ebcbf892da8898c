"""Whether the methods do what they are for, where the truth is known: seconds, fixed seeds, generous margins."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
from doubles import TASK, ByText, problem

from computewise.core import Candidate, Result, Verifier
from computewise.selection import SELECTIONS
from computewise.session import Strategy
from computewise.solver import solve
from computewise.strategies import (
    DVTS,
    AdaptiveBranching,
    BeamSearch,
    BestOfN,
    GatedRevisions,
    Lookahead,
    ParticleFilter,
    Rebase,
    Revisions,
    Single,
)
from computewise.testing import SimulatedModel, SimulatedPRM

PROBLEMS = [problem(depth=8, number=50_000 + 20 * number) for number in range(120)]


async def results_of(
    strategy: Strategy, model: SimulatedModel, verifier: Verifier, select: str = "weighted"
) -> list[Result]:
    return await asyncio.gather(
        *(solve(one, strategy, model, verifier, TASK, select=SELECTIONS[select]) for one in PROBLEMS)
    )


def accuracy_of(chosen: list[Candidate | None]) -> float:
    """Of one candidate for each of `PROBLEMS`."""
    right = [
        candidate is not None and TASK.correct(one, TASK.answer(candidate.text))
        for one, candidate in zip(PROBLEMS, chosen, strict=True)
    ]
    return sum(right) / len(right)


async def run(
    strategy: Strategy, *, noise: float = 0.0, select: str = "weighted", skill: float = 0.7, wrong_answers: int = 4
) -> tuple[float, float]:
    """Accuracy and mean sampled tokens over `PROBLEMS`."""
    results = await results_of(strategy, SimulatedModel(skill, wrong_answers), SimulatedPRM(skill, noise), select)
    tokens = [result.usage.completion_tokens for result in results]
    return accuracy_of([result.chosen for result in results]), sum(tokens) / len(tokens)


async def test_one_sample_is_right_as_often_as_the_closed_form_says() -> None:
    accuracy, _ = await run(Single())
    assert accuracy == pytest.approx(0.7**8, abs=0.08)


async def test_best_of_n_with_an_exact_verifier_is_coverage() -> None:
    accuracy, _ = await run(BestOfN(16), select="best")
    assert accuracy == pytest.approx(1 - (1 - 0.7**8) ** 16, abs=0.1)


@pytest.mark.parametrize("search", [BeamSearch(8, 4), DVTS(8, 4), Rebase(8), ParticleFilter(8)])
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


REVISING = SimulatedModel(skill=0.7, hold=0.6, mend=0.3)
FIRST, HOLD, MEND = 0.7**8, 0.6, 0.3
"""Pass@1 of `REVISING` on `PROBLEMS`: of a first attempt, and in view of a right and of a wrong one."""


async def test_along_a_chain_being_right_is_a_markov_chain() -> None:
    results = await results_of(Revisions(6, 10), REVISING, SimulatedPRM(0.7))
    right = np.array(
        [
            [TASK.correct(one, TASK.answer(c.text)) for c in r.candidates]
            for one, r in zip(PROBLEMS, results, strict=True)
        ]
    ).reshape(-1, 6)
    expected = FIRST
    for attempt in range(6):
        assert right[:, attempt].mean() == pytest.approx(expected, abs=0.03)
        expected = expected * HOLD + (1 - expected) * MEND
    before, after = right[:, :-1], right[:, 1:]
    assert after[before].mean() == pytest.approx(HOLD, abs=0.03)
    assert after[~before].mean() == pytest.approx(MEND, abs=0.03)


async def test_gated_revisions_with_an_exact_verifier_are_right_once_an_attempt_is() -> None:
    results = await results_of(GatedRevisions(4, 1), REVISING, SimulatedPRM(0.7))
    wrong = [(1 - FIRST) * (1 - MEND) ** attempt for attempt in range(4)]
    assert accuracy_of([result.chosen for result in results]) == pytest.approx(1 - wrong[3], abs=0.1)
    attempts = [result.usage.samples for result in results]
    assert sum(attempts) / len(attempts) == pytest.approx(1 + sum(wrong[:3]), abs=0.25)


async def test_gated_revisions_beat_the_last_attempt_and_best_of_n_at_as_many_attempts() -> None:
    exact = SimulatedPRM(0.7)
    gated = await results_of(GatedRevisions(4, 1), REVISING, exact)
    revised = await results_of(Revisions(4, 1), REVISING, exact)
    drawn = await results_of(BestOfN(4), REVISING, exact)
    accuracy = accuracy_of([result.chosen for result in gated])
    assert accuracy > accuracy_of([result.candidates[-1] for result in revised]) + 0.12
    assert accuracy > accuracy_of([result.chosen for result in drawn]) + 0.3
    tokens = [sum(result.usage.completion_tokens for result in results) for results in (gated, revised, drawn)]
    assert tokens[0] < 0.85 * tokens[1]
    assert tokens[1] == tokens[2]


async def test_adaptive_branching_goes_deeper_where_revising_helps_and_wider_where_it_does_not() -> None:
    """The verifier never gives full marks, so that all attempts are made."""

    async def revised(model: SimulatedModel) -> float:
        verifier = ByText(lambda text: 0.1 if "wrong" in text else 0.9)
        trees = await results_of(AdaptiveBranching(24, 1.0), model, verifier)
        return float(np.mean([candidate.revises for result in trees for candidate in result.tree]))

    deep = await revised(SimulatedModel(skill=0.5, hold=0.9, mend=0.9))
    wide = await revised(SimulatedModel(skill=0.98, hold=0.01, mend=0.01))
    assert deep > 0.8
    assert wide < 0.7
