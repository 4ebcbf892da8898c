"""The rows of a file of recorded samples, whatever holds them: JSON, JSONL, CSV, Parquet or a zip, gzipped or not."""

from __future__ import annotations

import csv
import gzip
import io
import json
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import IO, Any

from computewise.errors import RunError, UsageError
from computewise.study.recorded.readers.cells import Unreadable

PlacedRow = tuple[str, Any]
"""Where a row stands, such as "line 3", and the row: an object, or `Unreadable`."""

_LISTS = ("records", "rows", "data", "problems", "results", "examples")
"""Where a JSON document keeps its rows."""

_LOCAL_HEADER = struct.Struct("<26xHH")
"""Of a member in a zip: the lengths of its name and of its extra field."""

_LARGEST_CELL = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a file is read: `done` of `size` bytes as they stand on disk."""

    done: int
    size: int


def read_rows(path: Path, watch: Callable[[Progress], None] = lambda progress: None) -> Iterator[PlacedRow]:
    """Each row with its place. A row that is none is `Unreadable`; a file that cannot be read raises `RunError`."""
    try:
        with path.open("rb") as raw:
            size = path.stat().st_size
            for placed in _rows(path, raw):
                yield placed
                watch(Progress(min(raw.tell(), size), size))
    except (OSError, EOFError, zlib.error, csv.Error, UnicodeDecodeError, zipfile.BadZipFile) as error:
        raise RunError(f"cannot read {path}: {_reason(error)}") from None


def _rows(path: Path, raw: IO[bytes]) -> Iterator[PlacedRow]:
    name = path.name.lower().removesuffix(".gz")
    begun = _peek(raw, 4)
    file: Any = gzip.GzipFile(fileobj=raw) if begun[:2] == b"\x1f\x8b" else raw
    if path.suffix == ".gz" and file is raw and begun:
        raise gzip.BadGzipFile("not a gzipped file")
    begun = _peek(file, 4)
    if begun == b"PAR1" or name.endswith(".parquet"):
        return _parquet(path, file)
    if begun == b"PK\x03\x04" or name.endswith(".eval"):
        return _zip(path, file)
    head = _peek(file, 4096).removeprefix(b"\xef\xbb\xbf").lstrip()
    if name.endswith((".csv", ".tsv")) or (head and head[:1] not in b"{[" and not name.endswith((".jsonl", ".json"))):
        return _table(file, head)
    if not _first_line_is_json(file):
        return _document(path, file)
    return _lines(file)


def _peek(file: Any, count: int) -> bytes:
    found = bytes(file.read(count))
    file.seek(0)
    return found


def _first_line_is_json(file: Any) -> bool:
    """Whether the first line that is not blank is JSON by itself, as in JSONL."""
    try:
        for line in file:
            if line.strip():
                json.loads(line)
                return True
    except (ValueError, RecursionError):
        return False
    finally:
        file.seek(0)
    return True


def _lines(file: Any) -> Iterator[PlacedRow]:
    number = 0
    try:
        for number, line in enumerate(file, 1):
            if line.strip(b" \t\r\n\x0b\x0c\xef\xbb\xbf"):
                yield from _unpacked(f"line {number}", _decode(line))
    except (OSError, EOFError, zlib.error) as error:
        raise EOFError(f"after line {number}: {_reason(error)}") from None


def _decode(line: bytes) -> Any:
    try:
        return json.loads(line.removeprefix(b"\xef\xbb\xbf"))  # unlike msgspec, it accepts NaN, which Python writes
    except json.JSONDecodeError as error:
        return Unreadable(f" is not JSON: {error.msg} at column {error.colno}")
    except (ValueError, RecursionError) as error:
        return Unreadable(f" is not JSON: {_reason(error)}")


def _document(path: Path, file: Any) -> Iterator[PlacedRow]:
    """One JSON document of many lines; where it is none, each line is tried."""
    content = file.read().removeprefix(b"\xef\xbb\xbf")
    try:
        held = json.loads(content)
    except (ValueError, RecursionError) as error:
        rows = list(_lines(io.BytesIO(content)))
        if len(rows) > 1 and all(isinstance(row, Unreadable) for _, row in rows):
            line = getattr(error, "lineno", 1)
            raise RunError(f"{path}, line {line} is not JSON: {_reason(error)}") from None
        yield from rows
        return
    yield from _unpacked("", held)


def _unpacked(where: str, held: Any) -> Iterator[PlacedRow]:
    """The rows of a document that holds a list of them; any other value is a row itself."""
    name = ""
    if isinstance(held, dict):
        names = _LISTS if not where else _LISTS[:1]  # a line is a row, unless it holds records
        name = next((name for name in names if isinstance(held.get(name), list)), "")
        if not name or (name != _LISTS[0] and not all(isinstance(one, dict) for one in held[name])):
            yield where or "the document", held
            return
        common = _common(held)
        rows = [{**common, **one} if isinstance(one, dict) else one for one in held[name]]
    elif isinstance(held, list):
        rows = held
    else:
        yield where or "the document", _not_an_object(held)
        return
    before = f"{where}, " if where else ""
    for number, row in enumerate(rows):
        yield f"{before}{name}[{number}]" if name else f"{before}row {number + 1}", _not_an_object(row)


def _common(document: dict[str, Any]) -> dict[str, Any]:
    """What a document says of all its rows: the model that was sampled."""
    meta = document.get("meta", document)
    return {"model": meta["model"]} if isinstance(meta, dict) and isinstance(meta.get("model"), str) else {}


def _not_an_object(row: Any) -> Any:
    if isinstance(row, (dict, Unreadable)):
        return row
    return Unreadable(f" is a {type(row).__name__}, expected an object")


def _table(file: Any, head: bytes) -> Iterator[PlacedRow]:
    heading = head.split(b"\n", 1)[0]
    delimiter = max(",\t;", key=lambda one: heading.count(one.encode()))
    number = 0
    text = io.TextIOWrapper(file, encoding="utf-8-sig", newline="")
    with _cells_of_any_size():
        reader = csv.DictReader(text, strict=True, delimiter=delimiter)
        try:
            for row in reader:
                number = reader.line_num
                if None in row or None in row.values():
                    held = len(reader.fieldnames or ())
                    yield f"line {number}", Unreadable(f" must have {held} values, one a column")
                else:
                    yield f"line {number}", dict(row)
        except (OSError, EOFError, zlib.error, csv.Error, UnicodeDecodeError) as error:
            raise csv.Error(f"after line {number}: {_reason(error)}") from None
        finally:
            text.detach()  # the file is closed by who opened it


@contextmanager
def _cells_of_any_size() -> Iterator[None]:
    before = csv.field_size_limit(_LARGEST_CELL)
    try:
        yield
    finally:
        csv.field_size_limit(before)


def _parquet(path: Path, file: Any) -> Iterator[PlacedRow]:
    try:
        from pyarrow import ArrowException
        from pyarrow.parquet import ParquetFile
    except ImportError:
        raise UsageError("reading Parquet needs pyarrow: pip install 'computewise[parquet]'") from None
    try:
        source = io.BytesIO(file.read()) if isinstance(file, gzip.GzipFile) else path
        with ParquetFile(source) as table:
            rows = chain.from_iterable(batch.to_pylist() for batch in table.iter_batches(batch_size=16))
            for number, row in enumerate(rows, 1):
                yield f"row {number}", row
    except ArrowException as error:
        raise EOFError(_reason(error)) from None


def _zip(path: Path, file: Any) -> Iterator[PlacedRow]:
    """The samples of an Inspect log, each with what the log says of all of them."""
    with zipfile.ZipFile(io.BytesIO(file.read()) if isinstance(file, gzip.GzipFile) else file) as archive:
        names = [name for name in archive.namelist() if name.startswith("samples/") and name.endswith(".json")]
        if not names:
            raise RunError(f"{path} is a zip without samples/*.json: extract it, or name an Inspect log")
        header = next((name for name in ("header.json", "_journal/start.json") if name in archive.namelist()), None)
        log = _member(archive, header) if header else {}
        held = log.get("eval") if isinstance(log, dict) else None
        for name in names:
            yield name, {"eval": held if isinstance(held, dict) else {}, "samples": [_member(archive, name)]}


ZSTANDARD = 93
"""The compression method of a zip that Inspect writes today and Python reads from 3.14 on."""


def _member(archive: zipfile.ZipFile, name: str) -> Any:
    try:
        if archive.getinfo(name).compress_type == ZSTANDARD:
            return _decode(_unpacked_zstandard(archive, archive.getinfo(name)))
        return _decode(archive.read(name))
    except (NotImplementedError, RuntimeError) as error:
        return Unreadable(f" cannot be unpacked: {_reason(error)}; inspect log convert --to json writes JSON")
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError) as error:
        return Unreadable(f" cannot be unpacked: {_reason(error)}")


def _unpacked_zstandard(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bytes:
    try:
        from pyarrow import BufferReader, CompressedInputStream
    except ImportError:
        raise UsageError("reading logs of Inspect needs pyarrow: pip install 'computewise[parquet]'") from None
    file: Any = archive.fp
    file.seek(member.header_offset)
    header = file.read(_LOCAL_HEADER.size)
    if len(header) < _LOCAL_HEADER.size:
        raise zipfile.BadZipFile("a member without a header")
    file.seek(sum(_LOCAL_HEADER.unpack(header)), 1)  # over the name and the extra field
    with CompressedInputStream(BufferReader(file.read(member.compress_size)), "zstd") as stream:
        content = bytes(stream.read())
    if zlib.crc32(content) != member.CRC:
        raise zipfile.BadZipFile("a wrong checksum")
    return content


def _reason(error: Exception) -> str:
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return str(text).splitlines()[0]
