"""Reading steps by the probability of a label as the next token, from any server that gives it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Protocol

from computewise.core import Usage
from computewise.errors import ModelError
from computewise.verifiers.layout import Laid, Solution, lay_out
from computewise.verifiers.template import Layout


class LabelServer(Protocol):
    """A server's way to say how likely the good label is, of the two."""

    async def good(self, prompts: Sequence[str]) -> tuple[list[float], Usage]:
        """P(good) / (P(good) + P(bad)) as the next token after each prompt, and what reading cost."""
        ...


class LabelReader:
    """One prompt for each new step, cut off at its read-out: each begins the next one, for the prefix cache."""

    def __init__(self, layout: Layout, server: LabelServer) -> None:
        self._layout = layout
        self._server = server

    async def read(self, question: str, solutions: Sequence[Solution]) -> tuple[list[tuple[float, ...]], Usage]:
        """See `computewise.verifiers.stepwise.Reader.read`."""
        prompts = [prompt for solution in solutions for prompt in self._prompts(question, solution)]
        scores, usage = await self._server.good(prompts)
        if len(scores) != len(prompts):
            raise ModelError(f"the server gave {len(scores)} scores for {len(prompts)} prompts")
        rest = iter(scores)
        return [tuple(islice(rest, solution.new)) for solution in solutions], usage

    def _prompts(self, question: str, solution: Solution) -> list[str]:
        laid: Laid = lay_out(self._layout, question, solution.steps)
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
