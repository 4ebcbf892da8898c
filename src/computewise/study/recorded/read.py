"""Read and check recorded samples, and match those of a larger model to them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from computewise.errors import RunError, UsageError
from computewise.grading.equivalence import KEY_SECONDS, AnswerEquivalence
from computewise.grading.graders import WITHOUT_MATHEMATICS, Grader, MathGrader, find_grader
from computewise.grading.normalize import normalize
from computewise.study.recorded.checks import check, each_text_once
from computewise.study.recorded.readers.cells import DraftProblem, Notes, Reading, Unreadable
from computewise.study.recorded.readers.choose import FileRows, Seldom, Watch
from computewise.study.recorded.readers.grade import Grading, findings, merged, without_copies
from computewise.study.recorded.rows import Finding, RecordedProblem, Recording, Sample


def read_recording(path: Path, reading: Reading | None = None, watch: Watch = lambda doing: None) -> Recording:
    """The problems of a file in any of the schemas of `readers.choose`, and the findings about them.

    Samples that cannot be read, and those that are certainly there twice, are left out, which is a finding. Raises
    `UsageError` for other columns or several runs in one file, and `RunError` where nothing can be read.
    """
    reading = reading or Reading()
    reading.check()
    notes = Notes()
    rows = FileRows(path, reading, watch)
    drafts = merged(_drafts(rows, notes, reading))
    rows.check()
    _check_any(path, rows, notes, drafts)
    drafts, copies = without_copies([draft for draft in drafts if draft.samples])
    graded: list[RecordedProblem] = []
    with _grader(reading.grader) as (grader, equal):
        grading = Grading(drafts, grader, notes, mathematics=equal is not None)
        told = Seldom(watch)
        for number, draft in enumerate(drafts, 1):
            if (problem := grading.grade(draft)) is not None:
                graded.append(problem)
            told(f"grading {path.name}: problem {number:,} of {len(drafts):,}")
        said = [*findings(grading.found, notes, path.name, rows.example), *rows.findings(), *copies, *_grading(equal)]
    _check_any(path, rows, notes, graded)
    watch(f"checking {path.name}")
    said += check(graded)
    if reading.equal_texts == "once":
        graded = [each_text_once(problem) for problem in graded]
    return Recording(path, tuple(graded), tuple(said))


@contextmanager
def _grader(name: str) -> Iterator[tuple[Grader, AnswerEquivalence | None]]:
    if name != "math":
        yield find_grader(name), None
        return
    with AnswerEquivalence() as equal:
        yield MathGrader(equal), equal


def _drafts(rows: FileRows, notes: Notes, reading: Reading) -> Iterator[DraftProblem]:
    for where, row in rows:
        if isinstance(row, Unreadable):
            notes.seen += 1
            notes.lose(where, row.reason)
        elif rows.schema.has_columns(row, reading):
            try:
                yield from rows.schema.read(where, row, notes, reading)
            except UsageError as error:
                raise UsageError(f"{rows.path}, {error}") from None
        else:
            notes.seen += 1
            notes.lose(where, f" has other columns: {', '.join(map(str, row)) or 'none'}")


def _check_any(path: Path, rows: FileRows, notes: Notes, problems: Iterable[DraftProblem | RecordedProblem]) -> None:
    if not any(problem.samples for problem in problems):
        reason = f": {notes.reasons[0]}" if notes.reasons else ""
        raise RunError(f"{path} holds no samples that can be read{reason} ({rows.example})")


def _grading(equal: AnswerEquivalence | None) -> list[Finding]:
    findings: list[Finding] = []
    if equal is None:
        return findings
    if equal.comparisons and not equal.by_mathematics:
        findings.append(Finding("grading", equal.comparisons, None, WITHOUT_MATHEMATICS))
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
