"""A chat model as a verifier."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

import pytest
from verifier_doubles import PROBLEM, candidate, client_of

from computewise.core import Usage
from computewise.errors import ModelError, UsageError
from computewise.http.client import HttpClient
from computewise.verifiers.base import StepVerifier, VerifierSpec
from computewise.verifiers.judge import JudgeReader, TokenLogprobs, grade, yes_or_no, yes_share
from computewise.verifiers.labels import estimate
from computewise.verifiers.load import open_verifier
from computewise.verifiers.templates import find_template


def tokens(*said: tuple[str, dict[str, float]]) -> list[dict[str, Any]]:
    """Log-probabilities as chat endpoints give them."""
    return [
        {
            "token": text,
            "logprob": -0.1,
            "top_logprobs": [{"token": word, "logprob": math.log(share)} for word, share in likely.items()],
        }
        for text, likely in said
    ]


def answered(content: str | None, logprobs: Any = None, **message: Any) -> dict[str, Any]:
    """A chat completion."""
    held = {"content": logprobs} if logprobs else None
    return {
        "choices": [{"index": 0, "message": {"role": "assistant", "content": content, **message}, "logprobs": held}],
        "usage": {"prompt_tokens": 40, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 30}},
    }


def judge(client: HttpClient, name: str = "judge", samples: int = 1) -> StepVerifier:
    template = find_template(name)
    assert template.judge is not None
    reader = JudgeReader(client, "chat", template.layout, template.judge, samples=samples)
    return StepVerifier(reader, name=name, parameters=0, aggregation=template.aggregation)


def answering(*answers: dict[str, Any], asked: list[Any]) -> HttpClient:
    """One answer after the other."""
    left = list(answers)

    def answer(path: str, body: Any) -> Any:
        assert path == "/v1/chat/completions"
        asked.append(body)
        return left.pop(0)

    return client_of(answer)


async def test_the_request_and_its_answer() -> None:
    asked: list[Any] = []
    said = answered("Yes", tokens(("Yes", {"Yes": 0.5, " yes": 0.1, "No": 0.2, "Maybe": 0.1})))
    async with answering(said, asked=asked) as client:
        scores, usage = await judge(client).score(PROBLEM, [candidate("one\n\n", "two\n\n")])
    assert scores == [pytest.approx((0.75, 0.75))]
    assert usage == Usage(verifier_tokens=42, cached_verifier_tokens=30)
    (body,) = asked
    system, user = body.pop("messages")
    assert body == {
        "model": "chat",
        "max_tokens": 16,
        "temperature": 0.0,
        "seed": 0,
        "logprobs": True,
        "top_logprobs": 20,
    }
    assert system["role"] == "system"
    assert user["role"] == "user"
    assert user["content"].startswith("Problem:\nQ?\n\nSolution:\nStep 1: one\nStep 2: two\n\nIs every step right")


async def test_a_beginning_is_asked_about_as_one_and_only_its_new_steps_are_paid() -> None:
    asked: list[Any] = []
    said = answered("No", tokens(("No", {"Yes": 0.2, "No": 0.8})))
    async with answering(said, asked=asked) as client:
        held = candidate("one", "two", scores=(0.9,), finished=False)
        scores, _ = await judge(client).score(PROBLEM, [held, candidate("one", scores=(0.9,))])
    assert scores == [pytest.approx((0.9, 0.2)), (0.9,)]
    assert "Beginning of a solution:\nStep 1: one\nStep 2: two\n" in asked[0]["messages"][1]["content"]


async def test_samples_are_averaged_and_differ_in_seed() -> None:
    asked: list[Any] = []
    said = [answered(text) for text in ("10", "4", " 1 ")]
    async with answering(*said, asked=asked) as client:
        scores, usage = await judge(client, "judge-grade", samples=3).score(PROBLEM, [candidate("one")])
    assert scores == [pytest.approx((0.5,))]
    assert usage == Usage(verifier_tokens=126, cached_verifier_tokens=90)
    assert [body["seed"] for body in asked] == [0, 1, 2]
    assert not any("logprobs" in body for body in asked)


async def test_an_answer_that_says_nothing_is_asked_for_once_more() -> None:
    asked: list[Any] = []
    async with answering(answered("Quite good!"), answered("7"), asked=asked) as client:
        scores, usage = await judge(client, "judge-grade").score(PROBLEM, [candidate("one")])
    assert scores == [(0.7,)]
    assert usage.verifier_tokens == 84
    assert asked[1]["messages"][:2] == asked[0]["messages"]
    assert asked[1]["messages"][2:] == [
        {"role": "assistant", "content": "Quite good!"},
        {"role": "user", "content": "Reply with one number from 0 to 10 and nothing else."},
    ]


async def test_a_second_answer_that_says_nothing_is_an_error() -> None:
    async with answering(answered("Good.\nVery good."), answered("A\nB"), asked=[]) as client:
        with pytest.raises(ModelError, match=r"chat was asked twice for a grade and answered 'A\\nB'") as caught:
            await judge(client, "judge-grade").score(PROBLEM, [candidate("one")])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ({}, "has no choices with a text"),
        ({"choices": [None]}, "has no choices with a text"),
        ({"choices": [{"message": "Yes"}]}, "has no choices with a text"),
        ({"choices": [{"message": {}}]}, "has no choices with a text"),
        ({"choices": [{"message": {"content": [7]}}]}, "has no choices with a text"),
        (answered("Yes", [{"token": "Yes"}]), "asked twice for a yes-no"),
        (answered("Yes", [{"token": "Yes", "top_logprobs": [{"token": "Yes", "logprob": "x"}]}]), "asked twice"),
        (answered("Yes", [{"token": "Yes", "top_logprobs": [{"token": "Yes", "logprob": 9.5}]}]), "asked twice"),
        (answered("Yes", [{"token": "Yes", "top_logprobs": [{"token": "Yes", "logprob": None}]}]), "asked twice"),
        (answered("Yes"), "returned no log-probabilities"),
    ],
)
async def test_a_malformed_answer_is_one_line(answer: dict[str, Any], reason: str) -> None:
    async with client_of(lambda path, body: answer) as client:
        with pytest.raises(ModelError, match=reason):
            await judge(client).score(PROBLEM, [candidate("one")])


def said(*parts: str | tuple[str, dict[str, float]]) -> list[TokenLogprobs]:
    found = [part if isinstance(part, tuple) else (part, {part: 1.0}) for part in parts]
    return [TokenLogprobs(text, {word: math.log(share) for word, share in likely.items()}) for text, likely in found]


HALF = {"Yes": 0.4, "No": 0.4}
SURE = {"Yes": 0.9, "No": 0.1}


@pytest.mark.parametrize(
    ("parts", "after", "share"),
    [
        ([("Yes", SURE)], "", 0.9),
        (["\n\n", "**", (" yes", {" yes": 0.3, "NO": 0.1})], "", 0.75),
        (["Yes", " is", " my", "</think>", "\n", ("No", SURE)], "", 0.9),
        (["Yes", " but", " Is it", " right? ", ("Yes", HALF), " Is it right? ", ("No", SURE)], "is it right?", 0.9),
        ([("Yes", {"Yes": 0.6, "x": 0.3})], "", 0.6 / 0.7),
        ([("Well", {"Well": 0.6, "Yes": 0.3, "No": 0.1})], "", 0.75),
        ([("Well", {"Well": 1.0})], "", None),
        ([("Yes", SURE)], "is it right?", None),
        (["Is it right?"], "is it right?", None),
        ([], "", None),
    ],
)
def test_where_a_yes_is_read(parts: Sequence[Any], after: str, share: float | None) -> None:
    found = yes_share(said(*parts), after)
    assert found is None if share is None else found == pytest.approx(share)


@pytest.mark.parametrize(
    ("text", "after", "value"),
    [
        ("Yes.", "", 1.0),
        ("<think>Yes?</think>\n**No**, it is not", "", 0.0),
        ("Is it right? No. Is it right? \\boxed{Yes}", "right?", None),
        ("Is it right? No. Is it right? Yes", "right?", 1.0),
        ("Nothing", "", None),
        ("Yesterday", "", None),
        ("Yes", "right?", None),
    ],
)
def test_a_yes_in_a_text(text: str, after: str, value: float | None) -> None:
    assert yes_or_no(text, after) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("7", 0.7),
        (" 7.5 ", 0.75),
        ("**10**", 1.0),
        ("0.", 0.0),
        ("8/10", 0.8),
        ("Grade: 3", 0.3),
        ("score = 9 / 10.", 0.9),
        ("<think>it is a 2</think>\n6", 0.6),
        ("11", None),
        ("-3", None),
        ("7 or 8", None),
        ("Out of 10, I give 7", None),
        ("7/100", None),
        ("seven", None),
        ("", None),
    ],
)
def test_a_grade(text: str, value: float | None) -> None:
    assert grade(text, "") == value


async def test_thoughts_that_the_server_splits_off_are_no_answer() -> None:
    async with answering(
        answered("4", reasoning_content="10"), answered(None, reasoning="9"), answered("8"), asked=[]
    ) as client:
        scores, _ = await judge(client, "judge-grade").score(PROBLEM, [candidate("one")])
        assert scores == [(0.4,)]
        scores, _ = await judge(client, "judge-grade").score(PROBLEM, [candidate("one")])
        assert scores == [(0.8,)]


async def test_log_probabilities_that_cannot_be_are_left_out() -> None:
    values = {"Yes": math.log(0.6), "No": math.log(0.2), " yes": None, " no": "-0.1", "YES": 12.0, "NO": -9999.0}
    listed = [{"token": word, "logprob": value} for word, value in values.items()]
    said = answered("Yes", [{"token": "Yes", "logprob": -0.1, "top_logprobs": [*listed, "No", {"logprob": 0.0}]}])
    async with answering(said, asked=[]) as client:
        scores, _ = await judge(client).score(PROBLEM, [candidate("one")])
    assert scores == [pytest.approx((0.75,))]


@pytest.mark.parametrize("usage", [None, {"prompt_tokens": 0, "completion_tokens": -1}, {"prompt_tokens": "many"}])
async def test_a_judges_tokens_are_estimated_where_its_usage_cannot_be(usage: Any) -> None:
    said, asked = {**answered("7"), "usage": usage}, list[Any]()
    async with answering(said, asked=asked) as client:
        _, charged = await judge(client, "judge-grade").score(PROBLEM, [candidate("one")])
    read = [message["content"] for message in asked[0]["messages"]]
    assert charged == Usage(verifier_tokens=sum(map(estimate, [*read, "7"])))


async def test_a_critique_is_read_at_its_verdict() -> None:
    likely = tokens(
        ("Step 1 is wrong? Yes", SURE), ("\nIs the solution correct?", HALF), (" No", {"Yes": 0.3, " No": 0.7})
    )
    asked: list[Any] = []
    async with answering(answered("...", likely), asked=asked) as client:
        scores, _ = await judge(client, "launch/ThinkPRM-7B").score(PROBLEM, [candidate("one", "two")])
    assert scores == [pytest.approx((0.3, 0.3))]
    assert (asked[0]["max_tokens"], asked[0]["temperature"]) == (4096, 0.6)
    (message,) = asked[0]["messages"]
    assert "[Math Problem]\n\nQ?\n\n[Solution]\n\nStep 1: one\n\nStep 2: two\n\nReview" in message["content"]


async def test_a_critique_without_log_probabilities_is_a_vote() -> None:
    said = [answered(f"Fine.\nIs the solution correct? {word}") for word in ("Yes", "No", "Yes", "yes")]
    async with answering(*said, asked=[]) as client:
        scores, _ = await judge(client, "launch/ThinkPRM-1.5B", samples=4).score(PROBLEM, [candidate("one")])
    assert scores == [(0.75,)]


def chat_server(logprobs: bool, asked: list[Any]) -> HttpClient:
    """A chat model that knows 7 * 12."""

    def answer(path: str, body: Any) -> Any:
        if path != "/v1/chat/completions":
            return 404
        asked.append(body)
        wrong = "36" in json.dumps(body["messages"])
        if logprobs:
            return answered("No" if wrong else "Yes", tokens(("Yes", {"Yes": 0.1 if wrong else 0.8, "No": 0.1})))
        return answered("2" if wrong else "9")

    return client_of(answer)


async def test_a_judge_is_opened() -> None:
    spec = VerifierSpec("judge", model="chat", base_url="http://server/v1", aggregation="min", samples=2)
    asked: list[Any] = []
    async with chat_server(True, asked) as client:
        opened = await open_verifier(spec, client)
    assert opened is not None
    assert (opened.name, opened.value((0.2, 0.7))) == ("judge chat", 0.2)
    assert [body["max_tokens"] for body in asked] == [16] * 5  # a probe, then two samples of each


async def test_without_log_probabilities_a_judge_gives_grades() -> None:
    asked: list[Any] = []
    async with chat_server(False, asked) as client:
        opened = await open_verifier(VerifierSpec("judge", model="chat", base_url="http://server/v1"), client)
        assert opened is not None
        scores, _ = await opened.score(PROBLEM, [candidate("one")])
    assert (opened.name, scores) == ("judge-grade chat", [(0.9,)])


async def test_a_judge_needs_a_model() -> None:
    async with chat_server(False, []) as client:
        with pytest.raises(UsageError, match="the verifier judge needs a model"):
            await open_verifier(VerifierSpec("judge", base_url="http://server/v1"), client)
