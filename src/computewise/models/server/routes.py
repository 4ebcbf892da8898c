"""The routes to generate text: OpenAI's completions and chat, and the own routes of llama.cpp and Ollama."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

from msgspec import Struct, field

from computewise.http.client import HttpClient
from computewise.models.server.capabilities import LLAMA, OLLAMA, Dialect
from computewise.models.server.protocol import (
    Choice,
    ChoiceMessage,
    Ended,
    Generation,
    Request,
    Response,
    Tokens,
    ended,
    envelope_of,
    read,
    tokens_of,
)


class ChatRoute:
    """The chat route (rungs C and D).

    `echoes` is true for a server whose answer repeats the message it continues, as llama.cpp's does.
    `thinking_budget` limits the tokens of thinking where the dialect has a field for it.
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

    async def generate(self, request: Request) -> Response:
        """See `Route.generate`."""
        choices, counts = envelope_of(await self._client.post("chat/completions", self._body(request)))
        each = counts.each([len((one.message or ChoiceMessage()).content or "") for one in choices])
        found = [self._read(choice, request, count) for choice, count in zip(choices, each, strict=True)]
        return Response(found, counts.prompt_tokens, counts.cached_tokens, counts.completion_tokens)

    def _body(self, request: Request) -> dict[str, Any]:
        dialect = self._dialect
        messages: list[dict[str, Any]] = [one.to_dict() for one in request.messages]
        body: dict[str, Any] = {
            "model": self._model,
            "messages": messages,
            dialect.limit: request.max_tokens,
            "temperature": request.temperature,
            "seed": request.seed,
            **dialect.fixed,
            **dialect.sampling,
            **self._thinking,
            **request.fields,
        }
        if request.n > 1:
            body["n"] = request.n
        if messages[-1]["role"] == "assistant":
            body |= dialect.prefill
            if dialect.marked_prefill:
                messages[-1]["prefix"] = True
        if self._logprobs:
            body |= {"logprobs": True, "top_logprobs": 1}
        if request.stop is not None:
            body |= {"stop": [request.stop], **dialect.keep_stop}
        return body

    def _read(self, choice: Choice, request: Request, count: int | None) -> Generation:
        message = choice.message or ChoiceMessage()
        text, last = message.content or "", request.messages[-1]
        if self._echoes and last.role == "assistant":
            text = text.removeprefix(last.content)
        how = ended(choice, self._dialect, request.stop, text, says=False)
        if how == "stop" and request.stop and not text.endswith(request.stop):
            text += request.stop
        return Generation(text, how, tokens_of(choice), count, message.thinking)


class CompletionsRoute:
    """The completions route (rungs A and B): the server continues the raw prompt, without a chat template.

    `special` makes the server put its special tokens before the prompt; `says` is true for a server that reports which
    stop text ended a choice.
    """

    def __init__(
        self, client: HttpClient, model: str, dialect: Dialect, *, logprobs: bool, special: bool, says: bool
    ) -> None:
        self._client, self._model, self._dialect = client, model, dialect
        self._logprobs, self._special, self._says = logprobs, special, says

    async def generate(self, request: Request) -> Response:
        """See `Route.generate`."""
        choices, counts = envelope_of(await self._client.post("completions", self._body(request)))
        each = counts.each([len(one.text or "") for one in choices])
        found = [self._read(choice, request, count) for choice, count in zip(choices, each, strict=True)]
        return Response(found, counts.prompt_tokens, counts.cached_tokens, counts.completion_tokens)

    def _body(self, request: Request) -> dict[str, Any]:
        dialect = self._dialect
        body: dict[str, Any] = {
            "model": self._model,
            "prompt": request.text if request.ids is None else request.ids,
            "max_tokens": request.max_tokens,
            "temperature": request.temperature,
            "seed": request.seed,
            **dialect.fixed,
            **dialect.sampling,
            **dialect.token_ids,
            **request.fields,
        }
        if request.n > 1:
            body["n"] = request.n
        if dialect.special is not None:
            body[dialect.special] = self._special
        if self._logprobs:
            body["logprobs"] = 1
        if request.stop is not None:
            body |= {"stop": [request.stop], **dialect.keep_stop}
        return body

    def _read(self, choice: Choice, request: Request, count: int | None) -> Generation:
        text = choice.text or ""
        how = ended(choice, self._dialect, request.stop, text, says=self._says)
        if how == "stop" and request.stop and not text.endswith(request.stop):
            text += request.stop
        if choice.token_ids is not None:
            count = len(choice.token_ids)
        return Generation(text, how, tokens_of(choice), count)


class _OllamaCompletion(Struct):
    response: str
    done_reason: str | None = None
    eval_count: int | None = None
    prompt_eval_count: int | None = None


class OllamaRoute:
    """Ollama's own route (rung B): raw prompts, one continuation a request, no report of which stop text fired."""

    def __init__(self, client: HttpClient, model: str) -> None:
        self._client, self._model = client, model

    async def generate(self, request: Request) -> Response:
        """See `Route.generate`."""
        options = {
            "temperature": request.temperature,
            "seed": request.seed,
            "num_predict": request.max_tokens,
            "stop": [] if request.stop is None else [request.stop],
            **OLLAMA.fixed,
            **OLLAMA.sampling,
        }
        body = {"model": self._model, "prompt": request.text, "raw": True, "stream": False, "options": options}
        found = read(await self._client.post("/api/generate", body), _OllamaCompletion, "response of Ollama's")
        how: Ended = "end" if request.stop is None else "unsaid"
        if found.done_reason == "length":
            how = "length"
        generated = Generation(found.response, how, None, found.eval_count)
        return Response([generated], found.prompt_eval_count, None, found.eval_count)


_FIELDS = ["index", "content", "tokens", "stop_type", "tokens_evaluated", "timings/cache_n", "completion_probabilities"]

_ENDED: dict[str, Ended] = {"eos": "end", "word": "stop", "limit": "length"}


class _Seen(Struct):
    token: str
    logprob: float | None
    id: int


class _LlamaCompletion(Struct):
    content: str
    tokens: list[int]
    stop_type: Literal["eos", "word", "limit"]
    index: int = 0
    tokens_evaluated: int | None = None
    cached: int | None = field(name="timings/cache_n", default=None)
    completion_probabilities: list[_Seen] = []


class _Text(Struct):
    content: str


class LlamaRoute:
    """llama-server's own route (rung A); `n` is at most its number of slots."""

    def __init__(self, client: HttpClient, *, logprobs: bool) -> None:
        self._client, self._logprobs = client, logprobs
        self._spelt: dict[tuple[int, ...], str] = {}

    async def generate(self, request: Request) -> Response:
        """See `Route.generate`."""
        body = {
            "prompt": request.text if request.ids is None else request.ids,
            "n_cmpl": request.n,
            "n_predict": request.max_tokens,
            "stop": [] if request.stop is None else [request.stop],
            "temperature": request.temperature,
            "seed": request.seed,
            **LLAMA.fixed,
            **LLAMA.sampling,
            "n_probs": int(self._logprobs),
            "return_tokens": True,
            "cache_prompt": True,
            "response_fields": _FIELDS,
        }
        held = await self._client.post("/completion", body)
        found = read(held if isinstance(held, list) else [held], list[_LlamaCompletion], "completion of llama.cpp's")
        found.sort(key=lambda one: one.index)
        generated = [await self._read(one, request.stop) for one in found]
        first = found[0] if found else _LlamaCompletion("", [], "limit")
        return Response(generated, first.tokens_evaluated, first.cached, sum(one.sampled for one in generated))

    async def _read(self, held: _LlamaCompletion, stop: str | None) -> Generation:
        """The server cuts off the stop text and the log-probabilities of its tokens: these count as 0."""
        how, ids = _ENDED[held.stop_type], tuple(held.tokens)
        text = held.content + (stop or "" if how == "stop" else "")
        seen = held.completion_probabilities[: len(ids)]
        if not seen:
            return Generation(text, how, None, len(ids))
        texts = [one.token for one in seen]
        unseen = ids[len(seen) :]
        rest = text[sum(map(len, texts)) :]
        texts += [rest, *[""] * (len(unseen) - 1)] if unseen else []
        logprobs = [*(one.logprob or 0.0 for one in seen), *[0.0] * len(unseen)]
        tokens = Tokens(tuple(texts), tuple(logprobs), ids)
        if how == "stop" and await self._spelling(unseen) != rest:
            tokens = replace(tokens, ids=None)  # the last token holds more than the end of the stop text
        return Generation(text, how, tokens, len(ids))

    async def _spelling(self, ids: Sequence[int]) -> str:
        """The text of a stop's tokens; stops are few, so each is requested once."""
        key = tuple(ids)
        if key not in self._spelt:
            held = await self._client.post("/detokenize", {"tokens": key})
            self._spelt[key] = read(held, _Text, "text of tokens").content
        return self._spelt[key]
