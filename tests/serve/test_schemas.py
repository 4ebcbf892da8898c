"""From a body's bytes to what is asked."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from serve_doubles import PROMPT, asked, body

from computewise.models.messages import Message
from computewise.serve.errors import ApiError
from computewise.serve.planning import looks_gradable
from computewise.serve.schemas import ChatRequest, read_chat, read_completion


def completion(prompt: Any = PROMPT, **fields: Any) -> ChatRequest:
    return read_completion(json.dumps({"model": "small", "prompt": prompt, **fields}).encode())


def turns(*messages: dict[str, Any], **fields: Any) -> ChatRequest:
    return read_chat(json.dumps({"model": "small", "messages": messages, **fields}).encode())


def user(content: Any) -> dict[str, Any]:
    return {"role": "user", "content": content}


def test_a_plain_chat_is_its_turns() -> None:
    found = turns(
        {"role": "developer", "content": "Be brief."}, user("a"), {"role": "assistant", "content": "b"}, user("c")
    )
    assert found.turns == (
        Message("system", "Be brief."),
        Message("user", "a"),
        Message("assistant", "b"),
        Message("user", "c"),
    )
    assert (found.prompt, found.unsearchable, found.endpoint, found.model) == ("c", None, "chat", "small")
    assert not found.stream
    assert not found.include_usage
    assert not found.stop
    assert not found.shaped


def test_text_in_parts_is_text() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    assert turns(user(parts)).prompt == "a\nb"


@pytest.mark.parametrize(
    ("messages", "param"),
    [
        (
            [user([{"type": "text", "text": "a"}, {"type": "image_url", "image_url": {"url": "x"}}])],
            "messages[0].content",
        ),
        ([user(None)], "messages[0].content"),
        ([user(5)], "messages[0].content"),
        ([user("a"), {"role": "tool", "content": "b", "tool_call_id": "c"}], "messages[1].role"),
        ([{"content": "a"}], "messages[0].role"),
        ([{"role": ["user"], "content": "a"}], "messages[0].role"),
        ([{"role": "assistant", "content": "a", "tool_calls": [{"id": "b"}]}, user("c")], "messages[0].tool_calls"),
        ([{"role": "user", "content": "a", "name": {"b": 1}}], "messages[0].name"),
        ([{"role": "user", "content": "a", "reasoning_content": "b"}], "messages[0].reasoning_content"),
        ([{"role": "user", "content": "a", "cache_control": {"type": "x"}}], "messages[0].cache_control"),
        (
            [user([{"type": "text", "text": "a"}, {"type": "text", "text": "b", "cache_control": {"type": "x"}}])],
            "messages[0].content[1].cache_control",
        ),
        ([user([{"type": "refusal", "refusal": "a"}])], "messages[0].content"),
        ([{"role": "assistant", "content": None, "audio": {"id": "a"}}, user("b")], "messages[0].audio"),
        ([{"role": "assistant", "content": 5}, user("b")], "messages[0].content"),
        ([user("a"), {"role": "assistant", "content": "b"}], "messages[1].role"),
        ([{"role": "system", "content": "a"}], "messages[0].role"),
    ],
)
def test_a_turn_that_is_no_text_can_only_be_passed_through(messages: list[dict[str, Any]], param: str) -> None:
    found = turns(*messages)
    assert found.unsearchable is not None
    assert found.unsearchable[0] == param
    assert (found.turns, found.prompt) == ((), "")


def test_what_is_empty_in_a_turn_is_not_there() -> None:
    message: dict[str, Any] = {"role": "user", "content": "a", "name": None, "tool_calls": [], "refusal": None}
    assert turns(message).prompt == "a"


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        ({"content": "b", "reasoning_content": "c", "refusal": None, "annotations": [{"type": "url_citation"}]}, "b"),
        ({"content": "b", "reasoning": "c", "reasoning_details": [{}], "audio": None, "function_call": None}, "b"),
        ({"content": None, "refusal": "No."}, "No."),
        ({"content": "", "refusal": "No.", "tool_calls": None}, "No."),
        ({"content": None}, ""),
        ({}, ""),
        ({"content": [{"type": "text", "text": "b", "annotations": [{}]}]}, "b"),
        ({"content": [{"type": "text", "text": "b"}, {"type": "refusal", "refusal": "No."}]}, "b\nNo."),
    ],
)
def test_an_answer_is_taken_back_as_it_was_given(answer: dict[str, Any], text: str) -> None:
    found = turns(user("a"), {"role": "assistant", **answer}, user("d"))
    assert found.turns == (Message("user", "a"), Message("assistant", text), Message("user", "d"))


TEXTS = st.none() | st.text(st.characters(codec="utf-8"), max_size=9)


@settings(max_examples=60, deadline=None, database=None)
@given(
    content=TEXTS | st.lists(st.fixed_dictionaries({"type": st.just("text"), "text": st.text(max_size=3)}), max_size=2),
    texts=st.dictionaries(st.sampled_from(["refusal", "reasoning_content", "reasoning", "name"]), TEXTS),
    lists=st.dictionaries(st.sampled_from(["annotations", "reasoning_details"]), st.none() | st.just([{"a": 1}])),
    nothing=st.dictionaries(
        st.sampled_from(["audio", "function_call", "tool_calls", "unheard"]), st.sampled_from([None, []])
    ),
)
def test_whatever_an_answer_is_made_of_it_is_taken_back(
    content: Any, texts: dict[str, Any], lists: dict[str, Any], nothing: dict[str, Any]
) -> None:
    answer = {"role": "assistant", "content": content, **texts, **lists, **nothing}
    found = turns(user("a"), answer, user("b"))
    assert found.unsearchable is None
    text = "\n".join(part["text"] for part in content) if isinstance(content, list) else content
    assert found.turns[1].content == (text or texts.get("refusal") or "")


def test_the_names_of_participants_go_along() -> None:
    found = turns({"role": "user", "content": "a", "name": "Ann"}, {"role": "assistant", "content": "b"}, user("c"))
    assert [turn.to_dict() for turn in found.turns] == [
        {"role": "user", "content": "a", "name": "Ann"},
        {"role": "assistant", "content": "b"},
        {"role": "user", "content": "c"},
    ]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("tools", [{"type": "function"}]),
        ("tool_choice", "auto"),
        ("functions", [{"name": "f"}]),
        ("logprobs", True),
        ("top_logprobs", 3),
        ("audio", {"voice": "x"}),
        ("modalities", ["text", "audio"]),
        ("prediction", {"type": "content"}),
        ("web_search_options", {"x": 1}),
        ("logprobs", 0),
        ("logprobs", 5),
        ("prompt_logprobs", 0),
        ("top_logprobs", 2),
        ("return_token_ids", True),
        ("n", 2.0),
        ("echo", True),
        ("suffix", "x"),
        ("n", 2),
    ],
)
def test_a_field_that_asks_for_something_else_than_one_text_is_named(field: str, value: Any) -> None:
    found = asked(**{field: value})
    assert found.unsearchable is not None
    assert found.unsearchable[0] == field
    assert field in found.unsearchable[1]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("tools", []),
        ("tools", None),
        ("tool_choice", "none"),
        ("logprobs", False),
        ("modalities", ["text"]),
        ("n", 1),
        ("n", None),
        ("echo", False),
        ("best_of", None),
        ("best_of", 1),
        ("top_logprobs", 0),
        ("function_call", "none"),
        ("n", 1.0),
        ("suffix", ""),
    ],
)
def test_a_field_that_says_what_holds_anyway_is_no_obstacle(field: str, value: Any) -> None:
    assert asked(**{field: value}).unsearchable is None


def test_fields_that_are_not_acted_on_go_along() -> None:
    found = asked(top_p=0.9, stop=["a"], user="b", unheard_of={"c": 1}, presence_penalty=None, seed=3, temperature=0.5)
    assert found.fields == {"top_p": 0.9, "stop": ["a"], "user": "b", "unheard_of": {"c": 1}}
    assert (found.seed, found.temperature, found.stop) == (3, 0.5, True)


def test_the_lower_of_two_ceilings_counts() -> None:
    assert asked(max_tokens=5, max_completion_tokens=7).max_completion_tokens == 5
    assert asked(max_tokens=9, max_completion_tokens=7).max_completion_tokens == 7
    assert asked(max_tokens=9).max_completion_tokens == 9
    assert asked().max_completion_tokens is None


def test_numbers_of_another_form_are_read_and_minus_one_is_no_bound() -> None:
    found = asked(max_tokens=100.0, seed=7.0, n=1.0, temperature=1, computewise={"strategy": "best_of_n", "n": 4.0})
    assert (found.max_completion_tokens, found.seed, found.temperature, found.options.n) == (100, 7, 1.0, 4)
    for bounds in ({"max_tokens": -1}, {"max_completion_tokens": -1.0}, {"max_tokens": -1, "max_completion_tokens": 9}):
        assert asked(**bounds).unsearchable is None
        assert asked(**bounds).max_completion_tokens == (9 if len(bounds) == 2 else None)


def test_a_choice_by_the_upstream_is_not_sent_with_every_sample() -> None:
    assert asked(best_of=4).best_of
    assert not asked(best_of=1).best_of
    assert asked(best_of=4).fields == {}


def test_a_text_of_a_given_shape() -> None:
    assert asked(response_format={"type": "json_object"}).shaped
    assert not asked(response_format={"type": "text"}).shaped
    assert not asked(response_format=None).shaped
    assert not asked(response_format={}).shaped
    assert asked(response_format="json").shaped
    assert asked(guided_json={"type": "object"}).shaped == "guided_json"
    assert asked(structured_outputs={"choice": ["a"]}).shaped == "structured_outputs"
    assert not asked(guided_regex=None, grammar="").shaped


def test_streaming_and_its_usage() -> None:
    found = asked(stream=True, stream_options={"include_usage": True})
    assert (found.stream, found.include_usage) == (True, True)
    assert not asked(stream=True, stream_options={}).include_usage


@pytest.mark.parametrize("prompt", [PROMPT, [PROMPT]])
def test_a_completion_s_prompt_is_gone_on_from(prompt: Any) -> None:
    found = completion(prompt)
    assert (found.turns, found.endpoint) == ((Message("user", PROMPT),), "completions")


@pytest.mark.parametrize("prompt", [["a", "b"], [1, 2], [[1], [2]], 5, {}, [], None])
def test_other_prompts_can_only_be_passed_through(prompt: Any) -> None:
    found = completion(prompt)
    assert found.unsearchable is not None
    assert (found.unsearchable[0], found.turns) == ("prompt", ())


def test_a_body_is_kept_byte_for_byte() -> None:
    raw = b' {"messages" :[{"role":"user","content":"\\u00e9"}],"model":"small", "x":1.50 } '
    assert read_chat(raw).raw == raw


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"messages": []}, "messages"),
        ({"messages": "x"}, "messages"),
        ({"messages": ["x"]}, "messages[0]"),
        ({"temperature": -0.1}, "temperature"),
        ({"temperature": "warm"}, "temperature"),
        ({"seed": 2**63}, "seed"),
        ({"seed": 0.5}, "seed"),
        ({"n": 0}, "n"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_completion_tokens": "many"}, "max_completion_tokens"),
        ({"stream": "yes"}, "stream"),
        ({"stream_options": 5}, "stream_options"),
        ({"stream_options": {"include_usage": "x"}}, "stream_options.include_usage"),
        ({"stop": 5}, "stop"),
        ({"stop": [5]}, "stop[0]"),
        ({"stream_options": {"include_usage": True, "continuous_usage_stats": True}}, "stream_options"),
        ({"reasoning_effort": "most"}, "reasoning_effort"),
        ({"reasoning_effort": "default"}, "reasoning_effort"),
        ({"max_tokens": 1.5}, "max_tokens"),
        ({"max_tokens": -2}, "max_tokens"),
    ],
)
def test_a_value_that_no_search_can_use_is_named_and_passed_through(changes: dict[str, Any], param: str) -> None:
    found = read_chat(json.dumps({**body(), **changes}).encode()).unsearchable
    assert found is not None
    assert (found.param, found.wrong) == (param, True)
    assert param in found.why


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"model": None}, "model"),
        ({"model": 5}, "model"),
        ({"model": 5, "temperature": "warm"}, "model"),
        ({"temperature": "warm", "computewise": {"n": 0}}, "computewise.n"),
        ({"computewise": "beam_search"}, "computewise"),
        ({"computewise": {"n": 0}}, "computewise.n"),
        ({"computewise": {"n": True}}, "computewise.n"),
        ({"computewise": {"trust": 1.1}}, "computewise.trust"),
        ({"computewise": {"balance_temperature": 0}}, "computewise.balance_temperature"),
        ({"computewise": {"price": -1}}, "computewise.price"),
        ({"computewise": {"timeout": 0}}, "computewise.timeout"),
        ({"computewise": {"max_total_tokens": 0}}, "computewise.max_total_tokens"),
        ({"computewise": {"progress": "dots"}}, "computewise.progress"),
        ({"computewise": {"nn": 3}}, "computewise"),
    ],
)
def test_what_is_said_to_this_server_and_is_wrong_is_refused(changes: dict[str, Any], param: str) -> None:
    with pytest.raises(ApiError) as refused:
        read_chat(json.dumps({**body(), **changes}).encode())
    assert (refused.value.status, refused.value.param, refused.value.code) == (400, param, "invalid_value")
    assert param in refused.value.message


@pytest.mark.parametrize("reads", [read_chat, read_completion])
def test_a_field_that_is_missing_is_named(reads: Any) -> None:
    with pytest.raises(ApiError) as refused:
        reads(b'{"messages":[{"role":"user","content":"a"}],"prompt":"a"}')
    assert refused.value.param == "model"
    found = reads(b'{"model":"small"}').unsearchable
    assert (found.param, found.wrong) == ("messages" if reads is read_chat else "prompt", True)


def test_a_mark_of_the_byte_order_is_no_part_of_the_body() -> None:
    raw = b"\xef\xbb\xbf" + json.dumps(body()).encode()
    assert (read_chat(raw).prompt, read_chat(raw).raw) == (PROMPT, raw)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b'{"model":',
        b"[]",
        b"5",
        b"null",
        b'"text"',
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"model":"small","messages":[{"role":"user","content":"\\ud83d"}]}',
        b'{"model":"\xed\xa0\x80"}',
        b'{"temperature":NaN}',
        b'{"temperature":1e999}',
        b"1" * 5000,
    ],
)
def test_what_is_no_json_object_is_said_to_be_none(raw: bytes) -> None:
    for read in (read_chat, read_completion):
        with pytest.raises(ApiError) as refused:
            read(raw)
        assert (refused.value.status, refused.value.code) == (400, "not_json")
        assert "\n" not in refused.value.message


@pytest.mark.parametrize(
    ("prompt", "grader", "found"),
    [
        ("What is 3 + 4?", "math", True),
        ("How many legs do spiders have?", "math", True),
        (r"Simplify \frac{a}{b}", "math", True),
        ("Write a poem about the sea.", "math", False),
        ("Hello!", "math", False),
        ("Which? A. red B. blue", "choice", True),
        ("Which?\n(A) red\n(B) blue", "choice", True),
        ("Which? B. blue A. red", "choice", False),
        ("Which colour?", "choice", False),
        ("A. first only", "choice", False),
        ("anything", "exact", True),
        ("anything", "", True),
    ],
)
def test_whether_an_answer_can_be_compared_is_guessed_by_the_prompt(prompt: str, grader: str, found: bool) -> None:
    assert looks_gradable(prompt, grader) is found


@pytest.mark.parametrize(
    ("grader", "prompt"),
    [("choice", "A. " * 300_000), ("choice", "\n" * 1_000_000), ("math", "how " * 250_000), ("math", "\n" * 1_000_000)],
)
def test_a_long_prompt_is_guessed_about_in_one_go(grader: str, prompt: str) -> None:
    """From every place to the end anew, it would take hours, in which nobody else is answered."""
    assert not looks_gradable(prompt, grader)
