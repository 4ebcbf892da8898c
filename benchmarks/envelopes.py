"""OpenAI's envelopes, checked strictly: a missing field or one of another type is a fault."""

from __future__ import annotations

from typing import Literal

import msgspec
from load import Answer


class _Message(msgspec.Struct):
    role: Literal["assistant"]
    content: str


class _Choice(msgspec.Struct):
    index: int
    message: _Message
    finish_reason: str


class _Usage(msgspec.Struct):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class _Completion(msgspec.Struct):
    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    choices: list[_Choice]
    usage: _Usage


class _Delta(msgspec.Struct):
    role: Literal["assistant"] | None = None
    content: str | None = None


class _Part(msgspec.Struct):
    index: int
    delta: _Delta
    finish_reason: str | None


class _Chunk(msgspec.Struct):
    id: str
    object: Literal["chat.completion.chunk"]
    created: int
    model: str
    choices: list[_Part]


class _Error(msgspec.Struct):
    message: str
    type: str
    param: str | None
    code: str | None


class _Refusal(msgspec.Struct):
    error: _Error


def how_ended(answer: Answer, *, stream: bool) -> str:
    """A status, or "error in a stream"; raises `ValueError` where the envelope is broken."""
    if answer.status >= 400:
        msgspec.json.decode(answer.body, type=_Refusal)
        if answer.status == 429:
            float(answer.headers.get("retry-after", "none"))
        return str(answer.status)
    if answer.status != 200:
        raise ValueError(f"status {answer.status}")
    if stream:
        return _streamed(answer)
    held = msgspec.json.decode(answer.body, type=_Completion)
    if len(held.choices) != 1 or not held.choices[0].message.content:
        raise ValueError(f"{len(held.choices)} choices, or nothing said")
    if held.usage.total_tokens != held.usage.prompt_tokens + held.usage.completion_tokens:
        raise ValueError(f"usage does not add up: {held.usage}")
    return "200"


def _streamed(answer: Answer) -> str:
    if not answer.headers.get("content-type", "").startswith("text/event-stream"):
        raise ValueError(f"a stream of type {answer.headers.get('content-type')}")
    *events, end = answer.body.split(b"\n\n")
    data = [event.removeprefix(b"data: ") for event in events if not event.startswith(b":")]
    if end or not data or data.pop() != b"[DONE]":
        raise ValueError(f"a stream that ends in {answer.body[-80:]!r}")
    if data and data[-1].startswith(b'{"error"'):
        msgspec.json.decode(data[-1], type=_Refusal)
        return "error in a stream"
    chunks = [msgspec.json.decode(one, type=_Chunk) for one in data]
    parts = [part for chunk in chunks for part in chunk.choices]
    if len({chunk.id for chunk in chunks}) != 1 or not "".join(part.delta.content or "" for part in parts):
        raise ValueError("a stream of several ids, or that said nothing")
    if [part.finish_reason for part in parts if part.finish_reason][-1:] != [parts[-1].finish_reason]:
        raise ValueError("a stream that goes on after its finish_reason, or has none")
    return "200"
