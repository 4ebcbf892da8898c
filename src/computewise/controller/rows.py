"""The samples that a controller is fitted on: rows of plain data, a file of such rows, or a study's run directory."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import msgspec
import numpy as np

from computewise.core import MODEL, ObservedSample
from computewise.errors import RunError, UsageError
from computewise.runs import CandidateRecord, last_records, read_config
from computewise.samples import (
    NO_SCORE,
    ProblemSamples,
    SampleArrays,
    arrays_of_observed,
    arrays_of_records,
    observe,
    value_without_score,
)
from computewise.tasks.dataset import read_rows

ARM = "samples"

FORM = (
    'a row is {"problem": TEXT, "answer": TEXT, "samples": [{"answer": TEXT or None, "correct": BOOL, '
    '"score": 0 to 1, "tokens": COUNT}, ...]}; score and tokens may be left out'
)

Score = Annotated[float, msgspec.Meta(ge=0, le=1)]
Count = Annotated[int, msgspec.Meta(ge=0)]


class _Sample(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One sample of a row: the fields that `observe` takes, and those of a file of recorded samples."""

    answer: str | int | float | None
    correct: bool
    score: Score | None = None
    tokens: Count = 0
    step_scores: tuple[Score, ...] = ()
    logprob: float | None = None
    answer_class: int | None = None
    text: str = ""

    @property
    def scored(self) -> bool:
        return self.score is not None or bool(self.step_scores)

    def observed(self, without_score: float) -> ObservedSample:
        answer = self.answer if self.answer_class is None else f"class {self.answer_class}"
        return observe(
            answer, self.score, self.tokens, self.step_scores, self.logprob or 0.0, without_score=without_score
        )


class _Row(msgspec.Struct, frozen=True):
    problem: str
    samples: Annotated[tuple[_Sample, ...], msgspec.Meta(min_length=1)]
    answer: str | int | float | None = None
    unique_id: str | int | None = None


def read_samples(samples: Iterable[Mapping[str, Any]] | Path | str) -> list[ProblemSamples]:
    """One arm of samples for each problem; every sample costs 1. Raises `UsageError` or `RunError`."""
    if not isinstance(samples, (str, Path)):
        return [_problem(row, f"row {number}") for number, row in enumerate(samples, 1)]
    path = Path(samples)
    if path.is_dir():
        return _recorded(path)
    return [_problem(row, f"{path}, {where}") for where, row in read_rows(path)]


def scored(samples: Iterable[ProblemSamples]) -> bool:
    """Whether a verifier scored any sample."""
    return any((problem.arms[ARM].values != NO_SCORE).any() for problem in samples)


def _problem(row: Mapping[str, Any], where: str) -> ProblemSamples:
    try:
        held = msgspec.convert(row, _Row)
    except msgspec.ValidationError as error:
        raise RunError(f"{where} is malformed: {error}; {FORM}") from None
    name = held.problem if held.unique_id is None else str(held.unique_id)
    without_score = value_without_score(sample.scored for sample in held.samples)
    observed = [sample.observed(without_score) for sample in held.samples]
    right = {sample.answer for sample, held in zip(observed, held.samples, strict=True) if held.correct}
    wrong = {sample.answer for sample, held in zip(observed, held.samples, strict=True) if not held.correct}
    if (right & wrong) - {None}:
        both = ", ".join(sorted(map(str, (right & wrong) - {None})))
        raise RunError(f"{where} is malformed: the answer {both} is correct in one sample and wrong in another")
    return ProblemSamples(
        name, held.problem, {ARM: arrays_of_observed(observed, [sample.correct for sample in held.samples])}
    )


def _recorded(run: Path) -> list[ProblemSamples]:
    """The independent samples that a study recorded of its model, over all seeds."""
    read_config(run)
    found: dict[str, list[CandidateRecord]] = {}
    for record in last_records(run):
        if record.purpose == "pool" and record.role == MODEL and not record.error:
            found.setdefault(record.problem, []).extend(record.candidates)
    if not found:
        raise UsageError(f"{run} holds no recorded samples of a study")
    return [ProblemSamples(name, name, {ARM: _of_records(candidates)}) for name, candidates in found.items()]


def _of_records(candidates: Sequence[CandidateRecord]) -> SampleArrays:
    each = np.arange(len(candidates))
    return arrays_of_records(candidates, {}, costs=[1.0] * len(candidates), blocks=each, chains=each)
