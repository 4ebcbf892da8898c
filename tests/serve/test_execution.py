"""From a plan to an answer: deadlines, budgets, what is lost, and what it is said to have taken."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from doubles import ByText
from serve_doubles import (
    LONG,
    PERFECT,
    PROMPT,
    RIGHT,
    Gated,
    Loaded,
    SimulatedBackend,
    begun,
    fitted,
    of,
    perfect,
    tried,
    until,
)

from computewise.core import Candidate, Problem, Usage
from computewise.errors import ModelError, ProblemError, ServerError
from computewise.serve.accounting import account, failures, summarize_costs, usage_of
from computewise.serve.errors import ApiError
from computewise.serve.execution import FUTILE, answer_request
from computewise.serve.history import detail
from computewise.session import Limits
from computewise.solver import answer_of, solve
from computewise.strategies import BestOfN
from computewise.testing import SimulatedModel, SimulatedPRM

SOON = 0.2


@dataclass(slots=True)
class Faulty:
    """A verifier that fails, or never answers, at every call for which `at` says so, counted from 1."""

    at: Callable[[int], bool] = lambda call: True
    hangs: bool = False
    verifier: SimulatedPRM = field(default_factory=SimulatedPRM)
    calls: int = 0
    name: str = "faulty"
    parameters: int = 500

    async def score(self, problem: Problem, candidates: Sequence[Candidate]) -> tuple[list[tuple[float, ...]], Usage]:
        self.calls += 1
        if self.at(self.calls) and self.hangs:
            await asyncio.Event().wait()
        if self.at(self.calls):
            raise ModelError("the verifier\nis out of order")
        return await self.verifier.score(problem, candidates)

    def value(self, scores: Sequence[float]) -> float:
        return self.verifier.value(scores)


# Answers


async def test_an_answer_is_what_solve_finds_with_the_client_s_seed() -> None:
    backend = SimulatedBackend()
    for seed in range(5):
        work = await tried(backend, "small:best_of_n@8", seed=seed)
        player, verifier = backend.players["small"], backend.verifier
        other = await solve(Problem(PROMPT, PROMPT), BestOfN(8), player, verifier, backend.task, seed=seed)
        assert other.chosen is not None
        found = of(work)
        assert (found.text, found.answer) == (other.chosen.text, backend.task.answer(other.chosen.text))
        assert work.usage == other.usage
        assert set(found.answers) == {c.id for c in other.candidates}


async def test_without_a_seed_no_two_requests_are_the_same() -> None:
    texts = [
        frozenset(c.text for c in (await tried(SimulatedBackend(), "small:best_of_n@8", seed=None)).explored())
        for _ in range(3)
    ]
    assert len(set(texts)) == 3


async def test_confidence_is_the_answer_s_share_of_the_vote() -> None:
    verifier = ByText(lambda text: 0.9 if text.endswith(RIGHT) else 0.3)
    work = await tried(SimulatedBackend(verifier=verifier), "small:best_of_n@16")
    votes: Counter[str | None] = Counter()
    for candidate in work.explored():
        votes[answer_of(candidate, SimulatedBackend().task)] += 9 if candidate.text.endswith(RIGHT) else 3
    assert len(votes) > 1
    assert of(work).answer == RIGHT
    assert of(work).confidence == pytest.approx(votes[RIGHT] / votes.total())


async def test_the_client_s_ceiling_bounds_what_it_sees_and_the_operator_s_both() -> None:
    for bounds, ceiling, most in ((Limits(), 7, 7), (Limits(tokens=5), 7, 5), (Limits(tokens=5), None, 5)):
        work = await tried(perfect(limits=bounds), "small:best_of_n@2", max_tokens=ceiling)
        found = of(work)
        assert found.text == PERFECT[:most]
        assert (found.finish, found.answer, found.confidence) == ("length", None, None)


async def test_where_nothing_answers_the_best_text_is_given() -> None:
    """Some end without an answer, some are cut off: of those that ended, the one worth most."""
    backend = SimulatedBackend(verifier=ByText(lambda text: len(text) / 1000), limits=Limits(tokens=33))
    work = await tried(backend, "small:best_of_n@16")
    assert of(work).answer is None
    assert of(work).finish == "length"
    assert len(of(work).text or "") == 33


async def test_a_problem_that_the_task_cannot_read_is_the_client_s() -> None:
    with pytest.raises(ProblemError):
        await tried(SimulatedBackend(), "small:single", prompt="What is love?")


async def test_the_temperature_is_the_client_s_else_the_operator_s() -> None:
    greedy = SimulatedBackend(temperature=0.0)
    texts = {c.text for c in (await tried(greedy, "small:best_of_n@8")).explored()}
    assert texts == {PERFECT}
    assert len({c.text for c in (await tried(greedy, "small:best_of_n@8", temperature=1)).explored()}) > 1


# Time


async def test_at_the_deadline_the_best_so_far_is_given_and_nothing_goes_on() -> None:
    gated = Gated(SimulatedModel(skill=1.0), free=2)
    backend = SimulatedBackend(players={"small": gated})
    before = asyncio.all_tasks()
    work = await tried(backend, "small:revisions@4", seconds=SOON)
    found = of(work)
    assert (found.text, found.answer, found.exhausted) == (PERFECT, RIGHT, "time")
    assert found.stopped == "the 0.2 seconds it was given ended the search"
    assert len(found.answers) == 2
    assert (gated.waiting, gated.cancelled) == (0, 1)
    assert asyncio.all_tasks() == before
    assert account(work)["exhausted"] == "time"


async def test_at_the_deadline_a_policy_gives_its_best_so_far() -> None:
    gated = Gated(SimulatedModel(skill=1.0), free=3)
    backend = SimulatedBackend(players={**SimulatedBackend().players, "small": gated}, fitted=fitted({"samples": 0.9}))
    work = await tried(backend, seconds=SOON)
    assert (of(work).answer, of(work).exhausted, len(of(work).answers)) == (RIGHT, "time", 3)
    assert of(work).confidence is None
    assert work.usage.samples == 3


async def test_at_the_deadline_with_nothing_ended_there_is_an_error() -> None:
    backend = SimulatedBackend(players={"small": Gated()})
    with pytest.raises(ApiError, match=r"within 0.2 seconds") as refused:
        await tried(backend, "small:best_of_n@4", seconds=SOON)
    assert (refused.value.status, refused.value.code) == (504, "timeout")


async def test_at_the_deadline_what_was_cut_off_is_no_answer() -> None:
    backend = SimulatedBackend(players={"small": Gated(free=1)}, limits=Limits(tokens=7))
    with pytest.raises(ApiError):
        await tried(backend, "small:revisions@4", seconds=SOON)


async def test_at_the_deadline_what_nobody_has_read_counts_where_there_is_nothing_else() -> None:
    backend = SimulatedBackend(verifier=Faulty(hangs=True))
    work = await tried(backend, "small:best_of_n@16", seconds=SOON)
    votes = Counter(answer_of(c, backend.task) for c in work.explored())
    assert of(work).answer == votes.most_common(1)[0][0]
    assert of(work).confidence == pytest.approx(votes.most_common(1)[0][1] / 16)


async def test_at_the_deadline_what_was_read_goes_before_what_was_not() -> None:
    backend = SimulatedBackend(verifier=Faulty(lambda call: call > 1, hangs=True))
    work = await tried(backend, "small:revisions@4", seconds=SOON)
    read = [c for c in work.explored() if c.scores]
    assert len(work.explored()) == 2
    assert list(of(work).answers) == [c.id for c in read]
    assert len(read) == 1


# Budgets


@pytest.mark.parametrize("budget", [4, 36, 70, 100, 139, 211, 1000])
@pytest.mark.parametrize("model", ["small", "small:best_of_n@4", "small:beam_search@4", "small:revisions@4"])
async def test_a_token_budget_is_never_exceeded(model: str, budget: int) -> None:
    """Four solutions take 140 tokens, the policy's six 210."""
    backend = perfect(fitted=fitted({"samples": 0.9}))
    work = await tried(backend, model, computewise={"max_total_tokens": budget})
    assert 0 < work.usage.completion_tokens <= budget
    assert (of(work).exhausted == "tokens") == (budget < 140)
    if of(work).exhausted:
        assert "the token budget ended" in of(work).stopped


@pytest.mark.parametrize("model", ["small:revisions@4", "small:adaptive_branching@4"])
async def test_where_the_budget_ends_it_with_nothing_finished_what_was_begun_is_given(model: str) -> None:
    """It is paid for, and an error would not say so."""
    work = await tried(perfect(), model, computewise={"max_total_tokens": 10})
    found = of(work)
    assert (found.text, found.finish, found.answer, found.exhausted) == (PERFECT[:10], "length", None, "tokens")
    assert usage_of(work)["completion_tokens"] == 10


async def test_a_budget_of_less_than_a_token_each_is_refused_by_name() -> None:
    with pytest.raises(ApiError, match="no solution was begun") as refused:
        await tried(perfect(), "small:best_of_n@4", computewise={"max_total_tokens": 3})
    assert (refused.value.param, refused.value.code) == ("computewise.max_total_tokens", "budget_too_small")


# Policies


async def test_a_policy_draws_until_nothing_is_worth_its_price_and_says_why() -> None:
    work = await tried(SimulatedBackend(fitted=fitted({"samples": 0.15})), reasoning_effort="medium")
    assert work.usage.samples == 6
    assert [decision.action.kind for decision in work.decisions] == ["more"] * 6 + ["stop"]
    assert "nothing is left to draw" not in of(work).stopped
    assert (of(work).confidence, of(work).exhausted) == (0.9, None)
    cheap = await tried(SimulatedBackend(fitted=fitted({"samples": 0.15})), reasoning_effort="low")
    assert cheap.usage.samples == 1
    assert of(cheap).stopped.startswith(
        "stopped: the leading answer is right with a probability of 0.90; the best option"
    )
    assert "not above the price of 0.2" in of(cheap).stopped


async def test_a_larger_model_s_tokens_are_its_own() -> None:
    work = await tried(perfect(fitted=fitted({"large": 0.5})))
    assert [decision.action.kind for decision in work.decisions] == ["more", "escalate", "stop"]
    small, large = work.usages()["small"], work.usages()["large"]
    assert (small.completion_tokens, large.completion_tokens) == (35, 35)
    assert work.usage == small + large
    each = 24 + 35
    spent = summarize_costs(work).flops
    assert spent is not None
    assert spent.completion == 2 * 1_000 * 35 + 2 * 14_000 * 35
    assert spent.prompt == 2 * 1_000 * 24 + 2 * 14_000 * 24
    assert spent.verifier == 2 * 500 * 2 * each


async def test_where_the_policy_is_not_sure_enough_it_abstains() -> None:
    backend = SimulatedBackend(fitted=fitted({}, confidence=0.3))
    work = await tried(backend, computewise={"abstain_under": 0.5})
    found = of(work)
    assert (found.text, found.answer, found.chosen, found.confidence) == (None, None, None, 0.3)
    assert found.stopped.startswith("abstained: the leading answer is right with a probability of 0.30")
    assert of(await tried(backend, computewise={"abstain_under": 0.2})).answer is not None


async def test_where_the_first_solutions_answer_nothing_a_policy_stops() -> None:
    class Speechless(SimulatedModel):
        async def sample(self, prompt: str, prefix: str, n: int, **settings: Any) -> Any:
            found = await SimulatedModel.sample(self, prompt, prefix, n, **settings)
            return [one.__class__(one.steps[:2], "stop", one.usage) for one in found]

    players = {"small": Speechless(name="small"), "large": Speechless(name="large")}
    work = await tried(SimulatedBackend(players=players, fitted=fitted({"samples": 0.9, "large": 0.8})))
    assert work.usage.samples == FUTILE
    assert "without an answer to compare" in of(work).stopped
    assert (of(work).answer, of(work).finish) == (None, "stop")
    assert of(work).text


@dataclass(frozen=True, slots=True)
class Counting(Loaded):
    asked: Counter[str] = field(default_factory=Counter)

    def answer(self, solution: str) -> str | None:
        self.asked[solution] += 1
        return Loaded.answer(self, solution)


@pytest.mark.parametrize("model", ["small:best_of_n@8", "small:beam_search@8", "small:revisions@8", "small"])
async def test_each_solution_is_asked_for_its_answer_once_however_often_it_is_looked_at(model: str) -> None:
    task = Counting()
    work = await tried(SimulatedBackend(task=task, fitted=fitted({"samples": 0.1, "large": 0.2})), model)
    for _ in range(2):
        await detail(work)
    assert task.asked == Counter(c.text for c in work.explored() if c.end == "stop")


async def test_a_solution_is_not_asked_again_when_its_search_ends_after_it_was_looked_at() -> None:
    task = Counting()
    backend = SimulatedBackend(task=task, players={"small": Gated(free=1)})
    work, name = begun(backend, "small:revisions@4", seed=1)
    solving = asyncio.ensure_future(answer_request(work, backend, name, LONG))
    await until(lambda: work.explored())
    await detail(work)
    assert task.asked
    for player in backend.players.values():
        assert isinstance(player, Gated)
        player.gate.set()
    work.answer = await solving
    assert task.asked == Counter(c.text for c in work.explored() if c.end == "stop")


# What goes wrong


@pytest.mark.parametrize("model", ["small:best_of_n@16", "small:beam_search@8", "small:revisions@8", "small:rebase@8"])
async def test_where_the_verifier_fails_the_majority_decides_and_it_is_said(model: str) -> None:
    backend = SimulatedBackend(verifier=Faulty())
    work = await tried(backend, model)
    assert work.verifier_calls == len(work.unread) > 0
    assert failures(work) == ["verifier: the verifier is out of order"]
    votes = Counter(answer for answer in of(work).answers.values() if answer is not None)
    if model == "small:best_of_n@16":
        assert of(work).answer == votes.most_common(1)[0][0]
    assert of(work).confidence == pytest.approx(votes[str(of(work).answer)] / votes.total())


async def test_under_a_policy_too() -> None:
    work = await tried(SimulatedBackend(verifier=Faulty(), fitted=fitted({"samples": 0.9})))
    assert of(work).answer is not None
    assert failures(work) == ["verifier: the verifier is out of order"]
    assert work.usage.samples == 6


async def test_what_a_server_loses_is_said_and_the_others_decide() -> None:
    work = await tried(perfect(keeps=2), "small:best_of_n@8")
    assert (of(work).answer, of(work).confidence) == (RIGHT, 1.0)
    assert (work.failed_samples.samples, work.failed_samples.answered, work.usage.samples) == (4, 4, 4)
    assert failures(work) == ["the server is out of order"]
    held = account(work)
    assert (held["lost_samples"], held["failures"]) == (4, ["the server is out of order"])
    assert len(of(work).answers) == 8


@pytest.mark.parametrize(
    "model", ["small:beam_search@8", "small:revisions@8", "small:particle_filter@8", "small:dvts@8"]
)
async def test_a_search_goes_on_without_what_is_lost(model: str) -> None:
    work = await tried(perfect(keeps=3), model)
    assert work.failed_samples.samples
    assert of(work).answer == RIGHT
    assert of(work).chosen is not None
    assert of(work).text == PERFECT


@pytest.mark.parametrize(
    ("error", "status", "headers"),
    [
        (ModelError("nonsense"), 502, {}),
        (ServerError("nobody there"), 502, {}),
        (ServerError("busy", 503), 503, {}),
        (ServerError("busy", 429, 6.5), 429, {"retry-after": "7"}),
        (ServerError("asleep", 503, 0.0), 503, {"retry-after": "1"}),
        (ServerError("ill", 500), 500, {}),
    ],
)
@pytest.mark.parametrize("model", ["small", "small:best_of_n@4", "small:greedy", "small:adaptive_branching@4"])
async def test_where_all_is_lost_the_first_error_is_the_request_s(
    model: str, error: ModelError, status: int, headers: dict[str, str]
) -> None:
    with pytest.raises(ApiError) as refused:
        await tried(perfect(keeps=0, error=error, fitted=fitted({"samples": 0.9})), model)
    assert (refused.value.status, refused.value.headers) == (status, headers)
    assert refused.value.message == str(error)


async def test_what_a_server_refuses_for_good_is_not_asked_again() -> None:
    backend = perfect(keeps=0, error=ServerError("too long", 400))
    work, name = begun(backend, "small:adaptive_branching@4")
    with pytest.raises(ServerError, match="too long"):
        await answer_request(work, backend, name, LONG)
    assert work.failed_samples.samples == 1


async def test_a_larger_model_helps_out_where_all_of_the_smaller_is_lost() -> None:
    work = await tried(perfect(keeps=0, fitted=fitted({"large": 0.9})))
    assert of(work).answer == RIGHT
    assert work.usages()["large"].completion_tokens == 35


async def test_a_server_charges_the_verifiers_prompt_once_for_a_model_too() -> None:
    """Behind the wrappers that count and trace its calls."""
    work = await tried(perfect(fitted=fitted({"samples": 0.5})))
    drawn = len(work.decisions) - 1
    assert drawn > 1
    assert work.usage.verifier_tokens - work.usage.cached_verifier_tokens == 24 + 35 * drawn
