"""One test for each mistake that public implementations of these methods were seen to make."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass

import pytest
from doubles import TASK, ByText, Scripted, completion, problem, solved

from computewise.core import ROOT, Candidate, Completion, Problem, Step, Usage
from computewise.errors import ModelError, UsageError
from computewise.selection import SELECTIONS, Ballot, majority, top, weighted
from computewise.session import Limits, Session, Strategy
from computewise.simulated import UnequalModel, UnequalPRM
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
    strategy_label,
)
from computewise.tasks.arithmetic import find_task
from computewise.testing import Jittery, Recording, SimulatedModel, SimulatedPRM

EXPRESSIONS = find_task("expressions")


def _staggered(prefix: str, index: int) -> Completion:
    """Every other continuation ends its solution, the rest goes on: beams finish at different rounds."""
    return completion("7", "stop") if index % 2 else completion("1+1\n", "step")


async def test_beam_search_does_not_refill_to_n_after_beams_finish() -> None:
    model = Recording(Scripted(_staggered))
    result = await solve(problem(), BeamSearch(8, 2), model, ByText(len), EXPRESSIONS, limits=Limits(steps=6))
    rounds: dict[int, int] = {}
    for call in model.calls:
        depth = call.prefix.count("\n")
        rounds[depth] = rounds.get(depth, 0) + call.n
    assert rounds[0] == 8
    assert max(rounds.values()) == 8
    assert len(result.candidates) <= 8


async def test_finished_beams_that_are_kept_leave_the_contest_and_lose_no_place() -> None:
    """The longest solution has the highest value: by the paper's rule, it would push out those that had finished."""
    model = Recording(Scripted(_staggered))
    result = await solve(problem(), BeamSearch(8, 2, 1), model, ByText(len), EXPRESSIONS, limits=Limits(steps=6))
    rounds: dict[int, int] = {}
    for call in model.calls:
        depth = call.prefix.count("\n")
        rounds[depth] = rounds.get(depth, 0) + call.n
    assert rounds == {0: 8, 1: 4, 2: 2, 3: 1, 4: 1, 5: 1}
    assert sorted(len(candidate.steps) for candidate in result.candidates) == [1, 1, 1, 1, 2, 2, 3, 6]


@pytest.mark.parametrize("strategy", [BeamSearch(12, 4, 1), BeamSearch(9, 3, 1), DVTS(12, 4, 1)], ids=strategy_label)
async def test_all_beams_end_where_finished_ones_are_kept(strategy: Strategy) -> None:
    for seed in range(8):
        result = await solve(problem(), strategy, UnequalModel(), UnequalPRM(), TASK, seed=seed)
        ends = {candidate.id for candidate in result.candidates if candidate.end == "stop"}
        assert len(ends) == len(result.candidates) == strategy.n  # type: ignore[attr-defined]


async def test_by_the_papers_rule_few_beams_are_left_where_lengths_differ() -> None:
    kept = [await solve(problem(), BeamSearch(16, 4), UnequalModel(), UnequalPRM(), TASK, seed=s) for s in range(8)]
    assert sum(len(result.candidates) for result in kept) < 8 * 8


async def test_the_width_of_rebase_shrinks_as_beams_finish() -> None:
    model = Recording(Scripted(_staggered))
    result = await solve(problem(), Rebase(8), model, ByText(lambda text: 0.5), EXPRESSIONS, limits=Limits(steps=6))
    rounds: dict[int, int] = {}
    for call in model.calls:
        depth = call.prefix.count("\n")
        rounds[depth] = rounds.get(depth, 0) + call.n
    assert rounds == {0: 8, 1: 4, 2: 2, 3: 1, 4: 1, 5: 1}
    assert len(result.candidates) == 8


@pytest.mark.parametrize("strategy", [BeamSearch(8, 2), Rebase(8), ParticleFilter(8)])
async def test_a_search_ends_with_its_last_beam(strategy: Strategy) -> None:
    """Not after 40 rounds whatever happens."""
    model = Recording()
    await solved(strategy, model=model, of=problem(depth=3))
    assert max(call.prefix.count("\n") for call in model.calls) == 2


@pytest.mark.parametrize("strategy", [BeamSearch(4, 2), Rebase(4), ParticleFilter(4)])
async def test_a_finished_beam_keeps_its_place_and_is_not_sampled_or_read_again(strategy: Strategy) -> None:
    verifier = ByText(lambda text: 0.9 if text == "7" else 0.5)
    model = Recording(
        Scripted(lambda prefix, index: completion("7" if index == 0 else "1+1\n", "step" if index else "stop"))
    )
    result = await solve(problem(), strategy, model, verifier, EXPRESSIONS, limits=Limits(steps=5))
    assert [candidate.text for candidate in result.candidates].count("7") == 1
    assert len(model.calls) > 1
    assert all("7" not in call.prefix for call in model.calls)
    assert verifier.read.count("7") == 1


@pytest.mark.parametrize(
    "strategy",
    [BeamSearch(4, 2), Lookahead(4, 2, 1), Lookahead(4, 4, 3), DVTS(4, 2), Rebase(4), ParticleFilter(4)],
)
async def test_no_text_is_scored_twice(strategy: Strategy) -> None:
    numbers = iter(range(1000))
    model = Scripted(
        lambda prefix, index: completion(f"{next(numbers)}" + "\n" * (index % 2), "step" if index % 2 else "stop")
    )
    verifier = ByText(lambda text: random.Random(text).random())
    await solve(problem(), strategy, model, verifier, EXPRESSIONS, limits=Limits(steps=6))
    assert len(verifier.read) == len(set(verifier.read))


async def test_the_verifier_reads_the_lookahead_and_not_the_beam_before_it() -> None:
    verifier = ByText(len)
    model = Recording()
    await solve(problem(depth=4), Lookahead(4, 2, 2), model, verifier, TASK)
    greedy = [call for call in model.calls if call.temperature == 0]
    rolled_out = {call.prefix + call.completions[0].steps[0].text for call in greedy}
    ends = rolled_out - {call.prefix for call in greedy}
    assert min(end.count("\n") for end in ends) == 2 + 1
    assert ends <= set(verifier.read)


async def test_what_a_verifier_has_read_is_not_charged_again() -> None:
    """Whatever the strategy: read anew is at most the prompt and what was sampled."""
    searches: list[Strategy] = [
        BeamSearch(4, 2),
        Lookahead(4, 2, 1),
        Lookahead(4, 2, 2),
        Rebase(4),
        ParticleFilter(4),
    ]
    for strategy in searches:
        held = problem(depth=5)
        result = await solve(held, strategy, SimulatedModel(), SimulatedPRM(), TASK)
        characters = len(held.prompt) + sum(len(node.steps[-1].text) for node in result.tree)
        assert result.usage.verifier_tokens - result.usage.cached_verifier_tokens <= characters


async def test_lookahead_judges_a_step_by_where_it_leads() -> None:
    """The better-looking first step leads nowhere; beam search falls for it, lookahead does not."""

    def script(prefix: str, index: int) -> Completion:
        if prefix == "":
            return completion("bright\n" if index % 2 else "dull\n", "step")
        return completion("1" if prefix.startswith("bright") else "2", "stop")

    def score(text: str) -> float:
        return {"bright\n": 0.8, "dull\n": 0.3, "bright\n1": 0.1, "dull\n2": 0.9}[text]

    async def answer(strategy: BeamSearch | Lookahead) -> str:
        result = await solve(problem(), strategy, Scripted(script), ByText(score), EXPRESSIONS)
        assert result.chosen is not None
        return result.chosen.steps[-1].text

    assert await answer(BeamSearch(2, 2)) == "1"
    assert await answer(Lookahead(2, 2, 1)) == "2"


async def test_an_end_right_behind_a_delimiter_is_no_step() -> None:
    def script(prefix: str, index: int) -> Completion:
        return completion("", "stop") if prefix else completion("7\n", "step")

    verifier = ByText(lambda text: 0.9 if text else 0.0)
    result = await solve(problem(), BeamSearch(4, 2), Scripted(script), verifier, EXPRESSIONS)
    assert result.chosen is not None
    assert [step.text for step in result.chosen.steps] == ["7\n"]
    assert result.chosen.steps[0].tokens == 2 + 1
    assert result.chosen.scores == (0.9,)
    assert EXPRESSIONS.answer(result.chosen.text) == "7"
    assert result.usage.completion_tokens == 4 * 2 + 4 * 1


@pytest.mark.parametrize("strategy", [BeamSearch, DVTS, Lookahead])
def test_fewer_beams_than_the_width_are_refused(strategy: type[BeamSearch | DVTS | Lookahead]) -> None:
    """n // width would be 0 and a slice [-0:] keeps everything."""
    with pytest.raises(UsageError, match="not divisible"):
        strategy(n=2, width=4)


def test_top_of_none_is_none_and_of_few_is_all() -> None:
    assert top([3, 1, 2], 0, float) == []
    assert top([3, 1, 2], 2, float) == [3, 2]
    assert top([3, 1], 5, float) == [3, 1]


def test_the_earlier_of_equals_survives() -> None:
    assert top(["b", "a", "c"], 2, lambda _: 0.5) == ["b", "a"]


@pytest.mark.parametrize("strategy", [BeamSearch(8, 2), Rebase(8), ParticleFilter(8), Revisions(4, 2)])
async def test_nothing_votes_twice_where_fewer_than_n_finish(strategy: Strategy) -> None:
    for budget in range(40, 400, 12):
        result = await solved(strategy, budget=budget)
        ids = [candidate.id for candidate in result.candidates]
        assert len(ids) == len(set(ids))


async def test_the_first_to_finish_are_not_preferred() -> None:
    """A short solution of low value must not end the search while better, longer ones go on."""

    def script(prefix: str, index: int) -> Completion:
        if prefix.count("\n") < 3 and index % 4:
            return completion("1+1\n", "step")
        return completion("2" if prefix.count("\n") == 3 else "1", "stop")

    def score(text: str) -> float:
        return 0.1 if text.endswith("1") else 0.9

    result = await solve(problem(), BeamSearch(8, 2), Scripted(script), ByText(score), EXPRESSIONS)
    assert result.chosen is not None
    assert result.chosen.text == "1+1\n" * 3 + "2"


async def test_unfinished_siblings_do_not_vote_in_dvts() -> None:
    """Every tree ends with one beam answered and its siblings cut off in the middle."""

    def script(prefix: str, index: int) -> Completion:
        return completion("7", "stop") if index == 0 else completion("8", "length")

    result = await solve(
        problem(), DVTS(8, 4), Scripted(script), ByText(lambda text: 0.9 if text == "8" else 0.1), EXPRESSIONS
    )
    assert result.chosen is not None
    assert result.chosen.text == "7"
    for budget in (20, 50, 90):
        cut = await solved(DVTS(8, 4), budget=budget)
        assert cut.chosen is None or cut.chosen.end == "stop"


async def test_the_trees_of_dvts_do_not_mix() -> None:
    result = await solved(DVTS(8, 4))
    roots = {candidate.id.split(":")[0] for candidate in result.tree}
    assert roots == {"0", "1"}
    assert all(c.parent is None or c.parent.split(":")[0] == c.id.split(":")[0] for c in result.tree)


@pytest.mark.parametrize(
    "strategy", [BeamSearch(8, 2), Lookahead(8, 2, 1), DVTS(8, 4), Rebase(8, 0.05), ParticleFilter(8)]
)
async def test_discarded_beams_are_paid_for(strategy: Strategy) -> None:
    result = await solved(strategy)
    nodes = {candidate.id: candidate for candidate in result.tree}
    tokens = {key: sum(step.tokens for step in node.steps) for key, node in nodes.items()}
    drawn = {key: tokens[key] - tokens.get(node.parent or "", 0) for key, node in nodes.items()}
    assert result.usage.completion_tokens == sum(drawn.values())
    kept = set()
    for candidate in result.candidates:
        node: Candidate | None = candidate
        while node is not None:
            kept.add(node.id)
            node = nodes[node.parent] if node.parent else None
    assert result.usage.completion_tokens > sum(drawn[key] for key in kept)


async def test_an_answer_that_was_found_is_not_lost_to_the_budget() -> None:
    """The search drops an answered beam of low value; then the budget cuts the ones it went on with."""

    def script(prefix: str, index: int) -> Completion:
        return (
            completion("7", "stop")
            if not prefix and index == 0
            else completion("1+1\n", "step" if not prefix else "length")
        )

    def score(text: str) -> float:
        return 0.1 if text == "7" else 0.9

    result = await solve(problem(), BeamSearch(4, 2), Scripted(script), ByText(score), EXPRESSIONS, budget=10_000)
    assert result.chosen is not None
    assert result.chosen.text == "7"


async def test_completions_belong_to_their_problem_whatever_the_concurrency() -> None:
    problems = [problem(depth=1 + number % 5, number=30_000 + 100 * number) for number in range(40)]
    model = Jittery(SimulatedModel(skill=0.9, wrong_answers=9))
    every: list[Strategy] = [
        BestOfN(3),
        BeamSearch(4, 2),
        DVTS(4, 2),
        Rebase(4),
        ParticleFilter(4),
        Revisions(3, 2),
        GatedRevisions(3, 2),
        AdaptiveBranching(4),
    ]
    for strategy in every:
        results = await asyncio.gather(*(solved(strategy, of=one, model=model) for one in problems))
        for one, result in zip(problems, results, strict=True):
            answers = {TASK.answer(c.text) for c in result.candidates}
            assert all(answer is not None and 0 <= int(answer) - int(one.answer or 0) <= 9 for answer in answers)


@pytest.mark.parametrize("strategy", [BeamSearch(4, 2), DVTS(4, 2), Rebase(4), ParticleFilter(4)])
async def test_a_branch_that_fails_leaves_no_sibling_running(strategy: Strategy) -> None:
    """The second round's first call fails, while the others never answer."""

    @dataclass(slots=True)
    class FailsBesideHanging(Scripted):
        failed: bool = False

        async def sample(self, prompt: str, prefix: str, n: int, **settings: object) -> list[Completion]:
            if prefix and not self.failed:
                self.failed = True
                raise ModelError("the model is out of order")
            if prefix:
                await asyncio.Event().wait()
            return [completion(f"{self.failed}{index}\n", "step") for index in range(n)]

    with pytest.raises(ModelError, match="out of order"):
        await solve(problem(), strategy, FailsBesideHanging(_staggered), ByText(len), EXPRESSIONS)
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_scores_belong_to_their_candidates() -> None:
    verifier = SimulatedPRM(noise=0.3)
    result = await solved(BeamSearch(8, 2), model=Jittery(), verifier=verifier)
    for candidate in result.tree:
        alone = Candidate(candidate.id, candidate.parent, candidate.steps)
        assert (await verifier.score(problem(), [alone]))[0] == [candidate.scores]


def test_a_vote_counts_canonical_answers() -> None:
    solutions = ["007", "8", "7\n", "+7", "x", ""]
    answers = [EXPRESSIONS.answer(text) for text in solutions]
    assert answers == ["7", "8", "7", None, None, None]
    assert majority([Ballot(answer, 0.0) for answer in answers]) == 0
    assert EXPRESSIONS.answer("-0") == EXPRESSIONS.answer("0") == "0"


def test_what_is_unanswered_never_votes() -> None:
    ballots = [Ballot(None, 9.0), Ballot(None, 9.0), Ballot("1", 0.1), Ballot(None, 9.0)]
    for name, select in SELECTIONS.items():
        assert select(ballots) == 2, name
        assert select([Ballot(None, 1.0)]) is None
        assert select([]) is None


def test_weighted_sums_over_equal_answers_and_takes_the_best_of_the_winners() -> None:
    ballots = [Ballot("1", 0.9), Ballot("2", 0.5), Ballot("2", 0.6), Ballot("3", 0.8)]
    assert weighted(ballots) == 2
    assert SELECTIONS["best"](ballots) == 0
    assert majority(ballots) == 2


async def test_a_solution_cut_off_is_unanswered_even_where_its_text_looks_like_an_answer() -> None:
    result = await solve(
        problem(), BestOfN(2), Scripted(lambda *_: completion("7", "length")), ByText(len), EXPRESSIONS
    )
    assert result.chosen is None


async def test_a_verifier_that_drops_a_step_is_found_out() -> None:
    class Short(ByText):
        async def score(
            self, problem: Problem, candidates: Sequence[Candidate]
        ) -> tuple[list[tuple[float, ...]], Usage]:
            scores, usage = await super().score(problem, candidates)
            return [steps[:-1] for steps in scores], usage

    with pytest.raises(ModelError, match="0 scores for 1 steps"):
        await solve(problem(), BeamSearch(2, 2), SimulatedModel(), Short(len), TASK)


async def test_children_of_one_parent_are_drawn_apart_also_over_several_calls() -> None:
    session = Session(problem(depth=30), SimulatedModel(skill=0.5), None, "\n")
    drawn = [child for _ in range(4) for child in await session.expand([ROOT], 8)]
    assert len({child.id for child in drawn}) == 32
    assert 4 < sum(child.text == "right\n" for child in drawn) < 28


async def test_scores_accumulate_with_the_text() -> None:
    """The simulated verifier reads what the solution was up to each step, not the step alone."""
    steps = tuple(Step(text, 6, 0.0) for text in ("right\n", "wrong\n", "right\n"))
    scores, _ = await SimulatedPRM(skill=0.5).score(problem(depth=4), [Candidate("0", None, steps)])
    assert scores == [(0.125, 0.0, 0.0)]
