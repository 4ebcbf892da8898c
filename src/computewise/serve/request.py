"""The state of one request while it is solved, and its cost."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from computewise.core import Candidate, Decision, Task, Usage
from computewise.costs import Flops
from computewise.models.messages import Message
from computewise.models.server.limits import FailedSamples
from computewise.serve.planning import Plan
from computewise.serve.schemas import ChatRequest
from computewise.session import Ledger
from computewise.solver import read_answer


@dataclass(frozen=True, slots=True)
class DifficultyEstimate:
    """`estimate` is how likely one solution is wrong (1 the hardest), from `samples` of this request."""

    estimate: float
    samples: int

    @property
    def bin(self) -> int:
        """The fifth of the scale that the estimate falls into; 1 is the easiest."""
        return min(5, int(self.estimate * 5) + 1)


@dataclass(frozen=True, slots=True)
class Baseline:
    """Best-of-N at the request's budget, priced by the length of its own solutions."""

    name: str
    flops: float


@dataclass(frozen=True, slots=True)
class CostSummary:
    """`usages` is by model, `usage` their sum; `shown` the sampled tokens that the client sees.

    `generations` counts the solutions that the answer was selected from; during the search, those that have ended.
    """

    usage: Usage
    usages: Mapping[str, Usage]
    flops: Flops | None
    """None where a model's size is unknown."""
    generations: int
    shown: int
    difficulty: DifficultyEstimate | None
    baseline: Baseline | None

    @property
    def saved(self) -> float | None:
        """The share of the baseline's FLOPs that was not spent; negative where more was."""
        spent, beside = self.flops, self.baseline
        return None if spent is None or beside is None or not beside.flops else 1 - spent.total / beside.flops


LONGEST_PROMPT = 20_000

"""The most characters of a prompt that are kept."""

Status = Literal["queued", "running", "done", "failed", "cancelled", "passed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The answer to a request. `text` is None where the controller abstained."""

    text: str | None
    thinking: str
    finish: Literal["stop", "length"]
    answer: str | None
    answers: Mapping[str, str | None]
    """The answers of the final candidates, by id."""
    chosen: Candidate | None
    confidence: float | None
    """The controller's probability that it is right; of a fixed strategy the answer's share of the vote."""
    exhausted: Literal["tokens", "time"] | None
    stopped: str
    """Where the search stopped and why, for a person to read."""


@dataclass(slots=True)
class RequestState:
    """One request; `ledgers`, by arm ("" of a fixed strategy), grow while it is solved."""

    id: str
    request: ChatRequest
    plan: Plan
    client: str
    verifier_parameters: int | None
    valued: Callable[[Candidate], float] | None
    """The value of a solution to the verifier; None without one."""
    created: float = field(default_factory=time.time)
    began: float = field(default_factory=time.monotonic)
    ended: float | None = None
    status: Status = "queued"
    task: Task | None = None
    """The task that extracts its answers; None until work on it has begun."""
    parameters: dict[str, int | None] = field(default_factory=dict)
    """By model; the first is the one that solves alone."""
    arms: dict[str, str] = field(default_factory=dict)
    """Models by arm."""
    ledgers: dict[str, Ledger] = field(default_factory=dict)
    decisions: list[Decision] = field(default_factory=list)
    failed_samples: FailedSamples = field(default_factory=FailedSamples)
    unread: list[str] = field(default_factory=list)
    """The errors for which the verifier did not read some solutions."""
    verifier_calls: int = 0
    answer: Answer | None = None
    costs: CostSummary | None = None
    """The cost, once the request has ended."""
    error: str | None = None

    def end(self, status: Status, error: str | None = None) -> None:
        """Mark the request as ended."""
        self.status, self.error, self.ended = status, error, time.monotonic()

    @property
    def seconds(self) -> float:
        """Seconds since it began, or in all once it has ended."""
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
        """Drop what is not needed once it has ended, since request bodies may be large."""
        for error in self.failed_samples.errors:
            error.__traceback__ = error.__context__ = None
        short = Message("user", self.request.prompt[:LONGEST_PROMPT])
        self.request = replace(self.request, raw=b"", body={}, fields={}, turns=(short,) if self.request.turns else ())

    def answer_of(self, candidate: Candidate) -> str | None:
        """The answer of a candidate of its trees, extracted once; None before work on it has begun."""
        ledger = next((one for one in self.ledgers.values() if candidate.id in one.explored), None)
        if self.task is None or ledger is None:
            return None
        return read_answer(self.task, candidate, ledger)

    def explored(self) -> list[Candidate]:
        """The trees of all arms."""
        return [candidate for ledger in self.ledgers.values() for candidate in ledger.in_order()]
