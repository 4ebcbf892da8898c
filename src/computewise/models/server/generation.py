"""What is asked of a server for one prompt, and what came back, whatever the server."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from computewise.models.chat import Message

Ended = Literal["end", "stop", "length", "unsaid"]
"""The model's own end, the stop text, the token limit; "unsaid" where a server does not tell the first two apart."""


@dataclass(frozen=True, slots=True)
class Asked:
    """`n` continuations of a rendered prompt, or of its token ids, or of a conversation, until `stop`.

    `messages` is what `text` was rendered of; its last turn is the assistant's where the model goes on from a prefix.
    """

    messages: tuple[Message, ...]
    text: str
    ids: tuple[int, ...] | None
    n: int
    stop: str | None
    max_tokens: int
    temperature: float
    seed: int


@dataclass(frozen=True, slots=True)
class Token:
    """One sampled token."""

    text: str
    logprob: float
    id: int | None = None


@dataclass(frozen=True, slots=True)
class Generated:
    """One continuation. `text` holds the stop text where that ended it; `thinking` is not part of it.

    `tokens` are None where the server shows none; `count` is then what its usage says, and None where that covers
    several continuations.
    """

    text: str
    ended: Ended
    tokens: tuple[Token, ...] | None
    count: int | None
    thinking: str = ""


@dataclass(frozen=True, slots=True)
class Answered:
    """The continuations of one request; `prompt_tokens` and `cached_tokens` are None where the server does not say."""

    found: Sequence[Generated]
    prompt_tokens: int | None
    cached_tokens: int | None
    completion_tokens: int | None
    """What the server's usage says: a cross-check, since some count one continuation of n."""


class Route(Protocol):
    """One of a server's ways to generate."""

    async def generate(self, asked: Asked) -> Answered:
        """One request; may return fewer continuations than asked for. Raises `ServerError` or `ModelError`."""
        ...
