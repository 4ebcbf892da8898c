"""What every strategy must keep, whatever it does: one suite over all of them."""

from __future__ import annotations

import asyncio
import json
import math
from dataclasses import fields

import pytest
from doubles import TASK, Failing, Hanging, Jittery, Recording, problem, solved

from computewise.core import Attempt, Candidate, Result
from computewise.errors import ModelError, UsageError
from computewise.selection import SELECTIONS, Ballot
from computewise.session import MAX_ATTEMPTS_SHOWN, Limits, Strategy
from computewise.solver import solve
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
from computewise.study.revision_pool import RevisionPool
from computewise.testing import SimulatedModel, SimulatedPRM

STRATEGY_SETTINGS: list[Strategy] = [
    *(kind() for kind in STRATEGIES.values()),
    BestOfN(1),
    BestOfN(5),
    BeamSearch(1, 1),
    BeamSearch(4, 1),
    BeamSearch(4, 4),
    BeamSearch(9, 3),
    Lookahead(4, 2, 1),
    Lookahead(4, 4, 9),
    Lookahead(6, 1, 2),
    DVTS(4, 1),
    DVTS(4, 4),
    DVTS(6, 3),
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
def test_parameters_round_trip_through_plain_data(strategy: Strategy) -> None:
    plain = strategy_to_dict(strategy)
    name = plain.pop("name")
    assert isinstance(name, str)
    assert all(type(value) in (int, float) for value in plain.values())
    kept = json.loads(json.dumps(plain))
    assert (RevisionPool(**kept) if name == RevisionPool.name else make_strategy(name, kept)) == strategy


@every_strategy
async def test_the_same_seed_gives_the_same_result(strategy: Strategy) -> None:
    assert await solved(strategy, seed=7) == await solved(strategy, seed=7)


@every_strategy
async def test_another_seed_gives_another_result(strategy: Strategy) -> None:
    if strategy.name == "greedy":
        pytest.skip("greedy decoding has no dice to throw")
    texts = {tuple(c.text for c in (await solved(strategy, seed=seed)).tree) for seed in range(6)}
    assert len(texts) > 1


@every_strategy
async def test_never_over_budget_at_any_ceiling(strategy: Strategy) -> None:
    free = (await solved(strategy)).usage.completion_tokens
    for budget in (*range(1, 16), *range(16, free + 40, 23), free - 1, free):
        result = await solved(strategy, budget=budget)
        assert result.usage.completion_tokens <= budget
        assert (result.chosen is None) == (not any(c.end == "stop" for c in result.tree))
        if result.usage.completion_tokens < free:
            assert result.exhausted


@every_strategy
async def test_a_budget_that_suffices_changes_nothing(strategy: Strategy) -> None:
    free = await solved(strategy)
    assert not free.exhausted
    ample = await solved(strategy, budget=100 * free.usage.completion_tokens)
    assert ample == free


@every_strategy
async def test_every_selector_replays_on_the_stored_result(strategy: Strategy) -> None:
    verifier = SimulatedPRM(noise=0.2)
    for name, select in SELECTIONS.items():
        result = await solve(problem(), strategy, SimulatedModel(), verifier, TASK, select=select)
        ballots = [
            Ballot(TASK.answer(c.text) if c.end == "stop" else None, verifier.value(c.scores), c.chain)
            for c in result.candidates
        ]
        index = select(ballots)
        assert index is not None, name
        assert result.candidates[index] is result.chosen


@every_strategy
@pytest.mark.parametrize("budget", [None, 60])
async def test_explored_is_a_tree_that_holds_every_candidate(strategy: Strategy, budget: int | None) -> None:
    """What extends its parent begins with it, what revises it was shown it as the last of up to four attempts."""
    result = await solved(strategy, budget=budget)
    by_id = {candidate.id: candidate for candidate in result.tree}
    assert len(by_id) == len(result.tree)
    for candidate in result.tree:
        if candidate.parent is None:
            assert candidate.history == ()
            continue
        parent = by_id[candidate.parent]
        assert candidate.id.startswith(parent.id + ".")
        assert candidate.chain == parent.chain
        if candidate.revises:
            assert parent.finished
            assert candidate.history == shown(parent, by_id)
        else:
            assert not parent.finished
            assert candidate.text.startswith(parent.text)
            assert candidate.history == parent.history
    assert all(by_id[candidate.id] == candidate for candidate in result.candidates)


def shown(last: Candidate, by_id: dict[str, Candidate]) -> tuple[Attempt, ...]:
    """The attempts from the chain's first to `last`, no more than the memory holds, as they are in the tree."""
    attempts: list[Attempt] = []
    candidate: Candidate | None = last
    while candidate is not None:
        attempts.append(Attempt(candidate.id, tuple(step.text for step in candidate.steps), candidate.scores))
        candidate = by_id[candidate.parent] if candidate.parent is not None else None
    return tuple(reversed(attempts[:MAX_ATTEMPTS_SHOWN]))


async def test_revisions_are_what_revises_and_nothing_else_does() -> None:
    for strategy in STRATEGY_SETTINGS:
        explored = (await solved(strategy)).tree
        deep = max(candidate.id.count(".") for candidate in explored)
        assert any(candidate.revises for candidate in explored) == (strategy.name in WHOLE and deep > 0)


@every_strategy
async def test_there_is_a_score_for_every_step(strategy: Strategy) -> None:
    for budget in (None, 45, 150):
        result = await solved(strategy, budget=budget)
        by_id = {candidate.id: candidate for candidate in result.tree}
        assert all(len(c.scores) == len(c.steps) for c in result.candidates)
        for candidate in result.tree:
            extends = candidate.parent is not None and not candidate.revises
            inherited = len(by_id[candidate.parent or ""].scores) if extends else 0
            assert len(candidate.scores) in (len(candidate.steps), inherited, 0)


@every_strategy
async def test_usage_is_what_the_model_returned(strategy: Strategy) -> None:
    for budget in (None, 80):
        model = Recording()
        usage = (await solved(strategy, model=model, budget=budget)).usage
        drawn = [c.usage for call in model.calls for c in call.completions]
        assert usage.completion_tokens == sum(one.completion_tokens for one in drawn) > 0
        assert usage.samples == len(drawn)
        assert usage.prompt_tokens == sum(one.prompt_tokens for one in drawn)
        assert usage.cached_prompt_tokens == sum(one.cached_prompt_tokens for one in drawn)
        assert usage.verifier_tokens > 0 or budget


@every_strategy
async def test_the_frontier_never_exceeds_n(strategy: Strategy) -> None:
    model = Recording()
    await solved(strategy, model=model)
    assert model.peak <= strategy.n  # type: ignore[attr-defined]


@every_strategy
async def test_nothing_is_sampled_behind_the_end_of_a_solution(strategy: Strategy) -> None:
    model = Recording()
    for seed in range(5):
        await solved(strategy, model=model, seed=seed)
    assert all(TASK.answer(call.prefix) is None for call in model.calls)


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
async def test_a_result_does_not_depend_on_what_runs_beside_it(strategy: Strategy) -> None:
    problems = [problem(depth=1 + number % 6, number=20_000 + number) for number in range(12)]
    alone = [await solved(strategy, of=one) for one in problems]
    model = Jittery()
    together = await asyncio.gather(*(solved(strategy, of=one, model=model) for one in problems))
    assert together == alone


@every_strategy
async def test_cancellation_leaves_no_task_behind(strategy: Strategy) -> None:
    model = Hanging()
    task = asyncio.ensure_future(solved(strategy, model=model))
    await model.asked.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert asyncio.all_tasks() == {asyncio.current_task()}


@every_strategy
@pytest.mark.parametrize("at", [1, 2])
async def test_a_failing_model_fails_its_problem_alone(strategy: Strategy, at: int) -> None:
    problems = [problem(number=20_000 + number) for number in range(4)]
    model = Failing(prompt=problems[1].prompt, at=at)
    calls = Recording()
    await solved(strategy, model=calls, of=problems[1])
    if len(calls.calls) < at:
        pytest.skip("asks the model once: no second call to fail")
    results = await asyncio.gather(*(solved(strategy, of=one, model=model) for one in problems), return_exceptions=True)
    assert isinstance(results[1], ModelError)
    assert [results[i] for i in (0, 2, 3)] == [await solved(strategy, of=problems[i]) for i in (0, 2, 3)]
    assert asyncio.all_tasks() == {asyncio.current_task()}


@every_strategy
@pytest.mark.parametrize("tokens", [14, 12])
async def test_the_token_limit_ends_a_solution_unanswered(strategy: Strategy, tokens: int) -> None:
    """12 tokens are two whole steps: no third is then asked for, with no token left to draw it from."""
    model = Recording()
    result = await solved(strategy, model=model, limits=Limits(tokens=tokens))
    assert result.chosen is None
    assert not result.exhausted
    assert all(c.finished for c in result.candidates)
    assert all(sum(step.tokens for step in c.steps) <= tokens for c in result.tree)
    assert all(call.max_tokens > 0 for call in model.calls)


@every_strategy
async def test_the_step_limit_ends_a_search_unanswered(strategy: Strategy) -> None:
    if strategy.name in WHOLE:
        pytest.skip("samples whole solutions: no search to limit")
    result = await solved(strategy, limits=Limits(steps=3))
    assert result.chosen is None
    assert max(len(c.steps) for c in result.tree) == 3
    assert not result.exhausted


async def test_without_a_verifier_every_strategy_still_answers() -> None:
    for strategy in STRATEGY_SETTINGS:
        result: Result = await solve(problem(), strategy, SimulatedModel(), None, TASK)
        assert result.chosen is not None
        assert result.usage.verifier_tokens == 0


def test_what_cannot_be_built_says_what_is_allowed() -> None:
    refused: list[tuple[str, dict[str, int | float], str]] = [
        ("beams", {}, "beam_search"),
        ("beam_search", {"beams": 4}, "n, width"),
        ("greedy", {"n": 4}, "no settings at all"),
        ("beam_search", {"n": 6, "width": 4}, "1, 2, 3, 6"),
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
    assert {name for name, kind in STRATEGIES.items() if kind.needs_verifier} == {
        name for name, kind in STRATEGIES.items() if "trust" in {field.name for field in fields(kind)}
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
