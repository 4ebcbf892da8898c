"""What every strategy must keep, whatever it does: one suite over all of them."""

from __future__ import annotations

import json
import math
from dataclasses import fields

import pytest
from doubles import problem, solved

from computewise.errors import UsageError
from computewise.selection import SELECTIONS
from computewise.session import Limits, Strategy
from computewise.strategies import (
    DVTS,
    STRATEGIES,
    AdaptiveBranching,
    BeamSearch,
    BestOfN,
    GatedRevisions,
    Lookahead,
    ParticleFilter,
    Rebase,
    Revisions,
    StepRevisions,
    make_strategy,
    strategy_label,
    strategy_to_dict,
)
from computewise.study.plan import RevisionPool
from computewise.testing import STRATEGY_CHECKS, Recording, SimulatedModel, StrategyCheck

STRATEGY_SETTINGS: list[Strategy] = [
    *(kind() for kind in STRATEGIES.values()),
    BestOfN(1),
    BestOfN(5),
    BeamSearch(1, 1),
    BeamSearch(4, 1),
    BeamSearch(4, 4),
    BeamSearch(9, 3),
    BeamSearch(8, 2, 1),
    BeamSearch(9, 3, 1),
    Lookahead(4, 2, 1),
    Lookahead(4, 4, 9),
    Lookahead(6, 1, 2),
    DVTS(4, 1),
    DVTS(4, 4),
    DVTS(6, 3),
    DVTS(6, 3, 1),
    Rebase(1),
    Rebase(5, 0.01),
    Rebase(8, 50.0),
    ParticleFilter(1),
    ParticleFilter(2),
    ParticleFilter(7),
    Revisions(1, 1),
    Revisions(1, 5),
    Revisions(9, 1),
    Revisions(3, 2),
    GatedRevisions(1, 4, 0.5),
    GatedRevisions(9, 1, 1.0),
    GatedRevisions(6, 1, 0.5),
    GatedRevisions(4, 3, 0.0),
    GatedRevisions(2, 3, 1),
    StepRevisions(1, 4, 0.5),
    StepRevisions(9, 1, 1.0),
    StepRevisions(4, 3, 0.5),
    AdaptiveBranching(1),
    AdaptiveBranching(9, 0.5),
    AdaptiveBranching(5, 0.0),
    RevisionPool(1),
    RevisionPool(6),
]
SMALLEST: list[Strategy] = [kind(**{setting.name: 1 for setting in fields(kind)}) for kind in STRATEGIES.values()]
WHOLE = ("single", "best_of_n", "revisions", "gated_revisions", "step_revisions", "adaptive_branching", "revision_pool")
"""Those that sample whole solutions."""
every_strategy = pytest.mark.parametrize("strategy", STRATEGY_SETTINGS, ids=strategy_label)


@every_strategy
@pytest.mark.parametrize("check", STRATEGY_CHECKS, ids=lambda check: check.__name__.strip("_"))
async def test_what_every_strategy_must_do(strategy: Strategy, check: StrategyCheck) -> None:
    await check(strategy)


@every_strategy
def test_parameters_round_trip_through_plain_data(strategy: Strategy) -> None:
    plain = strategy_to_dict(strategy)
    name = plain.pop("name")
    assert isinstance(name, str)
    assert all(type(value) in (int, float) for value in plain.values())
    kept = json.loads(json.dumps(plain))
    assert (RevisionPool(**kept) if name == RevisionPool.name else make_strategy(name, kept)) == strategy


@every_strategy
async def test_another_seed_gives_another_result(strategy: Strategy) -> None:
    if strategy.name == "greedy":
        pytest.skip("greedy decoding has no dice to throw")
    texts = {tuple(c.text for c in (await solved(strategy, seed=seed)).tree) for seed in range(6)}
    assert len(texts) > 1


async def test_revisions_are_what_revises_and_nothing_else_does() -> None:
    for strategy in STRATEGY_SETTINGS:
        explored = (await solved(strategy)).tree
        deep = max(candidate.id.count(".") for candidate in explored)
        assert any(candidate.revises for candidate in explored) == (strategy.name in WHOLE and deep > 0)


@every_strategy
async def test_the_frontier_never_exceeds_n(strategy: Strategy) -> None:
    model = Recording()
    await solved(strategy, model=model)
    assert model.peak <= strategy.n  # type: ignore[attr-defined]


@pytest.mark.parametrize("strategy", SMALLEST, ids=strategy_label)
async def test_the_smallest_setting_costs_one_sample(strategy: Strategy) -> None:
    """But for lookahead, whose k = 1 rolls out one more step from each but the last."""
    for seed in range(4):
        usage = (await solved(strategy, seed=seed)).usage
        one = (await solved(BestOfN(1), seed=seed)).usage
        assert usage.completion_tokens == pytest.approx(
            one.completion_tokens * (1 + getattr(strategy, "k", 0)), rel=0.2
        )
        if not hasattr(strategy, "k"):
            assert usage.completion_tokens == one.completion_tokens


@every_strategy
async def test_the_step_limit_ends_a_search_unanswered(strategy: Strategy) -> None:
    if strategy.name in WHOLE:
        pytest.skip("samples whole solutions: no search to limit")
    result = await solved(strategy, limits=Limits(steps=3))
    assert result.chosen is None
    assert max(len(c.steps) for c in result.tree) == 3
    assert not result.exhausted


def test_what_cannot_be_built_says_what_is_allowed() -> None:
    refused: list[tuple[str, dict[str, int | float], str]] = [
        ("beams", {}, "beam_search"),
        ("beam_search", {"beams": 4}, "n, width"),
        ("greedy", {"n": 4}, "no settings at all"),
        ("beam_search", {"n": 6, "width": 4}, "1, 2, 3, 6"),
        ("beam_search", {"keep_finished": 2}, "0 or 1"),
        ("dvts", {"keep_finished": -1}, "0 or 1"),
        ("best_of_n", {"n": 0}, "at least 1"),
        ("best_of_n", {"n": 2.5}, "a whole number"),
        ("lookahead", {"n": 4, "width": 4, "k": 0}, "at least 1"),
        ("rebase", {"n": 0}, "at least 1"),
        ("rebase", {"balance_temperature": 0}, "above 0"),
        ("rebase", {"balance_temperature": math.inf}, "above 0"),
        ("rebase", {"balance_temperature": math.nan}, "above 0"),
        ("particle_filter", {"n": 0}, "at least 1"),
        ("revisions", {"chain_length": 0}, "chain_length = 0 .* at least 1"),
        ("revisions", {"chains": 0}, "chains = 0 .* at least 1"),
        ("gated_revisions", {"chain_length": 0}, "chain_length = 0 .* at least 1"),
        ("gated_revisions", {"chains": 0}, "chains = 0 .* at least 1"),
        ("gated_revisions", {"trust": 1.01}, "between 0 and 1"),
        ("gated_revisions", {"trust": math.nan}, "between 0 and 1"),
        ("adaptive_branching", {"n": 0}, "at least 1"),
        ("adaptive_branching", {"trust": -0.01}, "between 0 and 1"),
    ]
    for name, settings, allowed in refused:
        with pytest.raises(UsageError, match=allowed) as error:
            make_strategy(name, settings)
        assert "\n" not in str(error.value)
    with pytest.raises(UsageError, match="at least 1"):
        RevisionPool(0)


def test_the_pool_of_a_study_has_no_name_to_be_built_by() -> None:
    with pytest.raises(UsageError, match="unknown strategy 'revision_pool'"):
        make_strategy(RevisionPool.name, {})


def test_every_strategy_says_what_it_needs() -> None:
    """As measured: which are shown attempts, which go on from a prefix, which selection is of chains."""
    chains = {name for name, kind in STRATEGIES.items() if kind.default_select == "hierarchical"}
    assert chains == {"revisions", "gated_revisions", "step_revisions", "adaptive_branching"}
    assert {name for name, kind in STRATEGIES.items() if kind.needs_history} == {"revisions", "gated_revisions"}
    assert {name for name, kind in STRATEGIES.items() if not kind.needs_verifier} == {
        "single",
        "greedy",
        "best_of_n",
        "revisions",
    }
    assert {kind.default_select for kind in STRATEGIES.values()} <= set(SELECTIONS)


@every_strategy
async def test_only_a_strategy_that_needs_steps_goes_on_from_some(strategy: Strategy) -> None:
    model = Recording(SimulatedModel(skill=0.6))
    await solved(strategy, model=model, of=problem(6))
    went_on = any(call.prefix for call in model.calls)
    assert not went_on or strategy.needs_steps or strategy.name == "greedy"
    whole = SimulatedModel(skill=0.6, steps=False)
    if went_on and strategy.needs_steps:
        with pytest.raises(UsageError, match="only samples whole solutions"):
            await solved(strategy, model=whole, of=problem(6))
    elif not strategy.needs_steps:
        assert (await solved(strategy, model=whole, of=problem(6))).candidates
