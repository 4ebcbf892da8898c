"""Chat templates of others, compiled so that they reach nothing but what they are given."""

from __future__ import annotations

import json
from typing import Any, NoReturn

from jinja2 import TemplateError, nodes
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

FAILURES = (TemplateError, ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)
"""What somebody else's template comes to."""


class _Generation(Extension):
    """What the assistant says is marked in some templates, for those who train: it is rendered like the rest."""

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
    """What a failure says, for a person."""
    return " ".join(str(error).split()) or type(error).__name__


def _raise(message: str) -> NoReturn:
    raise TemplateError(message)


def _tojson(value: Any, ensure_ascii: bool = False, **settings: Any) -> str:
    """Jinja's own writes HTML's entities."""
    return json.dumps(value, ensure_ascii=ensure_ascii, **settings)
