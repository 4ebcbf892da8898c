"""`/v1/chat/completions`: whole solutions everywhere; steps where a server goes on from an assistant's message."""

from __future__ import annotations

from typing import Any

from computewise.http.client import HttpClient
from computewise.models.server.dialects import Dialect
from computewise.models.server.generation import Answered, Asked, Generated
from computewise.models.server.parsing import Choice, ChoiceMessage, ended, envelope_of, tokens_of


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
        choices, counts = envelope_of(await self._client.post("chat/completions", self._body(asked)))
        each = counts.each([len((one.message or ChoiceMessage()).content or "") for one in choices])
        found = [self._read(choice, asked, count) for choice, count in zip(choices, each, strict=True)]
        return Answered(found, counts.prompt_tokens, counts.cached_tokens, counts.completion_tokens)

    def _body(self, asked: Asked) -> dict[str, Any]:
        dialect = self._dialect
        messages: list[dict[str, Any]] = [{"role": one.role, "content": one.content} for one in asked.messages]
        body: dict[str, Any] = {
            "model": self._model,
            "messages": messages,
            dialect.limit: asked.max_tokens,
            "temperature": asked.temperature,
            "seed": asked.seed,
            **dialect.fixed,
            **dialect.sampling,
            **self._thinking,
            **asked.fields,
        }
        if asked.n > 1:
            body["n"] = asked.n
        if messages[-1]["role"] == "assistant":
            body |= dialect.prefill
            if dialect.marked_prefill:
                messages[-1]["prefix"] = True
        if self._logprobs:
            body |= {"logprobs": True, "top_logprobs": 1}
        if asked.stop is not None:
            body |= {"stop": [asked.stop], **dialect.keep_stop}
        return body

    def _read(self, choice: Choice, asked: Asked, count: int | None) -> Generated:
        message = choice.message or ChoiceMessage()
        text, last = message.content or "", asked.messages[-1]
        if self._echoes and last.role == "assistant":
            text = text.removeprefix(last.content)
        how = ended(choice, self._dialect, asked.stop, text, says=False)
        if how == "stop" and asked.stop and not text.endswith(asked.stop):
            text += asked.stop
        return Generated(text, how, tokens_of(choice), count, message.thinking)
