"""The API as it is described: whatever is made up from GET /openapi.json is answered as it says there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from serve_doubles import CHAT, COMPLETIONS

from computewise.serve.admission import ServerSettings
from computewise.serve.app import application
from computewise.serve.backends import EmbeddedBackend

schemathesis = pytest.importorskip("schemathesis", reason="needs schemathesis, of the dependency group slow")
general = pytest.importorskip("schemathesis.checks")
conformance = pytest.importorskip("schemathesis.specs.openapi.checks")

pytestmark = pytest.mark.slow

BOUNDS = ServerSettings(most_generations=4, efforts={"low": 1.0, "medium": 2.0, "high": 4.0}, timeout=20.0, traces=20)
OPERATIONS = {
    ("POST", CHAT),
    ("POST", COMPLETIONS),
    ("GET", "/v1/models"),
    ("GET", "/v1/models/{name}"),
    ("GET", "/traces"),
    ("GET", "/traces/{id}"),
    ("GET", "/health"),
    ("GET", "/metrics"),
}
CONFORMS = [
    general.not_a_server_error,
    conformance.status_code_conformance,
    conformance.content_type_conformance,
    conformance.response_headers_conformance,
    conformance.response_schema_conformance,
]
BOUNDED = settings(
    max_examples=50,
    derandomize=True,
    deadline=None,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
POSITIVE, NEGATIVE = schemathesis.GenerationMode


@pytest.fixture(scope="module")
def schema() -> Any:
    """As the application itself describes it, over the embedded models."""
    backend = EmbeddedBackend("expressions")
    backend.limits = replace(backend.limits, tokens=60)
    return schemathesis.openapi.from_asgi("/openapi.json", application(backend, BOUNDS))


def every(operation: Any, mode: Any, check: Callable[[Any], None]) -> None:
    """As many cases as `BOUNDED` says."""

    @BOUNDED
    @given(case=operation.as_strategy(generation_mode=mode))
    def tried(case: Any) -> None:
        check(case)

    tried()


def test_every_operation_is_described(schema: Any) -> None:
    found = {tuple(one.ok().label.split(" ")) for one in schema.get_all_operations()}
    assert found == OPERATIONS


@pytest.mark.parametrize(("method", "path"), sorted(OPERATIONS))
def test_what_is_asked_as_described_is_answered_as_described(schema: Any, method: str, path: str) -> None:
    def check(case: Any) -> None:
        case.validate_response(case.call(), checks=CONFORMS)

    every(schema[path][method], POSITIVE, check)


@pytest.mark.parametrize(("method", "path"), [("POST", CHAT), ("POST", COMPLETIONS), ("GET", "/traces")])
def test_what_is_asked_otherwise_is_refused_as_described(schema: Any, method: str, path: str) -> None:
    def check(case: Any) -> None:
        case.validate_response(case.call(), checks=[*CONFORMS, conformance.negative_data_rejection])

    every(schema[path][method], NEGATIVE, check)


@pytest.mark.parametrize("path", [CHAT, COMPLETIONS])
def test_an_answer_is_as_described(schema: Any, path: str) -> None:
    """What is made up seldom is a problem that the embedded models can read."""
    asks = {"messages": [{"role": "user", "content": "1+2"}]} if path == CHAT else {"prompt": "1+2"}
    for model in ("small", "small:best_of_n@2", "small:beam_search@4", "revision:revisions@4", "large:single"):
        case = schema[path]["POST"].Case(body={"model": model, **asks}, media_type="application/json")
        answer = case.call()
        assert answer.status_code == 200, answer.content
        case.validate_response(answer, checks=CONFORMS)
