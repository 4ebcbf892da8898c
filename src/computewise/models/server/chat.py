"""`/v1/chat/completions`: whole solutions everywhere; steps where a server goes on from an assistant's message."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from computewise.http.client import HttpClient
from computewise.models.server.dialects import Dialect
from computewise.models.server.generation import Answered, Asked, Generated
from computewise.models.server.parsing import choices_of, counts_of, ended, tokens_of


class ChatRoute:
    """Rungs C and D. `echoes` says that a server's answer begins with the message it goes on from (llama.cpp's does).

    `thinking_budget` bounds the tokens of thinking where the dialect has a field for it.
    """

    def __init__(
        self,
        client: HttpClient,
        model: str,
        dialect: Dialect,
        *,
        logprobs: bool,
        echoes: bool = False,
        thinking_budget: int | None = None,
    ) -> None:
        self._client, self._model, self._dialect = client, model, dialect
        self._logprobs, self._echoes = logprobs, echoes
        self._thinking = {} if thinking_budget is None else {str(dialect.thinking_budget): thinking_budget}

    async def generate(self, asked: Asked) -> Answered:
        """See `Route.generate`."""
        held = await self._client.post("chat/completions", self._body(asked))
        choices = choices_of(held)
        prompt, cached, completion = counts_of(held)
        alone = completion if len(choices) == 1 else None
        return Answered([self._read(choice, asked, alone) for choice in choices], prompt, cached, completion)

    def _body(self, asked: Asked) -> dict[str, Any]:
        dialect = self._dialect
        messages: list[dict[str, Any]] = [{"role": one.role, "content": one.content} for one in asked.messages]
        body: dict[str, Any] = {
            "model": self._model,
            "messages": messages,
            "n": asked.n,
            "max_tokens": asked.max_tokens,
            "temperature": asked.temperature,
            "top_p": 1.0,
            "seed": asked.seed,
            **dialect.fixed,
            **dialect.sampling,
            **self._thinking,
        }
        if messages[-1]["role"] == "assistant":
            body |= dialect.prefill
            if dialect.marked_prefill:
                messages[-1]["prefix"] = True
        if self._logprobs:
            body |= {"logprobs": True, "top_logprobs": 1}
        if asked.stop is not None:
            body |= {"stop": [asked.stop], **dialect.keep_stop}
        return body

    def _read(self, choice: Mapping[str, Any], asked: Asked, count: int | None) -> Generated:
        message = choice.get("message") or {}
        text = str(message.get("content") or "")
        last = asked.messages[-1]
        if self._echoes and last.role == "assistant":
            text = text.removeprefix(last.content)
        how = ended(choice, self._dialect, asked.stop, text)
        if how == "stop" and asked.stop and not text.endswith(asked.stop):
            text += asked.stop
        thinking = str(message.get("reasoning") or message.get("reasoning_content") or "")
        tokens = tokens_of(choice)
        return Generated(text, how, tokens, count, thinking)
