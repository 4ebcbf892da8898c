"""From a body to what is asked: the fields this server acts on, and those that reach upstream as they are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeVar, get_args

import msgspec

from computewise.models.chat import Message
from computewise.serve.bodies import ChatBody, Common, CompletionBody, Effort, Wishes
from computewise.serve.refusals import Refused
from computewise.serve.turns import turns_of

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
"""Fields that decide what is done, or that every sample has an own value of; all others are passed on."""
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
"""Fields that ask for something else than one text: what came of several samples cannot be put to a vote."""
_SAYING_NOTHING: tuple[Any, ...] = (None, False, [], {}, "", "none", ["text"])
"""Values of those that ask for what is done anyway."""
SHAPED = "response_format"
"""A text of a given shape: it has no answer that can be read, but can be sampled where a strategy is asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One request. `turns` end with the user's, whose text is the problem; empty where `unvotable` says why."""

    endpoint: Endpoint
    raw: bytes
    body: Mapping[str, Any]
    model: str
    turns: tuple[Message, ...]
    stream: bool
    include_usage: bool
    temperature: float | None
    seed: int | None
    most_shown: int | None
    effort: str | None
    fields: Mapping[str, Any]
    wishes: Wishes
    unvotable: tuple[str, str] | None
    """A field, and why the request cannot be searched with it; it can only be passed through."""

    @property
    def prompt(self) -> str:
        """The problem."""
        return self.turns[-1].content if self.turns else ""

    @property
    def problem_field(self) -> str:
        """Where the problem is."""
        return "messages" if self.endpoint == "chat" else "prompt"

    @property
    def stop(self) -> bool:
        """Whether the client names texts that end a solution."""
        return bool(self.body.get("stop"))

    @property
    def shaped(self) -> bool:
        """Whether it wants a text of a given shape."""
        held = self.body.get(SHAPED)
        return isinstance(held, dict) and held.get("type", "text") != "text"


def read_chat(raw: bytes) -> Asked:
    """Of POST /v1/chat/completions; raises `Refused`, naming the field."""
    held = _json(raw)
    body = _convert(held, ChatBody)
    unvotable, turns = _unvotable(held), tuple[Message, ...]()
    if unvotable is None:
        turns, unvotable = turns_of(body.messages)
    shown = [bound for bound in (body.max_completion_tokens, body.max_tokens) if bound is not None]
    return _asked("chat", raw, held, body, turns, unvotable, min(shown, default=None), body.reasoning_effort)


def read_completion(raw: bytes) -> Asked:
    """Of POST /v1/completions, whose prompt is gone on from as it is; raises `Refused`, naming the field."""
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
) -> Asked:
    return Asked(
        endpoint=endpoint,
        raw=raw,
        body=held,
        model=body.model,
        turns=turns if unvotable is None else (),
        stream=bool(body.stream),
        include_usage=bool(body.stream_options and body.stream_options.include_usage),
        temperature=body.temperature,
        seed=body.seed,
        most_shown=most_shown,
        effort=effort,
        fields={name: value for name, value in held.items() if name not in ACTED_ON and value is not None},
        wishes=body.computewise or Wishes(),
        unvotable=unvotable,
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
        raise Refused(f"the body is no JSON: {' '.join(str(error).split())}", code="not_json") from None
    if not isinstance(held, dict):
        raise Refused("the body is no JSON object", code="not_json")
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
        raise Refused(f"{name or 'the body'}: {text}", param=name, code="invalid_value") from None
