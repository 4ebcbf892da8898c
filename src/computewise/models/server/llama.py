"""llama.cpp's own `/completion`: its OpenAI routes do not say which stop fired, and count one of n completions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from msgspec import Struct, field

from computewise.http.client import HttpClient
from computewise.models.server.dialects import LLAMA
from computewise.models.server.generation import Answered, Asked, Ended, Generated, Tokens
from computewise.models.server.parsing import read

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
    """Rung A on a llama-server; `n` is bounded by its slots."""

    def __init__(self, client: HttpClient, *, logprobs: bool) -> None:
        self._client, self._logprobs = client, logprobs
        self._spelt: dict[tuple[int, ...], str] = {}

    async def generate(self, asked: Asked) -> Answered:
        """See `Route.generate`."""
        body = {
            "prompt": asked.text if asked.ids is None else asked.ids,
            "n_cmpl": asked.n,
            "n_predict": asked.max_tokens,
            "stop": [] if asked.stop is None else [asked.stop],
            "temperature": asked.temperature,
            "seed": asked.seed,
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
        generated = [await self._read(one, asked.stop) for one in found]
        first = found[0] if found else _LlamaCompletion("", [], "limit")
        return Answered(generated, first.tokens_evaluated, first.cached, sum(one.sampled for one in generated))

    async def _read(self, held: _LlamaCompletion, stop: str | None) -> Generated:
        """The stop text is cut off, and so are the log-probabilities of its tokens: they count as certain."""
        how, ids = _ENDED[held.stop_type], tuple(held.tokens)
        text = held.content + (stop or "" if how == "stop" else "")
        seen = held.completion_probabilities[: len(ids)]
        if not seen:
            return Generated(text, how, None, len(ids))
        texts = [one.token for one in seen]
        unseen = ids[len(seen) :]
        rest = text[sum(map(len, texts)) :]
        texts += [rest, *[""] * (len(unseen) - 1)] if unseen else []
        logprobs = [*(one.logprob or 0.0 for one in seen), *[0.0] * len(unseen)]
        tokens = Tokens(tuple(texts), tuple(logprobs), ids)
        if how == "stop" and await self._spelling(unseen) != rest:
            tokens = replace(tokens, ids=None)  # the last of them goes on behind the stop
        return Generated(text, how, tokens, len(ids))

    async def _spelling(self, ids: Sequence[int]) -> str:
        """What the tokens of a stop spell: they are few, and asked for once."""
        key = tuple(ids)
        if key not in self._spelt:
            held = await self._client.post("/detokenize", {"tokens": key})
            self._spelt[key] = read(held, _Text, "text of tokens").content
        return self._spelt[key]
