"""A continuation cut into steps, each with the tokens it took."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

from computewise.core import Step
from computewise.models.server.generation import Generated, Tokens, shared_out


def cut(generated: Generated, delimiter: str) -> tuple[Step, ...]:
    """Its steps, delimiters included; what is blank belongs to the step before it.

    Tokens go to the step in which they begin; where the server does not show each, or some are of thinking, they are
    shared out by length.
    """
    texts = _pieces(generated.text, delimiter)
    if len(texts) > 1 and (spelled := generated.spelled):
        return _by_tokens(texts, spelled)
    count = generated.sampled
    logprob = sum(generated.tokens.logprobs) if generated.tokens else 0.0
    if len(texts) == 1:
        return (Step(texts[0], count, logprob),)
    shares = shared_out(count, [len(text) for text in texts])
    return tuple(Step(text, share, logprob * share / max(count, 1)) for text, share in zip(texts, shares, strict=True))


def _pieces(text: str, delimiter: str) -> list[str]:
    *ended, rest = text.split(delimiter)
    pieces: list[str] = []
    for piece in (*(one + delimiter for one in ended), rest):
        if pieces and not (piece.strip() and pieces[-1].strip()):
            pieces[-1] += piece
        else:
            pieces.append(piece)
    return pieces


def _by_tokens(texts: Sequence[str], tokens: Tokens) -> tuple[Step, ...]:
    ends = list(accumulate(map(len, texts)))
    counts, logprobs = [0] * len(texts), [0.0] * len(texts)
    step, begin = 0, 0
    for text, logprob in zip(tokens.texts, tokens.logprobs, strict=True):
        while step < len(texts) - 1 and begin >= ends[step]:
            step += 1
        counts[step] += 1
        logprobs[step] += logprob
        begin += len(text)
    return tuple(map(Step, texts, counts, logprobs))
