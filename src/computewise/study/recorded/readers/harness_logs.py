"""Logs of evaluation harnesses: EleutherAI's lm-evaluation-harness and Inspect."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from computewise.errors import UsageError
from computewise.study.recorded.readers.cells import (
    NAMES,
    DraftProblem,
    Notes,
    Reading,
    Unreadable,
    draft,
    name_of,
    printable,
    problem_of,
    shown,
    text_of,
)

_NOTHING = "[invalid]"
"""What a filter writes that finds no answer."""


@dataclass(frozen=True, slots=True)
class HarnessRow:
    """A row has doc, target and resps; each filter repeats it with the same texts."""

    name: str = "lm-eval"
    example: str = "doc_id, doc, target, resps (a list of lists of texts), filter and its metric"

    def fits(self, row: Mapping[str, Any], reading: Reading) -> bool:
        """Whether the row has them."""
        return isinstance(row.get("resps"), list) and "doc" in row

    def has_columns(self, row: Mapping[str, Any], reading: Reading) -> bool:
        """Whether the row has texts, whatever is in them."""
        return "resps" in row

    def read(self, where: str, row: Mapping[str, Any], notes: Notes, reading: Reading) -> Iterator[DraftProblem]:
        """The row's problem. A filter's answer and metric count where `--only filter=NAME` chooses one."""
        filtered = reading.only.get("filter")
        texts = [(f".resps[{i}][{j}]", text) for i, j, text in _flat(row.get("resps"))]
        if not texts:
            notes.seen += 1
            notes.lose(where, f".resps is {shown(row.get('resps'))}, expected a list of lists of texts")
            return
        found = []
        for place, (column, text) in enumerate(texts):
            if isinstance(text, list):
                notes.seen += 1
                notes.lose(where, f"{column} is {shown(text)}, expected a text; log-likelihoods are no samples")
                continue
            cells = {"text": (column, text)}
            if filtered is not None and len(texts) == 1:
                cells |= _graded(row, text)
            read = draft(f"{where}, repeat {place + 1}" if len(texts) > 1 else where, cells, notes, reading)
            if read is not None:
                found.append(read)
        doc = row.get("doc")
        asked = next((doc[name] for name in NAMES["prompt"] if name in doc), None) if isinstance(doc, dict) else None
        target = row.get("target")
        if target is None and isinstance(doc, dict):
            target = next((doc[name] for name in NAMES["reference"] if name in doc), None)
        beside = {
            "id": row.get("doc_id"),
            "prompt": asked if isinstance(asked, str) else _argument(row.get("arguments")),
            "reference": target,
        }
        yield problem_of(where, row, found, notes, reading, beside=beside)


def _flat(resps: object) -> Iterator[tuple[int, int, object]]:
    if isinstance(resps, list):
        for i, repeats in enumerate(resps):
            for j, text in enumerate(repeats if isinstance(repeats, list) else [repeats]):
                yield i, j, text


def _graded(row: Mapping[str, Any], text: object) -> dict[str, tuple[str, Any]]:
    """What the row's filter made of its only text: an answer where it cut one out, and the metric."""
    cells: dict[str, tuple[str, Any]] = {}
    held = row.get("filtered_resps")
    while isinstance(held, list) and len(held) == 1:
        [held] = held
    if isinstance(held, str) and held != text:
        cells["answer"] = (".filtered_resps", None if held == _NOTHING else held)
    names = row.get("metrics")
    metrics = [name for name in names if isinstance(name, str)] if isinstance(names, list) else ["exact_match", "acc"]
    if (metric := next((name for name in metrics if name in row), None)) is not None:
        cells["correct"] = (f".{metric}", row[metric])
    return cells


def _argument(arguments: object) -> str | None:
    """The prompt that was sent."""
    while isinstance(arguments, (list, dict)) and arguments:
        arguments = arguments[0] if isinstance(arguments, list) else next(iter(arguments.values()))
    return arguments if isinstance(arguments, str) else None


class FirstFilter:
    """Tells the rows that repeat a document's texts under another filter than the document's first."""

    def __init__(self) -> None:
        self._first: dict[str, str] = {}
        self.filters: dict[str, None] = {}

    def repeats(self, row: Mapping[str, Any]) -> bool:
        """Whether the row's texts were read already."""
        own = name_of(row.get("filter"))
        self.filters[own] = None
        return self._first.setdefault(name_of(row.get("doc_id")), own) != own


HARNESS = HarnessRow()


@dataclass(frozen=True, slots=True)
class InspectLog:
    """A document with `eval` and `samples`; a sample has id, epoch, input, target, output and scores."""

    name: str = "inspect"
    example: str = "a log with eval and samples (a list of objects with id, epoch, input, target, output, scores)"

    def fits(self, row: Mapping[str, Any], reading: Reading) -> bool:
        """Whether the row is a log."""
        return isinstance(row.get("eval"), dict) and isinstance(row.get("samples"), list)

    def has_columns(self, row: Mapping[str, Any], reading: Reading) -> bool:
        """Whether the row has a log's fields, whatever is in them."""
        return "eval" in row and "samples" in row

    def read(self, where: str, row: Mapping[str, Any], notes: Notes, reading: Reading) -> Iterator[DraftProblem]:
        """A problem for each sample and epoch."""
        held = row.get("samples")
        if not isinstance(held, list):
            notes.seen += 1
            notes.lose(where, f".samples is {shown(held)}, expected a list of objects")
            return
        for place, sample in enumerate(held):
            at = where if where.startswith("samples/") else f"{where}, samples[{place}]"
            if isinstance(sample, dict):
                yield from _read(at, sample, notes, reading)
            else:
                reason = sample.reason if isinstance(sample, Unreadable) else f" is {shown(sample)}, expected an object"
                notes.seen += 1
                notes.lose(at, reason)


def _read(where: str, sample: Mapping[str, Any], notes: Notes, reading: Reading) -> Iterator[DraftProblem]:
    output = sample.get("output")
    output = output if isinstance(output, dict) else {}
    column, text, finish = _completion(output)
    if sample.get("error") is not None and not text:
        notes.seen += 1
        notes.lose(where, f" failed: {shown(_message(sample['error']))}")
        return
    cells: dict[str, tuple[str, Any]] = {"text": (column, text), "key": (".epoch", sample.get("epoch"))}
    cells["finish"] = (".output.choices[0].stop_reason", finish if isinstance(finish, str) else None)
    usage = output.get("usage")
    if isinstance(usage, dict) and "output_tokens" in usage:
        cells["tokens"] = (".output.usage.output_tokens", usage["output_tokens"])
    scorer, score = _score(where, sample.get("scores", sample.get("score")), reading)
    value = score.get("value")
    if isinstance(value, dict) and len(value) == 1:
        [value] = value.values()
    if value in ("P", "p"):
        value = 0.5
    if not isinstance(value, (dict, list)):
        cells["correct"] = (f".scores.{scorer}.value", value)
    answer = score.get("answer")
    # Some scorers write the whole completion here, or None where they read nothing of it.
    if answer is not None and not _is_whole(answer, text):
        cells["answer"] = (f".scores.{scorer}.answer", answer)
    read = draft(where, cells, notes, reading)
    beside = {
        "id": sample.get("id"),
        "prompt": _prompt(sample.get("input")),
        "reference": sample.get("target"),
    }
    samples = () if read is None else (read,)
    yield problem_of(where, sample, samples, notes, reading, beside=beside, row_is_sample=True)


def _completion(output: Mapping[str, Any]) -> tuple[str, Any, Any]:
    """Where the text of the answer stands, the text, and how it ended."""
    choices = output.get("choices")
    first = choices[0] if isinstance(choices, list) and choices and isinstance(choices[0], dict) else {}
    message = first.get("message")
    finish = first.get("stop_reason")
    if output.get("completion") or not isinstance(message, dict):
        return ".output.completion", output.get("completion"), finish
    return ".output.choices[0].message.content", message.get("content"), finish


def _message(error: object) -> object:
    return error.get("message", error) if isinstance(error, dict) else error


def _score(where: str, scores: object, reading: Reading) -> tuple[str, Mapping[str, Any]]:
    """The scorer's name and its score; raises `UsageError` where several scorers leave a choice."""
    if not isinstance(scores, dict):
        return "", {}
    if "value" in scores and not isinstance(scores["value"], dict):  # logs of old versions hold the only score itself
        return "", scores
    wanted = reading.only.get("scorer")
    held = {name: score for name, score in scores.items() if isinstance(score, dict)}
    if wanted is not None and wanted != "*":
        return wanted, held.get(wanted, {})
    if len(held) > 1 and wanted is None:
        listed = ", ".join(f"scorer={printable(name)}" for name in held)
        raise UsageError(f"{where}: {len(held)} scorers graded the samples, choose one by --only: {listed}")
    return next(iter(held.items()), ("", {}))


def _is_whole(answer: object, text: object) -> bool:
    try:
        whole = text_of(text)
    except ValueError:
        return False
    return isinstance(answer, str) and whole is not None and answer.strip() == whole.strip()


def _prompt(held: object) -> object:
    """The input, or the last message of the user in it."""
    if not isinstance(held, Sequence) or isinstance(held, str):
        return held
    asked = [one.get("content") for one in held if isinstance(one, dict) and one.get("role") == "user"]
    return asked[-1] if asked else held


INSPECT = InspectLog()
