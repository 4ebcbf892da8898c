"""Chat templates rendered here, in a sandbox: a server's rendering may trim what a verifier has to read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import NoReturn

from jinja2 import Template, TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from computewise.errors import UsageError

Message = Mapping[str, str]


def render_chat(template: str, messages: Sequence[Message], *, generation: bool) -> str:
    """The conversation as text, without the begin-of-text token: whoever tokenises adds that.

    `generation` opens the assistant's next turn. `strftime_now` is not defined, so a template that writes today's date
    where it can does not: a prompt stays the same from day to day.
    """
    try:
        return _compiled(template).render(
            messages=list(messages), add_generation_prompt=generation, bos_token="", eos_token="", tools=None
        )
    except TemplateError as error:
        raise UsageError(f"the chat template cannot be rendered: {_line(error)}") from None


@lru_cache(maxsize=16)
def _compiled(template: str) -> Template:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    environment.globals["raise_exception"] = _refuse
    return environment.from_string(template)


def _refuse(message: str) -> NoReturn:
    raise TemplateError(message)


def _line(error: TemplateError) -> str:
    return " ".join((error.message or type(error).__name__).split())
