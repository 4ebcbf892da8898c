"""Verifiers with a reward head, through the pooling and embedding APIs of servers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from computewise.core import Usage
from computewise.errors import ModelError
from computewise.http.client import HttpClient
from computewise.http.servers import ask, tokenize
from computewise.session import gather
from computewise.verifiers.labels import at, log_probability, number, of_two, read_usage, rows
from computewise.verifiers.templates import Head, Layout, ScoredSteps, render_prompt

_NEEDED = ("logprobs", "logprob_token_ids", "return_tokens_as_token_ids", "add_special_tokens")

REMEMBERED = 4096

"""Pieces whose ids are kept: questions and steps are read again with every step that is added."""


class EmbeddingsReader:
    """Sends whole solutions as token ids, each piece tokenised by the server; a score is a sigmoid at a step's end."""

    def __init__(self, client: HttpClient, model: str, layout: Layout) -> None:
        self._client = client
        self._model = model
        self._layout = layout
        self._ids: dict[str, tuple[int, ...]] = {}

    async def read(self, question: str, solutions: Sequence[ScoredSteps]) -> tuple[list[tuple[float, ...]], Usage]:
        """See `computewise.verifiers.base.Reader.read`."""
        prompts = [render_prompt(self._layout, question, solution.steps) for solution in solutions]
        ids_of = await self._tokenize({piece for one in prompts for piece in one.pieces})
        inputs = [[id for piece in one.pieces for id in ids_of[piece]] for one in prompts]
        body = {"model": self._model, "input": inputs, "encoding_format": "float"}
        answer = await ask(self._client, "embeddings", body, keep=("input",))
        usage = read_usage(answer, [one.text for one in prompts])
        values = rows(answer, "data", len(inputs), "embedding")
        scores = []
        for one, solution, ids, read in zip(prompts, solutions, inputs, values, strict=True):
            if not isinstance(read, list) or len(read) != len(ids):
                found = len(read) if isinstance(read, list) else 0
                raise ModelError(f"the server gave {found} values for {len(ids)} tokens: is it served as a value head?")
            lengths = [sum(len(ids_of[piece]) for piece in one.pieces[:end]) for end in one.ends]
            scores.append(tuple(sigmoid(_value(read[length - 1])) for length in lengths[solution.known :]))
        return scores, usage

    async def _tokenize(self, pieces: set[str]) -> dict[str, tuple[int, ...]]:
        known = {piece: self._ids[piece] for piece in pieces if piece in self._ids}
        new = sorted(pieces - known.keys())
        found = await gather(tokenize(self._client, "vllm", self._model, piece, special=False) for piece in new)
        if len(self._ids) > REMEMBERED:
            self._ids.clear()
        self._ids.update(zip(new, found, strict=True))
        return known | dict(zip(new, found, strict=True))


def sigmoid(value: float) -> float:
    """1 / (1 + exp(-value)), without overflow for values far from 0."""
    return 1 / (1 + math.exp(-value)) if value > -700 else 0.0


def _value(held: Any) -> float:
    """A number, or the only number of a list."""
    return number(held[0] if isinstance(held, list) and len(held) == 1 else held, "a value")


INPUTS = 32

"""Solutions in a request: enough to fill a batch, few enough to spread over the replicas of a server."""


class PoolingReader:
    """Sends whole solutions with all their markers. vLLM uses no prefix cache here, so every call reads all tokens."""

    def __init__(self, client: HttpClient, model: str, layout: Layout, head: Head) -> None:
        self._client = client
        self._model = model
        self._layout = layout
        self._head = head

    async def read(self, question: str, solutions: Sequence[ScoredSteps]) -> tuple[list[tuple[float, ...]], Usage]:
        """See `computewise.verifiers.base.Reader.read`."""
        parts = [solutions[start : start + INPUTS] for start in range(0, len(solutions), INPUTS)]
        found = await gather(self._part(question, part) for part in parts)
        return [scores for part, _ in found for scores in part], sum((usage for _, usage in found), Usage())

    async def _part(self, question: str, part: Sequence[ScoredSteps]) -> tuple[list[tuple[float, ...]], Usage]:
        texts = [render_prompt(self._layout, question, solution.steps).text for solution in part]
        body = {
            "model": self._model,
            "input": texts,
            "task": "token_classify",
            "use_activation": True,
            "encoding_format": "float",
        }
        answer = await ask(self._client, "/pooling", body, keep=("input", "task", "use_activation"))
        read = rows(answer, "data", len(part), "data")
        return [self._scores(s, at_markers) for s, at_markers in zip(part, read, strict=True)], read_usage(
            answer, texts
        )

    def _scores(self, solution: ScoredSteps, at_markers: Any) -> tuple[float, ...]:
        count = len(at_markers) if isinstance(at_markers, list) else 0
        if count != len(solution.steps):
            raise ModelError(
                f"the server read {count} markers of {len(solution.steps)} steps: is it served with token_classify, "
                f"and is {self._layout.marker!r} its marker?"
            )
        return tuple(self._good(row) for row in at_markers[solution.known :])

    def _good(self, row: Any) -> float:
        if not isinstance(row, list) or len(row) != self._head.outputs:
            raise ModelError(f"the server gave {row!r:.80} at a marker: it must be {self._head.outputs} numbers")
        return number(row[self._head.good], "a score")


class VllmCompletions:
    """One-token completions with `logprob_token_ids`: exact, and vLLM uses its prefix cache.

    Each prompt is a request of its own, because for a list of prompts vLLM reports the cached tokens of the last only.
    """

    def __init__(self, client: HttpClient, model: str, ids: tuple[int, int]) -> None:
        self._client = client
        self._model = model
        self._ids = ids

    async def probability(self, prompts: Sequence[str]) -> tuple[list[float], Usage]:
        """See `LabelServer.probability`."""
        found = await gather(map(self._one, prompts))
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
        answer = await ask(self._client, "completions", body, keep=_NEEDED)
        listed = at(answer, "choices", 0, "logprobs", "top_logprobs", 0)
        good, bad = (self._logprob(listed, id) for id in self._ids)
        if max(good, bad) == -math.inf:
            raise ModelError(f"tokens {self._ids[0]} and {self._ids[1]} are both given no probability: wrong template?")
        return of_two(good, bad), read_usage(answer, [prompt])

    def _logprob(self, listed: Any, id: int) -> float:
        name = f"token_id:{id}"
        if not isinstance(listed, dict) or name not in listed:
            raise ModelError(
                f"the server gave no log-probability of token {id}: set server = 'openai' for an older vLLM"
            )
        if (found := log_probability(listed[name])) is None:
            raise ModelError(f"the server gave {str(listed[name])[:60]!r} as the log-probability of token {id}")
        return found


class VllmScoring:
    """`/generative_scoring`: many prompts in a request, but vLLM does not report how many of their tokens were cached.

    It tokenises query and items apart, so the query is empty (it becomes the begin-of-text token, where there is one)
    and every item is a whole prompt. A prompt that is too long is cut at its end without an error, and the score is
    then read at the wrong place; `VllmCompletions` gets an error for such a prompt.
    """

    def __init__(self, client: HttpClient, model: str, ids: tuple[int, int]) -> None:
        self._client = client
        self._model = model
        self._ids = ids

    async def probability(self, prompts: Sequence[str]) -> tuple[list[float], Usage]:
        """See `LabelServer.probability`."""
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
