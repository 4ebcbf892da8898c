"""Chat templates rendered here, in a sandbox: a server's rendering may trim what a verifier has to read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache

from jinja2 import Template

from computewise.errors import UsageError
from computewise.models.sandbox import FAILURES, chat_environment, one_line

TemplateMessage = Mapping[str, str]


def render_chat(template: str, messages: Sequence[TemplateMessage], *, generation: bool) -> str:
    """The conversation as text, without the begin-of-text token: whoever tokenises adds that.

    `generation` opens the assistant's next turn. `strftime_now` is not defined, so a template that writes today's date
    where it can does not: a prompt stays the same from day to day.
    """
    try:
        return _compiled(template).render(
            messages=list(messages), add_generation_prompt=generation, bos_token="", eos_token="", tools=None
        )
    except FAILURES as error:
        raise UsageError(f"the chat template cannot be rendered: {one_line(error)}") from None


@lru_cache(maxsize=16)
def _compiled(template: str) -> Template:
    return chat_environment().from_string(template)
