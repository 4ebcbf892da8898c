"""What is remembered of requests, for whom, and how long."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from serve_doubles import CHAT, PROMPT, Gated, SimulatedBackend, asked, body, checked_error, client_of, fitted, until

from computewise.core import Usage
from computewise.serve import history as remembered
from computewise.serve.admission import ServerSettings
from computewise.serve.app import application
from computewise.serve.endpoints import Api
from computewise.serve.history import History, detail, version
from computewise.serve.request import LONGEST_PROMPT, RequestState
from computewise.session import Ledger
from computewise.testing import SimulatedModel

SUMMARY = {
    *("id", "version", "created", "seconds", "endpoint", "stream", "model", "prompt", "status", "strategy", "effort"),
    *("answer", "confidence", "difficulty", "generations", "completion_tokens", "verifier_tokens", "flops"),
    *("baseline", "saved", "failures", "error", "why_passed"),
}
DETAIL = SUMMARY | {"question", "solution", "stopped", "decisions", "nodes", "truncated"}


def work(id: str = "id", client: str = "client", *, tokens: int = 0, **fields: Any) -> RequestState:
    held, _ = Api(SimulatedBackend(), ServerSettings()).plan(asked(**fields), client, id)
    held.arms, held.ledgers = {"": "small"}, {"": Ledger(usage=Usage(completion_tokens=tokens))}
    held.parameters = {"small": 1_000}
    return held


def over(traces: History, *works: RequestState) -> None:
    for one in works:
        traces.add(one)
        one.end("done")
        traces.ended(one)


def ids(traces: History, client: str = "client", limit: int = 100) -> list[str]:
    return [one["id"] for one in traces.recent(client, limit)]


# What is kept


def test_the_latest_come_first_and_as_many_as_are_asked_for() -> None:
    traces = History(10)
    over(traces, *(work(str(number)) for number in range(5)))
    assert ids(traces) == ["4", "3", "2", "1", "0"]
    assert ids(traces, limit=2) == ["4", "3"]


def test_nobody_sees_another_s() -> None:
    traces = History(10)
    over(traces, work("0", "a"), work("1", "b"), work("2", "a"))
    assert (ids(traces, "a"), ids(traces, "b"), ids(traces, "c")) == (["2", "0"], ["1"], [])
    assert ids(traces, "a", limit=1) == ["2"]
    assert traces.find("a", "1") is None
    assert traces.find("b", "1") is not None
    assert traces.find("b", "9") is None


def test_of_too_many_the_oldest_that_ended_is_forgotten() -> None:
    traces = History(2)
    traces.add(running := work("running"))
    over(traces, work("0"), work("1"), work("2"))
    assert ids(traces) == ["2", "1", "running"]
    assert "0" not in traces
    assert "running" in traces
    running.end("done")
    traces.ended(running)
    assert ids(traces) == ["2", "running"]


def test_of_too_many_tokens_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remembered, "MOST_TOKENS", 100)
    traces = History(10)
    over(traces, work("0", tokens=40), work("1", tokens=40))
    assert ids(traces) == ["1", "0"]
    over(traces, work("2", tokens=40))
    assert ids(traces) == ["2", "1"]
    over(traces, work("3", tokens=101))
    assert ids(traces) == []
    over(traces, work("4", tokens=100))
    assert ids(traces) == ["4"]


def test_none_are_kept_where_none_are_wanted() -> None:
    traces = History(0)
    traces.add(one := work("0"))
    assert ids(traces) == ["0"]
    one.end("done")
    traces.ended(one)
    assert ids(traces) == []


def test_what_is_over_holds_no_body() -> None:
    traces = History(10)
    one = work(prompt="3" * 30_000, user="somebody")
    over(traces, one)
    assert (one.request.raw, one.request.body, one.request.fields) == (b"", {}, {})
    assert one.request.prompt == "3" * LONGEST_PROMPT
    assert len(traces.recent("client", 1)[0]["prompt"]) == 200


# Versions


def test_a_version_grows_with_everything_there_is_to_see() -> None:
    one = work()
    seen = [version(one)]
    one.status = "running"
    seen.append(version(one))
    one.ledgers[""].usage += Usage(completion_tokens=5)
    seen.append(version(one))
    one.ledgers[""].usage += Usage(verifier_tokens=5)
    seen.append(version(one))
    one.end("done")
    seen.append(version(one))
    assert seen == sorted(set(seen))


@pytest.mark.parametrize("status", ["done", "failed", "cancelled", "passed"])
def test_every_end_is_a_later_version_than_all_before(status: Any) -> None:
    one = work(tokens=10**9)
    one.status = "running"
    before = version(one)
    one.ledgers[""].usage = Usage()
    one.end(status)
    assert version(one) > before


# Over the application


@pytest.fixture
async def gated() -> Gated:
    return Gated(SimulatedModel(skill=1.0), free=1)


@pytest.fixture
async def client(gated: Gated) -> AsyncIterator[httpx.AsyncClient]:
    players = {**SimulatedBackend().players, "small": gated}
    app = application(
        SimulatedBackend(players=players, fitted=fitted({"samples": 0.9})), ServerSettings(keys=("a", "b"))
    )
    async with client_of(app, "a") as opened:
        yield opened


async def seen(client: httpx.AsyncClient, id: str, key: str = "a", since: int | None = None) -> httpx.Response:
    query = {} if since is None else {"since": since}
    return await client.get(f"/traces/{id}", params=query, headers={"authorization": f"Bearer {key}"})


async def test_a_search_can_be_watched_while_it_goes_on(client: httpx.AsyncClient, gated: Gated) -> None:
    asking = asyncio.ensure_future(
        client.post(CHAT, json=body(model="small:revisions@2"), headers={"x-request-id": "mine"})
    )
    await until(lambda: gated.waiting)
    held = (await seen(client, "mine")).json()
    assert set(held) == DETAIL
    assert (held["status"], held["answer"], held["solution"], held["stopped"]) == ("running", None, None, None)
    assert held["strategy"] == "revisions(chain_length=2, chains=1)"
    (node,) = held["nodes"]
    assert (node["state"], node["end"], node["parent"]) == ("open", "stop", None)
    assert "".join(step["text"] for step in node["steps"]).startswith("right\n")
    assert held["completion_tokens"] == 35
    unchanged = await seen(client, "mine", since=held["version"])
    assert (unchanged.status_code, unchanged.content) == (204, b"")
    assert (await seen(client, "mine", since=held["version"] - 1)).status_code == 200
    gated.gate.set()
    assert (await asking).status_code == 200
    after = await seen(client, "mine", since=held["version"])
    assert after.status_code == 200
    assert after.json()["version"] > held["version"]
    assert after.json()["status"] == "done"
    assert [one["state"] for one in after.json()["nodes"]].count("chosen") >= 1
    assert len(after.json()["nodes"]) == 2


async def test_the_list_tells_of_requests_that_wait_and_those_worked_on(gated: Gated) -> None:
    app = application(SimulatedBackend(players={"small": gated}), ServerSettings(in_flight=1))
    gated.free = 0
    async with client_of(app) as client:
        asking = [
            asyncio.ensure_future(client.post(CHAT, json=body(model="small:single"), headers={"x-request-id": name}))
            for name in ("first", "second")
        ]
        await until(lambda: gated.waiting)
        listed = (await client.get("/traces")).json()
        assert [(one["id"], one["status"]) for one in listed["traces"]] == [("second", "queued"), ("first", "running")]
        assert all(set(one) == SUMMARY for one in listed["traces"])
        asking[1].cancel()
        gated.gate.set()
        await asyncio.gather(*asking, return_exceptions=True)
        listed = (await client.get("/traces")).json()["traces"]
        assert [(one["id"], one["status"]) for one in listed] == [("second", "cancelled"), ("first", "done")]


async def test_another_client_is_told_that_there_is_no_such_request(client: httpx.AsyncClient, gated: Gated) -> None:
    gated.gate.set()
    await client.post(CHAT, json=body(), headers={"x-request-id": "mine"})
    assert (await seen(client, "mine")).status_code == 200
    other, unknown = await seen(client, "mine", "b"), await seen(client, "none", "b")
    assert other.status_code == unknown.status_code == 404
    assert checked_error(other)["message"].replace("mine", "none") == checked_error(unknown)["message"]
    listed = await client.get("/traces", headers={"authorization": "Bearer b"})
    assert listed.json()["traces"] == []
    assert (await seen(client, "mine", "c")).status_code == 401


async def test_an_id_that_is_taken_or_is_none_is_not_given_twice(client: httpx.AsyncClient, gated: Gated) -> None:
    gated.gate.set()
    given = ["mine", "mine", "with space", "x" * 65, "", "../etc", "x" * 64]
    found = [
        (await client.post(CHAT, json=body(), headers={"x-request-id": name})).headers["x-request-id"] for name in given
    ]
    assert len(set(found)) == len(found)
    assert (found[0], found[6]) == ("mine", "x" * 64)
    assert not set(found[1:6]) & set(given)
    async with client_of(application(SimulatedBackend(), ServerSettings())) as other:
        answer = await other.post(CHAT, json=body(), headers={"x-request-id": "mine"})
        assert answer.json()["computewise"]["trace"] == "mine"


async def test_two_at_a_time_that_want_one_id_get_two() -> None:
    """Both ask before either's body is there."""
    app = application(SimulatedBackend(), ServerSettings(traces=0))
    there = asyncio.Event()

    async def late() -> AsyncIterator[bytes]:
        await there.wait()
        yield json.dumps(body()).encode()

    async with client_of(app) as client:
        asking = [
            asyncio.ensure_future(client.post(CHAT, content=late(), headers={"x-request-id": "mine"})) for _ in range(2)
        ]
        for _ in range(20):
            await asyncio.sleep(0)
        there.set()
        answers = await asyncio.gather(*asking)
    assert [one.status_code for one in answers] == [200, 200]
    assert len({one.headers["x-request-id"] for one in answers}) == 2


@pytest.mark.parametrize("limit", ["0", "1001", "-1", "x", "", "1e2", "\u0661", "9" * 5000, "1 "])
async def test_a_limit_that_is_none_is_refused_by_name(client: httpx.AsyncClient, limit: str) -> None:
    answer = await client.get("/traces", params={"limit": limit})
    assert (answer.status_code, checked_error(answer)["param"]) == (400, "limit")


async def test_what_the_page_is_told_of_the_server(client: httpx.AsyncClient) -> None:
    held = (await client.get("/traces")).json()["server"]
    assert set(held) == {
        *("model", "large", "policy", "verifier", "embedded", "example", "strategies", "efforts"),
    }
    assert (held["model"], held["large"], held["policy"], held["verifier"]) == ("small", "large", True, "simulated_prm")
    assert (held["embedded"], held["example"]) == (True, PROMPT)
    assert held["efforts"] == {"low": 2.0, "medium": 8.0, "high": 32.0}


async def test_decisions_tell_what_was_drawn_and_why(client: httpx.AsyncClient, gated: Gated) -> None:
    gated.gate.set()
    answer = await client.post(CHAT, json=body(reasoning_effort="high"))
    held = (await seen(client, answer.headers["x-request-id"])).json()
    assert [one["kind"] for one in held["decisions"]] == ["more"] * 6 + ["stop"]
    first, *_, last = held["decisions"]
    assert (first["worth"], first["why"], first["arm"]) == (None, "nothing was drawn yet", "samples")
    assert first["drawn"] == [{"answer": held["answer"], "value": 1.0}]
    assert last["drawn"] == last["nodes"] == []
    ids = {node["id"] for node in held["nodes"]}
    assert {id for one in held["decisions"] for id in one["nodes"]} <= ids
    assert held["effort"] == "high"
    assert held["question"] == PROMPT
    assert {node["arm"] for node in held["nodes"]} == {"samples"}


async def test_a_tree_of_too_many_nodes_is_cut_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remembered, "MOST_NODES", 5)
    app = application(SimulatedBackend(), ServerSettings())
    async with client_of(app) as client:
        answer = await client.post(CHAT, json=body(model="small:beam_search@4"))
        held = (await client.get(f"/traces/{answer.headers['x-request-id']}")).json()
    assert held["truncated"] == 15
    assert sum(node["count"] for node in held["nodes"]) <= 5


async def test_an_unbegun_request_has_nothing_to_show_yet() -> None:
    held, _ = Api(SimulatedBackend(), ServerSettings()).plan(asked(), "client", "id")
    shown = await detail(held)
    assert set(shown) == DETAIL
    assert (shown["nodes"], shown["decisions"], shown["status"]) == ([], [], "queued")
    assert (shown["flops"], shown["baseline"], shown["difficulty"]) == (0, None, None)
