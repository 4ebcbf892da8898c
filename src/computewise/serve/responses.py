"""Answers in OpenAI's form, whole and streamed."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
from starlette.types import Message, Send

from computewise.errors import ComputewiseError
from computewise.serve.accounting import account, usage_of
from computewise.serve.errors import ApiError, api_error_of
from computewise.serve.request import Answer, RequestState

DONE = b"data: [DONE]\n\n"

_ENCODER = msgspec.json.Encoder()


def encode(held: Any) -> bytes:
    """The bytes of a JSON document."""
    return _ENCODER.encode(held)


def event(held: Any) -> bytes:
    """One server-sent event with this JSON."""
    return b"data: " + encode(held) + b"\n\n"


def answer_of(work: RequestState) -> dict[str, Any]:
    """The whole answer in OpenAI's form."""
    assert work.answer is not None
    solved = work.answer
    choice: dict[str, Any] = {"index": 0, "logprobs": None, "finish_reason": solved.finish}
    if work.request.endpoint == "chat":
        choice["message"] = _message(solved)
    else:
        choice["text"] = solved.text or ""
    return {**_head(work), "choices": [choice], "usage": usage_of(work), "computewise": account(work)}


def chunks_of(work: RequestState) -> Iterator[bytes]:
    """The answer as events: the solution step by step, then the reason of its end, then its usage."""
    assert work.answer is not None
    solved = work.answer
    if work.request.endpoint == "chat":
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
    if work.request.include_usage:
        yield event({**_head(work, streamed=True), "choices": [], "usage": usage_of(work)})
    yield DONE


def thought_of(work: RequestState, text: str) -> bytes:
    """The progress of the search, as an event with reasoning text."""
    return event(_chunk(work, {"reasoning_content": text}, None))


def _delta(work: RequestState, text: str) -> dict[str, Any]:
    if work.request.endpoint == "completions":
        return {"text": text}
    return {"content": text} if text else {}


def _chunk(work: RequestState, delta: dict[str, Any], finish: str | None) -> dict[str, Any]:
    inside = {"delta": delta} if work.request.endpoint == "chat" else delta
    choice = {"index": 0, **inside, "logprobs": None, "finish_reason": finish}
    counted = {"usage": None} if work.request.include_usage else {}
    return {**_head(work, streamed=True), "choices": [choice], **counted}


def _head(work: RequestState, *, streamed: bool = False) -> dict[str, Any]:
    chat = work.request.endpoint == "chat"
    kind = ("chat.completion.chunk" if streamed else "chat.completion") if chat else "text_completion"
    return {
        "id": f"{'chatcmpl' if chat else 'cmpl'}-{work.id}",
        "object": kind,
        "created": int(work.created),
        "model": work.request.model,
        "system_fingerprint": None,
    }


def _message(solved: Answer) -> dict[str, Any]:
    said = {"reasoning_content": solved.thinking} if solved.thinking else {}
    if solved.text is None:
        return {"role": "assistant", "content": None, "refusal": _abstained(solved)}
    return {"role": "assistant", "content": solved.text, "refusal": None, **said}


def _abstained(solved: Answer) -> str:
    return f"No answer is sure enough: {solved.stopped}."


EVENTS = "text/event-stream; charset=utf-8"


async def stream(
    work: RequestState, solving: asyncio.Future[Answer], send: Sender, *, every: float, headers: Mapping[str, str]
) -> None:
    """Send the answer of `solving` as events, with a progress event every `every` seconds until then.

    What fails before the first of them is raised, and so has a status of its own; later it is an event, and `ApiError`
    is raised all the same once that is sent.
    """
    told = {"content-type": EVENTS, "cache-control": "no-cache", "x-accel-buffering": "no", **headers}
    while True:
        await asyncio.wait([solving], timeout=every)
        if solving.done():
            break
        if not send.begun:
            await begin(send, 200, told)
        await more(send, _sign(work))
    try:
        solving.result()
    except (ApiError, ComputewiseError) as error:
        refused = api_error_of(error, work.request.problem_field)
        if send.begun:
            await more(send, event(refused.body))
            await more(send, DONE)
            await finish(send)
            raise AlreadySent(refused) from None
        raise refused from None
    if not send.begun:
        await begin(send, 200, told)
    for chunk in chunks_of(work):
        await more(send, chunk)
    await finish(send)


class AlreadySent(Exception):  # noqa: N818 - a signal, no error
    """An error that the client already has, as an event."""

    def __init__(self, refused: ApiError) -> None:
        super().__init__(refused.message)
        self.code = refused.code


def _sign(work: RequestState) -> bytes:
    """A comment, which clients skip, or reasoning text for clients that ask for it."""
    usage = work.usage
    text = f"computewise: {work.status}, {usage.samples} samples, {usage.completion_tokens} tokens sampled"
    if work.request.options.progress == "reasoning" and work.request.endpoint == "chat":
        return thought_of(work, f"{text}\n")
    return f": {text}\n\n".encode()


JSON = "application/json"


class Sender:
    """Records whether a response has begun: a later error can no longer set its status."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.begun = False

    async def __call__(self, message: Message) -> None:
        """See ASGI."""
        self.begun = True
        await self._send(message)


async def send_json(send: Send, held: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> None:
    """Send a whole JSON response."""
    body = encode(held)
    told = {"content-type": JSON, "content-length": str(len(body)), **(headers or {})}
    await begin(send, status, told)
    await send({"type": "http.response.body", "body": body})


async def send_error(send: Send, refused: ApiError, headers: Mapping[str, str] | None = None) -> None:
    """Send an error in OpenAI's form."""
    await send_json(send, refused.body, refused.status, {**(headers or {}), **refused.headers})


async def begin(send: Send, status: int, headers: Mapping[str, str]) -> None:
    """Send status and headers."""
    raw = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": status, "headers": raw})


async def more(send: Send, part: bytes) -> None:
    """Send a part of the body."""
    await send({"type": "http.response.body", "body": part, "more_body": True})


async def finish(send: Send) -> None:
    """End a body that was sent in parts."""
    await send({"type": "http.response.body", "body": b""})
