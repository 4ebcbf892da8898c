"""What is kept is there, whoever writes at the same time, and whatever is wrong with the file is one line."""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import get_context
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest

from computewise.cache import GenerationCache, cache_key
from computewise.errors import RunError

FILES = 20


def entries(start: int, count: int) -> dict[bytes, bytes]:
    return {cache_key(number): b"%d" % number * 100 for number in range(start, start + count)}


def put_with_others(directory: Path, start: int, together: Barrier) -> None:
    """What one of several processes does."""
    for number in range(FILES):
        together.wait()
        with GenerationCache(directory / f"{number}.db") as store:
            for key, value in entries(start, 10).items():
                store.put({key: value})


def test_what_is_put_is_there_for_the_next_who_opens_it(tmp_path: Path) -> None:
    path = tmp_path / "new" / "cache.db"
    with GenerationCache(path) as store:
        assert store.get(list(entries(0, 3))) == {}
        store.put(entries(0, 3))
    with GenerationCache(path) as store:
        assert store.get([*entries(1, 4)]) == entries(1, 2)
        assert len(store) == 3
    assert [file.name for file in path.parent.iterdir()] == ["cache.db"]


def test_the_first_value_of_a_key_is_kept(tmp_path: Path) -> None:
    with GenerationCache(tmp_path / "cache.db") as store:
        store.put({b"key": b"first"})
        store.put({b"key": b"second", b"other": b"third"})
        assert store.get([b"key", b"other"]) == {b"key": b"first", b"other": b"third"}


def test_keys_differ_by_everything_but_the_order_of_names() -> None:
    assert cache_key({"a": 1, "b": [2.0, None]}) == cache_key({"b": (2.0, None), "a": 1})
    assert len({cache_key(one) for one in ("1", 1, 1.5, None, ["1"], [["1"]], {"1": 1}, "ä", "\ud800")}) == 9


def test_processes_open_a_new_file_at_once_and_write_it(tmp_path: Path) -> None:
    context = get_context("spawn")
    together = context.Barrier(6, timeout=30)
    processes = [context.Process(target=put_with_others, args=(tmp_path, 5 * part, together)) for part in range(6)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * 6
    for number in range(FILES):
        with GenerationCache(tmp_path / f"{number}.db") as store:
            assert store.get([*entries(0, 40)]) == entries(0, 35)


def test_reading_waits_for_no_other_writer(tmp_path: Path) -> None:
    with GenerationCache(tmp_path / "cache.db") as store:
        store.put(entries(0, 3))
        other = sqlite3.connect(tmp_path / "cache.db", isolation_level=None)
        other.execute("BEGIN EXCLUSIVE")
        other.execute("DELETE FROM held")
        assert store.get([*entries(0, 3)]) == entries(0, 3)
        other.close()


def test_a_put_is_kept_whole_or_not_at_all(tmp_path: Path) -> None:
    with GenerationCache(tmp_path / "cache.db") as store:
        with pytest.raises(RunError, match="not supported"):
            store.put({b"1": b"1", b"2": object()})  # type: ignore[dict-item]
        assert len(store) == 0
        store.put({b"2": b"2"})
        assert store.get([b"1", b"2"]) == {b"2": b"2"}


def test_threads_share_one_store(tmp_path: Path) -> None:
    with GenerationCache(tmp_path / "cache.db") as store, ThreadPoolExecutor(8) as executor:

        def use(start: int) -> bool:
            store.put(entries(start, 20))
            return store.get([*entries(start, 20)]) == entries(start, 20)

        assert all(executor.map(use, range(0, 400, 10)))
        assert len(store) == 410


async def test_what_comes_together_is_one_transaction_and_the_loop_goes_on(tmp_path: Path) -> None:
    with GenerationCache(tmp_path / "cache.db") as store:
        commits, begun, held_up = [], threading.Event(), threading.Event()
        put = store.put

        def slow(entries: dict[bytes, bytes]) -> None:
            commits.append(len(entries))
            begun.set()
            held_up.wait()
            put(entries)

        store.put = slow  # type: ignore[method-assign, assignment]
        keeping = [asyncio.ensure_future(store.keep(entries(number, 1))) for number in range(256)]
        await asyncio.to_thread(begun.wait)
        await store.find([*entries(0, 1)])  # reading waits for no writer
        assert not any(task.done() for task in keeping)
        held_up.set()
        await asyncio.gather(*keeping)
        assert sum(commits) == 256
        assert len(commits) <= 3
        assert await store.find([*entries(0, 300)]) == entries(0, 256)


async def test_one_who_is_cancelled_does_not_take_it_from_those_who_wait_with_them(tmp_path: Path) -> None:
    with GenerationCache(tmp_path / "cache.db") as store:
        begun, held_up = threading.Event(), threading.Event()
        put = store.put

        def slow(entries: dict[bytes, bytes]) -> None:
            begun.set()
            held_up.wait()
            put(entries)

        store.put = slow  # type: ignore[method-assign, assignment]
        first = asyncio.ensure_future(store.keep(entries(0, 1)))
        await asyncio.to_thread(begun.wait)
        later = [asyncio.ensure_future(store.keep(entries(number, 1))) for number in (1, 2, 3)]
        await asyncio.sleep(0)
        later[1].cancel()
        await asyncio.wait([later[1]])
        held_up.set()
        await asyncio.gather(first, later[0], later[2])
        assert len(store) == 4


async def test_what_a_cancelled_caller_asked_for_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "cache.db"
    with GenerationCache(path) as store:
        caller = asyncio.ensure_future(store.keep(entries(0, 5)))
        await asyncio.sleep(0)
        caller.cancel()
        with pytest.raises(asyncio.CancelledError):
            await caller
    with GenerationCache(path) as store:
        assert len(store) == 5


def foreign(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE theses (text)")
    connection.close()


def torn(path: Path) -> None:
    with GenerationCache(path) as store:
        store.put(entries(0, 2000))
    data = path.read_bytes()
    path.write_bytes(data[:4096] + os.urandom(len(data) - 4096))


WRONG: dict[str, Callable[[Path], object]] = {
    "no database": lambda path: path.write_text("Dear diary,\n" * 100),
    "another's database": foreign,
    "a corrupt one": torn,
    "a directory": lambda path: path.mkdir(),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_file_of_something_else_is_one_line_and_left_as_it_is(tmp_path: Path, wrong: str) -> None:
    path = tmp_path / "cache.db"
    WRONG[wrong](path)
    before = path.read_bytes() if path.is_file() else b""
    with pytest.raises(RunError) as error, GenerationCache(path) as store:
        store.get([*entries(0, 2000)])
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)
    assert before == (path.read_bytes() if path.is_file() else b"")


def test_a_parent_that_is_no_directory_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="cannot use the cache"):
        GenerationCache(tmp_path / "file" / "cache.db")


def test_a_file_that_cannot_be_written_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "cache.db"
    connect = sqlite3.connect
    GenerationCache(path).close()
    before = path.read_bytes()
    # Not by permissions: the superuser has them all.
    monkeypatch.setattr(
        sqlite3, "connect", lambda path, *args, **more: connect(f"file:{path}?mode=ro", uri=True, **more)
    )
    with pytest.raises(RunError, match="readonly"), GenerationCache(path) as store:
        store.put(entries(0, 1))
    assert path.read_bytes() == before


async def test_a_full_disk_is_one_line_and_loses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "cache.db"
    with GenerationCache(path) as store:
        store.put(entries(0, 100))
        store._writer._connection.execute("PRAGMA max_page_count = 40")
        with pytest.raises(RunError, match="full") as error:
            await store.keep(entries(0, 1000))
        assert "\n" not in str(error.value)
        assert store.get([*entries(0, 1000)]) == entries(0, 100)
        store._writer._connection.execute("PRAGMA max_page_count = 100000")
        await store.keep(entries(0, 1000))
    shutil.move(path, tmp_path / "moved.db")
    with GenerationCache(tmp_path / "moved.db") as store:
        assert len(store) == 1000
