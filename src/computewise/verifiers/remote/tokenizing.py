"""Token ids as the server's own tokenizer gives them."""

from __future__ import annotations

from typing import Any

from computewise.errors import ModelError, UsageError
from computewise.http.client import HttpClient
from computewise.verifiers.remote.answers import at
from computewise.verifiers.template import Labels


async def label_ids(client: HttpClient, kind: str, model: str, labels: Labels) -> tuple[int, int]:
    """The good and the bad label's id; raises `UsageError` for a label that is not a single token."""
    given = (labels.good, labels.good_id), (labels.bad, labels.bad_id)
    good, bad = [await _single(client, kind, model, text) if id is None else id for text, id in given]
    if good == bad:
        raise UsageError(f"the labels {labels.good!r} and {labels.bad!r} are the same token, {good}")
    return good, bad


async def tokenize(client: HttpClient, kind: str, model: str, text: str) -> list[int]:
    """The ids of a text, no special tokens added."""
    body: dict[str, Any] = {"model": model, "prompt": text, "add_special_tokens": False}
    if kind == "llama":
        body = {"content": text, "add_special": False}
    ids = at(await client.post("/tokenize", body), "tokens")
    if not isinstance(ids, list) or not all(isinstance(id, int) for id in ids):
        raise ModelError("the server's answer to /tokenize holds no list of token ids")
    return ids


async def _single(client: HttpClient, kind: str, model: str, text: str) -> int:
    ids = await tokenize(client, kind, model, text)
    if len(ids) != 1:
        raise UsageError(f"the label {text!r} is {len(ids)} tokens to {model}: a label must be a single token")
    return ids[0]
