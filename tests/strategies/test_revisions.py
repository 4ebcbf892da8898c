"""Attempts in view of earlier ones: what is shown, kept, read, trusted and selected."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from random import Random

import pytest
from doubles import TASK, ByText, Scripted, completion, problem, solved
from hypothesis import given
from hypothesis import strategies as st

from computewise.core import Attempt, Candidate, Completion, FinishReason, Result, Usage
from computewise.selection import SELECTIONS, Ballot, hierarchical, majority, weighted
from computewise.session import BudgetExhausted, Ledger, Limits, Session, Strategy
from computewise.solver import solve
from computewise.strategies import AdaptiveBranching, BestOfN, GatedRevisions, Revisions, StepRevisions
from computewise.strategies.revisions import _draw
from computewise.study.plan import RevisionPool
from computewise.tasks.arithmetic import find_task
from computewise.testing import Recording, SimulatedModel, SimulatedPRM

EXPRESSIONS = find_task("expressions")


def counting(prefix: str, index: int) -> Completion:
    """Attempts that say how many there were before them."""
    return completion(str(index), "stop")


def saying(*attempts: str, cut: tuple[int, ...] = ()) -> Scripted:
    """One attempt after the other; those at `cut` end in the middle."""

    def script(prefix: str, index: int) -> Completion:
        reason: FinishReason = "length" if index in cut else "stop"
        return completion(attempts[index], reason)

    return Scripted(script)


def worth(values: dict[str, float]) -> ByText:
    return ByText(values.__getitem__)


async def shown(strategy: Strategy, score_of: Callable[[str], float] = lambda text: 0.5) -> list[list[str]]:
    """The attempts shown in each call, as texts."""
    model = Recording(Scripted(counting))
    await solve(problem(), strategy, model, ByText(score_of), EXPRESSIONS)
    return [[attempt.text for attempt in call.attempts] for call in model.calls]


async def test_a_revision_sees_the_last_four_attempts_oldest_first() -> None:
    assert await shown(Revisions(7, 1)) == [
        [],
        ["0"],
        ["0", "1"],
        ["0", "1", "2"],
        ["0", "1", "2", "3"],
        ["1", "2", "3", "4"],
        ["2", "3", "4", "5"],
    ]


async def test_chains_do_not_see_one_another() -> None:
    assert await shown(Revisions(3, 2)) == [[], ["0"], ["1"], ["0", "2"], ["1", "3"]]


async def test_what_is_shown_is_what_is_in_the_tree() -> None:
    model = Recording()
    result = await solved(AdaptiveBranching(12, 1.0), model=model, of=problem(depth=6))
    by_id = {candidate.id: candidate for candidate in result.tree}
    calls = [call for call in model.calls if call.attempts]
    assert calls
    for call in calls:
        for attempt in call.attempts:
            assert attempt.text == by_id[attempt.id].text
            assert attempt.scores == by_id[attempt.id].scores
        assert [one.id for one in call.attempts] == sorted((one.id for one in call.attempts), key=len)


async def test_chains_of_one_attempt_are_best_of_n() -> None:
    for strategy in (Revisions(1, 5), GatedRevisions(1, 5), GatedRevisions(4, 5, 0.0)):
        assert await solved(strategy, seed=3) == await solved(BestOfN(5), seed=3)


async def test_a_gate_of_1_is_no_gate_where_no_attempt_gets_full_marks() -> None:
    def score(text: str) -> float:
        return 0.2 if "wrong" in text else 0.8

    gated, free = [
        await solve(problem(), strategy, SimulatedModel(), ByText(score), TASK)
        for strategy in (GatedRevisions(5, 3, 1.0), Revisions(5, 3))
    ]
    assert gated == free


@pytest.mark.parametrize(("n", "attempts"), [(1, 1), (4, 8), (6, 6 + 3 + 1 + 1 + 1 + 1), (16, 48)])
async def test_the_beginnings_of_a_ratio_pools_chains_are_those_of_every_ratio(n: int, attempts: int) -> None:
    pool = await solved(RevisionPool(n), seed=5)
    assert len(pool.candidates) == attempts
    by_id = {candidate.id: candidate for candidate in pool.candidates}
    for chains in (width for width in (1, 2, 4, 8, 16) if width <= n):
        for strategy in (Revisions(n // chains, chains), GatedRevisions(n // chains, chains, 0.6)):
            drawn = (await solved(strategy, seed=5)).candidates
            assert len({candidate.chain for candidate in drawn}) == chains
            assert [by_id[candidate.id] for candidate in drawn] == list(drawn)


async def test_all_chains_are_revised_at_once() -> None:
    model = Recording()
    await solved(Revisions(4, 3), model=model)
    assert model.peak == 3
    assert [call.n for call in model.calls] == [3] + [1] * 9


async def test_a_gated_chain_ends_at_the_first_attempt_of_trusted_value() -> None:
    """Exactly as trusted is trusted enough."""
    assert await shown(GatedRevisions(5, 1, 0.9), lambda text: 0.9 if text == "2" else 0.89) == [
        [],
        ["0"],
        ["0", "1"],
    ]


async def test_a_trusted_chain_does_not_end_the_others() -> None:
    assert await shown(GatedRevisions(4, 2, 0.9), lambda text: 0.95 if text in "03" else 0.1) == [[], ["1"], ["1", "2"]]


async def test_without_a_verifier_nothing_is_doubted() -> None:
    model = Recording()
    result = await solve(problem(), GatedRevisions(4, 3), model, None, TASK)
    assert len(result.tree) == 3
    assert [call.attempts for call in model.calls] == [()]


async def test_adaptive_branching_ends_at_the_first_attempt_worth_its_trust() -> None:
    calls = await shown(AdaptiveBranching(9, 0.7), lambda text: 0.7 if text == "4" else 0.69)
    assert len(calls) == 5
    assert len(await shown(AdaptiveBranching(9, 0.0))) == 1
    assert len(await shown(AdaptiveBranching(9, 1.0))) == 9


async def test_adaptive_branching_follows_what_is_worth_most() -> None:
    """Where an attempt that revises the first is nearly certain to be good, almost nothing else is made."""

    class Knowing(Scripted):
        async def sample(self, prompt: str, prefix: str, n: int, **settings: object) -> list[Completion]:
            return [completion("9" if settings["attempts"] else "1", "stop") for _ in range(n)]

    result = await solve(
        problem(), AdaptiveBranching(60, 1.0), Knowing(counting), worth({"1": 0.01, "9": 0.99}), EXPRESSIONS
    )
    assert len(result.tree) == 60
    assert sum(candidate.revises for candidate in result.tree) > 50


def test_an_arms_chance_has_the_mean_of_its_beta() -> None:
    dice = Random(0)
    for values, mean in (([], 1 / 2), ([1.0], 2 / 3), ([0.0], 1 / 3), ([0.9, 0.8, 0.4], 3.1 / 5)):
        drawn = [_draw(values, dice) for _ in range(4000)]
        assert sum(drawn) / len(drawn) == pytest.approx(mean, abs=0.02)


def test_what_revises_is_no_extension_of_what_revises() -> None:
    shown = (Attempt("0", ("7",)),)
    assert Candidate("0.0", "0", history=shown).revises
    assert not Candidate("0.0.0", "0.0", history=shown).revises
    assert not Candidate("0.0", "0").revises
    assert not Candidate("0", None).revises
    assert [Candidate(id, None).chain for id in ("3", "3.0.1", "1:3.0")] == ["3", "3", "1:3"]


async def first_attempt(verifier: SimulatedPRM, model: Recording, ledger: Ledger) -> tuple[Session, Candidate]:
    """An attempt of four steps, the third of which is wrong."""
    for seed in range(100):
        session = Session(problem(depth=4), model, verifier, "\n", seed=seed, ledger=ledger, limits=Limits(tokens=100))
        (first,) = await session.score(await session.sample(1))
        if [step.text.split()[0] for step in first.steps[:3]] == ["right", "right", "wrong"]:
            return session, first
        ledger.explored.clear()
    raise AssertionError("no such attempt")


async def test_steps_kept_keep_their_scores_and_only_the_new_are_read() -> None:
    model, ledger = Recording(), Ledger()
    session, first = await first_attempt(SimulatedPRM(skill=0.95), model, ledger)
    (kept,) = await session.revise([[first]], keep_prefix=True)
    assert kept.steps[:2] == first.steps[:2]
    assert len(kept.steps) == 4
    assert kept.scores == first.scores[:2]
    assert (kept.id, kept.parent, kept.revises, kept.end) == ("0.0", "0", True, "stop")
    assert kept.history == (Attempt("0", tuple(step.text for step in first.steps), first.scores),)
    call = model.calls[-1]
    assert call.prefix == first.steps[0].text + first.steps[1].text
    assert call.attempts == kept.history
    assert call.max_tokens == 100 - sum(step.tokens for step in first.steps[:2])
    before = ledger.usage
    (scored,) = await session.score([kept])
    read = ledger.usage.verifier_tokens - before.verifier_tokens
    cached = ledger.usage.cached_verifier_tokens - before.cached_verifier_tokens
    assert read - cached == len(kept.steps[2].text + kept.steps[3].text)
    assert scored.scores[:2] == first.scores[:2]
    assert len(scored.scores) == 4
    assert ledger.explored["0"] == first


async def test_the_last_step_is_made_anew_however_much_it_is_trusted() -> None:
    session, first = await first_attempt(SimulatedPRM(skill=0.95), Recording(), Ledger())
    everything = replace(first, scores=(1.0, 1.0, 1.0, 0.5))
    (kept,) = await session.revise([[everything]], keep_prefix=True)
    assert kept.steps[:3] == first.steps[:3]
    (whole,) = await session.revise([[replace(first, scores=())]], keep_prefix=True)
    assert whole.history[0].weakest_step is None
    assert whole.scores == ()


async def test_nothing_is_kept_unless_asked_and_several_revise_the_same() -> None:
    model, ledger = Recording(), Ledger()
    session, first = await first_attempt(SimulatedPRM(), model, ledger)
    revised = await session.revise([[first]] * 3)
    assert {candidate.id for candidate in revised} == {"0.0", "0.1", "0.2"}
    assert all(candidate.scores == () for candidate in revised)
    assert model.calls[-1].prefix == ""
    (again,) = await session.revise([[first]])
    assert again.id == "0.3"
    (deeper,) = await session.revise([[first, again]])
    assert (deeper.id, deeper.parent, deeper.chain) == ("0.3.0", "0.3", "0")
    assert [attempt.id for attempt in deeper.history] == ["0", "0.3"]


SELECTIONS_OF_A_CHAIN = [(name, ("7", "8", "7", "9"), {"7": 0.9, "8": 0.3, "9": 0.5}, "0") for name in SELECTIONS] + [
    (name, ("7", "8", "9"), {"7": 0.9, "8": 0.3, "9": 0.5}, "0") for name in ("weighted", "best", "hierarchical")
]


@pytest.mark.parametrize(("name", "attempts", "values", "chosen"), SELECTIONS_OF_A_CHAIN)
async def test_the_last_attempt_is_not_preferred(
    name: str, attempts: tuple[str, ...], values: dict[str, float], chosen: str
) -> None:
    result = await solve(
        problem(),
        Revisions(len(attempts), 1),
        saying(*attempts),
        worth(values),
        EXPRESSIONS,
        select=SELECTIONS[name],
    )
    assert len(result.candidates) == len(attempts)
    assert result.chosen is not None
    assert result.chosen.id == chosen


@pytest.mark.parametrize("name", SELECTIONS)
async def test_an_attempt_cut_off_is_revised_but_does_not_vote(name: str) -> None:
    model = Recording(saying("8", "7", "8", cut=(0, 2)))
    result = await solve(
        problem(), Revisions(3, 1), model, worth({"8": 0.9, "7": 0.1}), EXPRESSIONS, select=SELECTIONS[name]
    )
    assert [candidate.end for candidate in result.candidates] == ["length", "stop", "length"]
    assert result.chosen is not None
    assert result.chosen.text == "7"
    assert [[one.text for one in call.attempts] for call in model.calls] == [[], ["8"], ["8", "7"]]


@pytest.mark.parametrize(
    "strategy", [Revisions(5, 1), GatedRevisions(5, 1, 1.0), AdaptiveBranching(5, 1.0)], ids=lambda one: one.name
)
async def test_a_budget_ends_a_chain_at_any_attempt(strategy: Strategy) -> None:
    """Attempts of two tokens each; half of one is none."""

    async def within(budget: int) -> Result:
        model = BudgetedPairs()
        return await solve(problem(), strategy, model, ByText(lambda text: 0.5), EXPRESSIONS, budget=budget)

    for budget in range(1, 10):
        result = await within(budget)
        answered = [candidate for candidate in result.candidates if candidate.end == "stop"]
        assert len(answered) == budget // 2
        assert result.usage.completion_tokens == budget
        assert (result.chosen is None) == (budget < 2)
        assert result.exhausted
    assert not (await within(10)).exhausted
    assert not (await within(11)).exhausted


class BudgetedPairs(Scripted):
    """Solutions of two tokens, cut where fewer are allowed."""

    def __init__(self) -> None:
        super().__init__(counting)

    async def sample(self, prompt: str, prefix: str, n: int, **settings: object) -> list[Completion]:
        whole = settings["max_tokens"] != 1
        return [completion("77" if whole else "7", "stop" if whole else "length") for _ in range(n)]


def test_hierarchical_selection_lets_every_chain_send_one() -> None:
    """A long chain's repetition of one answer does not outvote the others: flat, 1 has 1.2 against 0.9."""
    ballots = [
        Ballot("1", 0.4, "0"),
        Ballot("1", 0.4, "0"),
        Ballot("1", 0.4, "0"),
        Ballot("2", 0.5, "1"),
        Ballot("2", 0.4, "2"),
    ]
    assert weighted(ballots) == majority(ballots) == 0
    assert hierarchical(ballots) == 3


async def test_hierarchical_selection_is_told_the_chains() -> None:
    """Chain 0 says 7 twice, chain 1 says 8 and 9."""
    for name, chosen in (("weighted", "7"), ("hierarchical", "8")):
        result = await solve(
            problem(),
            Revisions(2, 2),
            saying("7", "8", "7", "9"),
            worth({"7": 0.4, "8": 0.5, "9": 0.1}),
            EXPRESSIONS,
            select=SELECTIONS[name],
        )
        assert result.chosen is not None
        assert result.chosen.text == chosen


def test_hierarchical_selection_sums_inside_a_chain_before_it_compares_chains() -> None:
    """Inside its chain 1 has 0.8 against 0.7; across, its best of 0.45 loses to 0.5; the best one would be 2."""
    ballots = [
        Ballot("2", 0.7, "0"),
        Ballot("1", 0.35, "0"),
        Ballot("1", 0.45, "0"),
        Ballot("3", 0.5, "1"),
    ]
    assert hierarchical(ballots) == 3
    assert hierarchical(ballots[:3]) == 2
    assert weighted(ballots) == 2
    assert SELECTIONS["best"](ballots) == 0


def test_hierarchical_selection_skips_chains_without_an_answer() -> None:
    assert hierarchical([Ballot(None, 9.0, "0"), Ballot("1", 0.0, "1"), Ballot(None, 9.0, "1")]) == 1
    assert hierarchical([Ballot(None, 1.0, "0"), Ballot(None, 1.0, "1")]) is None
    assert hierarchical([]) is None


def test_ties_go_to_the_earlier_of_chains_and_attempts() -> None:
    assert hierarchical([Ballot("1", 0.5, "0"), Ballot("2", 0.5, "1")]) == 0
    assert hierarchical([Ballot("1", 0.5, "0"), Ballot("2", 0.5, "0")]) == 0
    assert hierarchical([Ballot("1", 0.5, "0"), Ballot("1", 0.5, "0"), Ballot("1", 0.5, "1")]) == 0
    assert hierarchical([Ballot("1", 0.1, "0"), Ballot("2", 0.5, "1"), Ballot("3", 0.5, "0")]) == 1


BALLOTS = st.lists(
    st.builds(
        Ballot, st.sampled_from([None, "1", "2", "3"]), st.sampled_from([0.0, 0.25, 0.5, 0.75]), st.sampled_from("abc")
    ),
    max_size=8,
)


@given(BALLOTS)
def test_hierarchical_selection_is_weighted_where_chains_make_no_difference(ballots: list[Ballot]) -> None:
    in_one = [ballot._replace(chain="0") for ballot in ballots]
    each_its_own = [ballot._replace(chain=str(index)) for index, ballot in enumerate(ballots)]
    assert hierarchical(in_one) == hierarchical(each_its_own) == weighted(ballots)


@given(BALLOTS, st.randoms(use_true_random=False))
def test_hierarchical_selection_does_not_depend_on_the_order_where_nothing_ties(
    ballots: list[Ballot], dice: Random
) -> None:
    """Powers of two: no two sums are equal."""
    untied = [ballot._replace(value=2.0**-index) for index, ballot in enumerate(ballots)]
    shuffled = dice.sample(untied, len(untied))
    chosen, again = hierarchical(untied), hierarchical(shuffled)
    assert (None if chosen is None else untied[chosen]) == (None if again is None else shuffled[again])


# Lost attempts


async def lost_in(*lost: int, verifier: ByText | None = None) -> tuple[Session, Recording]:
    """A session whose attempts of those numbers a server loses."""

    def script(prefix: str, index: int) -> Completion:
        return Completion((), "failed", Usage()) if index in lost else completion(str(index), "stop")

    model = Recording(Scripted(script))
    return Session(problem(), model, verifier or ByText(lambda text: 0.9), "\n"), model


async def test_what_was_lost_is_worth_nothing_whatever_it_went_on_from() -> None:
    session, _ = await lost_in(1)
    kept, lost = await session.score(await session.sample(2))
    assert (session.value(kept), session.value(lost)) == (0.9, 0.0)
    assert (lost.end, lost.finished, lost.text) == ("failed", True, "")
    assert session.value(replace(kept, end="failed")) == 0.0
    assert Session(problem(), Scripted(counting), None, "\n").value(lost) == 0.0
    assert Session(problem(), Scripted(counting), None, "\n").value(kept) == 1.0
    assert session.finished_candidates() == [kept]


async def test_a_lost_attempt_is_shown_to_none_and_the_one_before_it_is_revised() -> None:
    session, model = await lost_in(1)
    (first,) = await session.score(await session.sample(1))
    (lost,) = await session.score(await session.revise([[first]]))
    assert lost.end == "failed"
    (third,) = await session.revise([[first, lost]])
    assert [attempt.text for attempt in model.calls[-1].attempts] == ["0"]
    assert (third.parent, third.text, third.chain) == (first.id, "2", first.chain)
    assert len({first.id, lost.id, third.id}) == 3


async def test_where_every_attempt_was_lost_the_next_is_sampled_all_the_same() -> None:
    session, model = await lost_in(0)
    (lost,) = await session.sample(1)
    (then,) = await session.revise([[lost]], keep_prefix=True)
    assert (then.text, then.end, then.chain) == ("1", "stop", lost.chain)
    assert then.id != lost.id
    assert "".join(attempt.text for attempt in model.calls[-1].attempts) == ""


@pytest.mark.parametrize(
    "strategy", [Revisions(3, 2), GatedRevisions(3, 2, 1.0), StepRevisions(3, 2, 1.0), AdaptiveBranching(6, 1.0)]
)
async def test_chains_go_on_past_what_is_lost(strategy: Strategy) -> None:
    session, model = await lost_in(1, 2)
    found = await strategy(problem(), session)
    assert len(found) == 6
    assert [candidate.end for candidate in found].count("failed") == 2
    assert all("" not in [attempt.text for attempt in call.attempts] for call in model.calls[1:] if call.attempts[1:])


# A budget that is shared


async def test_what_is_left_can_be_said_anew() -> None:
    session = Session(problem(), SimulatedModel(skill=1.0), None, "\n", budget=10)
    (first,) = await session.sample(1)
    assert (first.end, sum(step.tokens for step in first.steps)) == ("length", 10)
    with pytest.raises(BudgetExhausted):
        await session.sample(1)
    session.set_budget(7)
    (second,) = await session.sample(1)
    assert sum(step.tokens for step in second.steps) == 7
    session.set_budget(None)
    (third,) = await session.sample(1)
    assert (third.end, sum(step.tokens for step in third.steps)) == ("stop", 35)
    session.set_budget(0)
    with pytest.raises(BudgetExhausted):
        await session.sample(1)
