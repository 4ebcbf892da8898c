"""Requests to a server and its responses as typed data, the same for every route."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from computewise.models.messages import Message

Ended = Literal["end", "stop", "length", "unsaid", "failed"]

"""Why a generation ended: the model's own end, the stop text or the token limit; "unsaid" where a server does not
distinguish the first two; "failed" where the sample was lost."""


@dataclass(frozen=True, slots=True)
class Request:
    """A request for `n` continuations of a rendered prompt, of its token ids or of a conversation, until `stop`.

    `text` is rendered from `messages`, whose last turn is the assistant's where the model continues a prefix. `fields`
    are sent unchanged and override the fields of the dialect.
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
    """Sampled tokens as columns; `ids` is None where the server does not return them.

    A log-probability is NaN where the server gives none that can be.
    """

    texts: tuple[str, ...]
    logprobs: tuple[float, ...]
    ids: tuple[int, ...] | None

    def __len__(self) -> int:
        return len(self.texts)

    def followed_by(self, more: Tokens) -> Tokens:
        """These tokens followed by `more`."""
        ids = None if self.ids is None or more.ids is None else self.ids + more.ids
        return Tokens(self.texts + more.texts, self.logprobs + more.logprobs, ids)

    @property
    def mean_logprob(self) -> float:
        """The mean of the known log-probabilities; NaN without one."""
        known = [value for value in self.logprobs if not math.isnan(value)]
        return math.fsum(known) / len(known) if known else math.nan


@dataclass(frozen=True, slots=True)
class Generation:
    """One continuation. `text` includes the stop text where that ended it, and does not include `thinking`.

    `count` is the number of sampled tokens, thinking included. `tokens` are those that the server shows, None where it
    shows none; they may be fewer. `notes` say what of the server's answer was replaced.
    """

    text: str
    ended: Ended
    tokens: Tokens | None
    count: int
    thinking: str = ""
    notes: tuple[str, ...] = ()

    @property
    def mean_logprob(self) -> float:
        """Of a token; NaN where the server shows less than half of the text with its log-probabilities."""
        if self.tokens is None:
            return math.nan
        shown = zip(self.tokens.texts, self.tokens.logprobs, strict=True)
        known = sum(len(text) for text, value in shown if not math.isnan(value))
        return self.tokens.mean_logprob if 2 * known >= len(self.text) else math.nan

    @property
    def aligned_tokens(self) -> Tokens | None:
        """The tokens if they are all and their texts join to `text`, else None.

        A stop text may end inside a token, or thinking was cut. The name that a server shows for the end token is not
        part of the text, so it is replaced by "".
        """
        if not self.tokens or len(self.tokens) != self.count:
            return None
        if "".join(self.tokens.texts) == self.text:
            return self.tokens
        but_last = self.tokens.texts[:-1]
        if self.ended == "end" and "".join(but_last) == self.text:
            return Tokens((*but_last, ""), self.tokens.logprobs, self.tokens.ids)
        return None


@dataclass(frozen=True, slots=True)
class Response:
    """The continuations of one request; `prompt_tokens` and `cached_tokens` are None where the server does not say."""

    generations: Sequence[Generation]
    prompt_tokens: int | None
    cached_tokens: int | None
    completion_tokens: int | None
    """The number by the server's usage: a cross-check only, since some servers count one of n continuations."""


class Route(Protocol):
    """One of a server's routes to generate text."""

    async def generate(self, request: Request) -> Response:
        """Send one request. May return fewer continuations than requested. Raises `ServerError` or `ModelError`."""
        ...
