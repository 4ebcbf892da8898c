"""Who may ask, how much, and who is worked on when."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
from collections.abc import Sequence
from typing import Any

import pytest
from serve_doubles import SimulatedBackend
from serving import PATIENCE, serving

from computewise.errors import UsageError
from computewise.serve.admission import ClientDisconnected, Keys, Queue, ServerSettings, read_body, while_connected
from computewise.serve.errors import ApiError
from computewise.serve.server import LARGEST_HEAD, JoinedWrites
from computewise.testing import SimulatedModel

LONG = 1000.0


def scope(client: str | None = "10.0.0.1", **headers: str | bytes) -> dict[str, Any]:
    raw = [
        (name.replace("_", "-").encode(), value if isinstance(value, bytes) else value.encode("latin-1"))
        for name, value in headers.items()
    ]
    return {"type": "http", "headers": raw, "client": None if client is None else (client, 1234)}


# Keys


@pytest.mark.parametrize("given", ["Bearer one", "bearer one", "BEARER  one ", "Bearer two", "Bearer three"])
def test_every_key_opens(given: str) -> None:
    assert Keys(["one", "two", "three"], []).client(scope(authorization=given))


@pytest.mark.parametrize(
    "given", ["", "Bearer", "Bearer ", "Bearer on", "Bearer one2", "Bearer ONE", "one", "Basic one", "Bearer one,two"]
)
def test_nothing_else_does(given: str) -> None:
    for headers in ({"authorization": given}, {"x_api_key": given}, {}):
        with pytest.raises(ApiError) as refused:
            Keys(["one", "two"], []).client(scope(**headers))
        assert (refused.value.status, refused.value.code) == (401, "invalid_api_key")
        assert refused.value.headers == {"www-authenticate": "Bearer"}


def test_a_key_is_compared_with_all_of_them_whichever_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[bytes] = []
    compare = hmac.compare_digest

    def watched(a: bytes, b: bytes) -> bool:
        compared.append(b)
        return compare(a, b)

    monkeypatch.setattr(hmac, "compare_digest", watched)
    keys = Keys(["one", "two", "three"], [])
    for given in ("one", "three"):
        compared.clear()
        keys.client(scope(authorization=f"Bearer {given}"))
        assert len(set(compared)) == 3
    assert {len(one) for one in compared} == {32}  # digests: not even the length of a key is in the time it takes


def test_a_client_is_called_the_same_by_its_key_and_its_name_gives_none_away() -> None:
    keys = Keys(["one", "two"], [])
    first, again, other = (keys.client(scope(address, authorization=f"Bearer {key}")) for address, key in CALLS)
    assert first == again != other
    assert "one" not in first


CALLS = (("10.0.0.1", "one"), ("10.0.0.2", "one"), ("10.0.0.1", "two"))


def test_a_key_that_no_latin_letters_spell_is_no_row_of_question_marks() -> None:
    keys = Keys(["\u043a\u043b\u044e\u0447\u0420"], [])
    with pytest.raises(ApiError):
        keys.client(scope(authorization="Bearer ?????"))
    assert keys.client(scope(authorization="Bearer \u043a\u043b\u044e\u0447\u0420".encode()))


def test_no_key_is_in_what_the_keys_are_shown_as() -> None:
    keys = Keys(["sk-secret"], [])
    assert "secret" not in repr(vars(keys))


# Hosts


HOSTS = frozenset({"localhost", "127.0.0.1", "::1"})


@pytest.mark.parametrize(
    "host", ["localhost", "localhost:8000", "LocalHost:8000", "127.0.0.1:8000", "127.0.0.1", "[::1]:8000", "[::1]"]
)
def test_without_keys_it_answers_under_its_own_names(host: str) -> None:
    assert Keys([], HOSTS).client(scope(host=host)) == "10.0.0.1"


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:8000",
        "localhost.evil.example:8000",
        "127.0.0.1.evil.example",
        "localhost:8000.evil.example",
        "evil.example:8000:8000",
        "localhost@evil.example",
        "10.0.0.7:8000",
        "",
        ":8000",
        "x" * 10_000,
    ],
)
def test_a_name_that_is_made_to_point_here_is_not_let_in(host: str) -> None:
    with pytest.raises(ApiError) as refused:
        Keys([], HOSTS).client(scope(host=host))
    assert (refused.value.status, refused.value.code) == (403, "unknown_host")
    assert len(refused.value.message) < 300


def test_a_request_without_a_host_is_not_let_in_either() -> None:
    with pytest.raises(ApiError):
        Keys([], HOSTS).client(scope())


def test_whoever_shows_a_key_may_call_it_as_they_like() -> None:
    assert Keys(["one"], []).client(scope(host="proxy.example", authorization="Bearer one"))


def test_without_keys_clients_are_told_apart_by_their_addresses() -> None:
    keys = Keys([], [])
    assert keys.client(scope("10.0.0.1")) != keys.client(scope("10.0.0.2"))
    assert keys.client(scope(None)) == "?"


# Bodies


class Messages:
    """What a client sends, message by message; afterwards it has hung up."""

    def __init__(self, *parts: bytes) -> None:
        self._parts = list(parts)
        self.read = 0

    async def __call__(self) -> dict[str, Any]:
        await asyncio.sleep(0)
        if not self._parts:
            return {"type": "http.disconnect"}
        self.read += 1
        return {"type": "http.request", "body": self._parts.pop(0), "more_body": bool(self._parts)}


async def test_a_body_is_read_whole() -> None:
    assert await read_body(scope(), Messages(b"ab", b"", b"c"), 3) == b"abc"
    assert await read_body(scope(content_length="3"), Messages(b"abc"), 3) == b"abc"
    assert await read_body(scope(), Messages(b""), 3) == b""


@pytest.mark.parametrize("length", ["4", "99999999999999999999", "9" * 5000])
async def test_a_body_that_is_said_to_be_too_large_is_not_read_at_all(length: str) -> None:
    messages = Messages(b"abcd")
    with pytest.raises(ApiError) as refused:
        await read_body(scope(content_length=length), messages, 3)
    assert (refused.value.status, refused.value.code, messages.read) == (413, "too_large", 0)


@pytest.mark.parametrize("said", [{}, {"content_length": "1"}, {"content_length": "x"}, {"content_length": "-1"}])
async def test_a_body_that_turns_out_too_large_is_read_no_further(said: dict[str, str]) -> None:
    messages = Messages(b"ab", b"cd", b"ef", b"gh")
    with pytest.raises(ApiError, match="larger than the 3 bytes") as refused:
        await read_body(scope(**said), messages, 3)
    assert (refused.value.status, messages.read) == (413, 2)


async def test_a_client_that_hangs_up_in_the_middle_of_its_body_is_gone() -> None:
    class Leaves(Messages):
        async def __call__(self) -> dict[str, Any]:
            return {**await Messages.__call__(self), "more_body": True}

    with pytest.raises(ClientDisconnected):
        await read_body(scope(), Leaves(b"ab"), 3)


# Hanging up


class Connection:
    """A client that hangs up when it is told to."""

    def __init__(self) -> None:
        self.closed = asyncio.Event()

    async def __call__(self) -> dict[str, Any]:
        await self.closed.wait()
        return {"type": "http.disconnect"}


async def test_work_that_ends_is_what_comes_of_it_and_nothing_is_left_waiting() -> None:
    async def work() -> int:
        await asyncio.sleep(0)
        return 7

    before = asyncio.all_tasks()
    assert await while_connected(Connection(), work()) == 7
    await turns()
    assert asyncio.all_tasks() == before


async def test_work_whose_client_hangs_up_is_cancelled_and_its_clean_up_awaited() -> None:
    connection, did = Connection(), list[str]()

    async def work() -> None:
        try:
            connection.closed.set()
            await asyncio.Event().wait()
        finally:
            did.append("cancelled")
            for _ in range(10):
                await asyncio.sleep(0)
            did.append("cleaned up")

    with pytest.raises(ClientDisconnected):
        await while_connected(connection, work())
    assert did == ["cancelled", "cleaned up"]


async def test_an_error_of_the_work_is_raised() -> None:
    async def work() -> None:
        raise ValueError("as it was told")

    with pytest.raises(ValueError, match="as it was told"):
        await while_connected(Connection(), work())


async def test_whoever_is_cancelled_cancels_the_work_and_awaits_it() -> None:
    begun, did = asyncio.Event(), list[str]()

    async def work() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            did.append("cleaned up")

    before = asyncio.all_tasks()
    task = asyncio.ensure_future(while_connected(Connection(), work()))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await turns()
    assert did == ["cleaned up"]
    assert asyncio.all_tasks() == before


async def test_what_the_client_still_sends_is_no_sign_that_it_is_gone() -> None:
    messages = Messages(b"", b"", b"")

    async def work() -> int:
        while messages.read < 3:  # noqa: ASYNC110
            await asyncio.sleep(0)
        return 7

    assert await while_connected(messages, work()) == 7


async def test_a_client_that_hangs_up_just_after_the_work_cancels_nothing_else() -> None:
    connection = Connection()

    async def work() -> int:
        connection.closed.set()
        await asyncio.sleep(0)  # the connection is seen as closed in the turn in which the work ends
        return 7

    assert await while_connected(connection, work()) == 7
    await turns()  # raises `CancelledError` if the hanging up still reaches this task


# Writing


class Written(asyncio.Transport):
    """Records what is written, and whether it was closed or aborted."""

    def __init__(self) -> None:
        super().__init__()
        self.did: list[bytes | str] = []

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.did.append(bytes(data))

    def close(self) -> None:
        self.did.append("closed")

    def abort(self) -> None:
        self.did.append("aborted")


async def test_what_is_written_in_one_turn_is_sent_at_once_and_in_order() -> None:
    below = Written()
    joined = JoinedWrites(below)
    joined.write(b"head ")
    joined.write(b"body")
    assert below.did == []
    await asyncio.sleep(0)
    assert below.did == [b"head body"]
    joined.write(b"more")
    joined.flush()
    joined.write(b"last")
    joined.close()
    await asyncio.sleep(0)
    assert below.did == [b"head body", b"more", b"last", "closed"]


async def test_a_long_stream_is_not_held_back_and_an_aborted_one_not_sent() -> None:
    below = Written()
    joined = JoinedWrites(below)
    joined.write(b"x" * 100_000)
    assert below.did == [b"x" * 100_000]
    joined.write(b"never")
    joined.abort()
    await asyncio.sleep(0)
    assert below.did == [b"x" * 100_000, "aborted"]


# The queue


async def turns(count: int = 20) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


class Requests:
    """Requests to a queue of one place, in the order in which they are worked on."""

    def __init__(self, queue: Queue) -> None:
        self.queue, self.order, self.tasks = queue, list[str](), list[asyncio.Task[None]]()
        self.leave = asyncio.Event()

    async def ask(self, client: str, name: str, seconds: float = LONG) -> None:
        async with self.queue.place(client, name, seconds):
            self.order.append(name)
            await self.leave.wait()

    def begin(self, client: str, names: Sequence[str]) -> None:
        self.tasks += [asyncio.ensure_future(self.ask(client, name)) for name in names]

    async def end(self) -> list[Any]:
        self.leave.set()
        return await asyncio.gather(*self.tasks, return_exceptions=True)


async def test_a_client_that_floods_the_queue_delays_another_by_one_turn() -> None:
    requests = Requests(Queue(1, 1000))
    requests.begin("flood", [f"f{number}" for number in range(100)])
    await turns()
    requests.begin("calm", ["c0", "c1"])
    requests.begin("other", ["o0"])
    await turns()
    await requests.end()
    assert requests.order[:6] == ["f0", "f1", "c0", "o0", "f2", "c1"]
    assert requests.order[6:] == [f"f{number}" for number in range(3, 100)]


async def test_one_too_many_is_told_to_come_again_and_the_others_stay() -> None:
    queue = Queue(2, 3)
    requests = Requests(queue)
    requests.begin("a", [str(number) for number in range(5)])
    await turns()
    assert (queue.in_flight, queue.waiting) == (2, 3)
    for client in ("a", "b"):
        with pytest.raises(ApiError, match="3 requests wait already") as refused:
            await requests.ask(client, "one too many")
        assert (refused.value.status, refused.value.type, refused.value.code) == (429, "rate_limit_error", "queue_full")
        assert refused.value.headers == {"retry-after": "1"}
    assert await requests.end() == [None] * 5
    assert (queue.in_flight, queue.waiting) == (0, 0)


async def test_a_queue_of_no_length_has_places_all_the_same() -> None:
    requests = Requests(Queue(1, 0))
    requests.begin("a", ["0"])
    await turns()
    with pytest.raises(ApiError):
        await requests.ask("b", "1")
    await requests.end()
    assert requests.order == ["0"]


async def test_the_time_to_come_again_is_what_those_before_take(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("computewise.serve.admission.time.monotonic", lambda: now[0])
    queue = Queue(1, 1)
    async with queue.place("a", "0", LONG):
        now[0] += 100
    requests = Requests(queue)
    requests.begin("a", ["1", "2"])
    await turns()
    with pytest.raises(ApiError) as refused:
        await requests.ask("a", "3")
    assert refused.value.headers == {"retry-after": "10"}  # two of 5 seconds, the mean so far
    await requests.end()
    async with queue.place("a", "4", LONG):
        now[0] += 1e6
    requests = Requests(queue)
    requests.begin("a", ["5", "6"])
    await turns()
    with pytest.raises(ApiError) as refused:
        await requests.ask("a", "7")
    assert refused.value.headers == {"retry-after": "60"}
    await requests.end()


async def test_whoever_leaves_while_waiting_leaves_no_place_behind() -> None:
    queue = Queue(1, 3)
    requests = Requests(queue)
    requests.begin("a", ["0", "1", "2", "3"])
    await turns()
    for task in requests.tasks[1:3]:
        task.cancel()
    await turns()
    assert (queue.in_flight, queue.waiting) == (1, 1)
    requests.begin("b", ["4", "5"])
    await turns()
    done = await requests.end()
    assert requests.order == ["0", "3", "4", "5"]
    assert [isinstance(one, asyncio.CancelledError) for one in done] == [False, True, True, False, False, False]
    assert (queue.in_flight, queue.waiting) == (0, 0)


async def test_whoever_fails_while_worked_on_gives_the_place_back() -> None:
    queue = Queue(1, 0)
    with pytest.raises(ValueError, match="as it was told"):
        async with queue.place("a", "0", LONG):
            raise ValueError("as it was told")
    async with queue.place("a", "1", LONG):
        assert queue.in_flight == 1


async def test_whoever_waits_too_long_is_told_so_and_leaves_no_place_behind() -> None:
    queue = Queue(1, 5)
    requests = Requests(queue)
    requests.begin("a", ["0"])
    await turns()
    with pytest.raises(ApiError, match=r"no place was free within 0.001 seconds") as refused:
        await requests.ask("b", "1", 0.001)
    assert refused.value.status == 429
    assert "retry-after" in refused.value.headers
    assert (queue.in_flight, queue.waiting) == (1, 0)
    await requests.end()
    assert queue.in_flight == 0


async def test_the_time_for_waiting_is_not_that_for_the_work() -> None:
    async with Queue(1, 0).place("a", "0", 0.001):
        await asyncio.sleep(0.01)


# Settings


@pytest.mark.parametrize(
    "changes",
    [
        {"in_flight": 0},
        {"queue": -1},
        {"traces": -1},
        {"timeout": 0},
        {"timeout": float("inf")},
        {"timeout": float("nan")},
        {"most_generations": 0},
        {"largest_body": 0},
        {"efforts": {"low": 0.5}},
        {"efforts": {"high": 257}},
        {"efforts": {"high": float("nan")}},
    ],
)
def test_settings_that_cannot_be_are_refused_by_name(changes: dict[str, Any]) -> None:
    (name,) = changes
    with pytest.raises(UsageError, match=name.removesuffix("s")):
        ServerSettings(**changes)


@pytest.mark.parametrize("head", [b"GET /health HTTP/1.1\r\nx: ", b"GET /", b"GET /health HTTP/1.1\r\nhost: h\r\n"])
async def test_a_head_without_end_is_ended(head: bytes) -> None:
    async with serving(SimulatedBackend(players={"small": SimulatedModel()})) as site:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(site.root.rpartition(":")[2]))
        writer.write(head)
        more = b"a: b\r\n" if head.endswith(b"\n") else b"a"
        answer = b""
        # It may be closed before all of it is read: whoever sends it is then told nothing.
        with contextlib.suppress(ConnectionError):
            for _ in range(3 * LARGEST_HEAD // (1000 * len(more))):
                writer.write(1000 * more)
                await writer.drain()
                await asyncio.sleep(0.001)
        async with asyncio.timeout(PATIENCE):
            with contextlib.suppress(ConnectionError):
                answer = await reader.read()
        assert answer[:12] in (b"", b"HTTP/1.1 400")
        writer.close()


async def test_a_long_head_and_a_longer_body_in_one_piece_are_taken() -> None:
    async with serving(SimulatedBackend(players={"small": SimulatedModel()})) as site:
        fields = {"model": "small:single", "messages": [{"role": "user", "content": "problem 41734 of 3 steps"}]}
        response = await site.http.post(
            "/v1/chat/completions", json={**fields, "metadata": "m" * 200_000}, headers={"x-long": "h" * 50_000}
        )
        assert response.status_code == 200
