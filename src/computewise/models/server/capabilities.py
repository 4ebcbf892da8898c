"""What a server can do, as found out by `probe`: plain data, so that whoever runs a job need not ask again."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from computewise.models.server.dialects import LLAMA
from computewise.strategies import STEPWISE, WHOLE


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

    def plain(self) -> dict[str, Any]:
        """As JSON keeps it."""
        return {**asdict(self), "rung": self.rung, "steps": self.steps}
