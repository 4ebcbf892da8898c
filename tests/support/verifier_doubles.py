"""A server of recorded answers, and candidates to score."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import httpx

from computewise.core import Candidate, Problem, Step, Usage
from computewise.http.client import HttpClient
from computewise.http.concurrency import Retry
from computewise.verifiers.templates import ScoredSteps

SHAPES = Path(__file__).parent / "shapes"
PROBLEM = Problem("p", "Q?")


def candidate(*texts: str, scores: Sequence[float] = (), finished: bool = True) -> Candidate:
    """A solution of steps."""
    steps = tuple(Step(text, 1, -0.1) for text in texts)
    return Candidate("0", None, steps, tuple(scores), "stop" if finished else None)


def client_of(answer: Callable[[str, Any], Any], root: str = "http://server") -> HttpClient:
    """A client whose server is a function of path and body; an int is a status."""

    def handle(request: httpx.Request) -> httpx.Response:
        held = answer(request.url.path, json.loads(request.content) if request.content else None)
        if type(held) is int:
            return httpx.Response(held, json={"error": "no"})
        return httpx.Response(200, content=json.dumps(held).encode())  # NaN too

    return HttpClient(f"{root}/v1", transport=httpx.MockTransport(handle), retry=Retry(tries=1))


def recorded(name: str) -> list[dict[str, Any]]:
    """Exchanges of a shape file: path, body, answer."""
    held: list[dict[str, Any]] = json.loads((SHAPES / f"verifier_{name}.json").read_text("utf-8"))
    return held


def replaying(exchanges: Sequence[dict[str, Any]], asked: list[tuple[str, Any]]) -> HttpClient:
    """Answers exactly the recorded requests; whatever else is asked is a 404."""

    def answer(path: str, body: Any) -> Any:
        asked.append((path, body))
        for exchange in exchanges:
            if (exchange["path"], exchange["body"]) == (path, body):
                return exchange["answer"]
        return 404

    return client_of(answer)


class FixedReader:
    """Gives the scores it is told to, whatever the steps, and keeps what it was asked."""

    def __init__(self, *scores: Sequence[float]) -> None:
        self.scores = [tuple(one) for one in scores]
        self.asked: list[ScoredSteps] = []

    async def read(self, question: str, solutions: Sequence[ScoredSteps]) -> tuple[list[tuple[float, ...]], Usage]:
        """See `computewise.verifiers.base.Reader.read`."""
        self.asked += solutions
        return self.scores, Usage(verifier_tokens=7)
