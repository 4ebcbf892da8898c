"""Chat templates: a conversation is rendered once as raw text, and solutions extend that text byte for byte.

The server does not render a chat that ends in an unfinished solution: many templates trim messages, and the solution
would lose its last delimiter.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from computewise.errors import ModelError, UsageError
from computewise.http.accepted import folded
from computewise.http.client import HttpClient
from computewise.http.servers import ids_of
from computewise.models.messages import FAILURES, Message, chat_environment, one_line
from computewise.models.server.capabilities import Fields


@dataclass(frozen=True, slots=True)
class Rendered:
    """The text that the model continues; `ids` are its tokens, where the server returned them."""

    text: str
    ids: tuple[int, ...] | None = None


class PromptTemplate(Protocol):
    """Renders conversations."""

    @property
    def name(self) -> str:
        """Where the template comes from, for a person."""
        ...

    @property
    def special(self) -> bool:
        """Whether the server must put its special tokens before the text."""
        ...

    async def render(self, messages: Sequence[Message]) -> Rendered:
        """Render the conversation up to where the assistant's next message begins."""
        ...


class PlainTemplate:
    """No template: the contents of the messages, one a line, for a base model."""

    name = "plain"
    special = True

    async def render(self, messages: Sequence[Message]) -> Rendered:
        """See `Template.render`."""
        return Rendered("".join(f"{message.content}\n" for message in messages))


class RawTemplate:
    """No template: the contents of the messages, joined without a separator."""

    name = "raw"
    special = True

    async def render(self, messages: Sequence[Message]) -> Rendered:
        """See `Template.render`."""
        return Rendered("".join(message.content for message in messages))


class JinjaTemplate:
    """A template of the kind Hugging Face tokenizers hold, rendered in a sandbox."""

    special = False

    def __init__(self, source: str, name: str, *, bos: str = "", eos: str = "", thinking: bool = True) -> None:
        self.name = name
        environment = chat_environment()
        environment.globals["strftime_now"] = _now
        self._given = {
            "bos_token": bos,
            "eos_token": eos,
            "enable_thinking": thinking,
            "tools": None,
            "documents": None,
        }
        try:
            self._template = environment.from_string(source)
        except FAILURES as error:
            raise UsageError(f"{name} is not a valid chat template: {one_line(error)}") from None

    async def render(self, messages: Sequence[Message]) -> Rendered:
        """See `Template.render`."""
        plain = [message.to_dict() for message in messages]
        try:
            return Rendered(self._template.render(messages=plain, add_generation_prompt=True, **self._given))
        except FAILURES as error:
            raise UsageError(f"{self.name} cannot render a conversation: {one_line(error)}") from None


class LlamaTemplate:
    """Rendered by llama-server, from the template in its model file."""

    name = "the server's, by /apply-template"
    special = True

    def __init__(self, client: HttpClient, fixed: Fields) -> None:
        self._client, self._fixed = client, fixed

    async def render(self, messages: Sequence[Message]) -> Rendered:
        """See `Template.render`."""
        body = {"messages": [message.to_dict() for message in messages], **self._fixed}
        held = await self._client.post("/apply-template", body)
        if not isinstance(held, dict) or not isinstance(held.get("prompt"), str):
            raise ModelError(f"/apply-template answered no prompt: {str(held)[:200]}")
        return Rendered(held["prompt"])


class TokenizeTemplate:
    """Rendered by vLLM, which returns the token ids of a conversation and their text."""

    name = "the server's, by /tokenize"
    special = False

    def __init__(self, client: HttpClient, model: str, fixed: Fields) -> None:
        self._client, self._model, self._fixed = client, model, fixed

    async def render(self, messages: Sequence[Message]) -> Rendered:
        """See `Template.render`."""
        body = {
            **self._fixed,
            "model": self._model,
            "messages": [message.to_dict() for message in messages],
            "add_generation_prompt": True,
        }
        ids = ids_of(await self._client.post("/tokenize", body))
        held = await self._client.post("/detokenize", {"model": self._model, "tokens": list(ids)})
        if not isinstance(held, dict) or not isinstance(held.get("prompt"), str):
            raise ModelError(f"/detokenize answered no prompt: {str(held)[:200]}")
        return Rendered(held["prompt"], ids)


class FoldingTemplate:
    """A template that takes no system message: what the system says stands in front of the user's message."""

    def __init__(self, template: PromptTemplate) -> None:
        self._template = template
        self.name, self.special = template.name, template.special

    async def render(self, messages: Sequence[Message]) -> Rendered:
        """See `Template.render`."""
        return await self._template.render([Message(**one) for one in folded([one._asdict() for one in messages])])


async def taking_system(template: PromptTemplate) -> PromptTemplate:
    """The template, or what makes it take a system message where it refuses one or leaves it out.

    Raises the template's error where it renders no message of a user either.
    """
    said = "Go on."
    messages = [Message("system", said), Message("user", "1")]
    try:
        if said in (await template.render(messages)).text:
            return template
    except (ModelError, UsageError):
        pass
    folding = FoldingTemplate(template)
    return folding if said in (await folding.render(messages)).text else template


def read_template(path: Path, *, thinking: bool = True) -> JinjaTemplate:
    """Read a template from a .jinja file or a model's directory (chat_template.jinja, tokenizer_config.json)."""
    settings: dict[str, Any] = {}
    try:
        if path.is_dir():
            config = path / "tokenizer_config.json"
            held = json.loads(config.read_text("utf-8")) if config.exists() else {}
            settings = held if isinstance(held, dict) else {}
            beside = path / "chat_template.jinja"
            source = beside.read_text("utf-8") if beside.exists() else _default(settings.get("chat_template"))
        else:
            source = path.read_text("utf-8")
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot read the chat template {path}: {getattr(error, 'strerror', None) or error}") from None
    if not isinstance(source, str):
        raise UsageError(f"{path} holds no chat template: neither chat_template.jinja nor one in tokenizer_config.json")
    special = {name: _content(settings.get(f"{name}_token")) for name in ("bos", "eos")}
    return JinjaTemplate(source, str(path), thinking=thinking, **special)


def _default(held: Any) -> Any:
    """The template named "default" where there are several."""
    if not isinstance(held, list):
        return held
    return next((one.get("template") for one in held if isinstance(one, dict) and one.get("name") == "default"), None)


def _content(token: Any) -> str:
    held = token.get("content") if isinstance(token, dict) else token
    return held if isinstance(held, str) else ""


def _now(pattern: str) -> str:
    return datetime.now().strftime(pattern)
