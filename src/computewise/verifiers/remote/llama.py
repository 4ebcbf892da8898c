"""llama-server: the label's probability from its native `/completion`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from computewise.core import Usage
from computewise.errors import ModelError
from computewise.http.client import HttpClient
from computewise.session import together
from computewise.verifiers.remote.answers import at, number, read_usage
from computewise.verifiers.remote.labels import from_listed

LLAMA_TOP_TOKENS = 64
"""Likeliest tokens asked for: there is no upper limit, but each is a line of the answer."""


class LlamaCompletion:
    """One-token completions with `n_probs`, taken before any sampler; tokens are told apart by id."""

    def __init__(self, client: HttpClient, ids: tuple[int, int]) -> None:
        self._client = client
        self._ids = ids

    async def good(self, prompts: Sequence[str]) -> tuple[list[float], Usage]:
        """See `computewise.verifiers.remote.labels.LabelServer.good`."""
        found = await together(map(self._one, prompts))
        return [score for score, _ in found], sum((usage for _, usage in found), Usage())

    async def _one(self, prompt: str) -> tuple[float, Usage]:
        body = {
            "prompt": prompt,
            "n_predict": 1,
            "n_probs": LLAMA_TOP_TOKENS,
            "post_sampling_probs": False,
            "temperature": 0.0,
            "cache_prompt": True,
        }
        answer = await self._client.post("/completion", body)
        listed = at(answer, "completion_probabilities", 0, "top_logprobs")
        if not isinstance(listed, list) or not listed:
            raise ModelError("the server listed no likeliest tokens")
        logprobs = {str(at(one, "id")): number(at(one, "logprob"), "a log-probability") for one in listed}
        good, bad = map(str, self._ids)
        return from_listed(logprobs, good, bad), _usage(answer, prompt)


def _usage(answer: Any, prompt: str) -> Usage:
    """`tokens_evaluated` is the whole prompt, `timings.cache_n` what of it was cached."""
    timings = answer.get("timings")
    cached = timings.get("cache_n") if isinstance(timings, dict) else None
    said = {"prompt_tokens": answer.get("tokens_evaluated"), "prompt_tokens_details": {"cached_tokens": cached}}
    return read_usage({"usage": said}, [prompt])
