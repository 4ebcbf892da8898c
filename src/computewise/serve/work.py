"""One request while it is worked on and afterwards: its own state, which nothing else writes."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from computewise.adaptive import Decision
from computewise.core import Candidate, Usage
from computewise.models.chat import Message
from computewise.models.server.lost import Lost
from computewise.serve.choosing import Plan
from computewise.serve.reading import Asked
from computewise.serve.reckoned import Reckoned
from computewise.serve.remembering import Remembering
from computewise.session import Ledger

LONGEST_PROMPT = 20_000
"""Characters of a problem that are remembered."""
Status = Literal["queued", "running", "done", "failed", "cancelled", "passed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Solved:
    """What came of a search. `text` is None where the policy abstained."""

    text: str | None
    thinking: str
    finish: Literal["stop", "length"]
    answer: str | None
    answers: Mapping[str, str | None]
    """What each final candidate answers, by id."""
    chosen: Candidate | None
    confidence: float | None
    """The policy's chance that it is right; of a fixed strategy the answer's share of the vote."""
    exhausted: Literal["tokens", "time"] | None
    stopped: str
    """Where it stopped and why, for a person."""


@dataclass(slots=True)
class Work:
    """Begun when a request is understood; `ledgers` by arm (a fixed strategy's is "") grow while it is solved."""

    id: str
    asked: Asked
    plan: Plan
    client: str
    verifier_parameters: int
    valued: Callable[[Candidate], float] | None
    """What a solution is worth to the verifier, where there is one."""
    created: float = field(default_factory=time.time)
    began: float = field(default_factory=time.monotonic)
    ended: float | None = None
    status: Status = "queued"
    task: Remembering | None = None
    """Who reads its answers; None until it is begun."""
    parameters: dict[str, int] = field(default_factory=dict)
    """By model, the one that solves alone first."""
    arms: dict[str, str] = field(default_factory=dict)
    """Models by arm."""
    ledgers: dict[str, Ledger] = field(default_factory=dict)
    decisions: list[Decision] = field(default_factory=list)
    lost: Lost = field(default_factory=Lost)
    unread: list[str] = field(default_factory=list)
    """Why the verifier did not read some of it."""
    verifier_calls: int = 0
    solved: Solved | None = None
    reckoned: Reckoned | None = None
    """What it took, once there is nothing left to come."""
    error: str | None = None

    def end(self, status: Status, error: str | None = None) -> None:
        """It is over."""
        self.status, self.error, self.ended = status, error, time.monotonic()

    @property
    def seconds(self) -> float:
        """So far, or in all."""
        return (time.monotonic() if self.ended is None else self.ended) - self.began

    @property
    def usage(self) -> Usage:
        """Of all models, so far."""
        return sum((ledger.usage for ledger in self.ledgers.values()), Usage())

    def usages(self) -> dict[str, Usage]:
        """By model, so far."""
        found: dict[str, Usage] = {}
        for arm, ledger in self.ledgers.items():
            model = self.arms[arm]
            found[model] = found.get(model, Usage()) + ledger.usage
        return found

    def forget(self) -> None:
        """What nobody looks at once it is over: bodies may be large."""
        for error in self.lost.errors:
            error.__traceback__ = error.__context__ = None
        short = Message("user", self.asked.prompt[:LONGEST_PROMPT])
        self.asked = replace(self.asked, raw=b"", body={}, fields={}, turns=(short,) if self.asked.turns else ())

    def explored(self) -> list[Candidate]:
        """The trees of all arms."""
        return [candidate for ledger in self.ledgers.values() for candidate in ledger.in_order()]
