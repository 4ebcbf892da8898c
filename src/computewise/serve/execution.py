"""Carry out a request's plan: by one fixed strategy, or draw by draw by the controller."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Literal

from computewise.controller.solve import solve_adaptively, why_stopped
from computewise.core import Candidate, Problem, Usage, Verifier
from computewise.errors import ModelError
from computewise.selection import Ballot, vote_share, weighted
from computewise.serve.backends import Backend
from computewise.serve.errors import ApiError, api_error_of, too_late
from computewise.serve.planning import ByController, FixedStrategy
from computewise.serve.request import Answer, RequestState
from computewise.serve.tracing import traced_model, traced_verifier
from computewise.session import Ledger, Limits, holds_prompt
from computewise.solver import solve
from computewise.strategies import strategy_label

UNDECIDED = 0.5

"""The score of a step that the verifier could not read."""


class RequestVerifier:
    """Counts its calls in `work`, and keeps its errors there."""

    def __init__(self, verifier: Verifier, work: RequestState, transcript: str) -> None:
        self.name, self.parameters = verifier.name, verifier.parameters
        self.holds_prompt = holds_prompt(verifier)
        self._verifier, self._work, self._transcript = verifier, work, transcript

    async def score(self, problem: Problem, candidates: Sequence[Candidate]) -> tuple[list[tuple[float, ...]], Usage]:
        """See `computewise.core.Verifier.score`."""
        self._work.verifier_calls += 1
        read = replace(problem, prompt=self._transcript) if self._transcript else problem
        try:
            return await self._verifier.score(read, candidates)
        except ModelError as error:
            self._work.unread.append(" ".join(str(error).split()))
            return [(UNDECIDED,) * len(candidate.steps) for candidate in candidates], Usage()

    def value(self, scores: Sequence[float]) -> float:
        """See `computewise.core.Verifier.value`; 1 for all once some were not read, so that the vote is a majority."""
        return 1.0 if self._work.unread else self._verifier.value(scores)


FUTILE = 2

"""The number of first solutions without an answer after which a controller gives up."""


_BOUNDS = {"tokens": "token budget", "time": "time it was given"}

_SAMPLING = 0.95

"""The share of the time after which missing samples are given up; the verifier has the rest."""


Exhausted = Literal["tokens", "time"]


async def answer_request(work: RequestState, backend: Backend, model: str, seconds: float) -> Answer:
    """The answer, within `seconds`; raises `ApiError` where there is none by then, `ModelError` where models fail."""
    work.task = backend.task
    work.failed_samples.until = asyncio.get_running_loop().time() + _SAMPLING * seconds
    try:
        async with asyncio.timeout(seconds):
            if isinstance(work.plan, ByController):
                return await _by_controller(work, work.plan, backend, model)
            assert isinstance(work.plan, FixedStrategy)
            return await _by_strategy(work, work.plan, backend, model)
    except TimeoutError:
        # In a thread, as in `solve`: to compare answers may take long.
        verifier = _verifier(work, backend, "")
        return await asyncio.to_thread(_so_far, work, verifier, seconds)


async def _by_strategy(work: RequestState, plan: FixedStrategy, backend: Backend, model: str) -> Answer:
    asked = work.request
    cast = backend.bind(asked, model, plan.strategy.name, work.failed_samples)
    work.parameters = {name: one.parameters for name, one in cast.models.items()}
    work.arms, work.ledgers = {"": model}, {"": Ledger()}
    verifier = _verifier(work, backend, cast.transcript)
    result = await solve(
        cast.problem,
        plan.strategy,
        traced_model(cast.models[model]),
        verifier,
        backend.task,
        select=plan.select,
        budget=asked.options.max_total_tokens,
        seed=_seed(work),
        temperature=_temperature(work, backend),
        limits=_limits(work, backend),
        ledger=work.ledgers[""],
    )
    # Where the budget ended the search before anything finished, the best of what was begun is shown.
    final = result.candidates or result.tree
    _raise_lost(work, final)
    exhausted = _exhausted(work, tokens=result.exhausted)
    stopped = (
        f"{strategy_label(plan.strategy)} ran to its end"
        if exhausted is None
        else f"the {_BOUNDS[exhausted]} ended the search"
    )
    shown = result.chosen or _best(final, verifier)
    return _answer(shown, {c.id: result.answers.get(c.id) for c in final}, result.confidence, exhausted, stopped)


async def _by_controller(work: RequestState, plan: ByController, backend: Backend, model: str) -> Answer:
    asked, fitted = work.request, backend.fitted
    assert fitted is not None
    cast = backend.bind(asked, model, None, work.failed_samples)
    work.parameters = {name: one.parameters for name, one in cast.models.items()}
    work.arms = {arm.name: arm.model for arm in fitted.arms}
    verifier = _verifier(work, backend, cast.transcript)
    result = await solve_adaptively(
        cast.problem,
        fitted,
        plan.price,
        {name: traced_model(one) for name, one in cast.models.items()},
        verifier,
        backend.task,
        seed=_seed(work),
        min_confidence=plan.min_confidence,
        temperature=_temperature(work, backend),
        limits=_limits(work, backend),
        budget=asked.options.max_total_tokens,
        give_up_after=FUTILE,
        watch=work.decisions.append,
        ledgers=work.ledgers,
    )
    _raise_lost(work, result.candidates)
    exhausted = _exhausted(work, tokens=result.exhausted)
    last = result.decisions[-1]
    stopped = why_stopped(last, plan.price, exhausted=result.exhausted)
    if last.action.kind == "abstain":
        return _abstained(result.answers, result.confidence, exhausted, stopped)
    shown = result.chosen or _best(result.candidates, verifier)
    return _answer(shown, result.answers, result.confidence, exhausted, stopped)


def _abstained(
    answers: Mapping[str, str | None], confidence: float | None, exhausted: Exhausted | None, stopped: str
) -> Answer:
    return Answer(
        text=None,
        thinking="",
        finish="stop",
        answer=None,
        answers=answers,
        chosen=None,
        confidence=confidence,
        exhausted=exhausted,
        stopped=stopped,
    )


def _best(final: Sequence[Candidate], verifier: Verifier | None) -> Candidate:
    """What is shown where none has answered, since the client waits for a text; raises `ApiError` where nothing is."""
    value = _valuing(verifier)
    best = max(final, key=lambda c: (c.end == "stop", c.end != "failed", value(c)), default=None)
    if best is None:
        text = "no solution was begun within max_total_tokens"
        raise ApiError(text, param="computewise.max_total_tokens", code="budget_too_small")
    return best


def _answer(
    shown: Candidate,
    answers: Mapping[str, str | None],
    confidence: float | None,
    exhausted: Exhausted | None,
    stopped: str,
) -> Answer:
    answer = answers[shown.id]
    return Answer(
        text=shown.text,
        thinking=shown.thinking,
        finish="stop" if shown.end == "stop" else "length",
        answer=answer,
        answers=answers,
        chosen=shown,
        confidence=None if answer is None else confidence,
        exhausted=exhausted,
        stopped=stopped,
    )


def _so_far(work: RequestState, verifier: Verifier | None, seconds: float) -> Answer:
    """The best of the solutions that had ended in time; unscored ones only where none was scored."""
    ended = [c for c in work.explored() if c.end == "stop"]
    read = [c for c in ended if len(c.scores) == len(c.steps)]
    final = read if verifier is not None and read else ended
    if not final:
        raise too_late(seconds)
    answers = {c.id: work.answer_of(c) for c in final}
    stopped = f"the {seconds:.2g} seconds it was given ended the search"
    if isinstance(work.plan, ByController) and work.plan.min_confidence:
        return _abstained(answers, None, "time", f"{stopped}, before it was known how sure the answer is")
    reader = verifier if read else None
    value = _valuing(reader)
    ballots = [Ballot(answers[c.id], value(c), c.chain) for c in final]
    select = work.plan.select if isinstance(work.plan, FixedStrategy) else weighted
    winner = select(ballots)
    if winner is None:
        return _answer(_best(final, reader), answers, None, "time", stopped)
    # A share of the vote is not the probability that a controller would give.
    alone = None if reader is None else ballots[winner].value
    confidence = vote_share(ballots, ballots[winner].answer, alone) if isinstance(work.plan, FixedStrategy) else None
    return _answer(final[winner], answers, confidence, "time", stopped)


def _exhausted(work: RequestState, *, tokens: bool) -> Exhausted | None:
    """What ended the search early; None where nothing did."""
    return "time" if work.failed_samples.late else "tokens" if tokens else None


def _raise_lost(work: RequestState, final: Sequence[Candidate]) -> None:
    """Raise the first error where every sample was lost; `TimeoutError` where they came too late."""
    if work.failed_samples.errors and not any(c.steps for c in final):
        raise TimeoutError if work.failed_samples.late else api_error_of(work.failed_samples.errors[0])


def _valuing(verifier: Verifier | None) -> Callable[[Candidate], float]:
    if verifier is None:
        return lambda candidate: 0.0 if candidate.end == "failed" else 1.0
    return lambda candidate: 0.0 if candidate.end == "failed" else verifier.value(candidate.scores)


def _verifier(work: RequestState, backend: Backend, transcript: str) -> Verifier | None:
    held = backend.verifier
    return None if held is None else RequestVerifier(traced_verifier(held), work, transcript)


def _seed(work: RequestState) -> int:
    """The client's seed; without one, a new seed for each request."""
    return secrets.randbits(63) if work.request.seed is None else work.request.seed


def _temperature(work: RequestState, backend: Backend) -> float:
    return backend.temperature if work.request.temperature is None else work.request.temperature


def _limits(work: RequestState, backend: Backend) -> Limits:
    """The backend's bounds, and the client's on the solution that it sees."""
    bounds = backend.limits
    shown = work.request.max_completion_tokens
    return bounds if shown is None else Limits(steps=bounds.steps, tokens=min(bounds.tokens, shown))
