"""How the requests that a server accepts differ from what is asked of it."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

LIMIT, NEWER_LIMIT = "max_tokens", "max_completion_tokens"

Body = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Adaptation:
    """How the requests that a server accepts for a model differ from what is asked of it."""

    without: frozenset[str] = frozenset()
    """Fields that are left out."""
    limit: str = LIMIT
    """The field of the limit of sampled tokens; "" where none is accepted."""
    most: int | None = None
    """The highest limit of sampled tokens."""
    least: int = 0
    """The lowest limit of sampled tokens."""
    n: int | None = None
    """The most continuations of one request."""
    listed: int | None = None
    """The most likeliest tokens that are listed for one place."""
    coldest: float = 0.0
    hottest: float = math.inf
    """Bounds of the temperature."""
    folded: bool = False
    """The system's message is put in front of the user's."""

    def apply(self, body: Body, fixed: Collection[str] = ()) -> dict[str, Any]:
        """The request as it is sent; the fields in `fixed` are not touched."""
        sent = {name: value for name, value in body.items() if name in fixed or name not in self.without}
        if LIMIT in sent and LIMIT not in fixed:
            limit = max(min(sent.pop(LIMIT), self.most or math.inf), self.least)
            sent |= {self.limit: limit} if self.limit else {}
        if "temperature" in sent and "temperature" not in fixed:
            sent["temperature"] = max(min(sent["temperature"], self.hottest), self.coldest)
        if "n" in sent and self.n is not None and "n" not in fixed:
            sent["n"] = min(sent["n"], self.n)
        if sent.get("n") == 1 and "n" not in fixed:
            del sent["n"]
        for name in ("top_logprobs", "logprobs"):
            if self.listed is not None and name not in fixed and is_number(sent.get(name)):
                sent[name] = min(sent[name], self.listed)
        if self.folded and "messages" in sent:
            sent["messages"] = folded(sent["messages"])
        return sent

    def to_dict(self) -> dict[str, Any]:
        """What differs, as JSON keeps it."""
        held = {one.name: getattr(self, one.name) for one in fields(self) if getattr(self, one.name) != one.default}
        return {name: sorted(value) if name == "without" else value for name, value in held.items()}

    @property
    def told(self) -> list[str]:
        """What differs, in words for a person."""
        found = [f"no {', '.join(sorted(self.without))}"] if self.without else []
        if self.limit != LIMIT:
            found.append(f"{self.limit} for {LIMIT}" if self.limit else "no limit of tokens")
        if self.most is not None:
            found.append(f"at most {self.most} tokens")
        if self.n is not None:
            found.append(f"at most {self.n} continuations in a request")
        if self.listed is not None:
            found.append(f"at most {self.listed} likeliest tokens")
        if self.coldest > 0:
            found.append(f"no temperature below {self.coldest:g}")
        if self.hottest < math.inf:
            found.append(f"no temperature above {self.hottest:g}")
        return [*found, "no system message: it goes into the user's"] if self.folded else found


def adaptation_from(plain: Mapping[str, Any]) -> Adaptation:
    """What `Adaptation.to_dict` described."""
    return Adaptation(**{**plain, "without": frozenset(plain.get("without", ()))})


@dataclass(slots=True)
class Accepted:
    """What a server was found to accept for one model on one path."""

    adaptation: Adaptation = Adaptation()
    shapes: set[frozenset[Any]] = field(default_factory=set)
    """The shapes of the requests that it answered; a refusal of such a one is about its text, not about its fields."""
    doubts: int = 0
    """How many of the last requests were refused although such ones were answered before."""
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    def answered(self, sent: Body) -> None:
        """Remember that the server answered such a request."""
        self.shapes.add(shape_of(sent))
        self.doubts = 0

    def parts(self) -> frozenset[Any]:
        """The parts of all requests that the server answered."""
        return frozenset().union(*self.shapes)


def shape_of(sent: Body) -> frozenset[Any]:
    """The fields of a request, and what a server may refuse of their values: not the texts, and no limit of tokens."""
    names = [name for name in ("n", "temperature", "logprobs", "top_logprobs") if name in sent]
    return frozenset({*sent, *(valued(sent, name) for name in names), roles_of(sent)})


def valued(sent: Body, name: str) -> tuple[str, str]:
    """A field with its value, as it stands in a shape."""
    return name, str(sent[name])


def roles_of(sent: Body) -> tuple[str, ...]:
    """The roles of a conversation, as they stand in a shape."""
    return "roles", *dict.fromkeys(str(one["role"]) for one in sent.get("messages", ()))


def folded(messages: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The conversation without system messages: each stands in front of the next message of the user."""
    found: list[dict[str, Any]] = []
    waiting: list[str] = []
    for one in messages:
        if one["role"] == "system":
            waiting.append(one["content"])
        elif one["role"] == "user" and waiting:
            found.append({**one, "content": "\n\n".join([*waiting, one["content"]])})
            waiting = []
        else:
            found.append(dict(one))
    return [*found, {"role": "user", "content": "\n\n".join(waiting)}] if waiting else found


def is_number(value: Any) -> bool:
    """Whether a field counts something, rather than switching it on."""
    return isinstance(value, int) and not isinstance(value, bool)
