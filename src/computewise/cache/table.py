"""A table of bytes in an SQLite file."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from computewise.cache.keys import Key
from computewise.errors import RunError

APPLICATION = 0x63775F31
"""What marks a file as ours (SQLite's application_id)."""
PATIENCE = 60.0
"""Seconds to wait for other processes."""


class Table:
    """Keys and values, the first value of a key kept; any number of processes on one machine may use the file.

    WAL, so that reading waits for no writer. synchronous = FULL, so that what is returned as kept outlives a power cut
    too: it costs one flush of the disk a transaction, and `Generations` puts what comes together into one. A table is
    used by one thread at a time. Raises `RunError` for whatever goes wrong with the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunError(f"cannot use the cache {path}: {error.strerror or error}") from None
        with self._explained("use"):
            self._connection = sqlite3.connect(path, PATIENCE, isolation_level=None, check_same_thread=False)
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
        until = time.monotonic() + PATIENCE
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
