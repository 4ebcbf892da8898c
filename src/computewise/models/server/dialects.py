"""What each kind of server calls things, beyond what OpenAI's API names.

Read in the sources of vLLM 0.33, SGLang 0.5.23 and llama.cpp; what can be checked on the server itself, `probe`
checks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

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
