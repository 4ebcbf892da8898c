"""llama.cpp's own `/completion`: its OpenAI routes do not say which stop fired, and count one of n completions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from computewise.errors import ModelError
from computewise.http.client import HttpClient
from computewise.models.server.dialects import LLAMA
from computewise.models.server.generation import Answered, Asked, Ended, Generated, Token

_FIELDS = ["index", "content", "tokens", "stop_type", "tokens_evaluated", "timings/cache_n", "completion_probabilities"]
_ENDED: Mapping[str, Ended] = {"eos": "end", "word": "stop", "limit": "length"}


class LlamaRoute:
    """Rung A on a llama-server; `n` is bounded by its slots."""

    def __init__(self, client: HttpClient, *, logprobs: bool) -> None:
        self._client, self._logprobs = client, logprobs

    async def generate(self, asked: Asked) -> Answered:
        """See `Route.generate`."""
        body = {
            "prompt": asked.text if asked.ids is None else list(asked.ids),
            "n_cmpl": asked.n,
            "n_predict": asked.max_tokens,
            "stop": [] if asked.stop is None else [asked.stop],
            "temperature": asked.temperature,
            "top_p": 1.0,
            "seed": asked.seed,
            **LLAMA.fixed,
            **LLAMA.sampling,
            "n_probs": int(self._logprobs),
            "return_tokens": True,
            "cache_prompt": True,
            "response_fields": _FIELDS,
        }
        held = await self._client.post("/completion", body)
        found = sorted(held if isinstance(held, list) else [held], key=lambda one: int(one.get("index") or 0))
        generated = [_read(one, asked.stop) for one in found]
        counted = sum(len(one["tokens"]) for one in found)
        return Answered(generated, found[0].get("tokens_evaluated"), found[0].get("timings/cache_n"), counted)


def _read(held: Mapping[str, Any], stop: str | None) -> Generated:
    how = _ENDED.get(str(held.get("stop_type")))
    ids = held.get("tokens")
    if how is None or not isinstance(ids, list) or not isinstance(held.get("content"), str):
        raise ModelError(f"llama.cpp answered without content, tokens and stop_type: {str(held)[:200]}")
    # The stop text is cut off, and so are the log-probabilities of its tokens: they count as certain.
    text = held["content"] + (stop or "" if how == "stop" else "")
    seen = held.get("completion_probabilities") or []
    if not seen:
        return Generated(text, how, None, len(ids))
    tokens = [Token(str(one["token"]), float(one["logprob"]), int(one["id"])) for one in seen[: len(ids)]]
    rest = text[sum(len(token.text) for token in tokens) :]
    for index, id in enumerate(ids[len(tokens) :]):
        tokens.append(Token(rest if index == 0 else "", 0.0, int(id)))
    return Generated(text, how, tuple(tokens), len(ids))
