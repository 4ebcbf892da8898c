"""The choices of OpenAI's responses, read so that no field which is wrong or missing costs a text.

What is good comes from closed lists: reasons that end a solution well, log-probabilities and counts that can be.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from msgspec import UNSET

from computewise.errors import ModelError
from computewise.http.servers import token_ids
from computewise.models.server.capabilities import Dialect, Ended, Generation, Request, Tokens
from computewise.models.server.counts import Counts, Sampled, count_tokens, finite, read_counts, whole_number

WHOLE = frozenset({"stop", "eos", "eos_token", "end", "end_turn", "end_of_text", "endoftext", "end_of_sequence"})
WHOLE |= {"complete", "completed", "finish", "finished", "stop_sequence", "stop_sequence_reached", "stop_criteria_met"}

"""The reasons that end a solution well: the model's own end, or a stop text. Any other cuts it off."""

CUT = frozenset({"length", "limit", "none", "max_tokens", "max_output_tokens", "model_length", "token_limit"})
CUT |= {"time_limit", "model_context_window_exceeded", "context_length", "error_limit", "insufficient_system_resource"}
CUT |= {"abort", "error", "cancelled", "content_filter", "content_filtered", "safety", "recitation", "blocklist"}
CUT |= {"spii", "prohibited_content", "other", "refusal", "guardrail_intervened", "error_toxic", "repetition"}
CUT |= {"timeout", "pause_turn", "tool_calls", "tool_call", "tool_use", "function_call", "malformed_function_call"}

"""The known ones of those; one that is in neither set is worth a note."""

UNENDED = "the server does not say why a solution ended: one that has fewer tokens than were allowed counts as whole"

UNLIMITED = "the server sampled more tokens than were allowed: such a solution counts as cut off"

UNLIKELY = "log-probabilities that cannot be (no number, above 0, or a placeholder such as -9999) were left out"

LEAST_LOGPROB = -100.0

"""A log-probability of this or less stands for an unknown one: no sampler draws such a token."""

ROUNDING = 0.01

"""By how much rounding may lift a log-probability above 0."""

LISTED = 0.8

"""The least share of a text that tokens must spell to be all of its tokens: some are shown by other characters."""


@dataclass(frozen=True, slots=True)
class ChoiceMessage:
    """The assistant's message, and its thinking; `content` is None where there is no text that can be read."""

    content: str | None = None
    thinking: str = ""


@dataclass(frozen=True, slots=True)
class Choice:
    """One continuation of a completion or a chat. `stop_reason` is vLLM's field, `matched_stop` SGLang's.

    Fields that are missing or of another type are None; the last two are UNSET where they are missing.
    """

    text: str | None = None
    message: ChoiceMessage | None = None
    finish_reason: str | None = None
    stop_reason: Any = UNSET
    matched_stop: Any = UNSET
    token_ids: tuple[int, ...] | None = None
    logprobs: Any = None

    @property
    def written(self) -> str | None:
        """The text, wherever the server puts it; None where there is none that can be read."""
        return self.text if self.message is None or self.message.content is None else self.message.content


def envelope_of(held: Any) -> tuple[list[Choice], Counts]:
    """The choices that hold a text, at least one, in the order of their index, and the usage.

    The order is the server's where indices are missing or repeated. Raises `ModelError` where no text can be read.
    """
    choices = held.get("choices") if isinstance(held, dict) else None
    listed = [one for one in choices if isinstance(one, dict)] if isinstance(choices, list) else []
    indices = [whole_number(one.get("index")) for one in listed]
    if None not in indices and len(set(indices)) == len(indices):
        listed = [one for _, one in sorted(zip(indices, listed, strict=True), key=lambda each: each[0] or 0)]
    found = [_choice(one) for one in listed if not one.get("error")]
    found = [one for one in found if one.written is not None]
    if not found:
        raise ModelError(f"the server's answer has no choices with a text: {excerpt(held)}")
    return found, read_counts(held.get("usage"))


def excerpt(held: Any) -> str:
    """An answer for an error, on one line."""
    return " ".join(str(held).split())[:200]


def _choice(held: Mapping[str, Any]) -> Choice:
    reason, message = held.get("finish_reason"), held.get("message")
    return Choice(
        text=_texts(held.get("text"))[0],
        message=_message(message) if isinstance(message, dict) else None,
        finish_reason=reason if isinstance(reason, str) and reason.strip() else None,
        stop_reason=held.get("stop_reason", UNSET),
        matched_stop=held.get("matched_stop", UNSET),
        token_ids=token_ids(held.get("token_ids")),
        logprobs=held.get("logprobs"),
    )


def _message(held: Mapping[str, Any]) -> ChoiceMessage:
    """A message whose text is null is empty where it says something else: thoughts, a call, or a refusal."""
    text, thought = _texts(held.get("content"))
    for name in ("reasoning", "reasoning_content", "thinking", "reasoning_details"):
        if not thought:
            thought = "".join(filter(None, _texts(held.get(name))))
    if not text and (refusal := _texts(held.get("refusal"))[0]):
        text = refusal
    says_nothing = "content" in held and held["content"] is None
    if text is None and (thought or says_nothing or held.get("tool_calls") or held.get("function_call")):
        text = ""
    return ChoiceMessage(text, thought)


def _texts(held: Any, depth: int = 4) -> tuple[str | None, str]:
    """The text and the thinking in a text, a part, or a list of parts; the text is None where there is none."""
    if isinstance(held, str):
        return held, ""
    if isinstance(held, dict) and depth:
        names = ("text", "content", "thinking", "reasoning", "summary", "refusal")
        parts = [_texts(held[name], depth - 1) for name in names if name in held]
        text, thought = next((part for part in parts if part != (None, "")), (None, ""))
        kind = str(held.get("type", "text"))
        return (None, text or thought) if "think" in kind or "reason" in kind else (text, thought)
    if isinstance(held, list) and depth:
        parts = [_texts(part, depth - 1) for part in held]
        texts = [text for text, _ in parts if text is not None]
        return "".join(texts) if texts else None, "".join(thought for _, thought in parts)
    return None, ""


def ended(choice: Choice, dialect: Dialect, stop: str | None, text: str, *, says: bool) -> Ended:
    """Why a choice ended, if it ended well. Its finish_reason is "stop" both for the model's own end and a stop text.

    `says` is true for a server that marks a choice which a stop text ended.
    """
    if stop is None:
        return "end"
    if text.endswith(stop) or choice.finish_reason == "stop_sequence":
        return "stop"
    fired = getattr(choice, dialect.fired) if dialect.fired else UNSET
    if fired is not UNSET:
        return "stop" if fired == stop else "end"
    return "end" if says else "unsaid"


def cut_off(reason: str | None, count: int, most: int, *, exact: bool) -> tuple[bool, str | None]:
    """Whether a solution of `count` tokens is cut off, and a note where the server leaves that open.

    Where no reason is given it is whole if it has fewer tokens than `most`; fewer than half of them where the count is
    not exact.
    """
    if reason is None:
        return (count if exact else 2 * count) >= most, UNENDED
    plain = reason.strip().lower().rpartition(".")[2].replace("-", "_").replace(" ", "_")
    if plain in WHOLE:
        return False, None
    shown = None if plain in CUT else f"the server ended a solution for a reason that is not known, {reason[:40]!r}"
    return True, None if shown is None else f"{shown}: it counts as cut off"


def tokens_of(choice: Choice) -> Tokens | None:
    """The tokens that are shown, with ids where the server returns them; None where none are in a known shape."""
    pairs = _shown(choice.logprobs)
    if not pairs:
        return None
    ids = choice.token_ids or token_ids([one.get("id") for one in _entries(choice.logprobs)])
    known = ids if ids is not None and len(ids) == len(pairs) else None
    return Tokens(tuple(text for text, _ in pairs), tuple(known_logprob(value) for _, value in pairs), known)


def known_logprob(held: Any) -> float:
    """A token's log-probability; NaN for anything that cannot be one."""
    value = finite(held)
    return min(value, 0.0) if value is not None and LEAST_LOGPROB < value <= ROUNDING else math.nan


def _shown(logprobs: Any) -> list[tuple[str, Any]]:
    """Texts and values, from the columns of a completion or the entries of a chat."""
    if isinstance(logprobs, dict) and not isinstance(logprobs.get("content"), list):
        texts, values = logprobs.get("tokens"), logprobs.get("token_logprobs")
        if isinstance(texts, list) and isinstance(values, list) and len(texts) == len(values):
            return [(text if isinstance(text, str) else "", value) for text, value in zip(texts, values, strict=True)]
        return []
    entries = _entries(logprobs)
    return [(one["token"] if isinstance(one.get("token"), str) else "", one.get("logprob")) for one in entries]


def _entries(logprobs: Any) -> list[dict[str, Any]]:
    listed = logprobs.get("content") if isinstance(logprobs, dict) else logprobs
    return [one for one in listed if isinstance(one, dict)] if isinstance(listed, list) else []


def read_choices(
    choices: Sequence[Choice], counts: Counts, dialect: Dialect, request: Request, texts: Sequence[str], *, says: bool
) -> list[Generation]:
    """The generations of a request from its choices, whose visible texts are `texts`.

    What of their tokens and ends cannot be right is replaced, and noted.
    """
    thoughts = [choice.message.thinking if choice.message else "" for choice in choices]
    shown = [tokens_of(choice) for choice in choices]
    sampled = [
        Sampled(
            text + thought, _listed(choice, tokens, text + thought), hidden=counts.thinking_tokens > 0 and not thought
        )
        for choice, text, thought, tokens in zip(choices, texts, thoughts, shown, strict=True)
    ]
    numbers, replaced = count_tokens(sampled, counts, request.max_tokens)
    found = []
    for choice, text, thought, tokens, one, count in zip(
        choices, texts, thoughts, shown, sampled, numbers, strict=True
    ):
        exact = replaced is None and (len(choices) == 1 or count == one.listed)
        is_cut, why = cut_off(choice.finish_reason, count, request.max_tokens, exact=exact)
        if count > request.max_tokens and not one.hidden:
            is_cut, why = True, UNLIMITED
        how: Ended = "length" if is_cut else ended(choice, dialect, request.stop, text, says=says)
        stopped = request.stop if how == "stop" and request.stop and not text.endswith(request.stop) else ""
        unlikely = UNLIKELY if tokens is not None and any(map(math.isnan, tokens.logprobs)) else None
        notes = tuple(note for note in (replaced, why, unlikely) if note)
        found.append(Generation(text + stopped, how, tokens, count, thought, notes))
    return found


def _listed(choice: Choice, tokens: Tokens | None, text: str) -> int | None:
    """The number of tokens that the server lists, where they are all: their texts are as long as the whole text."""
    if choice.token_ids is not None:
        return len(choice.token_ids)
    if tokens is None or sum(map(len, tokens.texts)) < LISTED * len(text):
        return None
    return len(tokens)
