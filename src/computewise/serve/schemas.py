"""Parse a client's request; the types of what only a search uses are checked, and decide nothing else."""

from __future__ import annotations

from codecs import BOM_UTF8
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeGuard, TypeVar, get_args

import msgspec
from msgspec import Meta, Struct

from computewise.models.messages import Message
from computewise.serve.errors import ApiError
from computewise.serve.turns import Unsearchable, turns_of

Count = Annotated[int, Meta(ge=1, le=2**53)]

Seed = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]

Share = Annotated[float, Meta(ge=0, le=1)]

Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]


class StreamOptions(Struct, frozen=True, forbid_unknown_fields=True):
    """OpenAI's `stream_options`."""

    include_usage: bool | None = None
    include_obfuscation: bool | None = None


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
    temperature: Annotated[float, Meta(ge=0)] | None = None
    seed: Seed | None = None
    n: Count | None = None
    best_of: Count | None = None
    stop: str | list[str] | None = None
    max_tokens: Count | None = None
    """Also -1, which means no bound to some servers."""
    computewise: ComputewiseOptions | None = None


class ChatBody(Common, frozen=True, kw_only=True):
    """The body of POST /v1/chat/completions."""

    messages: Annotated[list[dict[str, Any]], Meta(min_length=1)]
    max_completion_tokens: Count | None = None
    reasoning_effort: Effort | None = None


class CompletionBody(Common, frozen=True, kw_only=True):
    """The body of POST /v1/completions."""

    prompt: Any


B = TypeVar("B", bound=Common)

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
        "best_of",
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
    "prompt_logprobs",
    "n_probs",
    "return_token_ids",
    "return_tokens_as_token_ids",
    "return_hidden_states",
    "use_beam_search",
    "plugins",
]

"""Fields that ask for more than one text: such answers cannot be put to a vote."""

_SAYING_NOTHING = {
    "tool_choice": "none",
    "function_call": "none",
    "modalities": ["text"],
    "top_logprobs": 0,
    "n_probs": 0,
}
"""Values with which such a field changes nothing, beside null, false and what is empty; `logprobs` of 0 is a wish."""

SHAPED = ("response_format", "structured_outputs", "grammar", "json_schema", "regex", "ebnf")
"""Ask for a text of a given format, which holds no gradable answer: it is searched only by a named strategy."""


def _asks(name: str, value: Any) -> bool:
    """Whether a field with this value asks for anything."""
    return not (value is None or value is False or value in ([], {}, "")) and value != _SAYING_NOTHING.get(name)


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
    unsearchable: Unsearchable | None
    """Why the request can only be passed through; None where it can be searched."""

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
    def shaped(self) -> str | None:
        """The field that asks for a text of a given format."""
        found = (name for name in self.body if name in SHAPED or name.startswith("guided_"))
        return next((name for name in found if _shapes(self.body[name])), None)

    @property
    def best_of(self) -> bool:
        """Whether the upstream shall choose among several samples."""
        return more_than_one(self.body.get("best_of"))


def _shapes(value: Any) -> bool:
    """Whether a format is given; a text of any form is none."""
    return value.get("type", "") != "text" if isinstance(value, dict) and value else _asks("", value)


def more_than_one(value: Any) -> TypeGuard[float]:
    """Whether a number of answers is above one; what is no number is none."""
    return isinstance(value, int | float) and value > 1


def read_chat(raw: bytes) -> ChatRequest:
    """The request in a body of POST /v1/chat/completions; raises `ApiError`, with the field."""
    held = _json(raw)
    body, unsearchable = _convert(held, ChatBody)
    unsearchable, turns = unsearchable or _unvotable(held), tuple[Message, ...]()
    if unsearchable is None:
        turns, unsearchable = turns_of(body.messages)
    shown = [bound for bound in (body.max_completion_tokens, body.max_tokens) if bound is not None]
    return _asked("chat", raw, held, body, turns, unsearchable, min(shown, default=None), body.reasoning_effort)


def read_completion(raw: bytes) -> ChatRequest:
    """The request in a body of POST /v1/completions, whose prompt is continued as it is; raises `ApiError`."""
    held = _json(raw)
    body, unsearchable = _convert(held, CompletionBody)
    unsearchable, turns = unsearchable or _unvotable(held), tuple[Message, ...]()
    prompt = body.prompt
    if isinstance(prompt, list) and len(prompt) == 1 and isinstance(prompt[0], str):
        prompt = prompt[0]
    if isinstance(prompt, str):
        turns = (Message("user", prompt),)
    elif unsearchable is None:
        unsearchable = Unsearchable("prompt", "prompts of tokens, or several at a time, can only be passed through")
    return _asked("completions", raw, held, body, turns, unsearchable, body.max_tokens, None)


def _asked(
    endpoint: Endpoint,
    raw: bytes,
    held: dict[str, Any],
    body: Common,
    turns: tuple[Message, ...],
    unsearchable: Unsearchable | None,
    most_shown: int | None,
    effort: str | None,
) -> ChatRequest:
    return ChatRequest(
        endpoint=endpoint,
        raw=raw,
        body=held,
        model=body.model,
        turns=turns if unsearchable is None else (),
        stream=bool(body.stream),
        include_usage=bool(body.stream_options and body.stream_options.include_usage),
        temperature=body.temperature,
        seed=body.seed,
        max_completion_tokens=most_shown,
        effort=effort,
        fields={name: value for name, value in held.items() if name not in ACTED_ON and value is not None},
        options=body.computewise or ComputewiseOptions(),
        unsearchable=unsearchable,
    )


def _unvotable(held: Mapping[str, Any]) -> Unsearchable | None:
    if more_than_one(held.get("n")):
        return Unsearchable("n", "n asks for several answers, a search gives one")
    name = next((one for one in UNVOTABLE if _asks(one, held.get(one))), None)
    return None if name is None else Unsearchable(name, f"{name} cannot be put to a vote of samples")


def _json(raw: bytes) -> dict[str, Any]:
    try:
        held = msgspec.json.decode(raw.removeprefix(BOM_UTF8))
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise ApiError(f"the body is no JSON: {' '.join(str(error).split())}", code="not_json") from None
    if not isinstance(held, dict):
        raise ApiError("the body is no JSON object", code="not_json")
    return held


class _Addressed(Struct, frozen=True):
    """What every request needs: which model, and how it is to be answered."""

    model: str
    computewise: ComputewiseOptions | None = None


_WHOLE = ("n", "best_of", "seed", "max_tokens", "max_completion_tokens")
_BOUNDS = ("max_tokens", "max_completion_tokens")
_UNBOUNDED = -1
"""As a number of tokens: no bound, to llama.cpp and LM Studio."""


def _convert(held: dict[str, Any], kind: type[B]) -> tuple[B, Unsearchable | None]:
    """The fields that a search uses, or why it cannot use them; raises `ApiError` where nobody could be asked."""
    try:
        return msgspec.convert(held, kind), None
    except msgspec.ValidationError:
        pass
    tidied = {name: _whole(value) if name in _WHOLE else value for name, value in held.items()}
    tidied = {name: value for name, value in tidied.items() if name not in _BOUNDS or value != _UNBOUNDED}
    if isinstance(options := held.get("computewise"), dict):
        tidied["computewise"] = {name: _whole(value) for name, value in options.items()}
    try:
        return msgspec.convert(tidied, kind), None
    except msgspec.ValidationError as error:
        name, text = _described(error)
    try:
        addressed = msgspec.convert(tidied, _Addressed)
    except msgspec.ValidationError as error:
        name, text = _described(error)
        raise ApiError(text, param=name, code="invalid_value") from None
    needed: dict[str, Any] = {"messages": [{}]} if kind is ChatBody else {"prompt": None}
    body = msgspec.convert({"model": addressed.model, **needed}, kind)
    return msgspec.structs.replace(body, computewise=addressed.computewise), Unsearchable(name, text, wrong=True)


def _whole(value: Any) -> Any:
    """A whole number that is written as a float, such as 100.0, as an integer."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _described(error: msgspec.ValidationError) -> tuple[str, str]:
    """The field that is wrong, and what is wrong with it."""
    text, _, path = str(error).partition(" - at `$")
    name = path.rstrip("`").lstrip(".")
    if not name and "required field" in text:
        name = text.split("`")[1]
    if name == "reasoning_effort":
        text += f": allowed are {', '.join(get_args(Effort))}"
    return name, f"{name or 'the body'}: {text}"
