"""Requests and responses as typed data, the fields of each kind of server, and the capabilities that a probe found."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, Protocol

from computewise.http.accepted import adaptation_from
from computewise.models.messages import Message
from computewise.registry import Registry
from computewise.strategies import STRATEGIES

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


Fields = Mapping[str, Any]

CHAT, COMPLETIONS = "chat/completions", "completions"
"""The routes of OpenAI's API that generate."""


def _none() -> Fields:
    return {}


def _untouched() -> Fields:
    return {"top_p": 1.0, "presence_penalty": 0.0, "frequency_penalty": 0.0}


@dataclass(frozen=True, slots=True)
class Dialect:
    """The request fields of one kind of server, by purpose.

    `sampling` is sent with every request and switches off the filters and penalties that a server applies by default
    (llama.cpp keeps the 40 likeliest tokens, vLLM uses the settings of the model's repository).
    """

    name: str
    sampling: Fields = field(default_factory=_none)
    keep_stop: Fields = field(default_factory=_none)
    """Keep the stop text in the returned text."""
    token_ids: Fields = field(default_factory=_none)
    """Return the ids of the sampled tokens."""
    special: str | None = None
    """The field that decides whether special tokens are put before a prompt."""
    prefill: Fields = field(default_factory=_none)
    """Continue the last message of a chat, which is the assistant's."""
    marked_prefill: bool = False
    """Whether that message carries `"prefix": true`."""
    fired: str | None = None
    """The field of a choice with the stop text that ended it; null or a number where the model ended it."""
    thinking_budget: str | None = None
    """The field that limits the tokens of thinking."""
    fixed: Fields = field(default_factory=_untouched)
    """Fields that are sent with every request, beside the temperature."""
    owned_by: str | None = None
    """How the list of models of an added kind of server names the owner, which is how the kind is recognised."""


VLLM = Dialect(
    "vLLM",
    sampling={"top_k": 0, "min_p": 0.0, "repetition_penalty": 1.0},
    keep_stop={"include_stop_str_in_output": True},
    token_ids={"return_token_ids": True},
    special="add_special_tokens",
    prefill={"continue_final_message": True, "add_generation_prompt": False},
    fired="stop_reason",
    thinking_budget="thinking_token_budget",
)

SGLANG = Dialect(
    "SGLang",
    sampling={"top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0},
    keep_stop={"no_stop_trim": True},
    prefill={"continue_final_message": True},
    fired="matched_stop",
)

LLAMA = Dialect(
    "llama.cpp",
    sampling={"top_k": 0, "min_p": 0.0, "typical_p": 1.0, "repeat_penalty": 1.0, "samplers": ["temperature"]},
)

OLLAMA = Dialect("Ollama", sampling={"top_k": 0, "min_p": 0.0, "repeat_penalty": 1.0})

OPEN = Dialect("OpenAI-compatible", sampling={"top_k": 0, "min_p": 0.0, "repetition_penalty": 1.0})

"""A server of unknown kind."""

OPENAI = Dialect("OpenAI's fields only")

"""A server that is known to accept no other fields than OpenAI's API does."""

DIALECTS: Registry[Dialect] = Registry(
    "servers", {dialect.name: dialect for dialect in (VLLM, SGLANG, LLAMA, OLLAMA, OPEN, OPENAI)}
)

THINKING_OFF: Fields = {"chat_template_kwargs": {"enable_thinking": False}}

"""Sent with every request that the server puts a template around, where the model must not think."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What one model on one server can do."""

    server: str
    version: str | None = None
    dialect: str
    raw: bool = False
    """The server continues a raw prompt, without a template."""
    token_ids: bool = False
    n: int = 1
    """The most continuations that one request returns."""
    says_which_stop: bool = False
    keeps_stop: bool = False
    prefill: bool = False
    """The server continues the assistant's last message of a chat."""
    echoes: bool = False
    """The answer then begins with that message."""
    keeps_separator: bool = False
    """The template keeps a blank line at the end of that message."""
    marked_prefill: bool = False
    logprobs: bool = False
    cached_tokens: bool = False
    template: str | None = None
    """What renders a conversation as raw text; None where nothing can."""
    chat: bool = True
    thinks: bool = False
    """The model thinks before it answers, in a field of its own or between <think> and </think>."""
    parameters: int | None = None
    context: int | None = None
    stops: bool = True
    """The server accepts a stop text."""
    adapted: Mapping[str, Mapping[str, Any]] = field(default_factory=_none)
    """How the accepted requests differ from those of the dialect: `Adaptation.to_dict` by route."""

    @property
    def slots(self) -> int | None:
        """Continuations that llama.cpp generates at the same time; None for other servers. Further requests wait."""
        return self.n if self.server == LLAMA.name else None

    @property
    def rendered(self) -> bool:
        """Whether this package renders prompts itself, once, and extends them."""
        return self.raw and self.template is not None

    @property
    def rung(self) -> str:
        """The interface that the server offers.

        A: raw prompts, and the stop text that fired is reported. B: raw prompts. C: a chat whose last message is
        continued. D: whole solutions only.
        """
        if self.rendered:
            return "A" if self.says_which_stop else "B"
        return "C" if self.prefill and self.keeps_separator else "D"

    @property
    def steps(self) -> bool:
        """Whether a search can go step by step."""
        return self.rung != "D" and not self.thinks and self.stops

    @property
    def why_no_steps(self) -> str:
        """The reason for a person, which follows "cannot be searched by steps: "."""
        if self.thinks:
            return "it thinks before it answers, and steps would cut its thinking (--no-thinking, if its template can)"
        if not self.stops:
            return "the server refuses stop texts, which end a step"
        if self.raw:
            return "its chat template is unknown: give --chat-template FILE, or plain for a base model"
        if self.prefill:
            return "its chat template trims the blank line that ends a step"
        return "the server neither accepts raw prompts nor continues an assistant's message"

    def strategies(self) -> dict[str, str | None]:
        """Every strategy, with why it is refused; None where it is not."""
        why = None if self.steps else self.why_no_steps
        return {name: why if kind.needs_steps else None for name, kind in STRATEGIES.items()}

    def to_dict(self) -> dict[str, Any]:
        """As JSON keeps it."""
        held = {**asdict(self), "rung": self.rung, "steps": self.steps}
        # Left out where they say nothing, so that what was cached and recorded without them is found.
        usual = {"stops": True, "adapted": {}}
        return {name: value for name, value in held.items() if name not in usual or value != usual[name]}

    @property
    def told(self) -> list[str]:
        """How accepted requests differ from those of the dialect, in words for a person."""
        return [*dict.fromkeys(one for plain in self.adapted.values() for one in adaptation_from(plain).told)]

    def temperature(self, asked: float) -> float | None:
        """The temperature at which the server samples where `asked` is asked for; None: its own, as it accepts none."""
        chat = self.chat and not self.rendered
        sent = adaptation_from(self.adapted.get(CHAT if chat else COMPLETIONS, {})).apply({"temperature": asked})
        return sent.get("temperature")
