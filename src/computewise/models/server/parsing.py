"""Reading what servers answer: defensively, since every field of it is somebody else's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from computewise.errors import ModelError
from computewise.models.server.dialects import Dialect
from computewise.models.server.generation import Ended, Token


def choices_of(held: Any) -> list[Mapping[str, Any]]:
    """The choices of an answer in OpenAI's envelope, in the order of their index."""
    choices = held.get("choices") if isinstance(held, dict) else None
    if not isinstance(choices, list) or not choices or not all(isinstance(choice, dict) for choice in choices):
        raise ModelError(f"the server answered without choices: {str(held)[:200]}")
    return sorted(choices, key=lambda choice: int(choice.get("index") or 0))


def ended(choice: Mapping[str, Any], dialect: Dialect, stop: str | None, text: str) -> Ended:
    """What ended a choice: its finish_reason alone is "stop" for the model's end and for a stop text alike."""
    reason = choice.get("finish_reason")
    if reason in ("length", "abort"):
        return "length"
    if stop is None:
        return "end"
    if dialect.fired is not None and dialect.fired in choice:
        return "stop" if choice[dialect.fired] == stop else "end"
    if dialect.keep_stop:
        return "stop" if text.endswith(stop) else "end"
    return "unsaid"


def tokens_of(choice: Mapping[str, Any]) -> tuple[Token, ...] | None:
    """The sampled tokens, where log-probabilities came in either of the two shapes; with their ids, where those did."""
    logprobs, ids = choice.get("logprobs"), choice.get("token_ids")
    if not isinstance(logprobs, dict):
        return None
    if isinstance(content := logprobs.get("content"), list):
        found = [Token(str(one["token"]), float(one["logprob"]), one.get("id")) for one in content]
    elif isinstance(texts := logprobs.get("tokens"), list):
        values = logprobs.get("token_logprobs") or []
        found = [Token(str(text), float(value or 0)) for text, value in zip(texts, values, strict=True)]
    else:
        return None
    if isinstance(ids, list) and len(ids) == len(found):
        found = [Token(one.text, one.logprob, id) for one, id in zip(found, ids, strict=True)]
    return tuple(found)


def counts_of(held: Mapping[str, Any]) -> tuple[int | None, int | None, int | None]:
    """Prompt, cached prompt and completion tokens of the usage; None for what it does not say."""
    usage = held.get("usage")
    if not isinstance(usage, dict):
        return None, None, None
    details = usage.get("prompt_tokens_details")
    cached = details.get("cached_tokens") if isinstance(details, dict) else None
    return usage.get("prompt_tokens"), cached, usage.get("completion_tokens")
