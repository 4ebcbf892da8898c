"""The turns of a client's conversation, where a search can read all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

from computewise.models.messages import Message

MESSAGE_ROLES: Mapping[str, Literal["system", "user", "assistant"]] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
}

_READ = ("role", "content", "name")

_OF_AN_ANSWER = ("refusal", "reasoning_content", "reasoning", "reasoning_details", "annotations")
"""What comes with an answer and is sent back with the history; templates leave earlier thoughts out too."""


class Unsearchable(NamedTuple):
    """A field, and why a request with it can only be passed through; `wrong` where its value is of no use here."""

    param: str
    why: str
    wrong: bool = False


def turns_of(messages: Sequence[Mapping[str, Any]]) -> tuple[tuple[Message, ...], Unsearchable | None]:
    """The turns, if the last is the user's and all are text; else none, with the field that prevents it, and why."""
    turns = []
    for index, message in enumerate(messages):
        where = f"messages[{index}]"
        role = MESSAGE_ROLES.get(str(message.get("role")))
        if role is None:
            shown = str(message.get("role"))[:40]
            return (), Unsearchable(f"{where}.role", f"a turn of the role {shown!r} can only be passed through")
        read = (*_READ, *_OF_AN_ANSWER) if role == "assistant" else _READ
        other = next((name for name, value in message.items() if name not in read and value), None)
        if other is None and not isinstance(message.get("name") or "", str):
            other = "name"
        if other is not None:
            return (), _beside(f"{where}.{other[:40]}", other)
        text = _text(message.get("content"), f"{where}.content", answer=role == "assistant")
        if isinstance(text, Unsearchable):
            return (), text
        if role == "assistant" and not text and isinstance(message.get("refusal"), str):
            text = message["refusal"]
        turns.append(Message(role, text, message.get("name") or None))
    if turns[-1].role != "user":
        why = "the last turn is not the user's: there is no problem to solve"
        return (), Unsearchable(f"messages[{len(turns) - 1}].role", why)
    return tuple(turns), None


def _beside(where: str, name: str) -> Unsearchable:
    return Unsearchable(where, f"a turn with {name[:40]} can only be passed through")


def _text(content: Any, where: str, *, answer: bool) -> str | Unsearchable:
    """The text of a content, which may come in parts; an answer may have none, or be a refusal."""
    if isinstance(content, str):
        return content
    if content is None and answer:
        return ""
    texts = []
    for index, part in enumerate(content if isinstance(content, list) else [content]):
        kind = part.get("type") if isinstance(part, dict) else None
        name = "refusal" if kind == "refusal" and answer else "text"
        if kind != name or not isinstance(part.get(name), str):
            return Unsearchable(where, "a turn that is not text can only be passed through")
        read = ("type", name, *_OF_AN_ANSWER) if answer else ("type", name)
        other = next((key for key, value in part.items() if key not in read and value), None)
        if other is not None:
            return _beside(f"{where}[{index}].{other[:40]}", other)
        texts.append(part[name])
    return "\n".join(texts)
