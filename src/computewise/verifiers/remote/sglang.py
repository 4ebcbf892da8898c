"""SGLang: `/v1/score`."""

from __future__ import annotations

from collections.abc import Sequence

from computewise.core import Usage
from computewise.errors import ModelError
from computewise.http.client import HttpClient
from computewise.verifiers.remote.answers import at, number, read_usage


class SglangScore:
    """Many prompts a request, joined to an empty query as text.

    `score_extraction_token`, which would read a whole solution at once, is not used: it needs a server without its
    prefix cache.
    """

    def __init__(self, client: HttpClient, model: str, ids: tuple[int, int]) -> None:
        self._client = client
        self._model = model
        self._ids = ids

    async def good(self, prompts: Sequence[str]) -> tuple[list[float], Usage]:
        """See `computewise.verifiers.remote.labels.LabelServer.good`."""
        body = {
            "model": self._model,
            "query": "",
            "items": list(prompts),
            "label_token_ids": list(self._ids),
            "apply_softmax": True,
            "item_first": False,
        }
        answer = await self._client.post("score", body)
        scores = at(answer, "scores")
        if not isinstance(scores, list) or len(scores) != len(prompts):
            found = len(scores) if isinstance(scores, list) else type(scores).__name__
            raise ModelError(f"the server answered {found} scores for {len(prompts)} prompts")
        return [number(at(answer, "scores", place, 0), "a score") for place in range(len(prompts))], read_usage(
            answer, prompts
        )
