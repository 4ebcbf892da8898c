"""Answers that were paid for, kept on disk: one SQLite file, written in groups, each key asked for once."""

from __future__ import annotations

import asyncio
import hashlib
import json
import sqlite3
import threading
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Generic, TypeVar

import msgspec

from computewise.errors import RunError

Plain = str | int | float | bool | None

Key = bytes


def cache_key(request: object) -> Key:
    """A hash of plain data that decides an answer; the order of a mapping's names does not matter."""
    text = json.dumps(request, sort_keys=True, separators=(",", ":"))
    return hashlib.blake2b(text.encode(), digest_size=20).digest()


T = TypeVar("T")


class Codec(Generic[T]):
    """Both ways for one type; raises `RunError` for bytes of another."""

    def __init__(self, type: type[T]) -> None:
        self._encoder, self._decoder = msgspec.msgpack.Encoder(), msgspec.msgpack.Decoder(type)

    def pack(self, answer: T) -> bytes:
        """As bytes."""
        return self._encoder.encode(answer)

    def unpack(self, data: Any) -> T:
        """As it was."""
        try:
            return self._decoder.decode(data)
        except (msgspec.MsgspecError, TypeError) as error:
            raise RunError(f"the cache holds what is no answer ({error}): name another file for the cache") from None


Fetch = Callable[[list[Key]], Coroutine[Any, Any, dict[Key, T]]]


@dataclass(eq=False, slots=True)
class _Flight(Generic[T]):
    keys: list[Key]
    task: asyncio.Task[dict[Key, T]]
    waiting: int = 0


class SingleFlight(Generic[T]):
    """One loop's requests under way, by key.

    A request that nobody waits for any more is cancelled; one of several who wait for it may go without harm to the
    others. An error goes to all who wait.
    """

    def __init__(self) -> None:
        self._flights: dict[Key, _Flight[T]] = {}

    async def get(self, keys: Sequence[Key], fetch: Fetch[T]) -> list[T]:
        """What belongs to `keys`: `fetch` is called with those that are not under way."""
        mine = [key for key in dict.fromkeys(keys) if key not in self._flights]
        if mine:
            self._start(mine, fetch)
        flights = {self._flights[key] for key in keys}
        for flight in flights:
            flight.waiting += 1
        try:
            done, _ = await asyncio.wait({flight.task for flight in flights}, return_when=asyncio.FIRST_EXCEPTION)
            found = await asyncio.gather(*done)
        finally:
            await self._leave(flights)
        held = {key: value for values in found for key, value in values.items()}
        return [held[key] for key in keys]

    def _start(self, keys: list[Key], fetch: Fetch[T]) -> None:
        flight = _Flight(keys, asyncio.ensure_future(fetch(keys)))
        self._flights.update((key, flight) for key in keys)
        flight.task.add_done_callback(lambda _: self._forget(flight))

    def _forget(self, flight: _Flight[T]) -> None:
        for key in flight.keys:
            if self._flights.get(key) is flight:
                del self._flights[key]

    async def _leave(self, flights: set[_Flight[T]]) -> None:
        for flight in flights:
            flight.waiting -= 1
        unwanted = [flight for flight in flights if not flight.waiting and not flight.task.done()]
        for flight in unwanted:
            self._forget(flight)  # at once: who asks now must not join what is about to be cancelled
            flight.task.cancel()
        await asyncio.gather(*(flight.task for flight in unwanted), return_exceptions=True)


A = TypeVar("A")

B = TypeVar("B")


class GroupCommit(Generic[A, B]):
    """Calls `work`, in a thread of its own, with all that was asked for while it was at work.

    For a database, that is group commit: a thousand entries that come together are one transaction. What was asked for
    is done, even if whoever asked is cancelled; an error is raised to all whose calls were done together.
    """

    def __init__(self, work: Callable[[list[A]], Sequence[B]]) -> None:
        self._work = work
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="computewise-cache")
        self._lock = threading.Lock()
        self._waiting: list[A] = []
        self._batch: Future[Sequence[B]] = Future()

    async def __call__(self, argument: A) -> B:
        """One result; any event loop may ask."""
        batch, index = self._join(argument)
        return (await asyncio.shield(asyncio.wrap_future(batch)))[index]

    def _join(self, argument: A) -> tuple[Future[Sequence[B]], int]:
        with self._lock:
            self._waiting.append(argument)
            if len(self._waiting) == 1:
                self._batch = self._thread.submit(self._do)
            return self._batch, len(self._waiting) - 1

    def _do(self) -> Sequence[B]:
        with self._lock:
            waiting, self._waiting = self._waiting, []
        return self._work(waiting)

    def close(self) -> None:
        """Do what has been asked for, then end."""
        self._thread.shutdown()


APPLICATION = 0x63775F31

"""What marks a file as ours (SQLite's application_id)."""

LOCK_SECONDS = 60.0

"""Seconds to wait for other processes."""


class Table:
    """Keys and values, the first value of a key kept; any number of processes on one machine may use the file.

    WAL, so that reading waits for no writer. synchronous = FULL, so that what is returned as kept outlives a power cut
    too: it costs one flush of the disk a transaction, and `GenerationCache` puts what comes together in one. A table is
    used by one thread at a time. Raises `RunError` for whatever goes wrong with the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunError(f"cannot use the cache {path}: {error.strerror or error}") from None
        with self._explained("use"):
            self._connection = sqlite3.connect(path, LOCK_SECONDS, isolation_level=None, check_same_thread=False)
        try:
            with self._explained("use"):
                self._begin()
        except RunError:
            self._connection.close()
            raise

    def _begin(self) -> None:
        execute = self._connection.execute
        if execute("PRAGMA application_id").fetchone()[0] != APPLICATION:
            with self._transaction():
                self._create()
        self._write_ahead()
        execute("PRAGMA synchronous = FULL")

    def _write_ahead(self) -> None:
        """SQLite's patience does not cover the change to WAL: while another process reads it is refused at once."""
        until = time.monotonic() + LOCK_SECONDS
        while True:
            try:
                self._connection.execute("PRAGMA journal_mode = WAL")
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                    raise
                time.sleep(0.01)
            else:
                return

    def _create(self) -> None:
        execute = self._connection.execute
        if execute("PRAGMA application_id").fetchone()[0] == APPLICATION:  # another process was first
            return
        if execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            raise RunError(f"{self.path} is a database of something else: name another file for the cache")
        execute(f"PRAGMA application_id = {APPLICATION}")
        execute("CREATE TABLE held (key BLOB NOT NULL PRIMARY KEY, value BLOB NOT NULL)")

    def get(self, keys: Sequence[Key]) -> dict[Key, bytes]:
        """The values of those keys that are held."""
        with self._explained("read"):
            query = "SELECT value FROM held WHERE key = ?"
            found = ((key, self._connection.execute(query, (key,)).fetchone()) for key in keys)
            return {key: row[0] for key, row in found if row}

    def put(self, entries: Mapping[Key, bytes]) -> None:
        """Keep all of them, or none; on the disk when this returns."""
        with self._explained("write"), self._transaction():
            self._connection.executemany("INSERT OR IGNORE INTO held VALUES (?, ?)", entries.items())

    def count(self) -> int:
        """How many are held."""
        with self._explained("read"):
            return int(self._connection.execute("SELECT count(*) FROM held").fetchone()[0])

    def close(self) -> None:
        """The last to close a file leaves one file, without `-wal` and `-shm`."""
        self._connection.close()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._connection.execute("COMMIT")
        finally:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")

    @contextmanager
    def _explained(self, doing: str) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise RunError(f"cannot {doing} the cache {self.path}: {error}; what it held before is kept") from None


class GenerationCache:
    """Answers by their keys, in one SQLite file that the threads and processes of one machine may share.

    No network file system: SQLite's shared memory does not work there. `find` and `keep` are for coroutines: they do
    not hold up the event loop, and what many of them keep at a time is one transaction. Raises `RunError` for a file
    that is corrupt, of something else, read-only or on a full disk; what it held before is kept.
    """

    def __init__(self, path: Path) -> None:
        self._reader = Table(path)
        try:
            self._writer = Table(path)
        except BaseException:
            self._reader.close()
            raise
        self._reading, self._writing = threading.Lock(), threading.Lock()
        self._find: GroupCommit[Sequence[Key], dict[Key, bytes]] = GroupCommit(self._get_all)
        self._keep: GroupCommit[Mapping[Key, bytes], None] = GroupCommit(self._put_all)

    def get(self, keys: Sequence[Key]) -> dict[Key, bytes]:
        """The values of those keys that are held."""
        with self._reading:
            return self._reader.get(keys)

    def put(self, entries: Mapping[Key, bytes]) -> None:
        """Keep all of them, or none; on the disk when this returns. Of two values of one key the first is kept."""
        with self._writing:
            self._writer.put(entries)

    async def find(self, keys: Sequence[Key]) -> dict[Key, bytes]:
        """As `get`."""
        return await self._find(keys)

    async def keep(self, entries: Mapping[Key, bytes]) -> None:
        """As `put`; a caller that is cancelled meanwhile has it kept all the same."""
        await self._keep(entries)

    def __len__(self) -> int:
        """How many are held."""
        with self._reading:
            return self._reader.count()

    def close(self) -> None:
        """Keep what was asked for, then close the file."""
        self._find.close()
        self._keep.close()
        self._reader.close()
        self._writer.close()

    def __enter__(self) -> GenerationCache:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _get_all(self, requests: Sequence[Sequence[Key]]) -> list[dict[Key, bytes]]:
        held = self.get(list({key for keys in requests for key in keys}))
        return [{key: held[key] for key in keys if key in held} for keys in requests]

    def _put_all(self, requests: Sequence[Mapping[Key, bytes]]) -> list[None]:
        self.put({key: value for entries in requests for key, value in entries.items()})
        return [None] * len(requests)
