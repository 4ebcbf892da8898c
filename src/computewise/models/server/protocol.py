"""What is asked of a server and what comes back, as typed data, whatever the route."""

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

"""The model's own end, the stop text, the token limit; "unsaid" where a server does not tell the first two apart;
"failed" where it was lost."""

CHARACTERS_A_TOKEN = 4

"""Where a server says nothing at all of tokens."""


@dataclass(frozen=True, slots=True)
class Request:
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
class Generation:
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
    def aligned_tokens(self) -> Tokens | None:
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
class Response:
    """The continuations of one request; `prompt_tokens` and `cached_tokens` are None where the server does not say."""

    found: Sequence[Generation]
    prompt_tokens: int | None
    cached_tokens: int | None
    completion_tokens: int | None
    """What the server's usage says: a cross-check, since some count one continuation of n."""


class Route(Protocol):
    """One of a server's ways to generate."""

    async def generate(self, asked: Request) -> Response:
        """One request; may return fewer continuations than asked for. Raises `ServerError` or `ModelError`."""
        ...


T = TypeVar("T")


_CUT = ("length", "abort", "content_filter", "error")


class ChoiceMessage(Struct):
    """What the assistant says, and what it thought, under both names that servers have for it."""

    content: str | None = None
    reasoning: str | None = None
    reasoning_content: str | None = None

    @property
    def thinking(self) -> str:
        """What was thought."""
        return self.reasoning or self.reasoning_content or ""


class Choice(Struct):
    """One continuation, of a completion or a chat. `stop_reason` is vLLM's, `matched_stop` SGLang's."""

    index: int | None = None
    text: str | None = None
    message: ChoiceMessage | None = None
    finish_reason: str | None = None
    stop_reason: Any = msgspec.UNSET
    matched_stop: Any = msgspec.UNSET
    token_ids: list[int] | None = None
    logprobs: Any = None


class Details(Struct):
    """Of the prompt's tokens, and of those that were sampled."""

    cached_tokens: int | None = None
    reasoning_tokens: int | None = None


class Counts(Struct):
    """Tokens by the server's count; None for what it does not say."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: Details | None = None
    completion_tokens_details: Details | None = None

    @property
    def cached_tokens(self) -> int | None:
        """Those of the prompt that the server's cache held."""
        return self.prompt_tokens_details.cached_tokens if self.prompt_tokens_details else None

    @property
    def thinking_tokens(self) -> int:
        """Those that were sampled but are not shown."""
        return self.completion_tokens_details.reasoning_tokens or 0 if self.completion_tokens_details else 0

    def each(self, lengths: Sequence[int]) -> Sequence[int | None]:
        """What each of several continuations took of the sampled tokens, shared out by their lengths."""
        if self.completion_tokens is None:
            return [None] * len(lengths)
        return shared_out(self.completion_tokens, lengths)


class Envelope(Struct):
    """OpenAI's."""

    choices: list[Choice]
    usage: Counts | None = None


class _Shown(Struct):
    token: str
    logprob: float | None
    id: int | None = None


class _Logprobs(Struct):
    """A chat's `content`, or the columns of a completion."""

    content: list[_Shown] | None = None
    tokens: list[str] | None = None
    token_logprobs: list[float | None] | None = None


def read(held: Any, kind: type[T], what: str) -> T:
    """`held` as `kind`; raises `ModelError` where it is something else."""
    try:
        return msgspec.convert(held, kind)
    except msgspec.ValidationError as error:
        raise ModelError(f"the server answered no {what} ({error}): {' '.join(str(held).split())[:200]}") from None


def envelope_of(held: Any) -> tuple[list[Choice], Counts]:
    """The choices in the order of their index, at least one, and the usage."""
    found = read(held, Envelope, "choices")
    if not found.choices:
        raise ModelError(f"the server answered without choices: {str(held)[:200]}")
    return sorted(found.choices, key=lambda choice: choice.index or 0), found.usage or Counts()


def ended(choice: Choice, dialect: Dialect, stop: str | None, text: str, *, says: bool) -> Ended:
    """What ended a choice: its finish_reason alone is "stop" for the model's end and for a stop text alike.

    `says` tells that this server says it where it was the stop text.
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
    """The sampled tokens, where log-probabilities came in either of the two shapes; with their ids, where those did."""
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
        raise ModelError(f"the server answered {len(values)} log-probabilities of {len(texts)} tokens")
    known = tuple(ids) if ids and len(ids) == len(texts) else None
    return Tokens(tuple(texts), tuple([value or 0.0 for value in values]), known)
