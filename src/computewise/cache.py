"""A cache of server answers on disk: one SQLite file, group commits, and one request for each key at a time."""

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
    """A hash of the plain data that determines an answer; the order of a mapping's keys does not matter."""
    text = json.dumps(request, sort_keys=True, separators=(",", ":"))
    return hashlib.blake2b(text.encode(), digest_size=20).digest()


T = TypeVar("T")


class Codec(Generic[T]):
    """Encodes and decodes values of one type; raises `RunError` for bytes of another type."""

    def __init__(self, type: type[T]) -> None:
        self._encoder, self._decoder = msgspec.msgpack.Encoder(), msgspec.msgpack.Decoder(type)

    def pack(self, answer: T) -> bytes:
        """Encode to bytes."""
        return self._encoder.encode(answer)

    def unpack(self, data: Any) -> T:
        """Decode from bytes."""
        try:
            return self._decoder.decode(data)
        except (msgspec.MsgspecError, TypeError) as error:
            raise RunError(f"the cache holds an entry that is not an answer ({error}): use another file") from None


Fetch = Callable[[list[Key]], Coroutine[Any, Any, dict[Key, T]]]


@dataclass(eq=False, slots=True)
class _Flight(Generic[T]):
    keys: list[Key]
    task: asyncio.Task[dict[Key, T]]
    waiting: int = 0


class SingleFlight(Generic[T]):
    """The requests in flight of one event loop, by key: callers that want the same key share one request.

    A caller may be cancelled without harm to the others; a request is cancelled when its last caller is. An error is
    raised to every caller.
    """

    def __init__(self) -> None:
        self._flights: dict[Key, _Flight[T]] = {}

    async def get(self, keys: Sequence[Key], fetch: Fetch[T]) -> list[T]:
        """The values of `keys`; `fetch` is called with the keys that are not in flight."""
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
            self._forget(flight)  # at once: a new caller must not join a request that is about to be cancelled
            flight.task.cancel()
        await asyncio.gather(*(flight.task for flight in unwanted), return_exceptions=True)


A = TypeVar("A")

B = TypeVar("B")


class GroupCommit(Generic[A, B]):
    """Calls `work` in a thread of its own, each time with all the arguments that arrived during the call before.

    For a database this is group commit: a thousand entries that arrive together are one transaction. An argument is
    processed even if its caller is cancelled; an error is raised to every caller of the same batch.
    """

    def __init__(self, work: Callable[[list[A]], Sequence[B]]) -> None:
        self._work = work
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="computewise-cache")
        self._lock = threading.Lock()
        self._waiting: list[A] = []
        self._batch: Future[Sequence[B]] = Future()

    async def __call__(self, argument: A) -> B:
        """The result for one argument; may be called from any event loop."""
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
        """Process what is queued, then end the thread."""
        self._thread.shutdown()


APPLICATION = 0x63775F31

"""SQLite's application_id of our files."""

LOCK_SECONDS = 60.0

"""Seconds to wait for a lock that another process holds."""


class Table:
    """Keys and values in one file; the first value of a key is kept. Several processes of one machine may share it.

    The journal is a write-ahead log (WAL), so readers do not wait for writers. synchronous = FULL, so an entry survives
    a power failure once `put` has returned: this costs one flush of the disk a transaction, and `GenerationCache`
    writes entries that arrive together in one transaction. A table is used by one thread at a time. Raises `RunError`
    for every failure of the file.
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
        """Switch to WAL. SQLite's lock timeout does not apply here: it fails at once while another process reads."""
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
            raise RunError(f"{self.path} is a database of another program: use another file for the cache")
        execute(f"PRAGMA application_id = {APPLICATION}")
        execute("CREATE TABLE held (key BLOB NOT NULL PRIMARY KEY, value BLOB NOT NULL)")

    def get(self, keys: Sequence[Key]) -> dict[Key, bytes]:
        """The values of those keys that are held."""
        with self._explained("read"):
            query = "SELECT value FROM held WHERE key = ?"
            found = ((key, self._connection.execute(query, (key,)).fetchone()) for key in keys)
            return {key: row[0] for key, row in found if row}

    def put(self, entries: Mapping[Key, bytes]) -> None:
        """Write all entries or none; they are on the disk when this returns."""
        with self._explained("write"), self._transaction():
            self._connection.executemany("INSERT OR IGNORE INTO held VALUES (?, ?)", entries.items())

    def count(self) -> int:
        """The number of entries."""
        with self._explained("read"):
            return int(self._connection.execute("SELECT count(*) FROM held").fetchone()[0])

    def close(self) -> None:
        """Close the file; the last process to close it removes the `-wal` and `-shm` files."""
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
            raise RunError(f"cannot {doing} the cache {self.path}: {error}; its entries are kept") from None


class GenerationCache:
    """Answers by key, in one SQLite file that the threads and processes of one machine may share.

    The file must not be on a network file system, where SQLite's shared memory does not work. `find` and `keep` are for
    coroutines: they do not block the event loop, and entries that arrive together are one transaction. Raises
    `RunError` for a file that is corrupt, read-only, on a full disk or of another program; its entries are kept.
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
        """Write all entries or none; they are on the disk when this returns. The first value of a key is kept."""
        with self._writing:
            self._writer.put(entries)

    async def find(self, keys: Sequence[Key]) -> dict[Key, bytes]:
        """`get` for coroutines."""
        return await self._find(keys)

    async def keep(self, entries: Mapping[Key, bytes]) -> None:
        """`put` for coroutines; the entries are written even if the caller is cancelled."""
        await self._keep(entries)

    def __len__(self) -> int:
        """The number of entries."""
        with self._reading:
            return self._reader.count()

    def close(self) -> None:
        """Write what is queued, then close the file."""
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
