"""Reads the answers of servers: fields by path, usage, token ids."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from computewise.core import Usage
from computewise.errors import ModelError, UsageError
from computewise.http.client import HttpClient
from computewise.http.servers import get_or_none, kind_of, tokenize
from computewise.models.server.choices import ROUNDING
from computewise.models.server.counts import finite, least_tokens, read_counts, whole_number
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

NEVER = -9999.0

"""A log-probability of this or less is a server's placeholder for a token that is very unlikely."""


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
    """The value as a number, which is finite; raises `ModelError` for anything else."""
    if (found := finite(value)) is None:
        raise ModelError(f"the server's answer holds {str(value)[:60]!r} as {what}: it must be a number")
    return found


def log_probability(value: Any) -> float | None:
    """A log-probability, -inf where the token has no probability; None for a value that cannot be one.

    That is null, NaN, anything that is no number, or a number above 0 by more than rounding.
    """
    if isinstance(value, float) and value == -math.inf:
        return value
    found = finite(value)
    if found is None or found > ROUNDING:
        return None
    return -math.inf if found <= NEVER else min(found, 0.0)


def rows(answer: Any, name: str, count: int, key: str) -> list[Any]:
    """The field `key` of each of the `count` entries of the list `name`, sorted by index."""
    held = at(answer, name)
    if not isinstance(held, list) or len(held) != count:
        found = len(held) if isinstance(held, list) else type(held).__name__
        raise ModelError(f"the server answered {found} entries of {name} for {count} inputs")
    values = [at(entry, key) for entry in held]
    given = [entry.get("index") for entry in held]
    if all(index is None for index in given):
        return values
    places = [whole_number(index) for index in given]
    if {*places} != {*range(count)}:
        raise ModelError(f"the server numbered {count} entries of {name} as {sorted(map(str, given))}")
    return [value for _, value in sorted(zip(places, values, strict=True), key=lambda pair: pair[0] or 0)]


def read_usage(answer: Any, texts: Sequence[str], *, written: str | None = None) -> Usage:
    """The tokens that the server read of `texts`, and how many of them were cached, and those of what it wrote.

    A count that is not reported, or cannot be right, is estimated from the text. Cached tokens are 0 where they are not
    reported: vLLM reports them with --enable-prompt-tokens-details, SGLang with --enable-cache-report.
    """
    counts = read_counts(answer.get("usage") if isinstance(answer, dict) else None)
    read, wrote = counts.prompt_tokens, 0
    if read is None or read < sum(map(least_tokens, texts)):
        read = sum(map(estimate, texts))
    if written is not None:
        wrote = counts.completion_tokens or 0
        wrote = wrote if wrote >= least_tokens(written) else estimate(written)
    return Usage(verifier_tokens=read + wrote, cached_verifier_tokens=min(counts.cached_tokens or 0, read))


def estimate(text: str) -> int:
    """An estimate of the number of tokens of a text."""
    return -(-len(text.encode(errors="replace")) // BYTES_A_TOKEN)
