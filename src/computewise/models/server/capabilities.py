"""The request fields of each kind of server, and the capabilities that a probe found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from computewise.http.accepted import adaptation_from
from computewise.registry import Registry
from computewise.strategies import STRATEGIES

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
