"""Any OpenAI-compatible server: the label's probability from the likeliest tokens of a one-token completion."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from computewise.core import Usage
from computewise.errors import ModelError
from computewise.http.client import HttpClient
from computewise.session import together
from computewise.verifiers.remote.answers import at, number, read_usage
from computewise.verifiers.remote.labels import from_listed

OPENAI_TOP_TOKENS = 20
"""As many of the likeliest tokens as servers give."""


class OpenaiCompletions:
    """One-token completions with `logprobs`, of a raw prompt: a server that puts it into a chat template is of no use.

    Labels are told by their text: see `computewise.verifiers.remote.labels.from_listed`, also for one that is not
    listed.
    """

    def __init__(self, client: HttpClient, model: str, labels: tuple[str, str]) -> None:
        self._client = client
        self._model = model
        self._labels = labels

    async def good(self, prompts: Sequence[str]) -> tuple[list[float], Usage]:
        """See `computewise.verifiers.remote.labels.LabelServer.good`."""
        found = await together(map(self._one, prompts))
        return [score for score, _ in found], sum((usage for _, usage in found), Usage())

    async def _one(self, prompt: str) -> tuple[float, Usage]:
        body = {"model": self._model, "prompt": prompt, "max_tokens": 1, "temperature": 0.0, "logprobs": OPENAI_TOP_TOKENS}
        answer = await self._client.post("completions", body)
        return from_listed(_listed(at(answer, "choices", 0, "logprobs")), *self._labels), read_usage(answer, [prompt])


def _listed(logprobs: Any) -> dict[str, float]:
    """By text, whichever of the two shapes; equal texts of different tokens keep the likelier."""
    if isinstance(logprobs, dict) and "content" in logprobs:
        listed = at(logprobs, "content", 0, "top_logprobs")
        pairs = [(str(at(one, "token")), at(one, "logprob")) for one in listed] if isinstance(listed, list) else []
    else:
        found = at(logprobs, "top_logprobs", 0)
        pairs = list(found.items()) if isinstance(found, dict) else []
    if not pairs:
        raise ModelError("the server listed no likeliest tokens: it gives no log-probabilities")
    by_text: dict[str, float] = {}
    for text, logprob in pairs:
        by_text[text] = max(number(logprob, "a log-probability"), by_text.get(text, -float("inf")))
    return by_text
