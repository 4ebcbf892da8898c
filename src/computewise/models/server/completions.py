"""`/v1/completions`: a raw prompt, as text or as token ids, on any server that has it."""

from __future__ import annotations

from typing import Any

from computewise.http.client import HttpClient
from computewise.models.server.dialects import Dialect
from computewise.models.server.generation import Answered, Asked, Generated
from computewise.models.server.parsing import Choice, ended, envelope_of, tokens_of


class CompletionsRoute:
    """Rungs A and B: the prompt is extended as it is, no template touches it.

    `special` has the server put its special tokens before it; `says` tells that it says which stop fired.
    """

    def __init__(
        self, client: HttpClient, model: str, dialect: Dialect, *, logprobs: bool, special: bool, says: bool
    ) -> None:
        self._client, self._model, self._dialect = client, model, dialect
        self._logprobs, self._special, self._says = logprobs, special, says

    async def generate(self, asked: Asked) -> Answered:
        """See `Route.generate`."""
        choices, counts = envelope_of(await self._client.post("completions", self._body(asked)))
        each = counts.each([len(one.text or "") for one in choices])
        found = [self._read(choice, asked, count) for choice, count in zip(choices, each, strict=True)]
        return Answered(found, counts.prompt_tokens, counts.cached_tokens, counts.completion_tokens)

    def _body(self, asked: Asked) -> dict[str, Any]:
        dialect = self._dialect
        body: dict[str, Any] = {
            "model": self._model,
            "prompt": asked.text if asked.ids is None else asked.ids,
            "max_tokens": asked.max_tokens,
            "temperature": asked.temperature,
            "seed": asked.seed,
            **dialect.fixed,
            **dialect.sampling,
            **dialect.token_ids,
            **asked.fields,
        }
        if asked.n > 1:
            body["n"] = asked.n
        if dialect.special is not None:
            body[dialect.special] = self._special
        if self._logprobs:
            body["logprobs"] = 1
        if asked.stop is not None:
            body |= {"stop": [asked.stop], **dialect.keep_stop}
        return body

    def _read(self, choice: Choice, asked: Asked, count: int | None) -> Generated:
        text = choice.text or ""
        how = ended(choice, self._dialect, asked.stop, text, says=self._says)
        if how == "stop" and asked.stop and not text.endswith(asked.stop):
            text += asked.stop
        if choice.token_ids is not None:
            count = len(choice.token_ids)
        return Generated(text, how, tokens_of(choice), count)
