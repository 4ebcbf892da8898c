"""What is asked of a server for one prompt, and what came back, whatever the server."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any, Literal, Protocol

from computewise.models.chat import Message

Ended = Literal["end", "stop", "length", "unsaid", "failed"]
"""The model's own end, the stop text, the token limit; "unsaid" where a server does not tell the first two apart;
"failed" where it was lost."""
CHARACTERS_A_TOKEN = 4
"""Where a server says nothing at all of tokens."""


@dataclass(frozen=True, slots=True)
class Asked:
    """`n` continuations of a rendered prompt, or of its token ids, or of a conversation, until `stop`.

    `messages` is what `text` was rendered of; its last turn is the assistant's where the model goes on from a prefix.
    `fields` go into the request as they are, over what a dialect sends of its own.
    """

    messages: tuple[Message, ...]
    text: str
    ids: tuple[int, ...] | None
    n: int
    stop: str | None
    max_tokens: int
    temperature: float
    seed: int
    fields: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Tokens:
    """Sampled tokens, column by column; `ids` is None where the server does not tell them."""

    texts: tuple[str, ...]
    logprobs: tuple[float, ...]
    ids: tuple[int, ...] | None

    def __len__(self) -> int:
        return len(self.texts)

    def and_then(self, more: Tokens) -> Tokens:
        """Both, one behind the other."""
        ids = None if self.ids is None or more.ids is None else self.ids + more.ids
        return Tokens(self.texts + more.texts, self.logprobs + more.logprobs, ids)


@dataclass(frozen=True, slots=True)
class Generated:
    """One continuation. `text` holds the stop text where that ended it; `thinking` is not part of it.

    `tokens` are None where the server shows none; `count` is then what its usage says, None where it has none.
    """

    text: str
    ended: Ended
    tokens: Tokens | None
    count: int | None
    thinking: str = ""

    @property
    def sampled(self) -> int:
        """How many tokens it took, thinking included."""
        if self.tokens is not None:
            return len(self.tokens)
        if self.count is not None:
            return self.count
        return -(-len(self.text + self.thinking) // CHARACTERS_A_TOKEN)

    @property
    def spelled(self) -> Tokens | None:
        """The tokens, where they spell the text: not where a stop ends inside one, or thinking was taken out.

        The end token is shown by a name that is no part of the text.
        """
        if not self.tokens:
            return None
        if "".join(self.tokens.texts) == self.text:
            return self.tokens
        but_last = self.tokens.texts[:-1]
        if self.ended == "end" and "".join(but_last) == self.text:
            return Tokens((*but_last, ""), self.tokens.logprobs, self.tokens.ids)
        return None


def shared_out(total: int, weights: Sequence[int]) -> list[int]:
    """`total` in whole numbers by weight; evenly where nothing weighs anything."""
    if not sum(weights):
        weights = [1] * len(weights)
    ends = [round(total * end / sum(weights)) for end in accumulate(weights)]
    return [end - begin for begin, end in zip([0, *ends], ends, strict=False)]


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
