"""Logs of Inspect (inspect_ai), .eval or JSON: the epochs of a sample are the samples of a problem."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from computewise.errors import UsageError
from computewise.study.recorded.readers.cells import (
    DraftProblem,
    Notes,
    Reading,
    Unreadable,
    draft,
    printable,
    problem_of,
    shown,
    text_of,
)


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
