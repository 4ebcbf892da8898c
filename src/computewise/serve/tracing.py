"""OpenTelemetry's GenAI spans: one for a request, one below it for every call of a model or the verifier.

Needs the extra `otel`, the API alone; without it, or without a tracer provider, nothing is recorded and nothing is in
the way. Names after OpenTelemetry's semantic conventions for generative AI.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from computewise.core import Attempt, Candidate, Completion, Model, Problem, Usage, Verifier

try:
    from opentelemetry import propagate, trace
except ImportError:
    _PRESENT = False
else:
    _PRESENT = True


def _looked_at() -> bool:
    """Whether spans go anywhere: those of the API alone go nowhere, and take their time all the same."""
    return _PRESENT and not isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)


@contextmanager
def request_span(model: str, headers: Mapping[str, str]) -> Iterator[Any]:
    """Around one request, below whatever span its headers name; yields it, None where there is none."""
    if not _looked_at():
        yield None
        return
    tracer = trace.get_tracer("computewise")
    with (
        tracer.start_as_current_span(
            f"invoke_workflow {model}",
            context=propagate.extract(dict(headers)),
            kind=trace.SpanKind.SERVER,
            attributes={"gen_ai.operation.name": "invoke_workflow", "gen_ai.request.model": model},
            record_exception=False,
            set_status_on_exception=False,
        ) as span,
        _told(span),
    ):
        yield span


def describe_usage(span: Any, usage: Usage, more: Mapping[str, str | float | int]) -> None:
    """What was spent; `more` is this package's own."""
    if span is not None:
        span.set_attribute("gen_ai.usage.input_tokens", usage.prompt_tokens)
        span.set_attribute("gen_ai.usage.output_tokens", usage.completion_tokens)
        for name, value in more.items():
            span.set_attribute(f"computewise.{name}", value)


def watched_model(model: Model) -> Model:
    """With a span around each call, where anybody looks."""
    return _WatchedModel(model) if _looked_at() else model


def watched_verifier(verifier: Verifier) -> Verifier:
    """With a span around each call, where anybody looks."""
    return _WatchedVerifier(verifier) if _looked_at() else verifier


class _WatchedModel:
    def __init__(self, model: Model) -> None:
        self.name, self.parameters, self._model = model.name, model.parameters, model
        self.revises, self.revises_steps, self.steps = model.revises, model.revises_steps, model.steps

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
        with _call(
            self.name, "chat", {"gen_ai.request.max_tokens": max_tokens, "gen_ai.request.choice.count": n}
        ) as span:
            found = await self._model.sample(
                prompt,
                prefix,
                n,
                stop=stop,
                max_tokens=max_tokens,
                temperature=temperature,
                seeds=seeds,
                attempts=attempts,
            )
            describe_usage(span, sum((one.usage for one in found), Usage()), {})
            return found


class _WatchedVerifier:
    def __init__(self, verifier: Verifier) -> None:
        self.name, self.parameters, self._verifier = verifier.name, verifier.parameters, verifier

    async def score(self, problem: Problem, candidates: Sequence[Candidate]) -> tuple[list[tuple[float, ...]], Usage]:
        with _call(self.name, "score", {"computewise.candidates": len(candidates)}) as span:
            scores, usage = await self._verifier.score(problem, candidates)
            span.set_attribute("gen_ai.usage.input_tokens", usage.verifier_tokens)
            return scores, usage

    def value(self, scores: Sequence[float]) -> float:
        return self._verifier.value(scores)


@contextmanager
def _call(model: str, operation: str, attributes: Mapping[str, int]) -> Iterator[Any]:
    """A client's span; what fails in it is its error, and raised on."""
    tracer = trace.get_tracer("computewise")
    described: dict[str, str | int] = {
        "gen_ai.operation.name": operation,
        "gen_ai.provider.name": "computewise",
        "gen_ai.request.model": model,
        **attributes,
    }
    with (
        tracer.start_as_current_span(
            f"{operation} {model}",
            kind=trace.SpanKind.CLIENT,
            attributes=described,
            record_exception=False,
            set_status_on_exception=False,
        ) as span,
        _told(span),
    ):
        yield span


@contextmanager
def _told(span: Any) -> Iterator[None]:
    """What fails in it, by its kind; what an error says may repeat a prompt, which is nobody's business here."""
    try:
        yield
    finally:
        if (error := sys.exception()) is not None:
            span.set_attribute("error.type", str(getattr(error, "code", None) or type(error).__name__))
            span.set_status(trace.StatusCode.ERROR)
