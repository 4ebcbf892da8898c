"""Parse a client's request, and check it field by field."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeVar, get_args

import msgspec
from msgspec import Meta, Struct

from computewise.models.messages import Message
from computewise.serve.errors import ApiError

Count = Annotated[int, Meta(ge=1, le=2**53)]

Seed = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]

Share = Annotated[float, Meta(ge=0, le=1)]

Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]


class StreamOptions(Struct, frozen=True):
    """OpenAI's `stream_options`."""

    include_usage: bool | None = None


class ComputewiseOptions(Struct, frozen=True, forbid_unknown_fields=True):
    """The object `computewise` of a request: how its compute is spent."""

    strategy: str | None = None
    """A strategy as NAME, NAME@N or NAME(setting=number, ...); "policy"; "none" to pass the request through."""
    n: Count | None = None
    width: Count | None = None
    k: Count | None = None
    chains: Count | None = None
    chain_length: Count | None = None
    trust: Share | None = None
    balance_temperature: Annotated[float, Meta(gt=0, le=100)] | None = None
    select: str | None = None
    price: Annotated[float, Meta(ge=0, le=1e9)] | None = None
    mean_cost: Annotated[float, Meta(gt=0, le=1e9)] | None = None
    accuracy: Share | None = None
    abstain_under: Share | None = None
    max_total_tokens: Count | None = None
    """Most sampled tokens, discarded ones included."""
    timeout: Annotated[float, Meta(gt=0, le=1e6)] | None = None
    """Seconds after which the best answer so far is given."""
    progress: Literal["comments", "reasoning"] | None = None
    """How a stream reports the progress of the search before its answer."""


class Common(Struct, frozen=True):
    """The fields of both endpoints."""

    model: str
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    seed: Seed | None = None
    n: Count | None = None
    best_of: Count | None = None
    stop: str | list[str] | None = None
    max_tokens: Count | None = None
    user: str | None = None
    computewise: ComputewiseOptions | None = None


class ChatBody(Common, frozen=True, kw_only=True):
    """The body of POST /v1/chat/completions."""

    messages: Annotated[list[dict[str, Any]], Meta(min_length=1)]
    max_completion_tokens: Count | None = None
    reasoning_effort: Effort | None = None


class CompletionBody(Common, frozen=True, kw_only=True):
    """The body of POST /v1/completions."""

    prompt: Any


MESSAGE_ROLES: Mapping[str, Literal["system", "user", "assistant"]] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
}

_KNOWN = ("role", "content")


def turns_of(messages: Sequence[Mapping[str, Any]]) -> tuple[tuple[Message, ...], tuple[str, str] | None]:
    """The turns, if the last is the user's and all are text; else none, with the field that prevents it, and why."""
    turns = []
    for index, message in enumerate(messages):
        where = f"messages[{index}]"
        role = MESSAGE_ROLES.get(str(message.get("role")))
        if role is None:
            return (), (
                f"{where}.role",
                f"a turn of the role {str(message.get('role'))[:40]!r} can only be passed through",
            )
        other = next((name for name, value in message.items() if name not in _KNOWN and value), None)
        if other is not None:
            return (), (f"{where}.{other[:40]}", f"a turn with {other[:40]} can only be passed through")
        text = _text(message.get("content"))
        if text is None:
            return (), (f"{where}.content", "a turn that is not text can only be passed through")
        turns.append(Message(role, text))
    if turns[-1].role != "user":
        return (), (f"messages[{len(turns) - 1}].role", "the last turn is not the user's: there is no problem to solve")
    return tuple(turns), None


def _text(content: Any) -> str | None:
    """The text of a content, which may come in parts; None if a part is no text."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return None
    parts = [
        part["text"]
        for part in content
        if isinstance(part, dict) and part.get("type") == "text" and isinstance(part.get("text"), str)
    ]
    return "\n".join(parts) if len(parts) == len(content) else None


T = TypeVar("T")

Endpoint = Literal["chat", "completions"]


ACTED_ON = frozenset(
    [
        "model",
        "messages",
        "prompt",
        "stream",
        "stream_options",
        "temperature",
        "seed",
        "max_tokens",
        "max_completion_tokens",
        "reasoning_effort",
        "n",
        "computewise",
    ]
)

"""Fields that are acted on here, or that differ for every sample; all others are passed on to the model."""

UNVOTABLE = [
    "tools",
    "tool_choice",
    "functions",
    "function_call",
    "logprobs",
    "top_logprobs",
    "audio",
    "modalities",
    "prediction",
    "web_search_options",
    "echo",
    "suffix",
]

"""Fields that ask for more than one text: such answers cannot be put to a vote."""

_SAYING_NOTHING: tuple[Any, ...] = (None, False, [], {}, "", "none", ["text"])

"""Values with which such a field changes nothing."""

SHAPED = "response_format"

"""Asks for a text of a given format, which holds no gradable answer: it is searched only by a named strategy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatRequest:
    """One request. `turns` end with the user's, whose text is the problem; they are empty if `unsearchable` is set."""

    endpoint: Endpoint
    raw: bytes
    body: Mapping[str, Any]
    model: str
    turns: tuple[Message, ...]
    stream: bool
    include_usage: bool
    temperature: float | None
    seed: int | None
    max_completion_tokens: int | None
    effort: str | None
    fields: Mapping[str, Any]
    options: ComputewiseOptions
    unsearchable: tuple[str, str] | None
    """A field, and why the request cannot be searched with it; it can only be passed through."""

    @property
    def prompt(self) -> str:
        """The problem."""
        return self.turns[-1].content if self.turns else ""

    @property
    def problem_field(self) -> str:
        """The name of the field that holds the problem."""
        return "messages" if self.endpoint == "chat" else "prompt"

    @property
    def stop(self) -> bool:
        """Whether the client names texts that end a solution."""
        return bool(self.body.get("stop"))

    @property
    def shaped(self) -> bool:
        """Whether it asks for a text of a given format."""
        held = self.body.get(SHAPED)
        return isinstance(held, dict) and held.get("type", "text") != "text"


def read_chat(raw: bytes) -> ChatRequest:
    """The request in a body of POST /v1/chat/completions; raises `ApiError`, with the field."""
    held = _json(raw)
    body = _convert(held, ChatBody)
    unvotable, turns = _unvotable(held), tuple[Message, ...]()
    if unvotable is None:
        turns, unvotable = turns_of(body.messages)
    shown = [bound for bound in (body.max_completion_tokens, body.max_tokens) if bound is not None]
    return _asked("chat", raw, held, body, turns, unvotable, min(shown, default=None), body.reasoning_effort)


def read_completion(raw: bytes) -> ChatRequest:
    """The request in a body of POST /v1/completions, whose prompt is continued as it is; raises `ApiError`."""
    held = _json(raw)
    body = _convert(held, CompletionBody)
    unvotable, turns = _unvotable(held), tuple[Message, ...]()
    prompt = body.prompt
    if isinstance(prompt, list) and len(prompt) == 1 and isinstance(prompt[0], str):
        prompt = prompt[0]
    if isinstance(prompt, str):
        turns = (Message("user", prompt),)
    elif unvotable is None:
        unvotable = "prompt", "prompts of tokens, or several at a time, can only be passed through"
    return _asked("completions", raw, held, body, turns, unvotable, body.max_tokens, None)


def _asked(
    endpoint: Endpoint,
    raw: bytes,
    held: dict[str, Any],
    body: Common,
    turns: tuple[Message, ...],
    unvotable: tuple[str, str] | None,
    most_shown: int | None,
    effort: str | None,
) -> ChatRequest:
    return ChatRequest(
        endpoint=endpoint,
        raw=raw,
        body=held,
        model=body.model,
        turns=turns if unvotable is None else (),
        stream=bool(body.stream),
        include_usage=bool(body.stream_options and body.stream_options.include_usage),
        temperature=body.temperature,
        seed=body.seed,
        max_completion_tokens=most_shown,
        effort=effort,
        fields={name: value for name, value in held.items() if name not in ACTED_ON and value is not None},
        options=body.computewise or ComputewiseOptions(),
        unsearchable=unvotable,
    )


def _unvotable(held: Mapping[str, Any]) -> tuple[str, str] | None:
    if (held.get("n") or 1) > 1:
        return "n", "n asks for several answers, a search gives one"
    if (held.get("best_of") or 1) > 1:
        return "best_of", "best_of has the upstream choose: to choose here, name a strategy"
    name = next((one for one in UNVOTABLE if held.get(one) not in _SAYING_NOTHING), None)
    return None if name is None else (name, f"{name} cannot be put to a vote of samples")


def _json(raw: bytes) -> dict[str, Any]:
    try:
        held = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise ApiError(f"the body is no JSON: {' '.join(str(error).split())}", code="not_json") from None
    if not isinstance(held, dict):
        raise ApiError("the body is no JSON object", code="not_json")
    return held


def _convert(held: dict[str, Any], kind: type[T]) -> T:
    try:
        return msgspec.convert(held, kind)
    except msgspec.ValidationError as error:
        text, _, path = str(error).partition(" - at `$")
        name = path.rstrip("`").lstrip(".") or None
        if name is None and "required field" in text:
            name = text.split("`")[1]
        if name == "reasoning_effort":
            text += f": allowed are {', '.join(get_args(Effort))}"
        raise ApiError(f"{name or 'the body'}: {text}", param=name, code="invalid_value") from None
