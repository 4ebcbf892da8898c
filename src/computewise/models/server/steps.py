"""A continuation cut into steps, each with the tokens it took."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

from computewise.core import Step
from computewise.models.server.generation import Generated, Token

CHARACTERS_A_TOKEN = 4
"""Where a server says nothing at all of tokens."""


def cut(generated: Generated, delimiter: str) -> tuple[Step, ...]:
    """Its steps, delimiters included; what is blank belongs to the step before it.

    Tokens go to the step in which they begin; where the server does not show each, or some are of thinking, they are
    shared out by length.
    """
    texts = _pieces(generated.text, delimiter)
    tokens = generated.tokens
    if tokens and "".join(token.text for token in tokens) == generated.text:
        return _by_tokens(texts, tokens)
    count = len(tokens) if tokens is not None else generated.count
    if count is None:
        count = -(-len(generated.text + generated.thinking) // CHARACTERS_A_TOKEN)
    logprob = sum(token.logprob for token in tokens or ())
    ends = [0, *accumulate(map(len, texts))]
    whole = max(ends[-1], 1)
    shares = [round(count * end / whole) for end in ends]
    shares[-1] = count
    return tuple(
        Step(text, until - since, logprob * (until - since) / max(count, 1))
        for text, since, until in zip(texts, shares, shares[1:], strict=False)
    )


def _pieces(text: str, delimiter: str) -> list[str]:
    *ended, rest = text.split(delimiter)
    pieces: list[str] = []
    for piece in (*(one + delimiter for one in ended), rest):
        if pieces and not (piece.strip() and pieces[-1].strip()):
            pieces[-1] += piece
        else:
            pieces.append(piece)
    return pieces


def _by_tokens(texts: Sequence[str], tokens: Sequence[Token]) -> tuple[Step, ...]:
    ends = list(accumulate(map(len, texts)))
    counts, logprobs = [0] * len(texts), [0.0] * len(texts)
    step, begin = 0, 0
    for token in tokens:
        while step < len(texts) - 1 and begin >= ends[step]:
            step += 1
        counts[step] += 1
        logprobs[step] += token.logprob
        begin += len(token.text)
    return tuple(map(Step, texts, counts, logprobs))
