"""Problems in files and on the Hugging Face hub: formats, the columns of common datasets, splits, and their task."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, Literal, NamedTuple

from computewise.core import Problem
from computewise.errors import ProblemError, RunError, UsageError
from computewise.grading.graders import CodeGrader, Grader
from computewise.grading.reading import reference_answer


@dataclass(frozen=True, slots=True)
class KnownDataset:
    """Where a dataset is, and the names that its columns may have; the first that exists is used."""

    path: str | None
    prompt: tuple[str, ...]
    answer: tuple[str, ...]
    id: tuple[str, ...]


KNOWN_DATASETS = {
    "math500": KnownDataset("hf:HuggingFaceH4/MATH-500:test", ("problem",), ("answer",), ("unique_id",)),
    "gsm8k": KnownDataset("hf:openai/gsm8k/main:test", ("question",), ("answer",), ("id",)),
    "aime": KnownDataset(
        "hf:HuggingFaceH4/aime_2024:train",
        ("problem", "question", "Problem", "Question"),
        ("answer", "Answer", "target"),
        ("id", "ID", "problem_id"),
    ),
}

OTHER = KnownDataset(
    None, ("prompt", "problem", "question"), ("answer", "reference", "target", "tests"), ("id", "unique_id", "task_id")
)


_PATH = re.compile(r"hf:([^/:\s]+/[^/:\s]+)(?:/([^/:\s]+))?(?::([^/:\s]+))?")


def read_hub(path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each row with its place; the split is `test` where none is named."""
    match = _PATH.fullmatch(path)
    if match is None:
        raise UsageError(f"cannot read {path}: allowed is hf:OWNER/NAME[/CONFIG][:SPLIT]")
    name, config, split = match.groups()
    try:
        from datasets import load_dataset
        from datasets.exceptions import DatasetsError
    except ImportError:
        raise UsageError("reading from the hub needs datasets: pip install 'computewise[datasets]'") from None
    try:
        rows = load_dataset(name, config, split=split or "test")
    except (OSError, ValueError, DatasetsError) as error:
        raise RunError(f"cannot read {path}: {' '.join(str(error).split())[:300]}") from None
    for number, row in enumerate(rows, 1):
        yield f"row {number}", dict(row)


RawRow = dict[str, Any]

Rows = Iterator[tuple[str, RawRow]]


def is_file_of_rows(name: str) -> bool:
    """Whether a name ends like one of the file formats."""
    return name.endswith(tuple(_FORMATS))


def read_rows(path: Path) -> Rows:
    """Each row with its place, such as "line 3"."""
    for ending, read in _FORMATS.items():
        if path.name.endswith(ending):
            return read(path)
    raise UsageError(f"cannot read {path}: allowed are files that end in {', '.join(_FORMATS)}")


def _json_lines(path: Path) -> Rows:
    number = 0
    try:
        with (gzip.open if path.suffix == ".gz" else open)(path, "rb") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    yield f"line {number}", _decode(path, number, line)
    except (OSError, EOFError, zlib.error) as error:
        where = f" after line {number}" if number else ""
        raise RunError(f"cannot read {path}{where}: {_reason(error)}") from None


def _decode(path: Path, number: int, line: bytes) -> RawRow:
    try:
        row = json.loads(line)  # unlike msgspec, it accepts NaN, which Python writes
    except (ValueError, RecursionError) as error:
        raise RunError(f"{path}, line {number} is not JSON: {_reason(error)}") from None
    if not isinstance(row, dict):
        raise RunError(f"{path}, line {number} is a {type(row).__name__}: each line must be an object")
    return row


def _csv(path: Path) -> Rows:
    number = 0
    try:
        with (gzip.open if path.suffix == ".gz" else open)(path, "rb") as file:
            reader = csv.DictReader(io.TextIOWrapper(file, encoding="utf-8-sig", newline=""), strict=True)
            for row in reader:
                number = reader.line_num
                if None in row or None in row.values():
                    held = len(reader.fieldnames or ())
                    raise RunError(f"{path}, line {number} is malformed: it must have {held} values, one a column")
                yield f"line {number}", dict(row)
    except (OSError, EOFError, zlib.error, csv.Error, UnicodeDecodeError) as error:
        where = f" after line {number}" if number else ""
        raise RunError(f"cannot read {path}{where}: {_reason(error)}") from None


def _parquet(path: Path) -> Rows:
    try:
        from pyarrow import ArrowException
        from pyarrow.parquet import ParquetFile
    except ImportError:
        raise UsageError("reading Parquet needs pyarrow: pip install 'computewise[parquet]'") from None
    try:
        with ParquetFile(path) as file:
            rows = chain.from_iterable(batch.to_pylist() for batch in file.iter_batches(batch_size=16))
            for number, row in enumerate(rows, 1):
                yield f"row {number}", row
    except (OSError, ArrowException) as error:
        raise RunError(f"cannot read {path}: {_reason(error)}") from None


def _reason(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError):  # whose own line counts within the line of the file
        return f"{error.msg} at column {error.colno}"
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return str(text).splitlines()[0]


_FORMATS: dict[str, Callable[[Path], Rows]] = {
    ".jsonl": _json_lines,
    ".jsonl.gz": _json_lines,
    ".parquet": _parquet,
    ".csv": _csv,
    ".csv.gz": _csv,
}


_LISTED = 20

"""How many of the rows that are left out are listed one by one."""

Row = Mapping[str, Any]


class Columns(NamedTuple):
    """The names of the columns; the id is optional."""

    prompt: str
    answer: str
    id: str | None


def choose_columns(source: str, present: Sequence[str], known: KnownDataset, named: Mapping[str, str]) -> Columns:
    """The columns to read; raises `UsageError` with the existing columns where one is missing."""

    def choose(role: str, usual: Sequence[str]) -> str | None:
        wanted = (named[role],) if role in named else usual
        return next((name for name in wanted if name in present), None)

    chosen = {"prompt": choose("prompt", known.prompt), "answer": choose("answer", known.answer)}
    chosen["id"] = choose("id", known.id)
    for role, usual in (("prompt", known.prompt), ("answer", known.answer), ("id", ())):
        if chosen[role] is None and (usual or role in named):
            wanted = named.get(role) or " or ".join(usual)
            raise UsageError(f"{source} has no column {wanted} for the {role}: it has {', '.join(present) or 'none'}")
    return Columns(str(chosen["prompt"]), str(chosen["answer"]), chosen["id"])


def read_problems(
    source: str, rows: Iterable[tuple[str, Row]], known: KnownDataset, named: Mapping[str, str], grader: Grader
) -> tuple[tuple[Problem, ...], tuple[str, ...]]:
    """The problems, each prompt once and with a reference that the grader accepts, and notes on the rows left out."""
    problems: dict[str, Problem] = {}
    names: set[str] = set()
    repeated: list[str] = []
    refused: list[str] = []
    for where, problem in _convert(source, rows, known, named, isinstance(grader, CodeGrader)):
        if problem.prompt in problems:
            repeated.append(where)
        elif fault := _fault(where, problem.answer, grader):
            refused.append(fault)
        else:
            problems[problem.prompt] = _with_own_name(problem, names)
    if not problems:
        raise RunError(f"{source} holds no problems that can be graded" + (f": {refused[0]}" if refused else ""))
    return tuple(problems.values()), tuple(_findings(repeated, refused))


def _fault(where: str, reference: str | None, grader: Grader) -> str | None:
    """Why the reference cannot be used; None if it can."""
    if reference is None:
        return f"{where} has no reference answer"
    try:
        accepted = grader.accepts(reference)
    except ProblemError as error:
        return f"{where}: {error}"
    return None if accepted else f"{where}: the reference {reference!r:.80} does not grade correct against itself"


def _convert(
    source: str, rows: Iterable[tuple[str, Row]], known: KnownDataset, named: Mapping[str, str], tests: bool
) -> Iterator[tuple[str, Problem]]:
    columns = None
    for where, row in rows:
        columns = columns or choose_columns(source, list(row), known, named)
        prompt, answer = row.get(columns.prompt), row.get(columns.answer)
        if not isinstance(prompt, str) or not prompt.strip():
            raise RunError(f"{source}, {where} is malformed: {columns.prompt} must be a text")
        if tests and isinstance(answer, list):
            answer = "\n".join(map(str, answer))
        if isinstance(answer, (list, dict)):
            raise RunError(f"{source}, {where} is malformed: {columns.answer} must be a text or a number")
        text = "" if answer is None else str(answer).strip()
        name = row.get(columns.id) if columns.id else None
        reference = text if tests else reference_answer(text)
        yield where, Problem(_digest(prompt) if name is None else str(name), prompt.strip(), reference or None)


def _digest(prompt: str) -> str:
    return hashlib.blake2b(prompt.strip().encode(errors="surrogatepass"), digest_size=8).hexdigest()


def _with_own_name(problem: Problem, taken: set[str]) -> Problem:
    """The problem, with a digest of its prompt added to its id where another problem has the same id."""
    name = problem.id if problem.id not in taken else f"{problem.id}#{_digest(problem.prompt)}"
    taken.add(name)
    return Problem(name, problem.prompt, problem.answer)


def _findings(repeated: list[str], refused: list[str]) -> Iterator[str]:
    if repeated:
        rows = "1 row repeats" if len(repeated) == 1 else f"{len(repeated)} rows repeat"
        yield f"{rows} an earlier prompt and are left out, the first at {repeated[0]}"
    if refused:
        rows = "1 row is" if len(refused) == 1 else f"{len(refused)} rows are"
        yield f"{rows} left out because of the reference answer"
    yield from refused[:_LISTED]
    if len(refused) > _LISTED:
        yield f"and {len(refused) - _LISTED} more rows like these"


Split = Literal["train", "validation", "test"]

SPLITS: tuple[Split, ...] = ("train", "validation", "test")


def split_of(text: str) -> Split:
    """The split a text belongs to: 5 % test, 5 % validation, the rest train."""
    bucket = int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest()) % 20
    return "test" if bucket == 0 else "validation" if bucket == 1 else "train"


FILE_SPLITS = ("test", "validation", "all")


@dataclass(frozen=True)
class DatasetTask:
    """Problems in memory; `warnings` says which rows were left out, and why."""

    name: str
    rows: tuple[Problem, ...]
    grader: Grader
    delimiter: str
    instruction: str
    warnings: tuple[str, ...] = ()

    def answer(self, solution: str) -> str | None:
        """The grader's key of the final answer, which equivalent answers share; None where there is no answer."""
        found = self.grader.answer(solution)
        return None if found is None else self.grader.key(found)

    def correct(self, problem: Problem, answer: str | None) -> bool:
        """Whether the grader finds `answer` correct; raises `ProblemError` where the grader fails."""
        return answer is not None and problem.answer is not None and self.grader.correct(problem.answer, answer)

    def problems(self, split: str, count: int, seed: int) -> list[Problem]:
        """The first `count` problems of a split in the order of `seed`.

        A fifth of the problems is `validation`, the rest is `test`. The prompt alone decides, so neither a seed nor the
        order of rows moves a problem to another split; `all` is both. Raises `UsageError` if there are too few.
        """
        if split not in FILE_SPLITS:
            raise UsageError(f"unknown split {split!r}: allowed are {', '.join(FILE_SPLITS)}")
        held = [row for row in self.rows if split in (split_of_prompt(row.prompt), "all")]
        if count > len(held):
            raise UsageError(f"{self.name} has {len(held)} problems in {split}, {len(self.rows)} in total, not {count}")
        return shuffled(held, seed)[:count]


def split_of_prompt(prompt: str) -> str:
    """`validation` for a fifth of all prompts, `test` for the others."""
    return "validation" if _hash(prompt) % 5 == 0 else "test"


def shuffled(problems: Sequence[Problem], seed: int) -> list[Problem]:
    """The problems in an order that depends only on `seed` and the prompts."""
    return sorted(problems, key=lambda problem: _hash(f"{seed}/{problem.prompt}"))


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=8).digest())
