"""The session through which a strategy calls the models: it counts and caps tokens, seeds samples, keeps the tree."""

from __future__ import annotations

import asyncio
import hashlib
import math
import random
import re
from collections.abc import Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Protocol, TypeVar

from computewise.core import ROOT, Attempt, Candidate, Completion, Model, Problem, Usage, Verifier
from computewise.errors import ModelError, UsageError


def derive_seed(*parts: object) -> int:
    """A 64-bit seed made of the parts that identify a sample, such as (seed, problem id, path)."""
    return int.from_bytes(hashlib.blake2b(repr(parts).encode(), digest_size=8).digest())


T = TypeVar("T")


MAX_ATTEMPTS_SHOWN = 4

"""The most earlier attempts that a revision sees (Snell et al. 2024, section 6)."""


class Strategy(Protocol):
    """How the samples of one problem are drawn: a frozen dataclass of plain numbers that can be called.

    A class that derives from this one has its defaults, which say what it needs and how its answer is selected.
    """

    __slots__ = ()
    needs_history: ClassVar[bool] = False
    """The model must be able to read its earlier attempts."""
    needs_steps: ClassVar[bool] = False
    """The model must be able to continue the beginning of a solution."""
    needs_verifier: ClassVar[bool] = False
    """Without a verifier it only samples."""
    default_select: ClassVar[str] = "weighted"
    """The selection, by its name in `computewise.selection`, that suits its candidates."""

    @property
    def name(self) -> str:
        """Its name in commands, requests and records."""
        ...

    async def __call__(self, problem: Problem, session: Session) -> list[Candidate]:
        """The candidates to select the answer from."""
        ...


class BudgetExhausted(Exception):  # noqa: N818 - a signal, no error
    """The budget is spent. `Session` raises it, and `run` catches it: a strategy does not see it."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds on one solution that hold beside any budget: its steps in a search (40 in the paper) and its tokens."""

    steps: int = 40
    tokens: int = 240

    def __post_init__(self) -> None:
        for name, value in (("steps", self.steps), ("tokens", self.tokens)):
            if not isinstance(value, int) or value < 1:
                raise UsageError(f"a limit of {name} = {value!r} is not allowed: a whole number, at least 1")


@dataclass(slots=True)
class PromptCache:
    """Tokens of the problem's prompt that a model, and the verifier beside it, have read and hold; 0 before that.

    `claimed` says that a draw has been asked for that pays for the model's reading, so that of draws at the same time
    always the first pays.
    """

    model: int = 0
    verifier: int = 0
    claimed: bool = False


@dataclass(slots=True)
class Ledger:
    """What a session and its parts have spent and seen.

    The first draw from the bare prompt pays for reading it, the others find it in `prompt`, as does the verifier.
    Sessions of one problem and one model may share it. `answers` are those that were extracted so far, `notes` what the
    model notes on its samples, both by id; `ungraded` says why where a grader could not extract an answer.
    """

    usage: Usage = field(default_factory=Usage)
    prompt: PromptCache = field(default_factory=PromptCache)
    explored: dict[str, Candidate] = field(default_factory=dict)
    costs: dict[str, Usage] = field(default_factory=dict)
    answers: dict[str, str | None] = field(default_factory=dict)
    ungraded: dict[str, str] = field(default_factory=dict)
    notes: dict[str, tuple[str, ...]] = field(default_factory=dict)
    exhausted: bool = False

    def different_notes(self) -> tuple[str, ...]:
        """Every note once."""
        return tuple(dict.fromkeys(note for notes in self.notes.values() for note in notes))

    def in_order(self) -> list[Candidate]:
        """The search tree, depth first, so that the order does not depend on what ran at the same time."""
        return sorted(self.explored.values(), key=lambda c: [int(part) for part in re.split("[.:]", c.id)])


class Session:
    """One problem, one model, one verifier, one budget.

    `budget` is a number of sampled tokens that is never exceeded; None means no limit. Children are seeded by
    (seed, problem id, path), so a run does not depend on what runs at the same time. `read_answer` gives the answer of
    a candidate that has ended, and keeps it in the ledger.
    """

    def __init__(
        self,
        problem: Problem,
        model: Model,
        verifier: Verifier | None,
        delimiter: str,
        *,
        budget: int | None = None,
        seed: int = 0,
        temperature: float = 1.0,
        limits: Limits | None = None,
        path: str = "",
        ledger: Ledger | None = None,
        read_answer: Callable[[Candidate, Ledger], str | None] | None = None,
    ) -> None:
        self.problem = problem
        self.ledger = ledger or Ledger()
        self._model = model
        self._verifier = verifier
        self._delimiter = delimiter
        self._left = budget
        self._seed = seed
        self._temperature = temperature
        self._limits = limits or Limits()
        self._path = path
        self._read_answer = read_answer
        self._children: dict[str, int] = {}

    def set_budget(self, budget: int | None) -> None:
        """Allow `budget` further tokens, where several sessions share one budget."""
        self._left = budget

    async def sample(self, n: int) -> list[Candidate]:
        """`n` whole solutions, independent of one another."""
        return await self._extend([ROOT], n, stop=None, temperature=self._temperature)

    async def expand(
        self, candidates: Sequence[Candidate], n: int | Sequence[int], *, greedy: bool = False
    ) -> list[Candidate]:
        """Children, one step longer: `n` of each candidate, or as many as `n` says for each.

        A finished candidate stands for itself and is not sampled. A model that only samples whole solutions gives its
        likeliest solution whole, since there is nothing to choose from on the way.
        """
        temperature = 0.0 if greedy else self._temperature
        whole = not self._model.steps and temperature == 0 and not any(c.steps for c in candidates)
        return await self._extend(candidates, n, stop=None if whole else self._delimiter, temperature=temperature)

    async def revise(self, chains: Sequence[Sequence[Candidate]], *, keep_prefix: bool = False) -> list[Candidate]:
        """One new attempt for each chain, oldest first. The model sees the last four; the last is the parent.

        With `keep_prefix`, the new attempt takes over the steps and scores of the last one before its weakest step, and
        continues them. A model that cannot be shown attempts beside kept steps sees the steps alone.
        """
        begun = [_begin(chain[-MAX_ATTEMPTS_SHOWN:], keep_prefix) for chain in chains]
        shown = self._model.revises_steps or not keep_prefix
        return await self._extend(begun, 1, stop=None, temperature=self._temperature, shown=shown)

    async def score(self, candidates: Sequence[Candidate]) -> list[Candidate]:
        """The same candidates with a score for every step; unchanged where there is no verifier."""
        candidates = [self.ledger.explored.get(c.id, c) for c in candidates]
        unread = {c.id: c for c in candidates if len(c.scores) < len(c.steps)}
        if self._verifier is None or not unread:
            return candidates
        scores, usage = await self._verifier.score(self.problem, list(unread.values()))
        self.ledger.usage += self._prompt_read_by_verifier(usage, unread.values())
        scored = {}
        for candidate, steps in zip(unread.values(), scores, strict=True):
            if len(steps) != len(candidate.steps):
                raise ModelError(f"{self._verifier.name} gave {len(steps)} scores for {len(candidate.steps)} steps")
            scored[candidate.id] = replace(candidate, scores=steps)
        self.ledger.explored.update(scored)
        return [scored.get(candidate.id, candidate) for candidate in candidates]

    def _prompt_read_by_verifier(self, usage: Usage, read: Iterable[Candidate]) -> Usage:
        """The verifier's usage where it holds the prompt from an earlier call of this problem."""
        held = self.ledger.prompt
        if self._verifier is None or not holds_prompt(self._verifier) or all(c.scores or c.history for c in read):
            return usage
        if held.verifier:
            cached = min(usage.cached_verifier_tokens + held.verifier, usage.verifier_tokens)
            return replace(usage, cached_verifier_tokens=cached)
        held.verifier = held.model
        return usage

    def value(self, candidate: Candidate) -> float:
        """The value of a scored candidate by the verifier; 1 without a verifier, so that a vote is a majority.

        A candidate that was lost has the value 0, whatever the scores of the steps it continued.
        """
        if candidate.end == "failed":
            return 0.0
        return self._verifier.value(candidate.scores) if self._verifier else 1.0

    async def answer(self, candidate: Candidate) -> str | None:
        """The candidate's answer in canonical form, as the task reads it: equal texts are equivalent answers.

        None where it has none, as a solution that has not ended. Raises `UsageError` where the session knows no task.
        """
        if candidate.end != "stop":
            return None
        if self._read_answer is None:
            raise UsageError("this session was opened without read_answer, so that it can read no answers")
        if candidate.id in self.ledger.answers:
            return self.ledger.answers[candidate.id]
        # In a thread, since a grader that compares answers as mathematics may take seconds.
        return await asyncio.to_thread(self._read_answer, candidate, self.ledger)

    def random(self, purpose: str) -> random.Random:
        """A random number generator for a strategy's decisions, seeded like the samples and by `purpose`."""
        return random.Random(derive_seed(self._seed, self.problem.id, self._path, purpose))

    def finished_candidates(self) -> list[Candidate]:
        """The candidates that the model has ended so far in this session and its parts."""
        return [c for c in self.ledger.in_order() if c.end == "stop" and c.id.startswith(self._path)]

    async def split(self, strategy: Strategy, parts: int) -> list[Candidate]:
        """Run `strategy` in `parts` independent sessions with equal shares of what is left, and join what they find."""
        shares = [None if self._left is None else self._left // parts for _ in range(parts)]
        if self._left is not None:
            self._left -= sum(share or 0 for share in shares)
        sessions = [self._part(f"{self._path}{index}:", share) for index, share in enumerate(shares)]
        found = await gather(run(strategy, session) for session in sessions)
        return [candidate for candidates in found for candidate in candidates]

    def _part(self, path: str, budget: int | None) -> Session:
        return Session(
            self.problem,
            self._model,
            self._verifier,
            self._delimiter,
            budget=budget,
            seed=self._seed,
            temperature=self._temperature,
            limits=self._limits,
            path=path,
            ledger=self.ledger,
            read_answer=self._read_answer,
        )

    async def _extend(
        self,
        candidates: Sequence[Candidate],
        n: int | Sequence[int],
        *,
        stop: str | None,
        temperature: float,
        shown: bool = True,
    ) -> list[Candidate]:
        """Children of each; `shown` says whether the model sees the attempts that a candidate revises."""
        each = [n] * len(candidates) if isinstance(n, int) else n
        growing = [(c, count) for c, count in zip(candidates, each, strict=True) if not c.finished]
        share = self._share(sum(count for _, count in growing))
        drawn = await gather(self._draw(parent, count, share, stop, temperature, shown) for parent, count in growing)
        children = iter(drawn)
        return [child for c in candidates for child in ([c] if c.finished else next(children))]

    def _share(self, rows: int) -> int | None:
        """The tokens that each of `rows` continuations may sample; raises `BudgetExhausted` where there are none."""
        if self._left is None or rows == 0:
            return None
        share = self._left // rows
        if share < 1:  # below 0 where a server sampled more than it was allowed to
            self.ledger.exhausted = True
            raise BudgetExhausted
        return share

    async def _draw(
        self, parent: Candidate, n: int, share: int | None, stop: str | None, temperature: float, shown: bool
    ) -> list[Candidate]:
        if n == 0:
            return []
        first = self._children.get(parent.id, 0)
        self._children[parent.id] = first + n
        start = parent.id or self._path
        ids = [f"{start}{'.' if parent.id else ''}{first + index}" for index in range(n)]
        room = self._limits.tokens - parent.tokens
        bare = not parent.steps and not parent.history
        pays = bare and not self.ledger.prompt.claimed
        self.ledger.prompt.claimed |= bare
        completions = await self._model.sample(
            self.problem.prompt,
            parent.text,
            n,
            stop=stop,
            max_tokens=room if share is None else min(room, share),
            temperature=temperature,
            seeds=[derive_seed(self._seed, self.problem.id, id) for id in ids],
            attempts=parent.history if shown else (),
        )
        if parent.history and parent.steps and not shown:
            completions = _read_again(completions)
        if bare:
            completions = self._prompt_read_by_model(completions, pays)
        children = [self._child(id, parent, c) for id, c in zip(ids, completions, strict=True)]
        self.ledger.explored.update((child.id, child) for child in children)
        for child, completion in zip(children, completions, strict=True):
            self.ledger.costs[child.id] = completion.usage
            if completion.notes:
                self.ledger.notes[child.id] = completion.notes
            self.ledger.usage += completion.usage
            if self._left is not None:
                self._left -= completion.usage.completion_tokens
        if share is not None and share < room and any(c.finish_reason == "length" for c in completions):
            self.ledger.exhausted = True
        return children

    def _prompt_read_by_model(self, completions: list[Completion], pays: bool) -> list[Completion]:
        """The same, drawn from the bare prompt: where another draw `pays`, all find it in the cache."""
        held = self.ledger.prompt
        held.model = max(held.model, *(one.usage.prompt_tokens for one in completions))
        if pays:
            held.claimed = held.model > 0  # a draw that failed has read nothing
            return completions
        return [replace(c, usage=replace(c.usage, cached_prompt_tokens=c.usage.prompt_tokens)) for c in completions]

    def _child(self, id: str, parent: Candidate, completion: Completion) -> Candidate:
        limits = self._limits
        steps, scores = (*parent.steps, *completion.steps), parent.scores
        if parent.steps and completion.steps and not completion.steps[-1].text:
            # The model ended right behind a delimiter. Its end belongs to the last step, which is read again.
            scores = scores[: len(parent.steps) - 1]
            last, end = parent.steps[-1], completion.steps[-1]
            steps = (
                *parent.steps[:-1],
                replace(last, tokens=last.tokens + end.tokens, logprob=_both(last.logprob, end.logprob)),
            )
        reason = completion.finish_reason
        if reason == "step" and (len(steps) >= limits.steps or sum(step.tokens for step in steps) >= limits.tokens):
            reason = "length"
        over = None if reason == "step" else reason
        thinking = completion.thinking or parent.thinking
        return Candidate(id, parent.id or None, steps, scores, over, parent.history, thinking)


def _both(logprob: float, more: float) -> float:
    """The sum of two log-probabilities; of one where the other is not known."""
    known = [value for value in (logprob, more) if not math.isnan(value)]
    return sum(known) if known else math.nan


def holds_prompt(verifier: Verifier) -> bool:
    """Whether a verifier charges a prompt once for all candidates of a call, and would find it again in later calls.

    It says so by an attribute of this name. Of the others, servers say themselves what their caches held.
    """
    return bool(getattr(verifier, "holds_prompt", False))


def _read_again(completions: Sequence[Completion]) -> list[Completion]:
    """The same, charged for reading the kept steps once more, as is charged where the attempt itself is shown."""
    first, *others = completions
    return [replace(first, usage=replace(first.usage, cached_prompt_tokens=0)), *others]


def _begin(chain: Sequence[Candidate], keep_prefix: bool) -> Candidate:
    """The last attempt cut back to the steps that are kept, with all as its history; lost attempts are left out."""
    last = chain[-1]
    chain = [candidate for candidate in chain if candidate.end != "failed"]
    if not chain:
        return Candidate(last.id, last.parent)
    last = chain[-1]
    history = tuple(Attempt(c.id, tuple(step.text for step in c.steps), c.scores) for c in chain)
    kept = (history[-1].weakest_step or 0) if keep_prefix else 0
    return Candidate(last.id, last.parent, last.steps[:kept], last.scores[:kept], None, history)


async def run(strategy: Strategy, session: Session) -> list[Candidate]:
    """Run a strategy until it or its budget ends; where its candidates have no answer, use those it had discarded."""
    try:
        found = await strategy(session.problem, session)
    except BudgetExhausted:
        return session.finished_candidates()
    if not isinstance(found, list) or not all(isinstance(candidate, Candidate) for candidate in found):
        raise UsageError(f"the strategy {strategy.name} returned {found!r:.60}: it returns a list of candidates")
    return found if any(candidate.end == "stop" for candidate in found) else session.finished_candidates() or found


async def gather(coroutines: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """Await all; where one fails or the caller is cancelled, cancel the others and wait until they have ended."""
    coroutines = list(coroutines)
    if len(coroutines) < 2:
        # A task costs the event loop several turns, a noticeable part of the time of one request.
        return [await coroutine for coroutine in coroutines]
    tasks = [asyncio.ensure_future(coroutine) for coroutine in coroutines]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
