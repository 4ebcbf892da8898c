"""The embedded models' tokens: one a character for arithmetic, one a word for stories."""

from __future__ import annotations

import re

from computewise.errors import ProblemError

END = 0
"""The token before a prompt and after a solution."""

_CHARACTERS = "\n0123456789+-*().? "
_NAMES = ("Ann", "Ben", "Cora", "Dan", "Eve", "Finn", "Then", "How many")
_WORDS = (
    *("has", "buys", "finds", "wins", "loses", "sells", "drops", "gives", "bags of", "friends", "each"),
    *("times as many", "apples", "books", "coins", "pens", "shells", "stamps"),
)
TOKENS: tuple[str, ...] = ("<end>", *_CHARACTERS, *_NAMES, *(f" {word}" for word in (*_NAMES, *_WORDS)))
_IDS = {token: index for index, token in enumerate(TOKENS)}
_PATTERN = re.compile("|".join(sorted(map(re.escape, TOKENS[1:]), key=len, reverse=True)))


def encode(text: str) -> list[int]:
    """Token ids of `text`; raises `ProblemError` at a character that no token holds."""
    pieces = _PATTERN.findall(text)
    if sum(map(len, pieces)) != len(text):
        unread = _PATTERN.sub(lambda match: " " * len(match.group()), text).lstrip(" ")
        position = len(text) - len(unread)
        raise ProblemError(f"the embedded models cannot read {text[position]!r} (position {position + 1})")
    return [_IDS[piece] for piece in pieces]


def decode(tokens: list[int]) -> str:
    """The text of token ids; the end token is empty."""
    return "".join(TOKENS[token] for token in tokens if token != END)
