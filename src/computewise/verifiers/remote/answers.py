"""Reads the answers of servers: fields by path, usage, token ids."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from computewise.core import Usage
from computewise.errors import ModelError, UsageError
from computewise.http.client import HttpClient
from computewise.http.servers import get_or_none, kind_of, tokenize
from computewise.verifiers.templates import Labels


async def label_ids(client: HttpClient, kind: str, model: str, labels: Labels) -> tuple[int, int]:
    """The good and the bad label's id; raises `UsageError` for a label that is not a single token."""
    given = (labels.good, labels.good_id), (labels.bad, labels.bad_id)
    good, bad = [await _single(client, kind, model, text) if id is None else id for text, id in given]
    if good == bad:
        raise UsageError(f"the labels {labels.good!r} and {labels.bad!r} are the same token, {good}")
    return good, bad


async def _single(client: HttpClient, kind: str, model: str, text: str) -> int:
    ids = await tokenize(client, kind, model, text, special=False)
    if len(ids) != 1:
        raise UsageError(f"the label {text!r} is {len(ids)} tokens to {model}: a label must be a single token")
    return ids[0]


async def server_kind(client: HttpClient) -> str:
    """The kind of server: "vllm", "sglang", "llama", or "openai" for any other; `ServerError` if none answers."""
    listed = await get_or_none(client, "models")
    models = listed.get("data") if isinstance(listed, dict) else None
    first = models[0] if isinstance(models, list) and models else None
    kind = await kind_of(client, first if isinstance(first, dict) else {})
    return "openai" if kind == "ollama" else kind


BYTES_A_TOKEN = 4

"""The estimate where a server does not report how many tokens it read."""


def at(answer: Any, *path: str | int) -> Any:
    """The value at a path of names and indices; raises `ModelError` where there is none."""
    held = answer
    for place in path:
        known = isinstance(held, dict) if isinstance(place, str) else isinstance(held, list)
        if not known or (place not in held if isinstance(place, str) else len(held) <= place):
            raise ModelError(f"the server's answer has no {'.'.join(map(str, path))}")
        held = held[place]
    return held


def number(value: Any, what: str) -> float:
    """The value as a number; NaN and infinities are returned, since the caller checks the range."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ModelError(f"the server's answer holds {str(value)[:60]!r} as {what}: it must be a number")
    return float(value)


def rows(answer: Any, name: str, count: int, key: str) -> list[Any]:
    """The field `key` of each of the `count` entries of the list `name`, sorted by index."""
    held = at(answer, name)
    if not isinstance(held, list) or len(held) != count:
        found = len(held) if isinstance(held, list) else type(held).__name__
        raise ModelError(f"the server answered {found} entries of {name} for {count} inputs")
    placed = {at(entry, "index") if "index" in entry else place: at(entry, key) for place, entry in enumerate(held)}
    if set(placed) != set(range(count)):
        raise ModelError(f"the server numbered {count} entries of {name} as {sorted(map(str, placed))}")
    return [placed[place] for place in range(count)]


def read_usage(answer: Any, texts: Sequence[str], *, written: bool = False) -> Usage:
    """The tokens that the server read, and how many of them were cached; estimated from `texts` where not reported.

    `written` adds the tokens that it wrote. Cached tokens are 0 where they are not reported: vLLM reports them with
    --enable-prompt-tokens-details, SGLang with --enable-cache-report.
    """
    said = answer.get("usage") if isinstance(answer, dict) else None
    said = said if isinstance(said, dict) else {}
    read = _count(said.get("prompt_tokens"))
    if read is None:
        read = sum(estimate(text) for text in texts)
    details = said.get("prompt_tokens_details")
    cached = _count(details.get("cached_tokens")) if isinstance(details, dict) else None
    wrote = (_count(said.get("completion_tokens")) or 0) if written else 0
    return Usage(verifier_tokens=read + wrote, cached_verifier_tokens=min(cached or 0, read))


def estimate(text: str) -> int:
    """An estimate of the number of tokens of a text."""
    return -(-len(text.encode()) // BYTES_A_TOKEN)


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None
