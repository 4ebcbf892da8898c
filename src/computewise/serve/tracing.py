"""OpenTelemetry spans: one for each request, and below it one for every call of a model or the verifier.

Needs the extra `otel` (the API package only). Without it, or without a tracer provider, nothing is recorded at no cost.
Names follow OpenTelemetry's semantic conventions for generative AI.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from computewise.core import Attempt, Candidate, Completion, Model, Problem, Usage, Verifier
from computewise.session import holds_prompt

try:
    from opentelemetry import propagate, trace
except ImportError:
    _PRESENT = False
else:
    _PRESENT = True


def _traced() -> bool:
    """Whether a tracer provider is installed; without one, spans cost time and go nowhere."""
    return _PRESENT and not isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)


@contextmanager
def request_span(model: str, headers: Mapping[str, str]) -> Iterator[Any]:
    """A span around one request, below the span that its headers name; yields None without a tracer provider."""
    if not _traced():
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
        _error_recorded(span),
    ):
        yield span


def describe_usage(span: Any, usage: Usage, more: Mapping[str, str | float | int]) -> None:
    """Set the span's token counts; `more` are attributes of this package."""
    if span is not None:
        span.set_attribute("gen_ai.usage.input_tokens", usage.prompt_tokens)
        span.set_attribute("gen_ai.usage.output_tokens", usage.completion_tokens)
        for name, value in more.items():
            span.set_attribute(f"computewise.{name}", value)


def traced_model(model: Model) -> Model:
    """The model with a span around each call, where a tracer provider is installed."""
    return _TracedModel(model) if _traced() else model


def traced_verifier(verifier: Verifier) -> Verifier:
    """The verifier with a span around each call, where a tracer provider is installed."""
    return _TracedVerifier(verifier) if _traced() else verifier


class _TracedModel:
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


class _TracedVerifier:
    def __init__(self, verifier: Verifier) -> None:
        self.name, self.parameters, self._verifier = verifier.name, verifier.parameters, verifier
        self.holds_prompt = holds_prompt(verifier)

    async def score(self, problem: Problem, candidates: Sequence[Candidate]) -> tuple[list[tuple[float, ...]], Usage]:
        with _call(self.name, "score", {"computewise.candidates": len(candidates)}) as span:
            scores, usage = await self._verifier.score(problem, candidates)
            span.set_attribute("gen_ai.usage.input_tokens", usage.verifier_tokens)
            return scores, usage

    def value(self, scores: Sequence[float]) -> float:
        return self._verifier.value(scores)


@contextmanager
def _call(model: str, operation: str, attributes: Mapping[str, int]) -> Iterator[Any]:
    """A span around one call; an exception is recorded in it and raised again."""
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
        _error_recorded(span),
    ):
        yield span


@contextmanager
def _error_recorded(span: Any) -> Iterator[None]:
    """Record the kind of an exception in the span, without its text, which may repeat a prompt."""
    try:
        yield
    finally:
        if (error := sys.exception()) is not None:
            span.set_attribute("error.type", str(getattr(error, "code", None) or type(error).__name__))
            span.set_status(trace.StatusCode.ERROR)
