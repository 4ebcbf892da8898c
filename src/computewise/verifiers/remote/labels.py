"""Verifiers that give a probability to a label token, by the API of each server."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any, Protocol

from computewise.core import Usage
from computewise.errors import ModelError
from computewise.http.client import HttpClient
from computewise.session import gather
from computewise.verifiers.prompt import ScoredSteps, StepPrompt, render_prompt
from computewise.verifiers.remote.answers import at, number, read_usage
from computewise.verifiers.templates import Layout


class LabelServer(Protocol):
    """A server's way to say how likely the good label is, of the two."""

    async def probability(self, prompts: Sequence[str]) -> tuple[list[float], Usage]:
        """P(good) / (P(good) + P(bad)) as the next token after each prompt, and what reading cost."""
        ...


class LabelReader:
    """One prompt for each new step, cut off at its read-out: each begins the next one, for the prefix cache."""

    def __init__(self, layout: Layout, server: LabelServer) -> None:
        self._layout = layout
        self._server = server

    async def read(self, question: str, solutions: Sequence[ScoredSteps]) -> tuple[list[tuple[float, ...]], Usage]:
        """See `computewise.verifiers.base.Reader.read`."""
        prompts = [prompt for solution in solutions for prompt in self._prompts(question, solution)]
        scores, usage = await self._server.probability(prompts)
        if len(scores) != len(prompts):
            raise ModelError(f"the server gave {len(scores)} scores for {len(prompts)} prompts")
        rest = iter(scores)
        return [tuple(islice(rest, solution.new)) for solution in solutions], usage

    def _prompts(self, question: str, solution: ScoredSteps) -> list[str]:
        laid: StepPrompt = render_prompt(self._layout, question, solution.steps)
        return [laid.prefix(step) for step in range(solution.known, len(solution.steps))]


def of_two(good: float, bad: float) -> float:
    """The first's share of two log-probabilities: softmax."""
    difference = bad - good
    if math.isnan(difference):
        return math.nan
    return 1 / (1 + math.exp(difference)) if difference < 700 else 0.0


def from_listed(listed: Mapping[str, float], good: str, bad: str) -> float:
    """The good label's share, where a server lists its likeliest tokens with their log-probabilities.

    Tokens that are a label but for blanks around it count as that label. A label that is not listed is given all it can
    have: no more than the least of the listed, nor than what they leave of 1. Raises `ModelError` without either label.
    """
    shares = {token: math.exp(min(logprob, 0.0)) for token, logprob in listed.items()}
    found = {label: [p for token, p in shares.items() if plain(token) == label] for label in (good, bad)}
    if not any(found.values()):
        likely = ", ".join(repr(token) for token in sorted(shares, key=lambda token: -shares[token])[:5])
        raise ModelError(f"neither {good!r} nor {bad!r} is among the likeliest next tokens ({likely}): wrong template?")
    at_most = min(min(shares.values()), max(0.0, 1 - math.fsum(shares.values())))
    of_good, of_bad = (math.fsum(found[label]) if found[label] else at_most for label in (good, bad))
    if of_good + of_bad == 0:
        raise ModelError(f"{good!r} and {bad!r} are both given no probability: wrong template?")
    return of_good / (of_good + of_bad)


def plain(token: str) -> str:
    """A token's text without blanks or what vocabularies write for them."""
    return token.strip(" \n\t\u2581\u0120\u010a")


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

    async def probability(self, prompts: Sequence[str]) -> tuple[list[float], Usage]:
        """See `computewise.verifiers.remote.labels.LabelServer.probability`."""
        found = await gather(map(self._one, prompts))
        return [score for score, _ in found], sum((usage for _, usage in found), Usage())

    async def _one(self, prompt: str) -> tuple[float, Usage]:
        body = {
            "model": self._model,
            "prompt": prompt,
            "max_tokens": 1,
            "temperature": 0.0,
            "logprobs": OPENAI_TOP_TOKENS,
        }
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


class SglangScore:
    """Many prompts a request, joined to an empty query as text.

    `score_extraction_token`, which would read a whole solution at once, is not used: it needs a server without its
    prefix cache.
    """

    def __init__(self, client: HttpClient, model: str, ids: tuple[int, int]) -> None:
        self._client = client
        self._model = model
        self._ids = ids

    async def probability(self, prompts: Sequence[str]) -> tuple[list[float], Usage]:
        """See `computewise.verifiers.remote.labels.LabelServer.probability`."""
        body = {
            "model": self._model,
            "query": "",
            "items": list(prompts),
            "label_token_ids": list(self._ids),
            "apply_softmax": True,
            "item_first": False,
        }
        answer = await self._client.post("score", body)
        scores = at(answer, "scores")
        if not isinstance(scores, list) or len(scores) != len(prompts):
            found = len(scores) if isinstance(scores, list) else type(scores).__name__
            raise ModelError(f"the server answered {found} scores for {len(prompts)} prompts")
        return [number(at(answer, "scores", place, 0), "a score") for place in range(len(prompts))], read_usage(
            answer, prompts
        )


LLAMA_TOP_TOKENS = 64

"""Likeliest tokens asked for: there is no upper limit, but each is a line of the answer."""


class LlamaCompletion:
    """One-token completions with `n_probs`, taken before any sampler; tokens are told apart by id."""

    def __init__(self, client: HttpClient, ids: tuple[int, int]) -> None:
        self._client = client
        self._ids = ids

    async def probability(self, prompts: Sequence[str]) -> tuple[list[float], Usage]:
        """See `computewise.verifiers.remote.labels.LabelServer.probability`."""
        found = await gather(map(self._one, prompts))
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
