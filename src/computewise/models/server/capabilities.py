"""What kinds of server call things, and what a probed server can do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from computewise.strategies import STEPWISE, WHOLE

Fields = Mapping[str, Any]


def _none() -> Fields:
    return {}


def _untouched() -> Fields:
    return {"top_p": 1.0, "presence_penalty": 0.0, "frequency_penalty": 0.0}


@dataclass(frozen=True, slots=True)
class Dialect:
    """Fields of a request, by what they are for.

    `sampling` switches off what a server would otherwise filter or penalise by its own defaults (llama.cpp keeps the
    likeliest 40 tokens, vLLM takes the model repository's settings): sent with every request.
    """

    name: str
    sampling: Fields = field(default_factory=_none)
    keep_stop: Fields = field(default_factory=_none)
    """Leave the stop text in the text."""
    token_ids: Fields = field(default_factory=_none)
    """Return the ids of what was sampled."""
    special: str | None = None
    """The field that says whether special tokens are put before a prompt."""
    prefill: Fields = field(default_factory=_none)
    """Go on from the last message of a chat, which is the assistant's."""
    marked_prefill: bool = False
    """Whether that message says so itself: `"prefix": true`."""
    fired: str | None = None
    """The field of a choice that names the stop text which ended it; null or a number where the model ended."""
    thinking_budget: str | None = None
    """The field that bounds the tokens of thinking."""
    limit: str = "max_tokens"
    """The field of a chat that bounds what is sampled."""
    greedy: bool = True
    """Whether a temperature of 0 is taken."""
    fixed: Fields = field(default_factory=_untouched)
    """Sent with every request, beside temperature."""


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

"""A server that says of itself no more than that."""

OPENAI = Dialect("OpenAI's fields only")

"""One that refuses what is not OpenAI's."""

FEWEST = Dialect("fewest fields", fixed={})

"""One that refuses what changes nothing: TGI takes no top_p of 1."""

THINKING = Dialect("OpenAI's thinking models", limit="max_completion_tokens", greedy=False, fixed={})

DIALECTS = {dialect.name: dialect for dialect in (VLLM, SGLANG, LLAMA, OLLAMA, OPEN, OPENAI, FEWEST, THINKING)}

THINKING_OFF: Fields = {"chat_template_kwargs": {"enable_thinking": False}}

"""Sent with every request that a template is put around, where the model is not to think."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """One model of one server."""

    server: str
    version: str | None = None
    dialect: str
    raw: bool = False
    """A prompt is taken as it is, no template put around it."""
    token_ids: bool = False
    n: int = 1
    """Continuations that one request may ask for."""
    says_which_stop: bool = False
    keeps_stop: bool = False
    prefill: bool = False
    """A chat goes on from the assistant's last message."""
    echoes: bool = False
    """What comes back then begins with that message."""
    keeps_separator: bool = False
    """The blank line at that message's end is not trimmed."""
    marked_prefill: bool = False
    logprobs: bool = False
    cached_tokens: bool = False
    template: str | None = None
    """Who renders a conversation as raw text; None where nobody can."""
    chat: bool = True
    thinks: bool = False
    """It thinks before it answers, apart from the answer or between <think> and </think>."""
    parameters: int | None = None
    context: int | None = None

    @property
    def slots(self) -> int | None:
        """Continuations that llama.cpp works on at once: further requests only wait there. None for other servers."""
        return self.n if self.server == LLAMA.name else None

    @property
    def rendered(self) -> bool:
        """Whether prompts are rendered here, once, and extended."""
        return self.raw and self.template is not None

    @property
    def rung(self) -> str:
        """A: raw prompts that say which stop fired. B: raw prompts. C: chat that goes on. D: whole solutions only."""
        if self.rendered:
            return "A" if self.says_which_stop else "B"
        return "C" if self.prefill and self.keeps_separator else "D"

    @property
    def steps(self) -> bool:
        """Whether a search can go step by step."""
        return self.rung != "D" and not self.thinks

    @property
    def why_no_steps(self) -> str:
        """For a person; to be read after "cannot be searched by steps: "."""
        if self.thinks:
            return "it thinks before it answers, and steps would cut its thinking (--no-thinking, if its template can)"
        if self.raw:
            return "nobody has told its chat template: give --chat-template FILE, or plain for a base model"
        if self.prefill:
            return "its chat template trims the blank line that ends a step"
        return "the server neither takes raw prompts nor goes on from an assistant's message"

    def strategies(self) -> dict[str, str | None]:
        """Every strategy, with why it is refused; None where it is not."""
        why = None if self.steps else self.why_no_steps
        return {**dict.fromkeys(WHOLE), **dict.fromkeys(STEPWISE, why)}

    def to_dict(self) -> dict[str, Any]:
        """As JSON keeps it."""
        return {**asdict(self), "rung": self.rung, "steps": self.steps}
