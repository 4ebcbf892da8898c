"""Requests that servers refuse for a field: the field is changed or left out, and that is remembered.

Every generation goes through `ask`: the probe's, a model's, a judge's and a label verifier's. What one of them learns
of a model holds for all.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from computewise.errors import ServerError
from computewise.http.accepted import Body
from computewise.http.client import HttpClient
from computewise.http.refusals import ALWAYS, Search, refused


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
