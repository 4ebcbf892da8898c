"""vLLM: the exact log-probabilities of two token ids."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from computewise.core import Usage
from computewise.errors import ModelError
from computewise.http.client import HttpClient
from computewise.session import together
from computewise.verifiers.remote.answers import at, number, read_usage, rows
from computewise.verifiers.remote.labels import of_two


class VllmCompletions:
    """One-token completions with `logprob_token_ids`: exact, and the prefix cache is read.

    One request a prompt: for a list of prompts, vLLM reports the cached tokens of the last one only.
    """

    def __init__(self, client: HttpClient, model: str, ids: tuple[int, int]) -> None:
        self._client = client
        self._model = model
        self._ids = ids

    async def good(self, prompts: Sequence[str]) -> tuple[list[float], Usage]:
        """See `LabelServer.good`."""
        found = await together(map(self._one, prompts))
        return [score for score, _ in found], sum((usage for _, usage in found), Usage())

    async def _one(self, prompt: str) -> tuple[float, Usage]:
        body = {
            "model": self._model,
            "prompt": prompt,
            "max_tokens": 1,
            "temperature": 0.0,
            "logprobs": 1,
            "logprob_token_ids": list(self._ids),
            "return_tokens_as_token_ids": True,
            "add_special_tokens": True,
        }
        answer = await self._client.post("completions", body)
        listed = at(answer, "choices", 0, "logprobs", "top_logprobs", 0)
        good, bad = (self._logprob(listed, id) for id in self._ids)
        return of_two(good, bad), read_usage(answer, [prompt])

    def _logprob(self, listed: Any, id: int) -> float:
        name = f"token_id:{id}"
        if not isinstance(listed, dict) or name not in listed:
            raise ModelError(
                f"the server gave no log-probability of token {id}: set server = 'openai' for an older vLLM"
            )
        return number(listed[name], "a log-probability")


class VllmScoring:
    """`/generative_scoring`: many prompts a request, but vLLM does not report what of them was cached.

    It tokenises query and items apart, so the query stays empty (it becomes the begin-of-text token, where there is
    one) and every item is a whole prompt. A prompt that is too long is cut at its end without a word, and then read at
    the wrong place; of `VllmCompletions` the server refuses it.
    """

    def __init__(self, client: HttpClient, model: str, ids: tuple[int, int]) -> None:
        self._client = client
        self._model = model
        self._ids = ids

    async def good(self, prompts: Sequence[str]) -> tuple[list[float], Usage]:
        """See `LabelServer.good`."""
        body = {
            "model": self._model,
            "query": "",
            "items": list(prompts),
            "label_token_ids": list(self._ids),
            "apply_softmax": True,
            "item_first": False,
            "add_special_tokens": True,
        }
        answer = await self._client.post("/generative_scoring", body)
        scores = [number(score, "a score") for score in rows(answer, "data", len(prompts), "score")]
        return scores, read_usage(answer, prompts)
