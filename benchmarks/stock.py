"""The answers of the fake upstream: a few texts, whole or as events, with true counts; a word is one token."""

from __future__ import annotations

import random
from typing import Any

import msgspec

MODEL = "fake"
NUMBERS = (17, 17, 17, 17, 19, 19, 71, 107)
TEXTS = [
    "We take the numbers as they stand and add them one after another, keeping what is carried; this is way @. "
    f"The first two make {way + 3}, and with the third it is {number - 2}. Two are left, and they are added last. "
    f"So the answer is \\boxed{{{number}}}."
    for way, number in enumerate(NUMBERS)
]
"""All answers are different texts: a number takes the place of the @."""
PIECES = 4
"""Number of parts of a stream, spread evenly over the delay."""
_encode = msgspec.json.Encoder().encode


class Body(msgspec.Struct):
    """The fields of a request that are read."""

    messages: list[dict[str, Any]] = []
    prompt: str | list[Any] = ""
    n: int | None = 1
    stream: bool | None = False
    stream_options: dict[str, Any] | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    stop: str | list[str] | None = None
    temperature: float | None = None


_COMMON = [(_encode(text), len(text.split())) for text in TEXTS]


def choice(body: Body, chance: random.Random) -> tuple[bytes, int, bytes]:
    """A text as JSON, its tokens, and why it ended."""
    which, way = (0, 0) if body.temperature == 0 else (chance.randrange(len(TEXTS)), chance.getrandbits(30))
    most = body.max_completion_tokens or body.max_tokens
    if body.stop is None and (most is None or most >= _COMMON[which][1]):
        text, tokens = _COMMON[which]
        return text.replace(b"@", b"%d" % way), tokens, b"stop"
    said, ended = TEXTS[which].replace("@", str(way)), b"stop"
    for stop in [body.stop] if isinstance(body.stop, str) else body.stop or ():
        said = said.partition(stop)[0]
    words = said.split()
    if most is not None and len(words) > most:
        words, ended = words[:most], b"length"
        said = " ".join(words)
    return _encode(said), len(words), ended


def read(body: Body) -> int:
    """Tokens of the prompt."""
    if body.messages:
        return sum(len(str(message.get("content", "")).split()) for message in body.messages)
    return len(body.prompt.split()) if isinstance(body.prompt, str) else len(body.prompt)


def usage(prompt: int, completion: int) -> bytes:
    """OpenAI's usage counts."""
    counts = b'{"prompt_tokens":%d,"completion_tokens":%d,"total_tokens":%d}'
    return counts % (prompt, completion, prompt + completion)


def answer(body: Body, count: int, number: int, chat: bool, chance: random.Random) -> bytes:
    """The whole answer with `count` choices."""
    shape = b'{"index":%d,"text":%b,"logprobs":null,"finish_reason":"%b"}'
    if chat:
        shape = b'{"index":%d,"message":{"role":"assistant","content":%b},"logprobs":null,"finish_reason":"%b"}'
    choices, completion = [], 0
    for index in range(count):
        text, tokens, ended = choice(body, chance)
        choices.append(shape % (index, text, ended))
        completion += tokens
    return b'{"id":"%b-%d","object":"%b","created":1700000000,"model":"fake","choices":[%b],"usage":%b}' % (
        b"chatcmpl" if chat else b"cmpl",
        number,
        b"chat.completion" if chat else b"text_completion",
        b",".join(choices),
        usage(read(body), completion),
    )


def events(body: Body, count: int, number: int, chat: bool, chance: random.Random) -> list[bytes]:
    """The same answer as server-sent events, in `PIECES` parts."""
    head = {"id": f"{'chatcmpl' if chat else 'cmpl'}-{number}", "created": 1700000000, "model": MODEL}
    head["object"] = "chat.completion.chunk" if chat else "text_completion"

    def event(choices: list[dict[str, Any]], **more: Any) -> bytes:
        return b"data: " + _encode({**head, "choices": choices, **more}) + b"\n\n"

    def part(index: int, text: str | None, ended: str | None) -> dict[str, Any]:
        said: dict[str, Any] = {"text": text or ""}
        if chat:
            said = {"delta": {} if text is None else {"role": "assistant", "content": text}}
        return {"index": index, **said, "finish_reason": ended}

    parts, completion = [b""] * PIECES, 0
    for index in range(count):
        held, tokens, ended = choice(body, chance)
        text = msgspec.json.decode(held, type=str)
        cuts = [len(text) * piece // PIECES for piece in range(PIECES + 1)]
        for piece in range(PIECES):
            parts[piece] += event([part(index, text[cuts[piece] : cuts[piece + 1]], None)])
        parts[-1] += event([part(index, None, ended.decode())])
        completion += tokens
    if (body.stream_options or {}).get("include_usage"):
        prompt = read(body)
        counts = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
        parts[-1] += event([], usage=counts)
    parts[-1] += b"data: [DONE]\n\n"
    return parts


def refusal(message: str, kind: str) -> bytes:
    """OpenAI's envelope of an error."""
    return _encode({"error": {"message": message, "type": kind, "param": None, "code": None}})
