"""Models that were never trained to revise: those that forget their attempts, and those that are told of them."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from doubles import TASK, ByText, problem, solved
from servers import Hosted, served

from computewise.core import Attempt, Result, Usage
from computewise.errors import UsageError
from computewise.models.messages import Message, conversation, feedback
from computewise.models.server.model import ServerModel
from computewise.session import Strategy
from computewise.simulated import RIGHT, WRONG, Recording, SimulatedModel, SimulatedPRM, all_right, read_prompt
from computewise.solver import solve
from computewise.strategies import (
    STRATEGIES,
    BeamSearch,
    BestOfN,
    GatedRevisions,
    Greedy,
    Revisions,
    Single,
    StepRevisions,
    make_strategy,
)


async def test_kept_steps_are_read_again_where_the_attempts_are_not_shown() -> None:
    """Everything but the attempts reaches the model; what it goes on from is charged as read once more."""
    inner = Recording(SimulatedModel(skill=0.6), revises_steps=False)
    result = await solved(StepRevisions(6, 3, 1.0), model=inner, of=problem(6))
    assert any(candidate.revises for candidate in result.tree)
    assert all(call.attempts == () for call in inner.calls)
    kept = [call.completions[0].usage for call in inner.calls if call.prefix]
    assert kept
    assert all(usage.cached_prompt_tokens == usage.prompt_tokens for usage in kept)
    every = sum((one.usage for call in inner.calls for one in call.completions), Usage())
    read_again = sum(usage.prompt_tokens for usage in kept)
    assert result.usage.prompt_tokens == every.prompt_tokens
    assert result.usage.cached_prompt_tokens == every.cached_prompt_tokens - read_again


async def test_a_model_that_can_is_shown_its_attempts_beside_the_kept_steps() -> None:
    inner = Recording(SimulatedModel(skill=0.6))
    await solved(StepRevisions(6, 3, 1.0), model=inner, of=problem(6))
    assert any(call.attempts and call.prefix for call in inner.calls)


@pytest.mark.parametrize("strategy", [Revisions(2, 2), GatedRevisions(2, 2, 1.0)])
async def test_revisions_of_a_model_that_cannot_be_shown_its_attempts_are_refused(strategy: Strategy) -> None:
    with pytest.raises(UsageError, match="simulated cannot be shown its attempts"):
        await solved(strategy, model=SimulatedModel(skill=0.1, revises=False))


async def test_the_likeliest_solution_of_a_model_without_steps_comes_whole() -> None:
    inner = Recording(SimulatedModel(steps=False), steps=False)
    result = await solved(Greedy(), model=inner)
    assert [(call.stop, call.temperature) for call in inner.calls] == [(None, 0.0)]
    assert [c.text for c in result.candidates] == [c.text for c in (await solved(Greedy())).candidates]
    with pytest.raises(UsageError, match="only samples whole solutions"):
        await solved(BeamSearch(4, 2), model=inner)


STEPS = ("3*9-6\n", "28-6\n", "22")


def test_a_conversation_is_the_problem_and_each_attempt_answered() -> None:
    attempts = [Attempt("0", STEPS, (0.9, 0.2, 0.1)), Attempt("0.0", ("3*9-6\n", "21"))]
    messages = conversation("3*(4+5)-6", attempts)
    assert [message.role for message in messages] == ["user", "assistant", "user", "assistant", "user"]
    assert messages[0] == Message("user", "3*(4+5)-6")
    assert [message.content for message in messages[1::2]] == ["3*9-6\n28-6\n22", "3*9-6\n21"]
    assert [message.content for message in messages[2::2]] == [feedback(one) for one in attempts]
    assert conversation("1+2", []) == [Message("user", "1+2")]
    told = conversation("1+2", [], "Be brief.")
    assert told == [Message("system", "Be brief."), Message("user", "1+2")]


def test_a_complaint_names_what_the_verifier_has_against_an_attempt() -> None:
    wanted = "Write the whole solution again, in the same form, with the final answer at the end."
    assert feedback(Attempt("0", STEPS)) == (
        f"Look for a mistake in this solution; where there is one, mend it. {wanted}"
    )
    assert feedback(Attempt("0", STEPS, (0.9, 0.95, 0.87))) == (
        "A verifier gives this solution a chance of 87% to be right. "
        f"Check every step once more; change only what is wrong. {wanted}"
    )
    assert feedback(Attempt("0", STEPS, (0.9, 0.2, 0.1))) == (
        "A verifier gives this solution a chance of 10% to be right. "
        f'It doubts step 2 most: "28-6". Mend the mistake. {wanted}'
    )


@dataclass(slots=True)
class Mending(Hosted):
    """A chat that gets every step wrong, and mends the one step that a complaint names."""

    conversations: list[tuple[list[dict[str, str]], int]] = field(default_factory=list)

    def chat(self, body: dict[str, Any]) -> Any:
        messages, n = body["messages"], body.get("n", 1)
        if not messages[0]["content"].startswith("problem"):
            return Hosted.chat(self, body)
        self.conversations.append((messages, n))
        number, depth = read_prompt(messages[0]["content"])
        marks = [WRONG] * depth
        if len(messages) > 1:
            marks = [line.split()[0] for line in messages[-2]["content"].split("\n")]
            doubted = re.search("doubts step ([0-9]+)", messages[-1]["content"])
            if doubted:
                marks[int(doubted.group(1)) - 1] = RIGHT
        number += WRONG in marks
        text = "".join(f"{mark}\n" for mark in marks[:-1]) + f"{marks[-1]} {number}"
        choices = [{"index": i, "message": {"content": text}, "finish_reason": "stop"} for i in range(n)]
        return {"choices": choices, "usage": {"prompt_tokens": 99, "completion_tokens": depth * n}}


@asynccontextmanager
async def mending() -> AsyncIterator[tuple[ServerModel, Mending]]:
    chat = Mending()
    async with served(chat) as model:
        assert model.capabilities.rung == "D"
        yield model, chat


async def chatted(strategy: Strategy, *, depth: int = 3) -> tuple[Result, Mending]:
    """With an exact verifier, whose score falls to 0 at the first wrong step."""
    async with mending() as (model, chat):
        return await solved(strategy, model=model, verifier=SimulatedPRM(), of=problem(depth)), chat


def right(result: Result) -> bool:
    return result.chosen is not None and all_right(result.chosen.text)


async def test_revising_by_prompt_mends_one_step_an_attempt() -> None:
    result, chat = await chatted(Revisions(4, 1))
    assert [candidate.text.count(WRONG) for candidate in result.candidates] == [3, 2, 1, 0]
    assert right(result)
    assert TASK.correct(problem(3), TASK.answer(result.candidates[-1].text))
    assert [len(messages) for messages, _ in chat.conversations] == [1, 3, 5, 7]
    assert not right((await chatted(Revisions(3, 1)))[0])


async def test_the_strategy_sees_the_verdicts_that_the_conversation_told() -> None:
    result, chat = await chatted(Revisions(4, 1))
    messages, _ = chat.conversations[-1]
    assert [message["content"] for message in messages if message["role"] == "assistant"] == [
        candidate.text for candidate in result.candidates[:3]
    ]
    named = [re.findall("doubts step ([0-9])", message["content"]) for message in messages[2::2]]
    assert named == [["1"], ["2"], ["3"]]


async def test_a_gated_chat_stops_asking_at_what_the_verifier_trusts() -> None:
    result, chat = await chatted(GatedRevisions(9, 2))
    assert right(result)
    assert len(chat.conversations) == 1 + 3 * 2
    assert len(result.tree) == 8


async def test_best_of_n_asks_a_chat_once_and_shows_it_nothing() -> None:
    result, chat = await chatted(BestOfN(8))
    assert chat.conversations == [([{"role": "user", "content": problem(3).prompt}], 8)]
    assert len(result.candidates) == 8
    assert not right(result)


async def test_a_chat_that_shows_no_tokens_is_charged_by_its_usage() -> None:
    result, _ = await chatted(Revisions(4, 1))
    assert (result.usage.samples, result.usage.prompt_tokens, result.usage.completion_tokens) == (4, 396, 12)
    assert result.usage.cached_prompt_tokens == 0
    many, _ = await chatted(BestOfN(2))
    assert many.usage.completion_tokens == 2 * 3


@pytest.mark.parametrize(("prefix", "stop"), [("right\n", None), ("", "\n"), ("right\n", "\n")])
async def test_a_chat_refuses_what_goes_on_from_a_prefix_or_stops_at_a_step(prefix: str, stop: str | None) -> None:
    async with mending() as (model, chat):
        with pytest.raises(UsageError, match="little-1b cannot be searched by steps") as error:
            await model.sample(problem(3).prompt, prefix, 1, stop=stop, max_tokens=9, temperature=1.0, seeds=[0])
    assert "\n" not in str(error.value)
    assert chat.conversations == []


async def test_a_search_by_steps_over_a_chat_is_refused() -> None:
    with pytest.raises(UsageError, match="cannot be searched by steps"):
        await chatted(BeamSearch(4, 2))


async def test_every_strategy_that_is_not_refused_runs_over_a_chat_and_no_other() -> None:
    async with mending() as (model, _):
        refused = model.capabilities.strategies()
    assert {name for name in refused if refused[name] is None} >= {
        kind.name for kind in (Single, BestOfN, Revisions, GatedRevisions)
    }
    keeps_one_step = ByText(lambda text: 0.8 if text.count("\n") == 1 else 0.1)
    for name in STRATEGIES:
        if refused[name] is None:
            result, _ = await chatted(make_strategy(name, {}), depth=4)
            assert result.candidates, name
            continue
        async with mending() as (model, _):
            with pytest.raises(UsageError, match="cannot be searched by steps"):
                await solve(problem(4), make_strategy(name, {}), model, keeps_one_step, TASK)
