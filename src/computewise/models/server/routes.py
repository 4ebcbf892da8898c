"""The routes to generate text: OpenAI's completions and chat, and the own routes of llama.cpp and Ollama."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from computewise.errors import ModelError
from computewise.http.client import HttpClient
from computewise.http.servers import ask, token_ids
from computewise.models.server.capabilities import (
    CHAT,
    COMPLETIONS,
    LLAMA,
    OLLAMA,
    THINKING_OFF,
    Dialect,
    Ended,
    Generation,
    Request,
    Response,
    Tokens,
)
from computewise.models.server.choices import (
    UNLIKELY,
    cut_off,
    envelope_of,
    excerpt,
    known_logprob,
    read_choices,
)
from computewise.models.server.counts import Counts, Sampled, count_tokens, whole_number


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
        keep = {*self._thinking, *THINKING_OFF, *self._dialect.prefill}
        held = await ask(self._client, CHAT, self._body(request), fixed=request.fields, keep=keep)
        choices, counts = envelope_of(held)
        texts, last = [one.written or "" for one in choices], request.messages[-1]
        if self._echoes and last.role == "assistant":
            texts = [text.removeprefix(last.content) for text in texts]
        found = read_choices(choices, counts, self._dialect, request, texts, says=False)
        return Response(found, counts.prompt_tokens, counts.cached_tokens, counts.completion_tokens)

    def _body(self, request: Request) -> dict[str, Any]:
        dialect = self._dialect
        messages: list[dict[str, Any]] = [one.to_dict() for one in request.messages]
        body: dict[str, Any] = {
            "model": self._model,
            "messages": messages,
            "max_tokens": request.max_tokens,
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
        held = await ask(self._client, COMPLETIONS, self._body(request), fixed=request.fields)
        choices, counts = envelope_of(held)
        texts = [one.written or "" for one in choices]
        found = read_choices(choices, counts, self._dialect, request, texts, says=self._says)
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
        held = await self._client.post("/api/generate", body)
        text = held.get("response") if isinstance(held, dict) else None
        if not isinstance(text, str):
            raise ModelError(f"Ollama's answer has no response with a text: {excerpt(held)}")
        thought = held["thinking"] if isinstance(held.get("thinking"), str) else ""
        counts = Counts(whole_number(held.get("prompt_eval_count"), 1), whole_number(held.get("eval_count"), 1))
        (count,), note = count_tokens([Sampled(text + thought)], counts, request.max_tokens)
        is_cut, why = cut_off(_word(held.get("done_reason")), count, request.max_tokens, exact=note is None)
        how: Ended = "end" if request.stop is None else "unsaid"
        notes = tuple(one for one in (note, why) if one)
        generated = Generation(text, "length" if is_cut else how, None, count, thought, notes)
        return Response([generated], counts.prompt_tokens, None, counts.completion_tokens)


_FIELDS = ["index", "content", "tokens", "stop_type", "tokens_evaluated", "timings/cache_n", "completion_probabilities"]

_STOPPED = "word"

"""How llama.cpp says that a stop text ended a completion."""


class LlamaRoute:
    """llama-server's own route (rung A); `n` is at most its number of slots."""

    def __init__(self, client: HttpClient, *, logprobs: bool) -> None:
        self._client, self._logprobs = client, logprobs
        self._spelt: dict[tuple[int, ...], str | None] = {}

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
        listed = held if isinstance(held, list) else [held]
        listed = [one for one in listed if isinstance(one, dict) and isinstance(one.get("content"), str)]
        if not listed:
            raise ModelError(f"llama.cpp's answer has no content with a text: {excerpt(held)}")
        listed.sort(key=lambda one: whole_number(one.get("index")) or 0)
        generated = [await self._read(one, request) for one in listed]
        prompt = next((n for one in listed if (n := whole_number(one.get("tokens_evaluated"), 1)) is not None), None)
        cached = whole_number(listed[0].get("timings/cache_n"))
        return Response(generated, prompt, cached, sum(one.count for one in generated))

    async def _read(self, held: Mapping[str, Any], request: Request) -> Generation:
        """The server cuts off the stop text and the log-probabilities of its tokens, which are then not known."""
        ids, reason = token_ids(held.get("tokens")), _word(held.get("stop_type"))
        shown = held.get("completion_probabilities")
        seen = [one for one in shown if isinstance(one, dict)] if isinstance(shown, list) else []
        stopped = (request.stop or "") if reason == _STOPPED else ""
        text = held["content"] + stopped
        (count,), note = count_tokens([Sampled(text, None if ids is None else len(ids))], Counts(), request.max_tokens)
        exact = ids is not None and count == len(ids)
        # Of "none", "limit" and all that may come, only the model's own end and a stop text are good ends.
        is_cut, why = cut_off("stop" if reason == _STOPPED else reason, count, request.max_tokens, exact=exact)
        how: Ended = "length" if is_cut else "stop" if stopped else "end"
        tokens = await self._tokens(text, how, ids, seen[: len(ids or ())]) if exact and ids else None
        unlikely = UNLIKELY if any(math.isnan(known_logprob(one.get("logprob"))) for one in seen) else None
        return Generation(text, how, tokens, count, notes=tuple(one for one in (note, why, unlikely) if one))

    async def _tokens(
        self, text: str, how: Ended, ids: tuple[int, ...], seen: Sequence[Mapping[str, Any]]
    ) -> Tokens | None:
        if not seen:
            return None
        texts = [_word(one.get("token")) or "" for one in seen]
        unseen = ids[len(seen) :]
        rest = text[sum(map(len, texts)) :]
        texts += [rest, *[""] * (len(unseen) - 1)] if unseen else []
        logprobs = [*(known_logprob(one.get("logprob")) for one in seen), *[math.nan] * len(unseen)]
        tokens = Tokens(tuple(texts), tuple(logprobs), ids)
        if how == "stop" and await self._spelling(unseen) != rest:
            tokens = replace(tokens, ids=None)  # the last token holds more than the end of the stop text
        return tokens

    async def _spelling(self, ids: Sequence[int]) -> str | None:
        """The text of a stop's tokens; stops are few, so each is requested once. None where it cannot be read."""
        key = tuple(ids)
        if key not in self._spelt:
            held = await self._client.post("/detokenize", {"tokens": key})
            self._spelt[key] = _word(held.get("content")) if isinstance(held, dict) else None
        return self._spelt[key]


def _word(held: Any) -> str | None:
    return held if isinstance(held, str) else None
