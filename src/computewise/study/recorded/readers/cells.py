"""The cells of recorded samples: what each may hold, and what is noted where one cannot be read."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from computewise.errors import UsageError

T = TypeVar("T")

PROBABILITY, LOGIT = "probability", "logit"

MOST_TOKENS = 10_000_000
"""No sample has more: a larger count is something else."""

LEAST_LOGPROB = -20.0
"""The mean log-probability of a sampled token is not below this: -9999 and sums over tokens are."""

CUT_OFF = frozenset({"length", "max_tokens", "max_output_tokens", "max_new_tokens", "model_length", "truncated"})
"""How samples end that a limit cut off: what they say last is no answer."""

_RIGHT = frozenset({"true", "1", "1.0", "yes", "correct", "right", "pass", "passed", "c"})
_WRONG = frozenset({"false", "0", "0.0", "no", "incorrect", "wrong", "fail", "failed", "i", "n"})
_UNKNOWN = frozenset({"", "nan", "null", "none"})

NAMES: Mapping[str, tuple[str, ...]] = {
    "id": ("unique_id", "problem_id", "question_id", "task_id", "gsm8k_id", "orig_dset_idx", "doc_id", "id", "idx"),
    "prompt": ("problem", "question", "prompt", "input", "query"),
    "reference": (
        "target", "gold", "reference", "ground_truth", "gt_answer", "gt", "expected_answer", "expected",
        "reference_answer", "correct_answer", "answer", "label",
    ),
    "text": ("text", "completion", "response", "output", "generation", "model_output", "content"),
    "answer": ("answer", "extracted_answer", "prediction", "pred", "final_answer", "model_answer"),
    "answer_class": ("answer_class",),
    "correct": ("correct", "is_correct", "passed"),
    "scores": ("step_scores", "scores", "prm_score", "prm_scores", "reward", "rewards", "verifier_score", "score"),
    "tokens": ("tokens", "n_tokens", "output_tokens", "completion_tokens", "num_tokens", "token_count"),
    "characters": ("answer_chars", "characters", "n_chars"),
    "logprob": ("logprob", "mean_logprob", "avg_logprob"),
    "finish": ("finish_reason", "stop_reason"),
    "key": ("epoch", "sample_id", "sample_index", "sample_idx", "seed", "attempt", "trial"),
}  # fmt: skip
"""What a column may hold, its role, and the usual names for it, in the order of preference."""

SAMPLE_ROLES = (
    "text",
    "answer",
    "answer_class",
    "correct",
    "scores",
    "tokens",
    "characters",
    "logprob",
    "finish",
    "key",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """How a file of recorded samples is to be read, where the usual way is not meant."""

    format: str | None = None
    "The name of a schema; None to find it out."
    columns: Mapping[str, str] = field(default_factory=dict)
    "The column of a role."
    only: Mapping[str, str] = field(default_factory=dict)
    "Rows with this text in this column are read, others are not; `*` stands for any."
    scores: str = PROBABILITY
    "What scores are: `PROBABILITY`, or `LOGIT` for rewards of which the logistic function is taken."
    grader: str = "math"
    "Reads and compares answers where the file does not say them."
    equal_texts: str = "all"
    "Whether each sample whose text another of its problem has counts (all), or the first of them only (once)."

    def check(self) -> None:
        """Raise `UsageError` for what cannot be used."""
        for role in self.columns:
            if role not in NAMES:
                raise UsageError(f"unknown column {role!r} in --columns: allowed are {', '.join(NAMES)}")
        for name, value, allowed in (
            ("scores", self.scores, (PROBABILITY, LOGIT)),
            ("equal-texts", self.equal_texts, ("all", "once")),
        ):
            if value not in allowed:
                raise UsageError(f"--{name} {value!r} is not understood: allowed are {', '.join(allowed)}")

    def named(self, role: str, present: Iterable[str]) -> str | None:
        """The column of a role among those that are present; None where there is none."""
        if role in self.columns:
            return self.columns[role] if self.columns[role] in present else None
        return next((name for name in NAMES[role] if name in present), None)


@dataclass(frozen=True, slots=True)
class Unreadable:
    """In place of a row: why there is none."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A sample as its file gives it, its cells converted; None is what the file does not say.

    `answered` is whether the file says what the answer is, be it that there is none. `key` is the file's own name of
    the sample in its problem, such as an epoch. `cut` is whether a limit ended it.
    """

    where: str
    text: str | None = None
    answered: bool = False
    answer: str | None = None
    answer_class: int | None = None
    correct: bool | None = None
    scores: tuple[float, ...] = ()
    tokens: int | None = None
    characters: int | None = None
    logprob: float | None = None
    cut: bool = False
    key: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DraftProblem:
    """A problem as one row gives it; `references` are answers of which each is right."""

    where: str
    id: str | None
    prompt: str | None
    references: tuple[str, ...]
    samples: tuple[Draft, ...]
    row_is_sample: bool = False


@dataclass(slots=True)
class Notes:
    """What could not be read: samples that are lost, cells that count as missing, each with the first reasons."""

    seen: int = 0
    lost: int = 0
    reasons: list[str] = field(default_factory=list)
    missing: int = 0
    cells: list[str] = field(default_factory=list)

    def lose(self, where: str, reason: str, count: int = 1) -> None:
        """Samples are left out."""
        self.lost += count
        self.reasons.append(printable(f"{where}{reason}"))

    def ignore(self, where: str, reason: str) -> None:
        """A cell counts as missing."""
        self.missing += 1
        self.cells.append(printable(f"{where}{reason}"))


def printable(text: str) -> str:
    """The text on one line: names of columns may hold line breaks, and half characters."""
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode("ascii") for one in text)


def shown(value: object) -> str:
    """A value in a message, as JSON has it, cut after 40 characters."""
    try:
        text = json.dumps(value, ensure_ascii=False, default=str).encode(errors="replace").decode()
    except (RecursionError, ValueError):
        text = f"a {type(value).__name__}"
    return text if len(text) <= 40 else f"{text[:37]}..."


def name_of(value: object) -> str:
    """A cell as `--only` names it."""
    if value is None or isinstance(value, str):
        return printable(value or "")
    return str(value) if isinstance(value, (bool, float)) else shown(value)


def text_of(value: object) -> str | None:
    """A text, or the parts of a message joined; None for none. Raises `ValueError` for what is no text."""
    if value is None:
        return None
    if isinstance(value, str):
        return value if value.isascii() else value.encode(errors="replace").decode()
    if isinstance(value, list) and value:
        parts = [_part(part) for part in value]
        return "".join(part for part in parts if part)
    raise ValueError("a text")


def _part(value: object) -> str | None:
    if isinstance(value, Mapping) and value.get("type") not in (None, "text", "output_text"):
        return None  # thoughts, images and calls of tools are no part of what a solution says
    found = value.get("text") if isinstance(value, Mapping) else value
    if not isinstance(found, str):
        raise ValueError("a text")
    return text_of(found)


def answer_of(value: object) -> str | None:
    """An answer as text; None for none. Raises `ValueError` for a list or an object."""
    if value is None or isinstance(value, str):
        text = (text_of(value) or "").strip()
        return text or None
    if isinstance(value, bool):
        return str(value)
    if isinstance(value, (int, float)):
        if isinstance(value, float) and not math.isfinite(value):
            return None
        return _digits(value)
    if isinstance(value, list) and len(value) == 1 and not isinstance(value[0], list):
        return answer_of(value[0])
    raise ValueError("a text or a number")


def _digits(value: int | float) -> str:
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)
    try:
        return str(value)
    except ValueError:
        raise ValueError("a number of less than 4,300 digits") from None


def number_of(value: object) -> float | None:
    """A number, also written as text; None for none, NaN or a blank. Raises `ValueError` for anything else."""
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise ValueError("a number")
    try:
        found = float(value)
    except (ValueError, OverflowError):
        raise ValueError("a number") from None
    return None if math.isnan(found) else found


def count_of(value: object) -> int | None:
    """A count; one of 0 or less is kept, since it is known to be written where nobody counted."""
    found = number_of(value)
    if found is None:
        return None
    if not -MOST_TOKENS <= found <= MOST_TOKENS:
        raise ValueError(f"a count up to {MOST_TOKENS:,}")
    return round(found)


def class_of(value: object) -> int | None:
    """The number of a class of answers."""
    found = number_of(value)
    if found is None:
        return None
    if not 0 <= found <= 1_000_000 or found != round(found):
        raise ValueError("a whole number of at least 0")
    return round(found)


def grade_of(value: object) -> bool | None:
    """Whether a sample is right: a bool, 1 or 0, a word for them, or a share of which a half or more is right."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        word = value.strip().lower()
        if word in _UNKNOWN:
            return None
        if word not in _RIGHT | _WRONG:
            raise ValueError("true or false, 1 or 0")
        return word in _RIGHT
    found = number_of(value)
    if found is not None and not 0 <= found <= 1:
        raise ValueError("true or false, 1 or 0")
    return None if found is None else found >= 0.5


def logprob_of(value: object) -> float | None:
    """The mean log-probability of a token."""
    found = number_of(value)
    if found is not None and not LEAST_LOGPROB <= found <= 0:
        raise ValueError(f"a mean log-probability of a token, in [{LEAST_LOGPROB:g}, 0]")
    return found


def scores_of(value: object) -> tuple[float, ...]:
    """A number a step, or one for the whole sample; a step without a number has NaN. Raises `ValueError`."""
    if isinstance(value, str) and value.strip().startswith("["):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            raise ValueError("a number, or a list of numbers") from None
    if isinstance(value, list):
        return tuple(_step(step) for step in value)
    found = number_of(value)
    return () if found is None else (found,)


def _step(value: object) -> float:
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    found = number_of(value)
    return math.nan if found is None else found


def logistic(score: float) -> float:
    """The probability of which `score` is the logit; NaN stays NaN."""
    if score < 0:
        return math.exp(max(score, -700.0)) / (1 + math.exp(max(score, -700.0)))
    return 1 / (1 + math.exp(-min(score, 700.0))) if not math.isnan(score) else score


_CONVERSIONS: Mapping[str, Callable[[Any], Any]] = {
    "answer_class": class_of,
    "correct": grade_of,
    "scores": scores_of,
    "tokens": count_of,
    "characters": count_of,
    "logprob": logprob_of,
    "finish": answer_of,
    "key": answer_of,
}

Cells = Mapping[str, tuple[str, Any]]
"""The cells of a sample by role: where each stands in its row, such as ".n_tokens", and its value."""


def draft(where: str, cells: Cells, notes: Notes, reading: Reading) -> Draft | None:
    """The sample in these cells; None, which is noted, where it has neither a text nor an answer that can be read.

    Another cell that cannot be read counts as missing, which is noted too.
    """
    notes.seen += 1
    bad: dict[str, str] = {}
    read: dict[str, Any] = {}
    for role, convert in (("text", text_of), ("answer", answer_of), *_CONVERSIONS.items()):
        if role in cells:
            column, value = cells[role]
            try:
                read[role] = convert(value)
            except ValueError as error:
                bad[role] = f"{column} is {shown(value)}, expected {error}"
    if read.get("text") is None and ("text" in cells or "answer" not in read) and read.get("answer") is None:
        column, value = cells.get("text", ("", None))
        missing = f"{column} is {shown(value)}, expected a text" if "text" in cells else " has neither text nor answer"
        notes.lose(where, bad.get("text") or bad.get("answer") or missing)
        return None
    for reason in bad.values():
        notes.ignore(where, reason)
    scores = read.get("scores", ())
    finish = str(read.get("finish") or "").lower()
    return Draft(
        where=where,
        text=read.get("text"),
        answered="answer" in read,
        answer=read.get("answer"),
        answer_class=read.get("answer_class"),
        correct=read.get("correct"),
        scores=tuple(map(logistic, scores)) if reading.scores == LOGIT else scores,
        tokens=read.get("tokens"),
        characters=read.get("characters"),
        logprob=read.get("logprob"),
        cut=finish in CUT_OFF,
        key=read.get("key"),
    )


def references_of(value: object) -> tuple[str, ...]:
    """The answers of which each is right, none where the row has none. Raises `ValueError` for what is no answer."""
    found = map(answer_of, value if isinstance(value, list) and len(value) != 1 else [value])
    return tuple(one for one in found if one is not None)


def problem_of(
    where: str,
    row: Mapping[str, Any],
    samples: Sequence[Draft],
    notes: Notes,
    reading: Reading,
    *,
    beside: Mapping[str, object] | None = None,
    **settings: bool,
) -> DraftProblem:
    """The problem that a row of these columns is of; `beside` holds values by role that are not in the row itself."""
    found: dict[str, Any] = {}
    for role, convert in (("id", answer_of), ("prompt", text_of), ("reference", references_of)):
        column = reading.named(role, row)
        values = beside or {}
        if role in values or column is not None:
            value = values[role] if role in values else row[str(column)]
            try:
                found[role] = convert(value)
            except ValueError as error:
                notes.ignore(where, f".{column or role} is {shown(value)}, expected {error}")
    return DraftProblem(
        where=where,
        id=found.get("id"),
        prompt=found.get("prompt") or None,
        references=found.get("reference", ()),
        samples=tuple(samples),
        **settings,
    )
