"""The labels' ids, as the server's own tokenizer gives them."""

from __future__ import annotations

from computewise.errors import UsageError
from computewise.http.client import HttpClient
from computewise.http.servers import tokenize
from computewise.verifiers.template import Labels


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
