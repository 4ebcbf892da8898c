"""Requests that are not searched: to the upstream and back, byte for byte."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.types import Scope, Send

from computewise.http.client import HttpClient
from computewise.serve.backend import Upstream
from computewise.serve.envelope import encode
from computewise.serve.reading import Asked
from computewise.serve.sending import begin, finish, more

_CEILINGS = ("max_tokens", "max_completion_tokens")
PATHS = {"chat": "chat/completions", "completions": "completions"}
_FORWARDED = (b"accept", b"accept-encoding")
"""Headers of the client's that decide what comes back; its key is for this server, and goes no further."""
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


async def pass_through(asked: Asked, upstream: Upstream, scope: Scope, send: Send, headers: Mapping[str, str]) -> int:
    """The upstream's status. Raises `ServerError` where it does not answer."""
    told = {name.decode(): value.decode("latin-1") for name, value in scope["headers"] if name in _FORWARDED}
    client: HttpClient = upstream.client
    async with client.passed_on(PATHS[asked.endpoint], body_for(asked, upstream.model), told) as response:
        named = {name.strip() for name in response.headers.get("connection", "").lower().split(",")}
        own = _OF_A_CONNECTION | named
        kept = {name: value for name, value in response.headers.items() if name not in own}
        await begin(send, response.status_code, {**kept, **headers})
        async for part in client.raw(response):
            await more(send, part)
        await finish(send)
        return response.status_code


def body_for(asked: Asked, model: str) -> bytes:
    """As it came, but for the model's name and what was said to this server alone, whose ceiling is kept."""
    if asked.model == model and "computewise" not in asked.body:
        return asked.raw
    body = {name: value for name, value in asked.body.items() if name != "computewise"} | {"model": model}
    if (most := asked.wishes.max_total_tokens) is not None:
        each = max(1, most // (body.get("n") or 1))
        named = [name for name in _CEILINGS if body.get(name) is not None] or [_CEILINGS[0]]
        body |= {name: min(each, body.get(name) or each) for name in named}
    return encode(body)
