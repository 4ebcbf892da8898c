"""Which kind of server answers at a URL, its tokenizer routes, and requests of which it refuses a field.

Every generation goes through `ask`: the probe's, a model's, a judge's and a label verifier's. A field for which a
server refuses a request is changed or left out. What one of them learns of a model holds for all.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from computewise.errors import ModelError, ServerError
from computewise.http.accepted import Body
from computewise.http.client import HttpClient
from computewise.http.concurrency import Retry
from computewise.http.refusals import ALWAYS, Search, refused

IMPATIENT = Retry(tries=2, seconds=5.0)
"""The retries of the first requests: a mistyped port should fail in seconds."""
FIRST_ANSWER = 10.0
"""Seconds that a server has for its list of models."""
_OWNERS = {"vllm": "vllm", "sglang": "sglang", "llamacpp": "llama", "library": "ollama"}
_ROUTES = (
    ("vllm", "/version", "version"),
    ("sglang", "/get_model_info", "model_path"),
    ("llama", "/props", "default_generation_settings"),
    ("ollama", "/api/version", "version"),
)
MOST_ID = (1 << 31) - 1

"""Ids are kept as numbers of 32 bits."""

_REFUSALS = (400, 403, 404, 405, 415, 422, 500, 501)


async def get_or_none(client: HttpClient, path: str, body: Mapping[str, Any] | None = None) -> Any:
    """The answer; None where the server answers that it does not support such a request."""
    try:
        return await (client.get(path) if body is None else client.post(path, body))
    except ServerError as error:
        if error.status in _REFUSALS or error.status == 200:
            return None
        raise


async def check_awake(base_url: str, api_key: str | None) -> None:
    """Raise `ServerError` within seconds where no server answers at the address, as where its port was mistyped."""
    async with HttpClient(base_url, api_key=api_key, retry=IMPATIENT, timeout=FIRST_ANSWER) as client:
        await said(client, "models")


async def kind_of(client: HttpClient, entry: Mapping[str, Any]) -> str:
    """The kind of server: "vllm", "sglang", "llama", "ollama", or "openai" for any other.

    It is read from `entry`, one entry of the server's list of models, else from a route that only one kind has.
    """
    if (known := _OWNERS.get(str(entry.get("owned_by")))) is not None:
        return known
    for kind, route, field in _ROUTES:
        held = await said(client, route)
        if isinstance(held, dict) and field in held:
            return kind
    return "openai"


async def said(client: HttpClient, path: str) -> Any:
    """The answer of a route that a server need not have; None for a refusal of any kind."""
    try:
        return await client.get(path)
    except ServerError as error:
        if error.status is None:
            raise
        return None


async def tokenize(client: HttpClient, kind: str, model: str, text: str, *, special: bool) -> tuple[int, ...]:
    """The token ids of a text; `special` includes the special tokens that the server puts before a prompt."""
    if not text and not special:
        return ()
    body: dict[str, Any] = {"model": model, "prompt": text, "add_special_tokens": special}
    if kind == "llama":
        body = {"content": text, "add_special": special, "parse_special": True}
    return ids_of(await client.post("/tokenize", body))


def ids_of(held: Any) -> tuple[int, ...]:
    """The token ids in an answer of `/tokenize`, at least one."""
    ids = token_ids(held.get("tokens") if isinstance(held, dict) else None)
    if not ids:
        raise ModelError(f"/tokenize answered no token ids: {' '.join(str(held).split())[:200]}")
    return ids


def token_ids(held: Any) -> tuple[int, ...] | None:
    """Token ids in JSON; None for anything but a list of numbers that can be ids."""
    if not isinstance(held, list) or not all(type(id) is int and 0 <= id <= MOST_ID for id in held):
        return None
    return tuple(held)


async def ask(
    client: HttpClient,
    path: str,
    body: Body,
    *,
    fixed: Collection[str] = (),
    keep: Collection[str] = (),
    finding: bool = False,
) -> Any:
    """The answer to the request, or to the one nearest to it that the server accepts; it is remembered how they differ.

    Fields in `fixed` are sent as they are, those in `keep` are not left out. `finding` is for short requests that find
    out about a server: all that differs is found by further ones, of which each may be answered. Raises the
    `ServerError` of the last request where none is accepted.
    """
    held = client.accepted(str(body.get("model")), path)
    while True:
        known = held.adaptation
        sent = known.apply(body, fixed)
        try:
            answer = await client.post(path, sent)
        except ServerError as error:
            if not refused(error, finding=finding):
                raise
            refusal = error
        else:
            held.answered(sent)
            return answer
        async with held.lock:
            if held.adaptation == known:  # otherwise another request has learned meanwhile what is accepted
                return await Search(client, path, body, held, {*fixed}, {*keep, *ALWAYS}, finding, refusal).run()


async def ask_or_none(client: HttpClient, path: str, body: Body) -> Any:
    """The answer, without a search for another request; None where the server refuses this one."""
    held = client.accepted(str(body.get("model")), path)
    try:
        return await client.post(path, held.adaptation.apply(body))
    except ServerError as error:
        if refused(error, finding=True) or error.status == 200:
            return None
        raise
