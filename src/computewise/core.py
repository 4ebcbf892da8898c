"""The types that the whole package shares. This file imports nothing else of the package."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple, Protocol

FinishReason = Literal["step", "stop", "length", "failed"]

Role = Literal["model", "large", "verifier", "reviser"]
"""What a model is used for: the one studied, a larger one, the verifier, one that was trained to revise."""
MODEL: Final = "model"
LARGE: Final = "large"
VERIFIER: Final = "verifier"
REVISER: Final = "reviser"

FLOOR = 1e-3
"""Added to scores before their ratio is taken, since a fall among scores near 0 means nothing."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One question; `answer` is the reference, where there is one."""

    id: str
    prompt: str
    answer: str | None = None


@dataclass(frozen=True, slots=True)
class Usage:
    """What was spent, in tokens; two usages can be added, and one that is a part of the other be taken from it.

    `prompt_tokens` counts every token that a call put before what it sampled, `cached_prompt_tokens` those of them that
    a prefix cache holds. The verifier's two counts are split in the same way.
    """

    samples: int = 0
    prompt_tokens: int = 0
    cached_prompt_tokens: int = 0
    completion_tokens: int = 0
    verifier_tokens: int = 0
    cached_verifier_tokens: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.samples + other.samples,
            self.prompt_tokens + other.prompt_tokens,
            self.cached_prompt_tokens + other.cached_prompt_tokens,
            self.completion_tokens + other.completion_tokens,
            self.verifier_tokens + other.verifier_tokens,
            self.cached_verifier_tokens + other.cached_verifier_tokens,
        )

    def __sub__(self, other: Usage) -> Usage:
        return Usage(
            self.samples - other.samples,
            self.prompt_tokens - other.prompt_tokens,
            self.cached_prompt_tokens - other.cached_prompt_tokens,
            self.completion_tokens - other.completion_tokens,
            self.verifier_tokens - other.verifier_tokens,
            self.cached_verifier_tokens - other.cached_verifier_tokens,
        )


@dataclass(frozen=True, slots=True)
class Step:
    """One reasoning step as it was sampled, delimiter included.

    `logprob` is the model's, summed over `tokens`; NaN where a server does not give it.
    """

    text: str
    tokens: int
    logprob: float


@dataclass(frozen=True, slots=True)
class Completion:
    """One continuation by a model.

    `finish_reason` is "step" where the step delimiter ended it, "stop" where the model ended its solution, "length"
    where the token limit did, and "failed" where a server lost it and the caller continues without it. `thinking` is
    what a reasoning model thought before the solution; it is no part of it. `notes` say what of a server's answer could
    not be right and was replaced, one sentence each.
    """

    steps: tuple[Step, ...]
    finish_reason: FinishReason
    usage: Usage
    thinking: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Attempt:
    """An earlier solution, as a model that revises it and a verifier that reads the history see it.

    `scores` are the verifier's, of the steps that it had scored by then.
    """

    id: str
    steps: tuple[str, ...]
    scores: tuple[float, ...] = ()

    @property
    def text(self) -> str:
        """The whole attempt."""
        return "".join(self.steps)

    @property
    def likely_right(self) -> bool:
        """Whether the verifier gives it at least 0.5; False without scores."""
        return bool(self.scores) and self.scores[-1] >= 0.5

    @property
    def weakest_step(self) -> int | None:
        """The step at which the score falls most, as a ratio to the step before (1 before the first); None unscored.

        A process reward model scores how likely a solution still ends right. On a hard problem the score is low from
        the start; it falls where a mistake is made.
        """
        before = (1.0, *self.scores)
        ratios = [(now + FLOOR) / (was + FLOOR) for was, now in zip(before, self.scores, strict=False)]
        return ratios.index(min(ratios)) if ratios else None


@dataclass(frozen=True, slots=True)
class Candidate:
    """A solution, partial or whole, and a node of the search tree.

    `scores` holds one number for each step that a verifier has read: at first the parent's, once scored all of them.
    `end` is None while the solution can go on, "stop" where the model ended it, "length" where a limit did and "failed"
    where its server lost it: such a solution has ended without an answer. `parent` is the id of the candidate that it
    extends or revises; `id` is its path from the root, so it is the same in every run with the same seed. `history`
    holds the attempts that it revises, oldest first; `thinking` what a reasoning model thought before its steps.
    """

    id: str
    parent: str | None
    steps: tuple[Step, ...] = ()
    scores: tuple[float, ...] = ()
    end: Literal["stop", "length", "failed"] | None = None
    history: tuple[Attempt, ...] = ()
    thinking: str = ""

    @property
    def revises(self) -> bool:
        """Whether `parent` is an earlier attempt, not the beginning of this one."""
        return bool(self.history) and self.history[-1].id == self.parent

    @property
    def chain(self) -> str:
        """The id of its first step or first attempt, which all that descends from that has in common."""
        return self.id.split(".")[0]

    @property
    def finished(self) -> bool:
        """Whether nothing can follow."""
        return self.end is not None

    @property
    def tokens(self) -> int:
        """Sampled tokens of the solution so far."""
        return sum(step.tokens for step in self.steps)

    @property
    def text(self) -> str:
        """The solution so far."""
        return "".join(step.text for step in self.steps)


ROOT = Candidate(id="", parent=None)
"""The root of the search tree: the prompt without a step."""


@dataclass(frozen=True, slots=True)
class Action:
    """What to do now.

    `kind` is "stop" (answer with the leader), "abstain", "more" (of the arm that drew last), "switch" or "escalate" (to
    a larger model); the last three name the `arm` to draw by, once, before choosing again. `worth` is what the
    best option is expected to add to the accuracy for the cost of one draw of the probe arm, which is the highest price
    at which it would be taken. `confidence` is the probability that the leader is right.
    """

    kind: Literal["stop", "abstain", "more", "switch", "escalate"]
    arm: str | None
    worth: float
    confidence: float

    @property
    def draw(self) -> bool:
        """Whether to draw once more, by `arm`."""
        return self.arm is not None


class ObservedSample(NamedTuple):
    """One drawn solution, as far as a controller looks at it; see `computewise.samples` for what the numbers are."""

    answer: str | None
    value: float
    score_mean: float
    score_min: float
    logprob: float
    tokens: int


@dataclass(frozen=True, slots=True)
class Decision:
    """One decision of a controller and what it led to.

    `drawn` is one increment, empty where the action ended the search; `solutions` are the same as the controller sees
    them. `leader` is the answer that led afterwards, None where nothing had answered.
    """

    action: Action
    drawn: tuple[Candidate, ...]
    solutions: tuple[ObservedSample, ...]
    leader: str | None


@dataclass(frozen=True, slots=True, repr=False)
class Result:
    """How one problem was solved, by a strategy or by a controller.

    chosen: the candidate of the answer; None where no candidate answered, and where a controller abstained.
    candidates: what it was chosen from.
    answers: their answers in canonical form, by id; None for one without an answer.
    tree: everything that was sampled, the root excluded.
    costs: what it cost to sample each node of the tree, by id; the verifier's reading is not in it.
    usages: all that was spent, by the name of the model; the verifier's reading beside that of the model it read.
    exhausted: whether the token budget ended the search.
    flops: all floating-point operations, with prefix caching; None where the size of a model is unknown.
    confidence: a controller's probability that the answer is right; of a strategy the answer's share of the weighted
        vote, and where nothing else has answered its value to the verifier. None where there is neither.
    decisions: a controller's, in order.
    notes: what of a server's answers could not be right and was replaced, one sentence each.
    """

    chosen: Candidate | None
    candidates: tuple[Candidate, ...]
    answers: Mapping[str, str | None]
    tree: tuple[Candidate, ...]
    costs: Mapping[str, Usage]
    usages: Mapping[str, Usage]
    exhausted: bool
    flops: float | None = field(default=None, compare=False)  # it follows from the usages
    confidence: float | None = None
    decisions: tuple[Decision, ...] = ()
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        told = {"answer": repr(self.answer), "confidence": "None"}
        if self.confidence is not None:
            told["confidence"] = f"{self.confidence:.3g}"
        told |= {"candidates": str(len(self.candidates)), "samples": str(self.usage.samples)}
        told |= {"completion_tokens": str(self.usage.completion_tokens), "exhausted": str(self.exhausted)}
        return f"Result({', '.join(f'{name}={value}' for name, value in told.items())})"

    @property
    def answer(self) -> str | None:
        """The answer of the chosen candidate, in canonical form."""
        return None if self.chosen is None else self.answers[self.chosen.id]

    @property
    def text(self) -> str | None:
        """The solution that was chosen."""
        return None if self.chosen is None else self.chosen.text

    @property
    def usage(self) -> Usage:
        """All that was spent."""
        return sum(self.usages.values(), Usage())


class Model(Protocol):
    """A generator."""

    @property
    def name(self) -> str:
        """Its name in records."""
        ...

    @property
    def parameters(self) -> int | None:
        """The number of learned parameters, from which FLOPs are computed; None where it is unknown."""
        ...

    @property
    def revises(self) -> bool:
        """Whether it can be shown its earlier attempts and write a new one."""
        ...

    @property
    def revises_steps(self) -> bool:
        """Whether it can be shown them too where it goes on from steps that are kept of the last attempt."""
        ...

    @property
    def steps(self) -> bool:
        """Whether it can go on from the beginning of a solution, and stop where a step ends."""
        ...

    async def sample(
        self,
        prompt: str,
        prefix: str,
        n: int,
        *,
        stop: str | None,
        max_tokens: int,
        temperature: float,
        seeds: Sequence[int],
        attempts: Sequence[Attempt] = (),
    ) -> list[Completion]:
        """Sample `n` continuations of `prefix`, each until `stop` (None: to the solution's end) or `max_tokens`.

        `attempts`, oldest first, are earlier solutions to revise. A model raises `UsageError` where it is given what it
        cannot read: attempts, a prefix or a stop.
        """
        ...


class Verifier(Protocol):
    """A learned scorer."""

    @property
    def name(self) -> str:
        """Its name in records."""
        ...

    @property
    def parameters(self) -> int | None:
        """The number of learned parameters, from which FLOPs are computed; None where it is unknown."""
        ...

    async def score(self, problem: Problem, candidates: Sequence[Candidate]) -> tuple[list[tuple[float, ...]], Usage]:
        """One score in [0, 1] for each step of each candidate, and what reading them cost."""
        ...

    def value(self, scores: Sequence[float]) -> float:
        """The value of a candidate from the scores of its steps: the aggregation is the verifier's own."""
        ...


class Task(Protocol):
    """A family of problems and the grader of their answers."""

    @property
    def name(self) -> str:
        """Its name in records."""
        ...

    @property
    def delimiter(self) -> str:
        """The text that ends a step."""
        ...

    def answer(self, solution: str) -> str | None:
        """The final answer in canonical form: equal strings are equivalent answers; None where there is none."""
        ...

    def correct(self, problem: Problem, answer: str | None) -> bool:
        """Whether `answer`, as `Task.answer` gave it, is right."""
        ...

    def problems(self, split: str, count: int, seed: int) -> list[Problem]:
        """The first `count` distinct problems of a split, drawn from `seed`."""
        ...
