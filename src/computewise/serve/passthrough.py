"""Pass requests that are not searched to the upstream, and its answers back, byte for byte."""

from __future__ import annotations

from codecs import BOM_UTF8
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import msgspec
from starlette.types import Scope, Send

from computewise.http.client import HttpClient
from computewise.serve.backends import Upstream
from computewise.serve.responses import encode, finish, more
from computewise.serve.schemas import ChatRequest, more_than_one

_CEILINGS = ("max_tokens", "max_completion_tokens", "n_predict", "num_predict", "max_new_tokens")
PATHS = {"chat": "chat/completions", "completions": "completions"}
_FORWARDED = (b"accept", b"accept-encoding")
"""The client's headers that are forwarded, as they decide the answer; its key is for this server alone."""
_OF_A_CONNECTION = frozenset(
    [
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "set-cookie",
        "date",
        "server",
    ]
)

_OF_A_BODY = frozenset({"content-length", "content-encoding"})


async def pass_through(
    asked: ChatRequest, upstream: Upstream, scope: Scope, send: Send, headers: Mapping[str, str]
) -> int:
    """Pass one request through; return the upstream's status. Raises `ServerError` if it does not answer.

    An error is forwarded whole, but without the upstream's key, which some servers repeat in their message.
    """
    told = {name.decode(): value.decode() for name, value in scope["headers"] if name in _FORWARDED and value.isascii()}
    client: HttpClient = upstream.client
    async with client.forward(PATHS[asked.endpoint], body_for(asked, upstream.model), told) as response:
        failed = response.status_code >= HTTPStatus.BAD_REQUEST
        named = {name.strip() for name in response.headers.get("connection", "").lower().split(",")}
        left_out = _OF_A_CONNECTION | named | (_OF_A_BODY if failed else set())
        kept = [(n.lower(), v) for n, v in response.headers.raw if n.lower().decode("latin-1") not in left_out]
        own = [(name.encode(), value.encode()) for name, value in headers.items()]
        taken = dict(own)
        kept = [(b"x-upstream-" + name.removeprefix(b"x-") if name in taken else name, value) for name, value in kept]
        await send({"type": "http.response.start", "status": response.status_code, "headers": [*kept, *own]})
        if failed:
            await more(send, client.redact(await response.aread()))
        else:
            async for part in client.raw(response):
                await more(send, part)
        await finish(send)
        return response.status_code


def body_for(asked: ChatRequest, model: str) -> bytes:
    """The client's body with the upstream's model name, without `computewise`, and with its bound on tokens.

    Every other value keeps its bytes.
    """
    if asked.model == model and "computewise" not in asked.body:
        return asked.raw
    body = _VALUES.decode(asked.raw.removeprefix(BOM_UTF8))
    changed: dict[str, Any] = {"model": model}
    if (most := asked.options.max_total_tokens) is not None:
        each = max(1, most // _answers(asked.body))
        named = [name for name in _CEILINGS if asked.body.get(name) is not None] or [_CEILINGS[0]]
        changed |= {name: _at_most(each, asked.body.get(name)) for name in named}
    return encode({name: value for name, value in (body | changed).items() if name != "computewise"})


_VALUES = msgspec.json.Decoder(dict[str, msgspec.Raw])


def _answers(body: Mapping[str, Any]) -> int:
    """How many texts the upstream samples for a body."""
    prompts = body.get("prompt")
    several = len(prompts) if isinstance(prompts, list) and not all(isinstance(one, int) for one in prompts) else 1
    each = max(int(value) if more_than_one(value) else 1 for value in (body.get("n"), body.get("best_of")))
    return each * several


def _at_most(each: int, given: Any) -> Any:
    """The lower bound of the two; a client's that is none, such as -1, gives way."""
    return given if isinstance(given, int | float) and 0 <= given < each else each
