"""How long is waited."""

from __future__ import annotations

import random
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from computewise.http.concurrency import Retry, retry_after, worth_retrying

NOW = datetime(2026, 11, 24, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "12"}, 12.0),
        ({"retry-after": "0.25"}, 0.25),
        ({"retry-after": "-3"}, 0.0),
        ({"retry-after-ms": "250"}, 0.25),
        ({"retry-after-ms": "250", "retry-after": "9"}, 0.25),
        ({"retry-after-ms": "soon", "retry-after": "9"}, 9.0),
        ({"retry-after": "Tue, 24 Nov 2026 12:00:30 GMT"}, 30.0),
        ({"retry-after": "Tue, 24 Nov 2026 12:00:30 -0000"}, 30.0),
        ({"retry-after": "Tue, 24 Nov 2026 14:00:30 +0200"}, 30.0),
        ({"retry-after": "Tue, 24 Nov 2026 11:59:30 GMT"}, 0.0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": ""}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "Mon, 01 Jan 99999 00:00:00 GMT"}, None),
        ({"retry-after": "inf"}, None),
    ],
)
def test_what_a_server_asks_for(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(headers, NOW) == seconds


@given(st.text(max_size=40))
def test_whatever_the_header_holds_it_is_a_wait_or_nothing(text: str) -> None:
    asked = retry_after({"retry-after": text}, NOW)
    assert asked is None or asked >= 0


def test_waits_double_up_to_the_longest_and_are_drawn_below() -> None:
    retry, rng = Retry(), random.Random(0)
    bounds = [max(retry.wait(failures, None, rng) for _ in range(400)) for failures in (1, 2, 3, 20, 200)]
    for bound, most in zip(bounds, [0.5, 1.0, 2.0, 30.0, 30.0], strict=True):
        assert 0.9 * most < bound <= most
    assert min(retry.wait(5, None, rng) for _ in range(400)) < 0.5


def test_waits_that_are_asked_for_are_never_cut_short() -> None:
    waits = [Retry().wait(6, 20.0, random.Random(seed)) for seed in range(200)]
    assert min(waits) >= 20
    assert max(waits) <= 21


def test_every_status_is_worth_another_try_or_not() -> None:
    again = {status for status in range(100, 600) if worth_retrying(status)}
    assert again == {408, 409, 425, 429} | set(range(500, 600)) - {501, 505}
