"""Recorded samples: the schemas that are known, rows read by them, and the same as arrays."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Protocol

import msgspec

from computewise.errors import RunError, UsageError
from computewise.grading.equivalence import AnswerEquivalence
from computewise.grading.normalize import normalize
from computewise.grading.reading import final_formula
from computewise.samples import ProblemSamples, SampleArrays, arrays_of_step_scores
from computewise.tasks.files import RawRow


@dataclass(frozen=True, slots=True)
class Sample:
    """One completion. `answer_class` numbers equivalent answers of its problem alike; None where there is no answer.

    `step_scores` are a verifier's, in [0, 1], one a step. `tokens` and `logprob` (mean, a token) are None where nobody
    recorded them; searches are also known to write 0 or -1 tokens.
    """

    text: str
    step_scores: tuple[float, ...]
    answer: str | None
    answer_class: int | None
    correct: bool
    tokens: int | None = None
    logprob: float | None = None


@dataclass(frozen=True, slots=True)
class RecordedProblem:
    """One problem with its reference answer and at least one sample; `id` is the prompt where the file gives none."""

    id: str
    prompt: str
    answer: str
    samples: tuple[Sample, ...]


@dataclass(frozen=True, slots=True)
class Finding:
    """What a person should know about a file: how often it was seen, the id of one such problem, and a sentence."""

    kind: str
    count: int
    example: str | None
    text: str


@dataclass(frozen=True, slots=True)
class Recording:
    """A file's problems, in its order, without what is certainly broken, and what was found in it."""

    path: Path
    problems: tuple[RecordedProblem, ...]
    findings: tuple[Finding, ...]


RECORDED_CHARACTERS_A_TOKEN = 3.6

"""The mean over recorded solutions, English and LaTeX together; used where a file holds no token counts.

Servers that report no tokens are charged by another ratio (`models.server.protocol`), which is a round number.
"""


def counted(sample: Sample) -> bool:
    """Whether somebody counted its tokens."""
    return (sample.tokens or 0) > 0 or not sample.text


def to_draws(problem: RecordedProblem, aggregation: str) -> SampleArrays:
    """The problem's samples as arrays; see `arrays_of_step_scores` for `aggregation`."""
    samples = problem.samples
    return arrays_of_step_scores(
        answers=[sample.answer_class for sample in samples],
        correct=[sample.correct for sample in samples],
        step_scores=[sample.step_scores for sample in samples],
        aggregation=aggregation,
        logprobs=[sample.logprob or 0.0 for sample in samples],
        tokens=[_tokens(sample) for sample in samples],
    )


def to_drawn(problem: RecordedProblem, aggregation: str, arm: str = "samples") -> ProblemSamples:
    """The problem with its samples as the only arm."""
    return ProblemSamples(problem.id, problem.prompt, {arm: to_draws(problem, aggregation)})


def _tokens(sample: Sample) -> float:
    return float(sample.tokens or 0) if counted(sample) else len(sample.text) / RECORDED_CHARACTERS_A_TOKEN


ClassNumber = Annotated[int, msgspec.Meta(ge=0, le=1_000_000)]

AtLeastOne = msgspec.Meta(min_length=1)

Name = str | int

Number = str | int | float


class _Graded(msgspec.Struct, frozen=True):
    text: str
    step_scores: tuple[float, ...]
    answer: str | None
    answer_class: ClassNumber | None
    correct: bool
    tokens: int | None = None
    logprob: float | None = None

    def __post_init__(self) -> None:
        if (self.answer is None) != (self.answer_class is None):
            raise ValueError("answer and answer_class must both be given, or neither")


class _Samples(msgspec.Struct, frozen=True):
    """One object a sample, its answer graded."""

    problem: str
    answer: Number
    samples: Annotated[tuple[_Graded, ...], AtLeastOne]
    unique_id: Name | None = None

    def read(self, equal: AnswerEquivalence) -> RecordedProblem:
        return _problem(self, [Sample(**msgspec.structs.asdict(sample)) for sample in self.samples])


class _Columns(msgspec.Struct, frozen=True):
    """One list a column, as huggingface/search-and-learn publishes them; an exported run adds its answers' grades."""

    problem: str
    answer: Number
    completions: Annotated[tuple[str, ...], AtLeastOne]
    scores: tuple[tuple[float, ...], ...]
    completion_tokens: tuple[int, ...] | int | None = None
    unique_id: Name | None = None
    answers: tuple[str | None, ...] | None = None
    correct: tuple[bool, ...] | None = None

    def __post_init__(self) -> None:
        if (self.answers is None) != (self.correct is None):
            raise ValueError("answers and correct must both be given, or neither")
        lengths = {"completions": len(self.completions), "scores": len(self.scores), "tokens": len(self._tokens())}
        graded = {"answers": self.answers, "correct": self.correct}
        lengths |= {name: len(given) for name, given in graded.items() if given is not None}
        if len(set(lengths.values())) > 1:
            raise ValueError(f"lists of unequal length: {lengths}")

    def read(self, equal: AnswerEquivalence) -> RecordedProblem:
        answers, correct = self.answers, self.correct
        if answers is None or correct is None:
            answers = tuple(map(final_formula, self.completions))
            right, *classes = classify([str(self.answer), *answers], equal)
            correct = tuple(number is not None and number == right for number in classes)
        else:  # a run's answers are canonical: equal strings are equivalent, others are not
            classes = classify(answers, lambda one, other: False)
        return _problem(
            self,
            [
                Sample(*one)
                for one in zip(self.completions, self.scores, answers, classes, correct, self._tokens(), strict=True)
            ],
        )

    def _tokens(self) -> Sequence[int | None]:
        counted, completions = self.completion_tokens, len(self.completions)
        if isinstance(counted, int):  # of all completions together; DVTS writes -1
            return [round(counted / completions)] * completions
        return [None] * completions if counted is None else counted


class Schema(Protocol):
    """A row as a file holds it."""

    def read(self, equal: AnswerEquivalence) -> RecordedProblem:
        """Its problem, graded where the file does not grade."""


_SCHEMAS: tuple[type[Any], ...] = (_Samples, _Columns)


def schema_of(columns: Sequence[str]) -> type[Any]:
    """The schema that has these columns; raises `UsageError` where none has."""
    needed = [[field.name for field in msgspec.structs.fields(schema) if field.required] for schema in _SCHEMAS]
    for schema, names in zip(_SCHEMAS, needed, strict=True):
        if set(names) <= set(columns):
            return schema
    listed = ", or ".join(", ".join(names) for names in needed)
    raise UsageError(f"columns {', '.join(columns) or '(none)'} are not understood: needed are {listed}")


def read_row(row: RawRow, schema: type[Any], where: str, equal: AnswerEquivalence) -> RecordedProblem:
    """The problem in one row; raises `RunError` where it is malformed."""
    try:
        held: Schema = msgspec.convert(row, schema)
    except msgspec.ValidationError as error:
        raise RunError(f"{where} is malformed: {error}") from None
    return held.read(equal)


def classify(answers: Sequence[str | None], equal: Callable[[str, str], bool]) -> list[int | None]:
    """Equivalent answers numbered alike, in the order they appear; each is compared with one of each class only."""
    numbers: dict[str, int] = {}
    representatives: list[str] = []
    found: list[int | None] = []
    for answer in answers:
        if answer is None or not answer.strip():  # an empty answer is none: it does not vote
            found.append(None)
            continue
        text = normalize(answer)
        if text not in numbers:
            same = (number for number, other in enumerate(representatives) if equal(other, answer))
            numbers[text] = next(same, len(representatives))
            if numbers[text] == len(representatives):
                representatives.append(answer)
        found.append(numbers[text])
    return found


def _problem(row: _Samples | _Columns, samples: Sequence[Sample]) -> RecordedProblem:
    name = row.problem if row.unique_id is None else str(row.unique_id)
    return RecordedProblem(name, row.problem, str(row.answer), tuple(samples))
