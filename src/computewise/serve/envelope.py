"""Answers in OpenAI's words, whole and in chunks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from computewise.serve.account import account, usage_of
from computewise.serve.work import Solved, Work

DONE = b"data: [DONE]\n\n"
_ENCODER = msgspec.json.Encoder()


def encode(held: Any) -> bytes:
    """JSON."""
    return _ENCODER.encode(held)


def event(held: Any) -> bytes:
    """One server-sent event."""
    return b"data: " + encode(held) + b"\n\n"


def answer_of(work: Work) -> dict[str, Any]:
    """The whole answer."""
    assert work.solved is not None
    solved = work.solved
    choice: dict[str, Any] = {"index": 0, "logprobs": None, "finish_reason": solved.finish}
    if work.asked.endpoint == "chat":
        choice["message"] = _message(solved)
    else:
        choice["text"] = solved.text or ""
    return {**_head(work), "choices": [choice], "usage": usage_of(work), "computewise": account(work)}


def chunks_of(work: Work) -> Iterator[bytes]:
    """The same as events: the solution step by step, then why it ended, then what it took."""
    assert work.solved is not None
    solved = work.solved
    if work.asked.endpoint == "chat":
        yield event(_chunk(work, {"role": "assistant", "content": "", "refusal": None}, None))
        if solved.thinking:
            yield event(_chunk(work, {"reasoning_content": solved.thinking}, None))
        if solved.text is None:
            yield event(_chunk(work, {"refusal": _abstained(solved)}, None))
    steps = solved.chosen.steps if solved.chosen and solved.text else ()
    for step in steps:
        if step.text:
            yield event(_chunk(work, _delta(work, step.text), None))
    last = _chunk(work, _delta(work, ""), solved.finish)
    yield event({**last, "computewise": account(work)})
    if work.asked.include_usage:
        yield event({**_head(work, streamed=True), "choices": [], "usage": usage_of(work)})
    yield DONE


def thought_of(work: Work, text: str) -> bytes:
    """How far the search is, as a thought of the model's."""
    return event(_chunk(work, {"reasoning_content": text}, None))


def _delta(work: Work, text: str) -> dict[str, Any]:
    if work.asked.endpoint == "completions":
        return {"text": text}
    return {"content": text} if text else {}


def _chunk(work: Work, delta: dict[str, Any], finish: str | None) -> dict[str, Any]:
    inside = {"delta": delta} if work.asked.endpoint == "chat" else delta
    choice = {"index": 0, **inside, "logprobs": None, "finish_reason": finish}
    counted = {"usage": None} if work.asked.include_usage else {}
    return {**_head(work, streamed=True), "choices": [choice], **counted}


def _head(work: Work, *, streamed: bool = False) -> dict[str, Any]:
    chat = work.asked.endpoint == "chat"
    kind = ("chat.completion.chunk" if streamed else "chat.completion") if chat else "text_completion"
    return {
        "id": f"{'chatcmpl' if chat else 'cmpl'}-{work.id}",
        "object": kind,
        "created": int(work.created),
        "model": work.asked.model,
        "system_fingerprint": None,
    }


def _message(solved: Solved) -> dict[str, Any]:
    said = {"reasoning_content": solved.thinking} if solved.thinking else {}
    if solved.text is None:
        return {"role": "assistant", "content": None, "refusal": _abstained(solved)}
    return {"role": "assistant", "content": solved.text, "refusal": None, **said}


def _abstained(solved: Solved) -> str:
    return f"No answer is sure enough: {solved.stopped}."
