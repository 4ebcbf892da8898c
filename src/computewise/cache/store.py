"""The store of what was paid for."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

from computewise.cache.grouped import Grouped
from computewise.cache.keys import Key
from computewise.cache.table import Table


class Generations:
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
        self._find: Grouped[Sequence[Key], dict[Key, bytes]] = Grouped(self._get_all)
        self._keep: Grouped[Mapping[Key, bytes], None] = Grouped(self._put_all)

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

    def __enter__(self) -> Generations:
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
