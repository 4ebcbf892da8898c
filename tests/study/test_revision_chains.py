"""Every ratio from one pool of chains: as if each had been drawn alone. And what happens along a chain."""

from __future__ import annotations

import asyncio
import math

import numpy as np
import pytest
from doubles import TASK, problem

from computewise.core import Result, Usage
from computewise.intervals import rate
from computewise.runs import CandidateRecord, Record
from computewise.selection import SELECTIONS
from computewise.session import Strategy
from computewise.solver import solve
from computewise.strategies import GatedRevisions, Revisions, strategy_to_dict
from computewise.study.analysis.revisions import ChainPool, Ratio, along, ratios
from computewise.study.executors import _outcome, _verdict
from computewise.study.plan import RevisionPool
from computewise.testing import SimulatedModel, SimulatedPRM

PROBLEMS = [problem(4, number) for number in range(30_000, 30_030)]
MODEL = SimulatedModel(skill=0.7, mend=0.4)
VERIFIER = SimulatedPRM(skill=0.7, noise=0.3)
N = 8
TRUST = 0.6


async def results_of(strategy: Strategy, select: str = "hierarchical") -> list[Result]:
    return await asyncio.gather(
        *(solve(one, strategy, MODEL, VERIFIER, TASK, select=SELECTIONS[select], seed=4) for one in PROBLEMS)
    )


def recorded(strategy: Strategy, results: list[Result]) -> list[Record]:
    return [
        Record(
            "chains",
            "reviser",
            strategy_to_dict(strategy),
            4,
            one.id,
            usage=result.usage,
            candidates=[
                _outcome(c, result, _verdict(TASK, one, result.answers[c.id]), VERIFIER, 0.5, ())
                for c in result.candidates
            ],
        )
        for one, result in zip(PROBLEMS, results, strict=True)
    ]


async def pool_of(n: int = N) -> ChainPool:
    return ChainPool(recorded(RevisionPool(n), await results_of(RevisionPool(n))))


@pytest.mark.parametrize("select", ["hierarchical", "weighted", "majority", "best"])
@pytest.mark.parametrize("trust", [None, TRUST])
async def test_a_ratio_of_the_whole_pool_is_right_where_its_strategy_is(select: str, trust: float | None) -> None:
    pool = await pool_of()
    seen = set()
    for split in ratios(N):
        ratio = Ratio(split.length, split.chains, trust)
        results = await results_of(ratio.strategy(), select)
        right = [
            result.chosen is not None and TASK.correct(one, TASK.answer(result.chosen.text))
            for one, result in zip(PROBLEMS, results, strict=True)
        ]
        assert pool.accuracy(ratio, select).tolist() == right
        seen.add(sum(right))
    assert len(seen) > 1


@pytest.mark.parametrize("trust", [None, TRUST])
async def test_a_ratio_of_the_whole_pool_costs_what_its_strategy_costs(trust: float | None) -> None:
    records = recorded(RevisionPool(N), await results_of(RevisionPool(N)))
    pool = ChainPool(records)
    for split in ratios(N):
        ratio = Ratio(split.length, split.chains, trust)
        results = await results_of(ratio.strategy())
        for found, result in zip(pool.usage(ratio, verified=True), results, strict=True):
            spent = result.usage
            assert (found.samples, found.completion_tokens) == (spent.samples, spent.completion_tokens)
            assert (found.prompt_tokens, found.cached_prompt_tokens) == (
                spent.prompt_tokens,
                spent.cached_prompt_tokens,
            )
            assert (found.verifier_tokens, found.cached_verifier_tokens) == (
                spent.verifier_tokens,
                spent.cached_verifier_tokens,
            )
        assert all(one.verifier_tokens == 0 for one in pool.usage(ratio, verified=False))


def outcome(answer: str, chain: int, value: float = 0.5, *, tokens: int = 10, read: int = 0) -> CandidateRecord:
    return CandidateRecord(answer, value, -0.1, tokens, answer == "1", str(chain), read)


def hand_made(*chains: str, usage: Usage | None = None, values: dict[str, float] | None = None) -> ChainPool:
    """One problem; a chain is its answers, "1" the right one; its first reads 7, each revision 20 and its number."""
    candidates = [
        outcome(
            answer,
            number,
            (values or {}).get(answer, 0.5),
            tokens=10 + number,
            read=(7 if number == 0 else 0) if index == 0 else 20 + index,
        )
        for number, chain in enumerate(chains)
        for index, answer in enumerate(chain)
    ]
    return ChainPool([Record("chains", "reviser", {"name": "ratio_pool"}, 0, "p", usage or Usage(), candidates)])


def test_groups_of_chains_are_disjoint_and_an_incomplete_one_does_not_count() -> None:
    """Single attempts 1 2 2 1 1: two pairs, the fifth left over, in a tie the first of a pair."""
    pool = hand_made("12", "22", "22", "12", "12")
    assert pool.accuracy(Ratio(1, 1), "majority").tolist() == [3 / 5]
    assert pool.accuracy(Ratio(1, 2), "majority").tolist() == [1 / 2]
    assert pool.accuracy(Ratio(1, 4), "majority").tolist() == [1]
    assert pool.accuracy(Ratio(2, 2), "majority").tolist() == [0]


def test_chains_too_short_take_no_part_and_the_others_are_cut() -> None:
    pool = hand_made("1111", "221", "1", "2")
    assert pool.accuracy(Ratio(2, 1), "majority").tolist() == [1 / 2]
    assert pool.accuracy(Ratio(3, 1), "hierarchical").tolist() == [1 / 2]
    assert pool.accuracy(Ratio(4, 1), "hierarchical").tolist() == [1]
    assert pool.accuracy(Ratio(1, 1), "hierarchical").tolist() == [1 / 2]
    assert pool.correct(3).tolist() == [[[True] * 3, [False, False, True]]]
    assert pool.values(3).tolist() == [[[0.5] * 3, [0.5] * 3]]


def test_selection_is_told_the_chains() -> None:
    """Inside its chain 2 has 0.8; across, its best of 0.4 loses to 0.5."""
    pool = hand_made("22", "13", values={"1": 0.5, "2": 0.4, "3": 0.1})
    assert pool.accuracy(Ratio(2, 2), "hierarchical").tolist() == [1]
    assert pool.accuracy(Ratio(2, 2), "weighted").tolist() == [0]


def test_a_gated_ratio_ends_a_chain_at_its_first_trusted_attempt() -> None:
    pool = hand_made("3122", "3222", values={"1": 0.6, "2": 0.5, "3": 0.1})
    assert pool.accuracy(Ratio(4, 1, 0.6), "majority").tolist() == [0]
    assert pool.accuracy(Ratio(4, 1, 0.6), "weighted").tolist() == [1 / 2]
    assert pool.accuracy(Ratio(4, 1, 0.61), "weighted").tolist() == [0]
    assert pool.usage(Ratio(4, 2, 0.6), verified=False)[0].samples == 2 + 4


def test_a_groups_usage_is_summed_over_its_attempts_and_averaged_over_groups() -> None:
    """Chains of 2 and 10, 11, 12, 13 tokens an attempt, behind a prompt of 7 that every round reads once."""
    pool = hand_made("12", "12", "12", "12")
    assert pool.usage(Ratio(2, 1), verified=True) == [
        Usage(samples=2, prompt_tokens=7 + 21, completion_tokens=23, verifier_tokens=23 + 14)
    ]
    assert pool.usage(Ratio(2, 2), verified=True) == [
        Usage(4, 14 + 42, 7, completion_tokens=46, verifier_tokens=46 + 28, cached_verifier_tokens=14)
    ]
    assert pool.usage(Ratio(1, 4), verified=False) == [
        Usage(4, prompt_tokens=28, cached_prompt_tokens=21, completion_tokens=46)
    ]


def test_all_ratios_of_a_budget_the_most_sequential_first() -> None:
    assert list(ratios(8)) == [Ratio(8, 1), Ratio(4, 2), Ratio(2, 4), Ratio(1, 8)]
    assert list(ratios(12)) == [Ratio(12, 1), Ratio(6, 2), Ratio(3, 4), Ratio(1, 12)]
    assert list(ratios(1)) == [Ratio(1, 1)]


def test_a_ratio_says_what_it_is_and_what_would_draw_it() -> None:
    assert (Ratio(4, 2).family, Ratio(4, 2).strategy()) == ("revisions, 2 x 4", Revisions(4, 2))
    gated = Ratio(4, 2, 0.9)
    assert (gated.family, gated.strategy()) == ("gated revisions, 2 x 4", GatedRevisions(4, 2, 0.9))


CORRECT = np.array(
    [
        [[0, 1, 1, 0], [0, 0, 1, 1]],
        [[1, 0, 0, 0], [0, 0, 1, 0]],
        [[1, 1, 1, 1], [1, 1, 0, 1]],
    ],
    bool,
)
VALUES = np.array(
    [
        [[0.1, 0.9, 0.2, 0.2], [0.1, 0.1, 0.1, 0.1]],
        [[0.2, 0.2, 0.9, 0.9], [0.9, 0.1, 0.1, 0.1]],
        [[0.2, 0.9, 0.2, 0.2], [0.1, 0.2, 0.2, 0.95]],
    ]
)


def test_along_a_chain_is_counted_what_is_right_mended_and_broken() -> None:
    """Of attempts 1, 2 and 4, the last two against the attempts 1 and 3 before them."""
    first, second, fourth = along(CORRECT, VALUES, 0.9)
    assert [one.attempt for one in (first, second, fourth)] == [1, 2, 4]
    assert [one.right.value for one in (first, second, fourth)] == [3 / 6, 3 / 6, 3 / 6]
    assert math.isnan(first.mended.value)
    assert math.isnan(first.broken.value)
    assert (second.mended.value, second.broken.value) == (1 / 3, 1 / 3)
    assert (fourth.mended.value, fourth.broken.value) == (1 / 2, 2 / 4)


def test_a_gate_holds_a_chain_at_its_first_trusted_attempt() -> None:
    """Trusted are, by chain, the attempts 2, none, 3, 1, 2 and 4."""
    first, second, fourth = along(CORRECT, VALUES, 0.9)
    assert first.gated.value == first.right.value
    assert second.gated.value == 3 / 6
    assert fourth.gated.value == 4 / 6
    assert [one.gated.value for one in along(CORRECT, VALUES, 0.0)] == [3 / 6] * 3
    free = along(CORRECT, VALUES, 0.96)
    assert [one.gated.value for one in free] == [one.right.value for one in free]


def test_rates_along_a_chain_are_clustered_by_problem() -> None:
    second = along(CORRECT, VALUES, 0.9)[1]
    assert second.mended == rate(np.array([1.0, 0, 0]), np.array([2.0, 1, 0]))
    assert second.broken == rate(np.array([0.0, 1, 0]), np.array([0.0, 1, 2]))
    assert all(np.isnan(along(CORRECT, VALUES, 0.9)[0].mended))


def test_a_chain_of_five_is_looked_at_as_far_as_four() -> None:
    longer = np.concatenate((CORRECT, CORRECT[:, :, :1]), 2), np.concatenate((VALUES, VALUES[:, :, :1]), 2)
    for one, other in zip(along(*longer, 0.96), along(CORRECT, VALUES, 0.96), strict=True):
        assert (one.attempt, one.right, one.gated) == (other.attempt, other.right, other.gated)
    assert [one.attempt for one in along(CORRECT[:, :, :1], VALUES[:, :, :1], 0.9)] == [1]


async def test_chains_of_one_pool_agree_with_its_arrays() -> None:
    pool = await pool_of()
    correct, values = pool.correct(4), pool.values(4)
    assert correct.shape == values.shape == (len(PROBLEMS), 2, 4)
    assert correct.dtype == bool
    assert pool.accuracy(Ratio(1, 1), "best").shape == (len(PROBLEMS),)
    (first, *_) = along(correct, values, TRUST)
    assert first.right.value == correct[:, :, 0].mean()
