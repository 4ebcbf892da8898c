"""A value head served as embeddings, as Skywork's plugin for vLLM does: one raw value for every token."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from computewise.core import Usage
from computewise.errors import ModelError
from computewise.http.client import HttpClient
from computewise.http.servers import tokenize
from computewise.session import together
from computewise.verifiers.layout import Solution, lay_out
from computewise.verifiers.remote.answers import number, read_usage, rows
from computewise.verifiers.template import Layout

REMEMBERED = 4096
"""Pieces whose ids are kept: questions and steps come again with every step that is added."""


class EmbeddingsReader:
    """Whole solutions as token ids, the pieces tokenised one by one by the server; sigmoid at the steps' ends."""

    def __init__(self, client: HttpClient, model: str, layout: Layout) -> None:
        self._client = client
        self._model = model
        self._layout = layout
        self._ids: dict[str, tuple[int, ...]] = {}

    async def read(self, question: str, solutions: Sequence[Solution]) -> tuple[list[tuple[float, ...]], Usage]:
        """See `computewise.verifiers.stepwise.Reader.read`."""
        laid = [lay_out(self._layout, question, solution.steps) for solution in solutions]
        ids_of = await self._tokenize({piece for one in laid for piece in one.pieces})
        inputs = [[id for piece in one.pieces for id in ids_of[piece]] for one in laid]
        answer = await self._client.post(
            "embeddings", {"model": self._model, "input": inputs, "encoding_format": "float"}
        )
        usage = read_usage(answer, [one.text for one in laid])
        values = rows(answer, "data", len(inputs), "embedding")
        scores = []
        for one, solution, ids, read in zip(laid, solutions, inputs, values, strict=True):
            if not isinstance(read, list) or len(read) != len(ids):
                found = len(read) if isinstance(read, list) else 0
                raise ModelError(f"the server gave {found} values for {len(ids)} tokens: is it served as a value head?")
            lengths = [sum(len(ids_of[piece]) for piece in one.pieces[:end]) for end in one.ends]
            scores.append(tuple(sigmoid(_value(read[length - 1])) for length in lengths[solution.known :]))
        return scores, usage

    async def _tokenize(self, pieces: set[str]) -> dict[str, tuple[int, ...]]:
        known = {piece: self._ids[piece] for piece in pieces if piece in self._ids}
        new = sorted(pieces - known.keys())
        found = await together(tokenize(self._client, "vllm", self._model, piece, special=False) for piece in new)
        if len(self._ids) > REMEMBERED:
            self._ids.clear()
        self._ids.update(zip(new, found, strict=True))
        return known | dict(zip(new, found, strict=True))


def sigmoid(value: float) -> float:
    """1 / (1 + exp(-value)), also far from 0."""
    return 1 / (1 + math.exp(-value)) if value > -700 else 0.0


def _value(held: Any) -> float:
    """A number, or a list of the one."""
    return number(held[0] if isinstance(held, list) and len(held) == 1 else held, "a value")
