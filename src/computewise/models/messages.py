"""Conversations with a model, and the sandbox in which chat templates are rendered."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Literal, NamedTuple, NoReturn

from jinja2 import Template, TemplateError, nodes
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from computewise.core import Attempt
from computewise.errors import UsageError


class Message(NamedTuple):
    """One turn of a conversation."""

    role: Literal["system", "user", "assistant"]
    content: str
    name: str | None = None
    """The participant's name, where a client gives one."""

    def to_dict(self) -> dict[str, str]:
        """As servers and templates read it."""
        named = {} if self.name is None else {"name": self.name}
        return {"role": self.role, "content": self.content, **named}


def conversation(prompt: str, attempts: Sequence[Attempt], instruction: str = "") -> list[Message]:
    """The problem, then each attempt as the model's own turn, answered by the verifier's feedback.

    After Self-Refine (Madaan et al. 2023). `instruction` is the system's message, where there is one.
    """
    messages = [Message("system", instruction)] if instruction else []
    messages.append(Message("user", prompt))
    for attempt in attempts:
        messages += [Message("assistant", attempt.text), Message("user", feedback(attempt))]
    return messages


def feedback(attempt: Attempt) -> str:
    """What the verifier says about an attempt and what the model should do; without scores, to check it again."""
    task = "Write the whole solution again, in the same form, with the final answer at the end."
    if attempt.weakest_step is None:
        return f"Look for a mistake in this solution; where there is one, mend it. {task}"
    chance = f"A verifier gives this solution a chance of {attempt.scores[-1]:.0%} to be right."
    if attempt.likely_right:
        return f"{chance} Check every step once more; change only what is wrong. {task}"
    step = attempt.steps[attempt.weakest_step].strip()
    return f'{chance} It doubts step {attempt.weakest_step + 1} most: "{step}". Mend the mistake. {task}'


FAILURES = (TemplateError, ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)

"""The errors that a template of somebody else may raise."""


class _Generation(Extension):
    """The block `generation`, by which some templates mark the assistant's text for training; its body is rendered."""

    tags = {"generation"}

    def parse(self, parser: Parser) -> list[nodes.Node]:
        """See `jinja2.ext.Extension.parse`."""
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def chat_environment() -> ImmutableSandboxedEnvironment:
    """Jinja as Hugging Face's tokenizers set it up, without `strftime_now`."""
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, "jinja2.ext.loopcontrols"]
    )
    environment.globals["raise_exception"] = _raise
    environment.filters["tojson"] = _tojson
    return environment


def one_line(error: Exception) -> str:
    """The error's message on one line."""
    return " ".join(str(error).split()) or type(error).__name__


def _raise(message: str) -> NoReturn:
    raise TemplateError(message)


def _tojson(value: Any, ensure_ascii: bool = False, **settings: Any) -> str:
    """As JSON; Jinja's own filter escapes it for HTML."""
    return json.dumps(value, ensure_ascii=ensure_ascii, **settings)


TemplateMessage = Mapping[str, str]


def render_chat(template: str, messages: Sequence[TemplateMessage], *, generation: bool) -> str:
    """The conversation as text, without the begin-of-text token, which the tokeniser adds.

    `generation` opens the assistant's next turn. `strftime_now` is not defined, so that a template cannot write the
    date of today into a prompt, which would then differ from day to day.
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
