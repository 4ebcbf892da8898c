"""What the body of a response says: JSON, and errors under the status of a success."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from computewise.errors import ServerError
from computewise.http.client import HttpClient
from computewise.http.concurrency import Retry
from computewise.http.transport import error_inside, parsed

GOOD = {"choices": [{"message": {"content": "42"}, "finish_reason": "stop"}]}


def served(*answers: Any, headers: dict[str, str] | None = None, tries: int = 3) -> HttpClient:
    """The answers one after the other, the last for ever, with the status 200."""
    left = list(answers)

    def handle(_: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json=left.pop(0) if len(left) > 1 else left[0], headers=headers)

    retry = Retry(tries=tries, first=0.001, longest=0.002)
    return HttpClient("http://server/v1", transport=httpx.MockTransport(handle), retry=retry)


def error(**fields: Any) -> dict[str, Any]:
    return {"error": {"message": "no", **fields}}


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (error(code=429), 429),
        (error(code="429"), 429),
        (error(code="rate_limit_exceeded"), 429),
        (error(type="overloaded_error"), 503),
        (error(status="RESOURCE_EXHAUSTED"), 429),
        (error(status=503, code="x"), 503),
        (error(type="server_error"), 500),
        (error(type="invalid_request_error"), 400),
        (error(type="authentication_error"), 401),
        (error(code="model_not_found"), 404),
        ({"error": "Rate limit reached for this model"}, 429),
        ({"error": "The model is overloaded, try again later"}, 503),
        ({"error": "Unexpected endpoint or method. (POST /version)"}, None),
        ({"error": {"message": "no", "code": 200}}, None),
        ({"error": True, "message": "no", "status": 502}, 502),
        ([{"error": {"code": 429, "message": "no", "status": "RESOURCE_EXHAUSTED"}}], 429),
        ({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}, 503),
        ({"object": "error", "message": "no", "code": 40303, "type": "internal_error"}, 500),
        ({"success": False, "errors": [{"code": 7003, "message": "no"}], "result": None}, None),
        ({"base_resp": {"status_code": 1002, "status_msg": "rate limit"}, "choices": None}, 429),
        ({"code": 429, "msg": "no"}, 429),
        ({"statusCode": "500", "message": "no"}, 500),
        ({"choices": [{"error": {"code": 502, "message": "no"}, "finish_reason": "error"}]}, 502),
        ({"choices": [], "error": {"code": 503, "message": "no"}}, 503),
    ],
)
def test_an_error_has_the_status_that_it_names(answer: Any, status: int | None) -> None:
    found = error_inside(answer)
    assert found is not None
    assert found.status == status
    assert found.text


@pytest.mark.parametrize(
    "answer",
    [
        GOOD,
        GOOD | {"error": None},
        GOOD | {"error": {}, "code": 0, "message": "ok"},
        GOOD | {"base_resp": {"status_code": 0, "status_msg": "success"}},
        {"choices": [GOOD["choices"][0], {"error": {"code": 502}}]},
        {"data": [{"score": 0.5}], "code": 429, "message": "of 429 tokens"},
        {"version": "0.33.0"},
        {"tokens": [1, 2], "count": 2},
        {"detail": "ready"},
        {"status": "ok"},
        [],
        [1, 2],
        [{"content": "42"}],
        None,
        "error",
        429,
    ],
)
def test_what_is_no_error_is_none(answer: Any) -> None:
    assert error_inside(answer) is None


async def test_an_error_that_may_pass_is_tried_again() -> None:
    async with served(error(code=429), error(type="overloaded_error"), GOOD) as client:
        assert await client.post("chat/completions", {}) == GOOD
        assert client.retries == 2
        assert client.limiter.window < client.limiter.max_in_flight


@pytest.mark.parametrize(("fields", "status"), [({"code": 429}, 429), ({"code": 400}, 400), ({}, 200)])
async def test_an_error_is_raised_with_its_status_and_message(fields: dict[str, Any], status: int) -> None:
    async with served(error(**fields), tries=1) as client:
        with pytest.raises(ServerError, match=r"answered 200 with an error.*: no") as caught:
            await client.post("chat/completions", {})
    assert caught.value.status == status


@pytest.mark.parametrize(
    ("fields", "headers", "wait"),
    [
        ({}, {"retry-after": "3600"}, 3600),
        ({"retry_after": 1800}, {}, 1800),
        ({"metadata": {"headers": {"Retry-After": "900"}}}, {}, 900),
        ({"metadata": {"retry_after_ms": 700_000}}, {}, 700),
        ({"retry_after": "soon", "metadata": 7}, {}, None),
    ],
)
async def test_an_error_waits_as_long_as_it_asks(fields: Any, headers: dict[str, str], wait: float | None) -> None:
    async with served(error(code=429, **fields), headers=headers, tries=2) as client:
        with pytest.raises(ServerError) as caught:
            await client.post("chat/completions", {})
    assert caught.value.wait == wait
    assert client.retries == (1 if wait is None else 0)


@pytest.mark.parametrize(
    ("body", "found"),
    [
        (b'\xef\xbb\xbf{"a":1}', {"a": 1}),
        (b'\n\n  {"a":1}\n', {"a": 1}),
        (b'{"a":1,"a":2}', {"a": 2}),
        (b'{"a":"\\ud83d"}', {"a": "?"}),
        (b'{"a":"\xff"}', {"a": "\N{REPLACEMENT CHARACTER}"}),
        (b'{"a":1e999,"b":123456789012345678901234567890}', {"a": float("inf"), "b": 123456789012345678901234567890}),
    ],
)
def test_json_is_read_as_servers_write_it(body: bytes, found: Any) -> None:
    assert parsed(body) == found


@given(
    st.binary(max_size=80) | st.recursive(st.none() | st.text() | st.floats(), st.lists).map(json.dumps).map(str.encode)
)
def test_whatever_comes_it_is_json_or_our_error(body: bytes) -> None:
    async def ask() -> None:
        transport = httpx.MockTransport(lambda _: httpx.Response(200, content=body))
        async with HttpClient("http://server/v1", transport=transport, retry=Retry(tries=1)) as client:
            try:
                await client.get("models")
            except ServerError as error:
                check_one_line(error)

    asyncio.run(ask())


def check_one_line(error: ServerError) -> None:
    assert len(str(error).splitlines()) == 1
