"""Reading what servers answer: every field of it is somebody else's, so what is read is checked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import msgspec
from msgspec import Struct

from computewise.errors import ModelError
from computewise.models.server.dialects import Dialect
from computewise.models.server.generation import Ended, Tokens, shared_out

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
