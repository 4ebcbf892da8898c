"""Read and check recorded samples, and match those of a larger model to them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from computewise.errors import RunError, UsageError
from computewise.grading.equivalence import KEY_SECONDS, AnswerEquivalence
from computewise.grading.normalize import normalize
from computewise.study.recorded.checks import check, without_duplicates
from computewise.study.recorded.rows import Finding, RecordedProblem, Recording, Sample, read_row, schema_of
from computewise.tasks.files import read_rows


def read_recording(path: Path) -> Recording:
    """The problems of a .jsonl, .jsonl.gz or .parquet file, and the findings about them.

    Samples that a problem holds twice are dropped, which is a finding; nothing else is dropped. Raises `UsageError` for
    another kind of file or other columns, and `RunError` with the line for an unreadable or malformed file.
    """
    problems: list[RecordedProblem] = []
    schema = None
    with AnswerEquivalence() as equal:
        for where, row in read_rows(path):
            try:
                schema = schema or schema_of(list(row))
            except UsageError as error:
                raise UsageError(f"{path}: {error}") from None
            problems.append(read_row(row, schema, f"{path}, {where}", equal))
    if not problems:
        raise RunError(f"{path} holds no problems")
    return Recording(path, tuple(map(without_duplicates, problems)), (*_grading(equal), *check(problems)))


def _grading(equal: AnswerEquivalence) -> list[Finding]:
    findings = []
    if equal.comparisons and not equal.by_mathematics:
        findings.append(
            Finding(
                "grading",
                equal.comparisons,
                None,
                "Answers were compared as normalised text, so equal ones that are written differently count as "
                "different: pip install 'computewise[math]'.",
            )
        )
    if equal.given_up:
        findings.append(
            Finding(
                "grading",
                equal.given_up,
                None,
                f"{equal.given_up} answers were not understood within {KEY_SECONDS:g} s and count as equal to none.",
            )
        )
    return findings


Pair = tuple[RecordedProblem, RecordedProblem]

_RIGHT = 0


@dataclass(frozen=True, slots=True)
class Joined:
    """The problems of both recordings: the small model's samples and the large one's, with common answer classes."""

    pairs: tuple[Pair, ...]
    findings: tuple[Finding, ...]


def join(small: Recording, large: Recording) -> Joined:
    """Match problems by their text, or by id and reference answer where the text was edited, in the first file's order.

    Equal answers get one number over both files, by their text; all right answers are one class. Raises `UsageError`
    where nothing matches.
    """
    pairs = tuple(_numbered_alike(pair) for pair in _matched(small.problems, large.problems))
    if not pairs:
        raise UsageError(f"{small.path} and {large.path} have no problem in common: record both models on the same")
    alone = len(small.problems) + len(large.problems) - 2 * len(pairs)
    if not alone:
        return Joined(pairs, ())
    text = (
        f"{len(pairs)} problems are in both files, of {len(small.problems)} in {small.path.name} and "
        f"{len(large.problems)} in {large.path.name}: only these are used."
    )
    return Joined(pairs, (Finding("unmatched", alone, None, text),))


def _matched(small: tuple[RecordedProblem, ...], large: tuple[RecordedProblem, ...]) -> Iterator[Pair]:
    by_text = {_text(problem): place for place, problem in enumerate(large)}
    by_id = {_id(problem): place for place, problem in enumerate(large)}
    taken = set()
    for problem in small:
        place = by_text.get(_text(problem), by_id.get(_id(problem)))
        if place is not None and place not in taken:
            taken.add(place)
            yield problem, large[place]


def _text(problem: RecordedProblem) -> str:
    return " ".join(problem.prompt.split())


def _id(problem: RecordedProblem) -> tuple[str, str]:
    # An id alone may be a row number, which files of different problems share.
    return problem.id, normalize(problem.answer)


def _numbered_alike(pair: Pair) -> Pair:
    small, large = pair
    known: dict[str, int] = {}
    return _renumbered(small, known), _renumbered(large, known)


def _renumbered(problem: RecordedProblem, known: dict[str, int]) -> RecordedProblem:
    """Renumber wrong classes: each takes the number of any of its texts in `known`, or a new one, which is added."""
    texts: dict[int, list[str]] = {}
    for sample in problem.samples:
        if sample.answer is not None and sample.answer_class is not None and not sample.correct:
            texts.setdefault(sample.answer_class, []).append(normalize(sample.answer))
    numbers = {}
    for old, held in texts.items():
        numbers[old] = next((known[text] for text in held if text in known), _RIGHT + 1 + len(set(known.values())))
        for text in held:
            known.setdefault(text, numbers[old])

    def renumbered(sample: Sample) -> Sample:
        if sample.answer_class is None:
            return sample
        return replace(sample, answer_class=_RIGHT if sample.correct else numbers[sample.answer_class])

    return replace(problem, samples=tuple(map(renumbered, problem.samples)))
