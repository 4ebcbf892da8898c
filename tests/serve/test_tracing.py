"""OpenTelemetry's spans: one for a request, one below it for each call of a model or the verifier."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from serve_doubles import CHAT, Gated, SimulatedBackend, body, client_of, fitted, until

from computewise.core import Model
from computewise.errors import ServerError
from computewise.serve import tracing
from computewise.serve.admission import ServerSettings
from computewise.serve.app import application
from computewise.testing import SimulatedModel, SimulatedPRM

sdk = pytest.importorskip("opentelemetry.sdk.trace", reason="needs opentelemetry-sdk, of the extra [test]")
export = pytest.importorskip("opentelemetry.sdk.trace.export")
memory = pytest.importorskip("opentelemetry.sdk.trace.export.in_memory_span_exporter")
api = pytest.importorskip("opentelemetry.trace")

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class Spans:
    """What was recorded."""

    def __init__(self, exporter: Any) -> None:
        self._exporter = exporter

    @property
    def all(self) -> list[Any]:
        return list(self._exporter.get_finished_spans())

    def named(self, name: str) -> list[Any]:
        return [span for span in self.all if span.name == name]

    @property
    def request(self) -> Any:
        """The one that is a request's."""
        (span,) = [span for span in self.all if span.attributes["gen_ai.operation.name"] == "invoke_workflow"]
        return span

    def below(self, parent: Any) -> list[Any]:
        """Its children."""
        return [span for span in self.all if span.parent and span.parent.span_id == parent.context.span_id]


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Iterator[Spans]:
    """A provider of this test's; the process's, which can be set but once, is left alone."""
    exporter = memory.InMemorySpanExporter()
    provider = sdk.TracerProvider()
    provider.add_span_processor(export.SimpleSpanProcessor(exporter))
    monkeypatch.setattr(api, "get_tracer", provider.get_tracer)
    monkeypatch.setattr(api, "get_tracer_provider", lambda: provider)
    yield Spans(exporter)
    provider.shutdown()


def perfect() -> dict[str, Model]:
    return {"small": SimulatedModel(skill=1.0, name="small"), "large": SimulatedModel(skill=1.0, name="large")}


async def asked(backend: SimulatedBackend, headers: dict[str, str] | None = None, **fields: Any) -> int:
    async with client_of(application(backend, ServerSettings())) as client:
        return (await client.post(CHAT, json=body(**fields), headers=headers)).status_code


async def test_a_request_is_one_workflow_with_a_call_of_each_below_it(spans: Spans) -> None:
    assert await asked(SimulatedBackend(players=perfect()), model="small:best_of_n@4") == 200
    request = spans.request
    assert request.name == "invoke_workflow small:best_of_n@4"
    assert request.parent is None
    assert request.status.status_code is api.StatusCode.UNSET
    model, verifier = spans.below(request)
    assert (model.name, verifier.name) == ("chat small", "score simulated_prm")
    assert model.kind is verifier.kind is api.SpanKind.CLIENT
    assert len(spans.all) == 3
    assert dict(model.attributes) == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "computewise",
        "gen_ai.request.model": "small",
        "gen_ai.request.max_tokens": 240,
        "gen_ai.request.choice.count": 4,
        "gen_ai.usage.input_tokens": 96,
        "gen_ai.usage.output_tokens": 140,
    }
    assert verifier.attributes["gen_ai.operation.name"] == "score"
    assert verifier.attributes["gen_ai.request.model"] == "simulated_prm"
    assert verifier.attributes["gen_ai.usage.input_tokens"] == 236


async def test_a_request_s_span_says_what_was_spent_in_all(spans: Spans) -> None:
    await asked(SimulatedBackend(players=perfect(), fitted=fitted({"large": 0.5})))
    attributes = spans.request.attributes
    assert spans.request.name == "invoke_workflow small"
    assert attributes["gen_ai.request.model"] == "small"
    assert attributes["gen_ai.usage.output_tokens"] == 70
    assert attributes["computewise.strategy"] == "policy"
    assert attributes["computewise.generations"] == 2
    calls = spans.named("chat small") + spans.named("chat large")
    assert len(calls) == 6
    for name in ("input", "output"):
        total = sum(span.attributes[f"gen_ai.usage.{name}_tokens"] for span in calls)
        assert total == attributes[f"gen_ai.usage.{name}_tokens"]
    assert {span.parent.span_id for span in calls} == {spans.request.context.span_id}


async def test_the_caller_s_trace_goes_on(spans: Spans) -> None:
    await asked(SimulatedBackend(), {"traceparent": PARENT, "tracestate": "a=b"}, model="small:single")
    request = spans.request
    assert f"{request.parent.trace_id:032x}" == PARENT.split("-")[1]
    assert f"{request.parent.span_id:016x}" == PARENT.split("-")[2]
    assert request.context.trace_state.get("a") == "b"
    assert {span.context.trace_id for span in spans.all} == {request.context.trace_id}


@pytest.mark.parametrize("parent", ["", "nonsense", "00-0-0-00", "ff" * 500, "00-" + "0" * 32 + "-" + "0" * 16 + "-01"])
async def test_a_trace_that_is_none_begins_anew(spans: Spans, parent: str) -> None:
    assert await asked(SimulatedBackend(), {"traceparent": parent}, model="small:single") == 200
    assert spans.request.parent is None


async def test_two_at_a_time_keep_their_calls_apart(spans: Spans) -> None:
    app = application(SimulatedBackend(), ServerSettings())
    async with client_of(app) as client:
        names = ["small:beam_search@4", "small:revisions@4", "large:beam_search@4"]
        await asyncio.gather(*(client.post(CHAT, json=body(model=name)) for name in names))
    requests = [span for span in spans.all if span.name.startswith("invoke_workflow")]
    assert len({span.context.trace_id for span in requests}) == 3
    for request in requests:
        inside = [span for span in spans.all if span.context.trace_id == request.context.trace_id]
        assert spans.below(request) == [span for span in inside if span is not request]
        model = request.name.removeprefix("invoke_workflow ").partition(":")[0]
        assert {span.name for span in inside} == {request.name, f"chat {model}", "score simulated_prm"}


async def test_what_fails_is_an_error_of_its_span(spans: Spans) -> None:
    class Ill(SimulatedPRM):
        async def score(self, *_: Any) -> Any:
            raise ServerError("ill", 500)

    await asked(SimulatedBackend(verifier=Ill()), model="small:best_of_n@2")
    (verifier,) = spans.named("score simulated_prm")
    assert verifier.status.status_code is api.StatusCode.ERROR
    assert verifier.attributes["error.type"] == "ServerError"
    # The request goes on without it.
    assert spans.request.status.status_code is api.StatusCode.UNSET
    assert "error.type" not in spans.request.attributes


async def test_a_request_that_fails_is_an_error_and_says_what_was_spent(spans: Spans) -> None:
    backend = SimulatedBackend(keeps=0, error=ServerError("ill", 500))
    assert await asked(backend, model="small:best_of_n@2") == 500
    assert spans.request.status.status_code is api.StatusCode.ERROR
    assert spans.request.attributes["error.type"] == "upstream_500"
    assert spans.request.attributes["gen_ai.usage.output_tokens"] == 0
    assert spans.request.attributes["computewise.strategy"] == "best_of_n(n=2)"


async def test_a_client_that_hangs_up_ends_every_span(spans: Spans) -> None:
    gated = Gated(free=1)
    app = application(SimulatedBackend(players={"small": gated}), ServerSettings())
    async with client_of(app) as client:
        asking = asyncio.ensure_future(client.post(CHAT, json=body(model="small:revisions@4")))
        await until(lambda: gated.waiting)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
    assert len(spans.named("chat small")) == 2
    assert spans.request.attributes["gen_ai.usage.output_tokens"] == 35


async def test_streams_are_recorded_alike(spans: Spans) -> None:
    assert await asked(SimulatedBackend(players=perfect()), model="small:best_of_n@4", stream=True) == 200
    assert [span.name for span in spans.below(spans.request)] == ["chat small", "score simulated_prm"]
    assert spans.request.attributes["gen_ai.usage.output_tokens"] == 140


async def test_no_prompt_and_no_key_is_in_a_span(spans: Spans) -> None:
    async with client_of(application(SimulatedBackend(), ServerSettings(keys=("sk-secret",))), "sk-secret") as client:
        assert (await client.post(CHAT, json=body(model="small:best_of_n@2", user="somebody"))).status_code == 200
        assert (await client.post(CHAT, json=body("my secret", "small:best_of_n@2"))).status_code == 400
    text = "".join(span.to_json() for span in spans.all)
    assert "gen_ai.request.model" in text
    assert "ProblemError" in text
    for secret in ("problem 41734", "right", "sk-secret", "somebody", "my secret"):
        assert secret not in text


async def test_without_the_package_nothing_is_recorded_and_nothing_is_in_the_way(
    spans: Spans, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracing, "_PRESENT", False)
    monkeypatch.setattr(tracing, "trace", None)
    monkeypatch.setattr(tracing, "propagate", None)
    assert await asked(SimulatedBackend(), {"traceparent": PARENT}, model="small:beam_search@4") == 200
    assert spans.all == []
    model = SimulatedModel()
    assert tracing.traced_model(model) is model


def test_names_are_those_of_the_conventions() -> None:
    """Where the package that lists them is installed: attributes of `gen_ai`, and the operations that it knows."""
    listed = pytest.importorskip("opentelemetry.semconv._incubating.attributes.gen_ai_attributes")
    known = {value for name, value in vars(listed).items() if name.startswith("GEN_AI_") and isinstance(value, str)}
    operations = {one.value for one in listed.GenAiOperationNameValues}
    used = {
        *("gen_ai.operation.name", "gen_ai.provider.name", "gen_ai.request.model", "gen_ai.request.max_tokens"),
        *("gen_ai.request.choice.count", "gen_ai.usage.input_tokens", "gen_ai.usage.output_tokens"),
    }
    assert used <= known
    assert {"chat", "invoke_workflow"} <= operations
