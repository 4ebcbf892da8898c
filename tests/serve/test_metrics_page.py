"""What Prometheus is told."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from serve_doubles import CHAT, COMPLETIONS, PROMPT, Gated, SimulatedBackend, body, client_of, fitted, until

from computewise.core import Model
from computewise.errors import ServerError
from computewise.http.client import HttpClient
from computewise.serve.accounting import CONTENT_TYPE
from computewise.serve.admission import ServerSettings
from computewise.serve.app import application
from computewise.serve.backends import Upstream
from computewise.testing import SimulatedModel

Numbers = dict[tuple[str, tuple[tuple[str, str], ...]], float]


async def numbers(client: httpx.AsyncClient) -> Numbers:
    """By name and labels, as Prometheus's own parser reads them."""
    answer = await client.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == CONTENT_TYPE
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def number(held: Numbers, name: str, **labels: str) -> float:
    return held.get((f"computewise_{name}", tuple(sorted(labels.items()))), 0.0)


def perfect() -> dict[str, Model]:
    return {"small": SimulatedModel(skill=1.0, name="small"), "large": SimulatedModel(skill=1.0, name="large")}


async def test_one_searched_request_by_hand() -> None:
    async with client_of(application(SimulatedBackend(players=perfect()), ServerSettings())) as client:
        assert (await client.post(CHAT, json=body(model="small:best_of_n@4"))).status_code == 200
        held = await numbers(client)
    labels = {"endpoint": "chat", "strategy": "best_of_n", "budget": "4", "status": "done"}
    assert number(held, "requests_total", **labels) == 1
    tokens = {kind: number(held, "tokens_total", kind=kind) for kind in ("prompt", "cached", "completion", "verifier")}
    assert tokens == {"prompt": 24, "cached": 72, "completion": 140, "verifier": 236}
    flops = {part: number(held, "flops_total", part=part) for part in ("prompt", "completion", "verifier")}
    assert flops == {"prompt": 48_000, "completion": 280_000, "verifier": 164_000}
    assert number(held, "verifier_calls_total") == 1
    assert number(held, "lost_samples_total") == 0
    assert number(held, "difficulty_total", bin="1") == 1
    assert number(held, "request_generations_sum", strategy="best_of_n") == 4
    assert number(held, "request_generations_bucket", strategy="best_of_n", le="2.0") == 0
    assert number(held, "request_generations_bucket", strategy="best_of_n", le="4.0") == 1
    assert number(held, "request_seconds_count", strategy="best_of_n") == 1
    assert number(held, "token_amplification_sum") == 4
    assert (number(held, "requests_in_flight"), number(held, "requests_waiting")) == (0, 0)
    assert number(held, "tasks") >= 1


async def test_a_policy_s_decisions_are_counted() -> None:
    backend = SimulatedBackend(players=perfect(), fitted=fitted({"large": 0.5}))
    async with client_of(application(backend, ServerSettings())) as client:
        for _ in range(2):
            await client.post(CHAT, json=body())
        held = await numbers(client)
    for kind, count in (("more", 2), ("escalate", 2), ("stop", 2), ("switch", 0)):
        assert number(held, "decisions_total", kind=kind) == count
    labels = {"endpoint": "chat", "strategy": "policy", "budget": "4", "status": "done"}
    assert number(held, "requests_total", **labels) == 2


async def test_one_passed_request() -> None:
    async def handle(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, stream=httpx.ByteStream(b"{}"))

    async with HttpClient("http://upstream/v1", transport=httpx.MockTransport(handle)) as upstream:
        backend = SimulatedBackend(upstreams={"small": Upstream(upstream, "small")})
        async with client_of(application(backend, ServerSettings())) as client:
            await client.post(COMPLETIONS, json={"model": "small:none", "prompt": PROMPT})
            held = await numbers(client)
    labels = {"endpoint": "completions", "strategy": "none", "budget": "", "status": "passed"}
    assert number(held, "requests_total", **labels) == 1
    assert number(held, "request_seconds_count", strategy="none") == 1
    assert number(held, "request_generations_count", strategy="none") == 0
    assert number(held, "tokens_total", kind="completion") == 0


async def test_failed_refused_and_lost_ones() -> None:
    backend = SimulatedBackend(keeps=0, error=ServerError("ill", 500))
    async with client_of(application(backend, ServerSettings(keys=("a",))), "a") as client:
        assert (await client.post(CHAT, json=body(model="small:best_of_n@4"))).status_code == 500
        assert (await client.post(CHAT, json=body(model="other"))).status_code == 404
        assert (await client.post(CHAT, content=b"{")).status_code == 400
        assert (await client.post(CHAT, json=body(), headers={"authorization": "Bearer b"})).status_code == 401
        held = await numbers(client)
    labels = {"endpoint": "chat", "strategy": "best_of_n", "budget": "4", "status": "failed"}
    assert number(held, "requests_total", **labels) == 1
    assert number(held, "lost_samples_total") == 4
    assert number(held, "request_seconds_count", strategy="best_of_n") == 0
    assert number(held, "request_generations_count", strategy="best_of_n") == 0
    for status in ("404", "400", "401"):
        assert number(held, "refused_total", status=status) == 1


async def test_what_is_under_way_and_what_waits() -> None:
    gated = Gated()
    app = application(SimulatedBackend(players={"small": gated}), ServerSettings(in_flight=1))
    async with client_of(app) as client:
        asking = [asyncio.ensure_future(client.post(CHAT, json=body(model="small:single"))) for _ in range(3)]
        await until(lambda: gated.waiting)
        held = await numbers(client)
        assert (number(held, "requests_in_flight"), number(held, "requests_waiting")) == (1, 2)
        asking[0].cancel()
        gated.gate.set()
        await asyncio.gather(*asking, return_exceptions=True)
        held = await numbers(client)
    assert (number(held, "requests_in_flight"), number(held, "requests_waiting")) == (0, 0)
    labels = {"endpoint": "chat", "strategy": "single", "budget": "1"}
    assert number(held, "requests_total", status="cancelled", **labels) == 1
    assert number(held, "requests_total", status="done", **labels) == 2


async def test_two_applications_share_no_numbers() -> None:
    first, second = (application(SimulatedBackend(players=perfect()), ServerSettings()) for _ in range(2))
    async with client_of(first) as one, client_of(second) as other:
        await one.post(CHAT, json=body(model="small:best_of_n@4"))
        assert number(await numbers(one), "verifier_calls_total") == 1
        assert number(await numbers(other), "verifier_calls_total") == 0


@pytest.mark.parametrize(
    ("n", "budget"), [(1, "1"), (2, "2"), (3, "4"), (100, "128"), (129, "above 128"), (256, "above 128")]
)
async def test_budgets_come_in_a_few_sizes(n: int, budget: str) -> None:
    async with client_of(application(SimulatedBackend(), ServerSettings())) as client:
        await client.post(CHAT, json=body(model=f"small:best_of_n@{n}"))
        held = await numbers(client)
    assert [dict(labels)["budget"] for name, labels in held if name == "computewise_requests_total"] == [budget]


async def test_a_client_cannot_make_series_of_its_own() -> None:
    """Whatever is asked for, labels are of a few values."""
    asks: list[Mapping[str, Any]] = [
        body(model="x" * 50),
        body(model="small:best_of_n@3", user="somebody"),
        body(model="small:best_of_n@4", reasoning_effort="high"),
        body(reasoning_effort="low"),
        body(model=f"small:{'y' * 50}"),
    ]
    async with client_of(application(SimulatedBackend(), ServerSettings())) as client:
        for ask in asks:
            await client.post(CHAT, json=ask)
        held = await numbers(client)
    values = {value for _, labels in held for name, value in labels if name not in ("le", "status")}
    assert values <= {
        *("chat", "best_of_n", "2", "4", "prompt", "cached", "completion", "verifier"),
        *("1", "2", "3", "4", "5"),
    }
