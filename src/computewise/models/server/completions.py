"""`/v1/completions`: a raw prompt, as text or as token ids, on any server that has it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from computewise.http.client import HttpClient
from computewise.models.server.dialects import Dialect
from computewise.models.server.generation import Answered, Asked, Generated
from computewise.models.server.parsing import choices_of, counts_of, ended, tokens_of


class CompletionsRoute:
    """Rungs A and B: the prompt is extended as it is, no template touches it."""

    def __init__(self, client: HttpClient, model: str, dialect: Dialect, *, logprobs: bool, special: bool) -> None:
        self._client, self._model, self._dialect = client, model, dialect
        self._logprobs, self._special = logprobs, special

    async def generate(self, asked: Asked) -> Answered:
        """See `Route.generate`."""
        held = await self._client.post("completions", self._body(asked))
        choices = choices_of(held)
        prompt, cached, completion = counts_of(held)
        alone = completion if len(choices) == 1 else None
        return Answered([self._read(choice, asked, alone) for choice in choices], prompt, cached, completion)

    def _body(self, asked: Asked) -> dict[str, Any]:
        dialect = self._dialect
        body: dict[str, Any] = {
            "model": self._model,
            "prompt": asked.text if asked.ids is None else list(asked.ids),
            "n": asked.n,
            "max_tokens": asked.max_tokens,
            "temperature": asked.temperature,
            "top_p": 1.0,
            "seed": asked.seed,
            **dialect.fixed,
            **dialect.sampling,
            **dialect.token_ids,
        }
        if dialect.special is not None:
            body[dialect.special] = self._special
        if self._logprobs:
            body["logprobs"] = 1
        if asked.stop is not None:
            body |= {"stop": [asked.stop], **dialect.keep_stop}
        return body

    def _read(self, choice: Mapping[str, Any], asked: Asked, count: int | None) -> Generated:
        text = str(choice.get("text") or "")
        how = ended(choice, self._dialect, asked.stop, text)
        if how == "stop" and asked.stop and not text.endswith(asked.stop):
            text += asked.stop
        tokens, ids = tokens_of(choice), choice.get("token_ids")
        if tokens is None and isinstance(ids, list):
            count = len(ids)
        return Generated(text, how, tokens, count)
