"""A chat's messages as turns of text, as far as they are that."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from computewise.models.chat import Message

ROLES: Mapping[str, Literal["system", "user", "assistant"]] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
}
_KNOWN = ("role", "content")


def turns_of(messages: Sequence[Mapping[str, Any]]) -> tuple[tuple[Message, ...], tuple[str, str] | None]:
    """The turns, the last one the user's; else none, with the field that is something else, and why."""
    turns = []
    for index, message in enumerate(messages):
        where = f"messages[{index}]"
        role = ROLES.get(str(message.get("role")))
        if role is None:
            return (), (
                f"{where}.role",
                f"a turn of the role {str(message.get('role'))[:40]!r} can only be passed through",
            )
        other = next((name for name, value in message.items() if name not in _KNOWN and value), None)
        if other is not None:
            return (), (f"{where}.{other[:40]}", f"a turn with {other[:40]} can only be passed through")
        text = _text(message.get("content"))
        if text is None:
            return (), (f"{where}.content", "a turn that is not text can only be passed through")
        turns.append(Message(role, text))
    if turns[-1].role != "user":
        return (), (f"messages[{len(turns) - 1}].role", "the last turn is not the user's: there is no problem to solve")
    return tuple(turns), None


def _text(content: Any) -> str | None:
    """A text, also in parts; None where a part is something else."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return None
    parts = [
        part["text"]
        for part in content
        if isinstance(part, dict) and part.get("type") == "text" and isinstance(part.get("text"), str)
    ]
    return "\n".join(parts) if len(parts) == len(content) else None
