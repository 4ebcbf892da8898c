"""What is made of a server's answer where a part of it is wrong, missing, or cannot be."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Mapping
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from odd_json import ANYTHING, changed, paths
from requests_to_servers import RUNGS, ask, texts
from servers import SERVERS, Hosted, Little, RefusedError, served

from computewise.core import Completion, Problem
from computewise.errors import ComputewiseError, ModelError
from computewise.http.client import HttpClient
from computewise.http.concurrency import Retry
from computewise.models.server.capabilities import OPEN, Capabilities, Route
from computewise.models.server.capabilities import VLLM as VLLM_FIELDS
from computewise.models.server.choices import UNENDED, UNLIKELY, UNLIMITED
from computewise.models.server.counts import MISCOUNTED, UNCOUNTED, estimated_tokens, least_tokens
from computewise.models.server.model import ServerModel
from computewise.models.server.routes import ChatRoute, CompletionsRoute, LlamaRoute, OllamaRoute
from computewise.session import BudgetExhausted, Session
from computewise.verifiers.base import LogprobVerifier

TEXT = "Six by seven is forty-two, as one can count on the fingers of many hands.\n\nSo it is \\boxed{42}."
WORDS = [word if at == 0 else f" {word}" for at, word in enumerate(TEXT.split(" "))]


def token(text: str, logprob: Any = -0.1) -> dict[str, Any]:
    return {"token": text, "logprob": logprob, "top_logprobs": []}


def usage(sampled: Any, **more: Any) -> dict[str, Any]:
    return {"prompt_tokens": 10, "completion_tokens": sampled, **more}


def chat(*messages: Any, finish: Any = "stop", count: Any = None, **more: Any) -> dict[str, Any]:
    held = [{"role": "assistant", "content": one} if isinstance(one, str) else one for one in messages]
    choices = [{"index": at, "message": one, "finish_reason": finish, **more} for at, one in enumerate(held)]
    return {"choices": choices, "usage": usage(25 * len(held)) if count is None else count}


def model_of(answer: Any, route: str = "chat", *, stop: bool = False, status: int = 200) -> ServerModel:
    """A model whose server always gives `answer`."""
    content = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
    transport = httpx.MockTransport(lambda _: httpx.Response(status, content=content))
    client = HttpClient("http://server/v1", transport=transport, retry=Retry(tries=1))
    routes: dict[str, Route] = {
        "chat": ChatRoute(client, "m", OPEN, logprobs=True),
        "completions": CompletionsRoute(client, "m", VLLM_FIELDS, logprobs=True, special=True, says=True),
        "llama": LlamaRoute(client, logprobs=True),
        "ollama": OllamaRoute(client, "m"),
    }
    found = Capabilities(server="x", dialect="x", n=8, prefill=stop, keeps_separator=stop)
    return ServerModel(client, "m", None, found, routes[route], None, "\n\n")


async def sampled(answer: Any, route: str = "chat", n: int = 1, most: int = 240, **settings: Any) -> list[Completion]:
    model = model_of(answer, route, **settings)
    stop = "\n\n" if model.steps else None
    return await model.sample("What?", "", n, stop=stop, max_tokens=most, temperature=1.0, seeds=list(range(n)))


# Ends


@pytest.mark.parametrize(
    "reason",
    [
        *("length", "max_tokens", "MAX_TOKENS", "model_length", "max_output_tokens", "insufficient_system_resource"),
        *(
            "SAFETY",
            "FinishReason.SAFETY",
            "content_filter",
            "RECITATION",
            "error",
            "abort",
            "tool_calls",
            "repetition",
        ),
        *("repetition", "token-limit", "not_finished", "unknown", "stopped by the operator", "STOPPED_EARLY"),
    ],
)
async def test_whatever_is_no_known_good_end_cuts_a_solution_off(reason: str) -> None:
    (found,) = await sampled(chat(TEXT, finish=reason))
    assert found.finish_reason == "length"
    assert texts([found]) == [TEXT]


@pytest.mark.parametrize("reason", ["stop", "STOP", "FinishReason.STOP", "eos", "eos_token", "end_turn", "COMPLETE"])
async def test_a_known_good_end_is_one_however_it_is_written(reason: str) -> None:
    (found,) = await sampled(chat(TEXT, finish=reason))
    assert (found.finish_reason, found.notes) == ("stop", ())


async def test_an_end_that_is_not_known_is_noted_by_its_name() -> None:
    (found,) = await sampled(chat(TEXT, finish="tired"))
    assert found.notes == ("the server ended a solution for a reason that is not known, 'tired': it counts as cut off",)


@pytest.mark.parametrize("reason", [None, "", " ", 7, ["stop"], {"reason": "stop"}])
async def test_without_an_end_a_solution_is_whole_if_it_is_shorter_than_it_might_be(reason: Any) -> None:
    for most, end in ((26, "stop"), (25, "length")):
        (found,) = await sampled(chat(TEXT, finish=reason), most=most)
        assert (found.finish_reason, found.notes) == (end, (UNENDED,))


async def test_without_an_end_and_a_count_a_solution_must_be_much_shorter() -> None:
    estimate = estimated_tokens(TEXT)
    for most, end in ((2 * estimate + 1, "stop"), (2 * estimate, "length")):
        (found,) = await sampled(chat(TEXT, finish=None, count={}), most=most)
        assert found.finish_reason == end


@pytest.mark.parametrize(("field", "reason"), [("stop_type", "none"), ("stop_type", 3), ("stop_type", "crashed")])
async def test_a_completion_of_llama_cpp_that_did_not_end_is_cut_off(field: str, reason: Any) -> None:
    held = {"content": TEXT, "tokens": [5] * 25, field: reason}
    (found,) = await sampled(held, "llama", most=25)
    assert found.finish_reason == "length"


@pytest.mark.parametrize(("reason", "end"), [("stop", "stop"), ("length", "length"), ("load", "length")])
async def test_the_ends_of_ollama(reason: str, end: str) -> None:
    (found,) = await sampled({"response": TEXT, "done_reason": reason, "eval_count": 25}, "ollama")
    assert (found.finish_reason, found.usage.completion_tokens) == (end, 25)


# Token counts

THOUGHT = "let me think about this for a while " * 200


@pytest.mark.parametrize(
    ("message", "counted", "shown", "count", "note"),
    [
        (TEXT, usage(50), [], 50, None),
        (TEXT, usage(50), [token("Six")], 50, None),
        (TEXT, usage(17), [token(word) for word in WORDS], len(WORDS), None),
        (TEXT, usage(0), None, 24, UNCOUNTED),
        (TEXT, usage(-1), None, 24, UNCOUNTED),
        (TEXT, usage(None), None, 24, UNCOUNTED),
        (TEXT, usage(True), None, 24, UNCOUNTED),
        (TEXT, usage([3]), None, 24, UNCOUNTED),
        (TEXT, None, None, 24, UNCOUNTED),
        (TEXT, [], None, 24, UNCOUNTED),
        (TEXT, usage("31"), None, 31, None),
        (TEXT, usage(31.0), None, 31, None),
        (TEXT, usage(31.5), None, 24, UNCOUNTED),
        (TEXT, usage(3), None, 24, MISCOUNTED),
        (TEXT, usage(9000), None, 24, MISCOUNTED),
        (TEXT, usage(1 << 70), None, 24, UNCOUNTED),
        (TEXT, usage(0, total_tokens=37), None, 27, None),
        (TEXT, usage(0, completion_tokens_details={"reasoning_tokens": 60}), None, 60 + 24, MISCOUNTED),
        (TEXT, usage(25, total_tokens=95, completion_tokens_details={"reasoning_tokens": 60}), None, 85, None),
        (TEXT, usage(225, completion_tokens_details={"reasoning_tokens": 200}), [token(w) for w in WORDS], 225, None),
        ({"content": TEXT, "reasoning": THOUGHT[:90]}, usage(45), [token(w) for w in WORDS], 45, None),
        ({"content": TEXT, "reasoning": THOUGHT[:90]}, usage(-3), [token(w) for w in WORDS], 47, UNCOUNTED),
        ({"content": None, "reasoning": THOUGHT[:90]}, usage(20), None, 20, None),
    ],
)
async def test_tokens_are_counted_by_what_can_be(
    message: Any, counted: Any, shown: Any, count: int, note: str | None
) -> None:
    held = chat(message, logprobs=None if shown is None else {"content": shown})
    (found,) = await sampled({**held, "usage": counted})
    assert found.usage.completion_tokens == sum(step.tokens for step in found.steps) == count
    assert found.notes == (() if note is None else (note,))


async def test_a_usage_of_all_is_divided_and_one_of_one_is_not() -> None:
    three = chat(TEXT, TEXT, TEXT, count=usage(75))
    assert [one.usage.completion_tokens for one in await sampled(three, n=3)] == [25, 25, 25]
    four = chat(*[TEXT * 2] * 8, count=usage(50))
    found = await sampled(four, n=8)
    assert [one.usage.completion_tokens for one in found] == [50] * 8
    assert {one.notes for one in found} == {(MISCOUNTED,)}


async def test_a_short_text_beside_a_long_one_has_a_token_too() -> None:
    found = await sampled(chat("42", TEXT * 8, count=usage(202)), n=2)
    assert [one.usage.completion_tokens for one in found] == [2, 200]
    assert not any(one.notes for one in found)


async def test_a_run_of_one_character_may_be_few_tokens() -> None:
    (found,) = await sampled(chat("=" * 200, count=usage(4)))
    assert (found.usage.completion_tokens, found.notes) == (4, ())


async def test_an_estimate_keeps_to_the_limit_and_a_longer_text_is_cut_off() -> None:
    (found,) = await sampled(chat(TEXT, finish="length", count={}), most=20)
    assert found.usage.completion_tokens == 20
    (found,) = await sampled(chat(TEXT * 20, count=usage(500)), most=20)
    assert (found.usage.completion_tokens, found.finish_reason, found.notes) == (500, "length", (UNLIMITED,))


@pytest.mark.parametrize("read", [0, -1, None, "x", True, 3, 1 << 60])
async def test_a_prompt_is_counted_by_what_can_be(read: Any) -> None:
    held = chat(TEXT, count={"prompt_tokens": read, "completion_tokens": 25})
    model = model_of(held)
    (found,) = await model.sample(TEXT, "", 1, stop=None, max_tokens=240, temperature=1.0, seeds=[0])
    assert found.usage.prompt_tokens == estimated_tokens(TEXT)
    assert model.observed.prompt == 0


async def test_a_budget_that_a_server_does_not_keep_to_ends_the_search() -> None:
    session = Session(Problem("1", "What?"), model_of(chat(TEXT * 20, count=usage(500))), None, "\n\n", budget=40)
    (first,) = await session.sample(1)
    assert first.end == "length"
    with pytest.raises(BudgetExhausted):
        await session.sample(1)


@given(st.text(max_size=400), st.integers(-10, 600), st.integers(1, 300))
def test_a_count_is_one_that_the_text_can_have_and_keeps_to_the_limit(text: str, said: int, most: int) -> None:
    (found,) = asyncio.run(sampled(chat(text, count=usage(said)), most=most))
    count = found.usage.completion_tokens
    assert count >= least_tokens(text)
    assert count <= most or found.finish_reason == "length"
    assert count <= max(most, len(text.encode()) + 64)


# Log-probabilities


@pytest.mark.parametrize(
    "values",
    [
        [-0.2] * 7 + [-9999.0],
        [-0.2] * 7 + [None],
        [-0.2] * 7 + [math.nan],
        [-0.2] * 7 + [800.0],
        [-0.2] * 7 + ["-0.5"],
        [-0.2] * 7 + [-3.4028235e38],
        [-0.2] * 5 + [None, -math.inf, True],
    ],
)
async def test_a_log_probability_that_cannot_be_counts_as_the_mean_of_the_others(values: list[Any]) -> None:
    parts = [TEXT[len(TEXT) * at // 8 : len(TEXT) * (at + 1) // 8] for at in range(8)]
    shown = {"content": [token(part, value) for part, value in zip(parts, values, strict=True)]}
    held = json.dumps(chat(TEXT[: len(TEXT)], count=usage(8), logprobs=shown)).encode()
    (found,) = await sampled(held)
    assert sum(step.logprob for step in found.steps) == pytest.approx(-0.2 * found.usage.completion_tokens)
    assert UNLIKELY in found.notes


@pytest.mark.parametrize(
    "logprobs",
    [
        None,
        7,
        "x",
        {},
        {"content": None},
        {"content": []},
        {"content": [7, None]},
        {"content": [{"token": 7}]},
        {"content": [token("Six")]},
        {"content": [token(word, None) for word in WORDS]},
        {"content": [token(word, -9999.0) for word in WORDS]},
        {"tokens": WORDS, "token_logprobs": [-0.1]},
    ],
)
async def test_log_probabilities_that_say_nothing_are_not_known(logprobs: Any) -> None:
    (found,) = await sampled(chat(TEXT, logprobs=logprobs))
    assert texts([found]) == [TEXT]
    assert all(math.isnan(step.logprob) for step in found.steps)


async def test_the_verifier_logprob_needs_one_that_is_known() -> None:
    known, unknown = chat(TEXT, logprobs={"content": [token(word) for word in WORDS]}), chat(TEXT)
    answers = [known, known, unknown]
    session = Session(Problem("1", "What?"), model_of(unknown), LogprobVerifier(), "\n\n")
    with pytest.raises(ModelError, match="gave no log-probability that can be: name another verifier than logprob"):
        await session.score(await session.sample(2))
    held = {"choices": [one["choices"][0] | {"index": at} for at, one in enumerate(answers)], "usage": usage(75)}
    session = Session(Problem("1", "What?"), model_of(held), LogprobVerifier(), "\n\n")
    scored = await session.score(await session.sample(3))
    assert [session.value(one) for one in scored] == pytest.approx([math.exp(-0.1), math.exp(-0.1), 0])


# Texts and choices


@pytest.mark.parametrize(
    ("message", "text", "thinking"),
    [
        ({"content": [{"type": "text", "text": "a "}, {"type": "text", "text": "42"}]}, "a 42", ""),
        ({"content": ["a ", "42"]}, "a 42", ""),
        ({"content": {"type": "text", "text": "42"}}, "42", ""),
        ({"content": [{"type": "output_text", "text": "42", "annotations": []}, {"type": "image_url"}]}, "42", ""),
        (
            {
                "content": [
                    {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]},
                    {"type": "text", "text": "42"},
                ]
            },
            "42",
            "hm",
        ),
        ({"content": "42", "reasoning": 7, "reasoning_content": "hm"}, "42", "hm"),
        ({"content": "42", "reasoning_details": [{"type": "reasoning.text", "text": "hm"}]}, "42", "hm"),
        ({"content": None, "reasoning_content": "hm"}, "", "hm"),
        ({"reasoning_content": "hm"}, "", "hm"),
        ({"content": None}, "", ""),
        ({"content": None, "tool_calls": [{"id": "x"}]}, "", ""),
        ({"content": None, "refusal": "I will not."}, "I will not.", ""),
        ({"content": "42", "role": 7, "audio": {"id": []}, "tool_calls": "x"}, "42", ""),
    ],
)
async def test_a_text_is_read_wherever_it_is(message: Any, text: str, thinking: str) -> None:
    (found,) = await sampled(chat(message, count={}))
    assert (texts([found]), found.thinking) == ([text], thinking)


async def test_fields_that_are_not_used_may_hold_anything() -> None:
    odd: list[Any] = [7, None, "x", [], {"a": []}]
    for value in odd:
        held = chat(TEXT, stop_reason=value, token_ids=value, logprobs=value, index=value, content_filter=value)
        held |= {"id": value, "model": value, "object": value, "created": value, "service_tier": value}
        held["usage"] |= {"prompt_tokens_details": value, "completion_tokens_details": value, "cost": value}
        (found,) = await sampled(held)
        assert texts([found]) == [TEXT]
        assert (found.finish_reason, found.usage.completion_tokens) == ("stop", 25)


@pytest.mark.parametrize(
    ("indices", "order"),
    [([0, 1, 2], "abc"), ([2, 0, 1], "bca"), ([0, 0, 0], "abc"), ([0, None, 1], "abc"), ([5, "3", 4.0], "bca")],
)
async def test_choices_are_in_the_order_of_their_indices_where_these_tell_them_apart(indices: Any, order: str) -> None:
    held = chat(*"abc", count={})
    for choice, index in zip(held["choices"], indices, strict=True):
        choice["index"] = index
    assert "".join(texts(await sampled(held, n=3))) == order


@pytest.mark.parametrize(
    "choice",
    [
        None,
        7,
        {"message": {"content": 7}},
        {"message": {"content": ""}, "error": {"code": 502, "message": "no"}},
    ],
)
async def test_a_choice_that_cannot_be_read_is_asked_for_again(choice: Any) -> None:
    class Breaks(Hosted):
        def chat(self, body: dict[str, Any]) -> Any:
            held = Hosted.chat(self, body)
            if body.get("n") == 3:
                held["choices"][0] = choice
            return held

    server = Breaks(Little(skill=1.0))
    async with served(server) as model:
        found = await ask(model, n=3, stop=None)
    assert [one.finish_reason for one in found] == ["stop"] * 3
    assert [body.get("n", 1) for body in server.bodies("/v1/chat/completions")] == [3, 1]


# Anything in the place of any value

GOOD: dict[str, Any] = {
    "chat": {
        "id": "x",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": TEXT, "reasoning_content": "hm"},
                "finish_reason": "stop",
                "logprobs": {"content": [token(part) for part in ("hm", *WORDS)]},
            }
        ],
        "usage": {
            "prompt_tokens": 10,
            "completion_tokens": 30,
            "total_tokens": 40,
            "prompt_tokens_details": {"cached_tokens": 4},
            "completion_tokens_details": {"reasoning_tokens": 2},
        },
    },
    "completions": {
        "choices": [
            {
                "index": 0,
                "text": TEXT,
                "finish_reason": "stop",
                "stop_reason": None,
                "token_ids": list(range(len(WORDS))),
                "logprobs": {"tokens": WORDS, "token_logprobs": [-0.1] * len(WORDS)},
            }
        ],
        "usage": {"prompt_tokens": 10, "completion_tokens": len(WORDS)},
    },
    "llama": {
        "index": 0,
        "content": TEXT,
        "tokens": list(range(len(WORDS))),
        "stop_type": "eos",
        "tokens_evaluated": 10,
        "timings/cache_n": 3,
        "completion_probabilities": [{**token(word), "id": at} for at, word in enumerate(WORDS)],
    },
    "ollama": {"response": TEXT, "done_reason": "stop", "eval_count": 25, "prompt_eval_count": 10, "done": True},
}


def check_one_line(error: ComputewiseError) -> None:
    assert len(str(error).splitlines()) == 1


@pytest.mark.parametrize("stop", [False, True])
@pytest.mark.parametrize("route", GOOD)
@given(data=st.data())
def test_whatever_an_answer_holds_it_is_a_sample_that_was_read_or_our_error(route: str, stop: bool, data: Any) -> None:
    good = GOOD[route]
    path, value = data.draw(st.sampled_from(list(paths(good)))), data.draw(ANYTHING)
    answer = json.dumps(changed(good, path, value)).encode()
    try:
        (found,) = asyncio.run(sampled(answer, route, stop=stop))
    except ModelError as error:
        check_one_line(error)
        return
    (text,) = texts([found])
    assert 0 <= found.usage.completion_tokens <= 240 or found.finish_reason == "length"
    assert found.usage.completion_tokens >= least_tokens(text)
    assert found.usage.prompt_tokens >= 1
    assert 0 <= found.usage.cached_prompt_tokens <= found.usage.prompt_tokens
    assert not any(step.logprob > 0 for step in found.steps)
    if path not in TEXTS[route]:
        assert text.rstrip("\n") == TEXT, "a field that is not the text costs the text"


TEXTS: dict[str, set[tuple[str | int, ...]]] = {
    "chat": {
        (),
        ("choices",),
        ("choices", 0),
        ("choices", 0, "message"),
        ("choices", 0, "message", "content"),
    },
    "completions": {(), ("choices",), ("choices", 0), ("choices", 0, "text")},
    "llama": {(), ("content",)},
    "ollama": {(), ("response",)},
}


@given(st.binary(max_size=60))
def test_whatever_bytes_come_they_are_an_answer_or_our_error(body: bytes) -> None:
    with pytest.raises(ModelError):
        asyncio.run(sampled(body))


@pytest.mark.parametrize("name", ["vllm", "llama", "ollama", "hosted"])
@given(data=st.data())
def test_a_probe_meets_anything_with_our_errors_alone(name: str, data: Any) -> None:
    """Any value of any answer of a whole probe, the list of models and the tokenizer's routes included."""
    value, chosen = data.draw(ANYTHING), data.draw(st.integers(0, 400))
    seen = 0

    server = SERVERS[name](Little(skill=1.0))

    def odd(path: str, body: Mapping[str, Any]) -> httpx.Response:
        nonlocal seen
        try:
            held = server.answer(path, dict(body))
        except RefusedError as refused:
            return refused.response
        places = list(paths(held))
        at, seen = chosen - seen, seen + len(places)
        changes = 0 <= at < len(places)
        return httpx.Response(200, content=json.dumps(changed(held, places[at], value) if changes else held).encode())

    server.intercept = odd

    async def run() -> None:
        async with served(server, chat_template=RUNGS.get(name)) as model:
            await ask(model, n=2, stop=None)

    try:
        asyncio.run(run())
    except ComputewiseError as error:
        check_one_line(error)
