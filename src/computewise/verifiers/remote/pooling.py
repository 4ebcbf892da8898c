"""vLLM's `/pooling`: a classification head at every marker."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from computewise.core import Usage
from computewise.errors import ModelError
from computewise.http.client import HttpClient
from computewise.session import together
from computewise.verifiers.layout import Solution, lay_out
from computewise.verifiers.remote.answers import number, read_usage, rows
from computewise.verifiers.template import Head, Layout

INPUTS = 32
"""Solutions a request: enough to fill a batch, few enough to spread over the replicas of a server."""


class PoolingReader:
    """Whole solutions, each with all its markers. vLLM reads no prefix cache here: every call reads all over again."""

    def __init__(self, client: HttpClient, model: str, layout: Layout, head: Head) -> None:
        self._client = client
        self._model = model
        self._layout = layout
        self._head = head

    async def read(self, question: str, solutions: Sequence[Solution]) -> tuple[list[tuple[float, ...]], Usage]:
        """See `computewise.verifiers.stepwise.Reader.read`."""
        parts = [solutions[start : start + INPUTS] for start in range(0, len(solutions), INPUTS)]
        found = await together(self._part(question, part) for part in parts)
        return [scores for part, _ in found for scores in part], sum((usage for _, usage in found), Usage())

    async def _part(self, question: str, part: Sequence[Solution]) -> tuple[list[tuple[float, ...]], Usage]:
        texts = [lay_out(self._layout, question, solution.steps).text for solution in part]
        body = {
            "model": self._model,
            "input": texts,
            "task": "token_classify",
            "use_activation": True,
            "encoding_format": "float",
        }
        answer = await self._client.post("/pooling", body)
        read = rows(answer, "data", len(part), "data")
        return [self._scores(s, at_markers) for s, at_markers in zip(part, read, strict=True)], read_usage(
            answer, texts
        )

    def _scores(self, solution: Solution, at_markers: Any) -> tuple[float, ...]:
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
