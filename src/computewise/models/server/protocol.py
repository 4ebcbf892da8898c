"""Requests to a server and its responses as typed data, the same for every route."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any, Literal, Protocol, TypeVar

import msgspec
from msgspec import Struct

from computewise.errors import ModelError
from computewise.models.messages import Message
from computewise.models.server.capabilities import Dialect

Ended = Literal["end", "stop", "length", "unsaid", "failed"]

"""Why a generation ended: the model's own end, the stop text or the token limit; "unsaid" where a server does not
distinguish the first two; "failed" where the sample was lost."""

UNCOUNTED_CHARACTERS_A_TOKEN = 4

"""Charges text for which a server reports no tokens: a round number, which does not depend on the model. Recorded
solutions without token counts are measured by another ratio (`study.recorded.rows`), that of recorded mathematics."""


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
    """Sampled tokens as columns; `ids` is None where the server does not return them."""

    texts: tuple[str, ...]
    logprobs: tuple[float, ...]
    ids: tuple[int, ...] | None

    def __len__(self) -> int:
        return len(self.texts)

    def followed_by(self, more: Tokens) -> Tokens:
        """These tokens followed by `more`."""
        ids = None if self.ids is None or more.ids is None else self.ids + more.ids
        return Tokens(self.texts + more.texts, self.logprobs + more.logprobs, ids)


@dataclass(frozen=True, slots=True)
class Generation:
    """One continuation. `text` includes the stop text where that ended it, and does not include `thinking`.

    `tokens` is None where the server returns no tokens; `count` is then the number by its usage, None without a usage.
    """

    text: str
    ended: Ended
    tokens: Tokens | None
    count: int | None
    thinking: str = ""

    @property
    def sampled(self) -> int:
        """The number of sampled tokens, thinking included."""
        if self.tokens is not None:
            return len(self.tokens)
        if self.count is not None:
            return self.count
        return -(-len(self.text + self.thinking) // UNCOUNTED_CHARACTERS_A_TOKEN)

    @property
    def aligned_tokens(self) -> Tokens | None:
        """The tokens if their texts join to `text`, else None: a stop text may end inside a token, or thinking was cut.

        The name that a server shows for the end token is not part of the text, so it is replaced by "".
        """
        if not self.tokens:
            return None
        if "".join(self.tokens.texts) == self.text:
            return self.tokens
        but_last = self.tokens.texts[:-1]
        if self.ended == "end" and "".join(but_last) == self.text:
            return Tokens((*but_last, ""), self.tokens.logprobs, self.tokens.ids)
        return None


def divide(total: int, weights: Sequence[int]) -> list[int]:
    """`total` split into whole numbers in proportion to the weights; evenly where all weights are 0."""
    if not sum(weights):
        weights = [1] * len(weights)
    ends = [round(total * end / sum(weights)) for end in accumulate(weights)]
    return [end - begin for begin, end in zip([0, *ends], ends, strict=False)]


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


T = TypeVar("T")


_CUT = ("length", "abort", "content_filter", "error")


class ChoiceMessage(Struct):
    """The assistant's message, and its thinking under either of the names that servers use."""

    content: str | None = None
    reasoning: str | None = None
    reasoning_content: str | None = None

    @property
    def thinking(self) -> str:
        """The thinking, "" without one."""
        return self.reasoning or self.reasoning_content or ""


class Choice(Struct):
    """One continuation of a completion or a chat. `stop_reason` is vLLM's field, `matched_stop` SGLang's."""

    index: int | None = None
    text: str | None = None
    message: ChoiceMessage | None = None
    finish_reason: str | None = None
    stop_reason: Any = msgspec.UNSET
    matched_stop: Any = msgspec.UNSET
    token_ids: list[int] | None = None
    logprobs: Any = None


class Details(Struct):
    """Details of the prompt's tokens and of the sampled tokens."""

    cached_tokens: int | None = None
    reasoning_tokens: int | None = None


class Counts(Struct):
    """The server's token counts; None where it does not report one."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: Details | None = None
    completion_tokens_details: Details | None = None

    @property
    def cached_tokens(self) -> int | None:
        """Prompt tokens that were in the server's prefix cache."""
        return self.prompt_tokens_details.cached_tokens if self.prompt_tokens_details else None

    @property
    def thinking_tokens(self) -> int:
        """Sampled tokens of the thinking, which is not part of the text."""
        return self.completion_tokens_details.reasoning_tokens or 0 if self.completion_tokens_details else 0

    def each(self, lengths: Sequence[int]) -> Sequence[int | None]:
        """The sampled tokens of each continuation: the total divided in proportion to their lengths."""
        if self.completion_tokens is None:
            return [None] * len(lengths)
        return divide(self.completion_tokens, lengths)


class Envelope(Struct):
    """The envelope of OpenAI's responses."""

    choices: list[Choice]
    usage: Counts | None = None


class _Shown(Struct):
    token: str
    logprob: float | None
    id: int | None = None


class _Logprobs(Struct):
    """Log-probabilities: `content` in a chat, columns in a completion."""

    content: list[_Shown] | None = None
    tokens: list[str] | None = None
    token_logprobs: list[float | None] | None = None


def read(held: Any, kind: type[T], what: str) -> T:
    """`held` converted to `kind`; raises `ModelError` where it does not fit."""
    try:
        return msgspec.convert(held, kind)
    except msgspec.ValidationError as error:
        raise ModelError(
            f"the server's answer has no valid {what} ({error}): {' '.join(str(held).split())[:200]}"
        ) from None


def envelope_of(held: Any) -> tuple[list[Choice], Counts]:
    """The choices, at least one, sorted by index, and the usage."""
    found = read(held, Envelope, "choices")
    if not found.choices:
        raise ModelError(f"the server answered without choices: {str(held)[:200]}")
    return sorted(found.choices, key=lambda choice: choice.index or 0), found.usage or Counts()


def ended(choice: Choice, dialect: Dialect, stop: str | None, text: str, *, says: bool) -> Ended:
    """Why a choice ended. Its finish_reason is "stop" both for the model's own end and for a stop text.

    `says` is true for a server that marks a choice which a stop text ended.
    """
    if choice.finish_reason in _CUT:
        return "length"
    if stop is None:
        return "end"
    if text.endswith(stop) or choice.finish_reason == "stop_sequence":
        return "stop"
    fired = getattr(choice, dialect.fired) if dialect.fired else msgspec.UNSET
    if fired is not msgspec.UNSET:
        return "stop" if fired == stop else "end"
    return "end" if says else "unsaid"


def tokens_of(choice: Choice) -> Tokens | None:
    """The sampled tokens, with ids where the server returns them; None without log-probabilities of a known shape."""
    if not isinstance(choice.logprobs, dict):
        return None
    held = read(choice.logprobs, _Logprobs, "log-probabilities")
    ids = choice.token_ids
    if held.content is not None:
        texts, values = [one.token for one in held.content], [one.logprob for one in held.content]
        ids = ids or [one.id for one in held.content if one.id is not None]
    elif held.tokens is not None:
        texts, values = held.tokens, held.token_logprobs or []
    else:
        return None
    if len(values) != len(texts):
        raise ModelError(f"the server answered {len(values)} log-probabilities for {len(texts)} tokens")
    known = tuple(ids) if ids and len(ids) == len(texts) else None
    return Tokens(tuple(texts), tuple([value or 0.0 for value in values]), known)
