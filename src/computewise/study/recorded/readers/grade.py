"""From samples as a file gives them to graded ones: answers read, compared with the reference and with one another."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from computewise.errors import ProblemError
from computewise.grading.graders import Grader
from computewise.grading.normalize import LONGEST, normalize
from computewise.grading.reading import reference_answer
from computewise.study.recorded.readers.cells import Draft, DraftProblem, Notes
from computewise.study.recorded.rows import Finding, RecordedProblem, Sample, classify

IMPOSSIBLE = -30.0
"""The log-probability of a text that is not sampled twice: e^-30 is a millionth of a millionth, and less."""

_SHORT = 100
"""Characters; a text of one line that is not longer may be nothing but an answer."""

_WHOLE = re.compile(r"-?\d+")


def merged(drafts: Iterable[DraftProblem]) -> list[DraftProblem]:
    """The problems, those of several rows once.

    Rows of one sample are of one problem where they have one id, or one text without an id, and the same reference;
    rows of a whole problem where they have the same text too.
    """
    found: dict[tuple[object, ...], DraftProblem] = {}
    first: dict[object, tuple[object, ...]] = {}
    for number, draft in enumerate(drafts):
        name = draft.id or draft.prompt
        key: tuple[object, ...] = (name, draft.references, None if draft.row_is_sample else draft.prompt)
        if name is None:
            key = (number,)
        elif draft.row_is_sample and not draft.references:
            key = first.get(name, key)
        first.setdefault(name, key)
        held = found.get(key)
        if held is None:
            found[key] = draft
        else:
            found[key] = replace(held, prompt=held.prompt or draft.prompt, samples=(*held.samples, *draft.samples))
    return list(found.values())


def without_copies(problems: Sequence[DraftProblem]) -> tuple[list[DraftProblem], list[Finding]]:
    """The problems without samples that are certainly there twice, and what was found."""
    findings = []
    kept = list(problems)
    for reason, copies in (
        ("the same text under the same epoch, seed or number", _by_key),
        ("as the whole file is there several times", _by_repetition),
        ("a long text that their log-probabilities rule out twice", _by_logprob),
    ):
        before, kept = kept, copies(kept)
        counts = [(one.id, len(one.samples) - len(other.samples)) for one, other in zip(before, kept, strict=True)]
        if dropped := sum(count for _, count in counts):
            example = next(name for name, count in counts if count)
            text = f"Copies of a sample, {reason}: {_number(dropped, 'sample')}. Only the first of each counts."
            findings.append(Finding("duplicates", dropped, example, text))
    return kept, findings


def _said(sample: Draft) -> tuple[str | None, str | None]:
    return sample.text, sample.answer


def _first(samples: Sequence[Draft], name: Callable[[Draft], object]) -> tuple[Draft, ...]:
    """The first of those of one name; None names nothing."""
    seen = set()
    found = []
    for sample in samples:
        own = name(sample)
        if own is None or own not in seen:
            found.append(sample)
        seen.add(own)
    return tuple(found)


def _by_key(problems: list[DraftProblem]) -> list[DraftProblem]:
    # A seed that all samples share names no sample.
    keys = [[sample.key for sample in problem.samples if sample.key is not None] for problem in problems]
    if sum(len(set(held)) for held in keys) * 3 < sum(map(len, keys)):
        return problems
    return [
        replace(
            problem,
            samples=_first(problem.samples, lambda one: None if one.key is None else (one.key, *_said(one))),
        )
        for problem in problems
    ]


def _by_repetition(problems: list[DraftProblem]) -> list[DraftProblem]:
    counts = [Counter(map(_said, problem.samples)) for problem in problems]
    times = math.gcd(*(count for held in counts for count in held.values()))
    varied = [len(held) > 2 for held in counts]
    if times < 2 or 2 * sum(varied) <= len(varied) or any(text is None for held in counts for text, _ in held):
        return problems
    found = []
    for problem, held in zip(problems, counts, strict=True):
        left = Counter({said: count // times for said, count in held.items()})
        samples = []
        for sample in problem.samples:
            if left[_said(sample)] > 0:
                left[_said(sample)] -= 1
                samples.append(sample)
        found.append(replace(problem, samples=tuple(samples)))
    return found


def _by_logprob(problems: list[DraftProblem]) -> list[DraftProblem]:
    def name(sample: Draft) -> object:
        if sample.logprob is None or not sample.text or (sample.tokens or 0) <= 0:
            return None
        return sample.text if sample.logprob * (sample.tokens or 0) < IMPOSSIBLE else None

    return [replace(problem, samples=_first(problem.samples, name)) for problem in problems]


@dataclass(slots=True)
class Graded:
    """What was found out while samples were graded."""

    contradicted: int = 0
    unanswered: int = 0
    example: str | None = None
    said: str = ""
    stands: bool = False
    failed: int = 0
    failure: str = ""
    texts: int = 0


class Grading:
    """Grades the problems of a file, all in one way."""

    def __init__(self, problems: Sequence[DraftProblem], grader: Grader, notes: Notes, *, mathematics: bool) -> None:
        samples = [sample for problem in problems for sample in problem.samples]
        self._grader = grader
        self._notes = notes
        self._key = normalize if mathematics else grader.key
        self._said = any(sample.answer is not None for sample in samples)
        self._referred = any(problem.references for problem in problems)
        self._texts = not self._said and not any(self._read(sample) for sample in samples)
        self.found = Graded()

    def grade(self, problem: DraftProblem) -> RecordedProblem | None:
        """The problem with every sample graded; None where none can be."""
        references = tuple(reference_answer(text.strip()) for text in problem.references)
        answers = [self._answer(sample) for sample in problem.samples]
        graded = [
            (sample, answer)
            for sample, answer in zip(problem.samples, answers, strict=True)
            if references or sample.correct is not None or self._lost(sample)
        ]
        numbers = self._classes(references, graded)
        right = set(numbers[: len(references)])
        samples = []
        for (sample, answer), number in zip(graded, numbers[len(references) :], strict=True):
            correct = number in right if sample.correct is None else self._logged(problem, references, sample, answer)
            samples.append(_sample(sample, answer, number, correct and answer is not None))
        if not samples:
            return None
        name = problem.id or problem.prompt or problem.where
        prompt = problem.prompt or name
        return RecordedProblem(name, prompt, " or ".join(references), tuple(samples), problem.prompt is not None)

    def _lost(self, sample: Draft) -> bool:
        self._notes.lose(sample.where, " has no grade, and its problem no reference to grade it by")
        return False

    def _answer(self, sample: Draft) -> str | None:
        if self._said and sample.answered:
            return self._cut_out(sample)
        if self._texts:
            text = (sample.text or "").strip()
            alone = len(text) <= _SHORT and "\n" not in text
            if text and (alone or not self._referred):
                self.found.texts += 1
                return text
        return self._read(sample)

    def _cut_out(self, sample: Draft) -> str | None:
        """The answer that the file says; where that is a whole solution, the answer in it."""
        answer = sample.answer
        if answer is None or (len(answer) <= LONGEST and "\\boxed" not in answer):
            return answer
        return self._answered(answer) or answer

    def _read(self, sample: Draft) -> str | None:
        return None if sample.cut or not sample.text else self._answered(sample.text)

    def _answered(self, text: str) -> str | None:
        try:
            return self._grader.answer(text)
        except ProblemError as error:
            self._fail(error)
            return None

    def _fail(self, error: ProblemError) -> None:
        self.found.failed += 1
        self.found.failure = self.found.failure or str(error)

    def _classes(self, references: Sequence[str], graded: Sequence[tuple[Draft, str | None]]) -> list[int | None]:
        """Of the references and of the samples' answers; those of the file where it has them."""
        given = [sample.answer_class for sample, answer in graded if answer is not None]
        logged = all(sample.correct is not None for sample, _ in graded)
        if logged and None not in given:
            own = [None if answer is None else sample.answer_class for sample, answer in graded]
            return [None] * len(references) + own
        return classify([*references, *(answer for _, answer in graded)], self._equal, self._key, self._canonical)

    def _equal(self, one: str, other: str) -> bool:
        try:
            return self._grader.correct(one, other)
        except ProblemError as error:
            self._fail(error)
            return False

    def _canonical(self, answer: str) -> str:
        try:
            return self._grader.key(answer)
        except ProblemError as error:
            self._fail(error)
            return answer

    def _logged(self, problem: DraftProblem, references: Sequence[str], sample: Draft, answer: str | None) -> bool:
        """The file's grade, unless its own answer and reference leave no doubt that it is wrong.

        Where the file numbers classes of answers, they were made with its grades, which stand.
        """
        logged = bool(sample.correct)
        if answer is None:
            self.found.unanswered += logged
            return False
        certain = _certainly(answer, references)
        if certain is None or certain == logged:
            return logged
        self.found.contradicted += 1
        if not self.found.said:
            grade = "right" if logged else "wrong"
            self.found.said = f"{answer!r:.40} is logged as {grade}, the reference is {references[0]!r:.40}"
            self.found.example = problem.id
        if sample.answer_class is not None:
            self.found.stands = True
            return logged
        return certain


def _certainly(answer: str, references: Sequence[str]) -> bool | None:
    """Whether the answer is one of the references, where equal texts or whole numbers leave no doubt; else None."""
    if answer.strip() in map(str.strip, references):
        return True
    texts = [normalize(text) for text in (answer, *references)]
    if references and all(map(_WHOLE.fullmatch, texts)):
        return texts[0] in texts[1:]
    return None


def _sample(sample: Draft, answer: str | None, number: int | None, correct: bool) -> Sample:
    text = sample.text or ""
    tokens = 0 if sample.text == "" and sample.tokens is None else sample.tokens
    return Sample(
        text, sample.scores, answer, number if answer is not None else None, correct, tokens, sample.logprob,
        None if text else sample.characters,
    )  # fmt: skip


def findings(found: Graded, notes: Notes, file: str, schema: str) -> list[Finding]:
    """What a person should know of how the file was read and graded."""
    said = []
    if notes.lost:
        text = f"{notes.lost:,} of {notes.seen:,} samples of {file} cannot be read ({schema}) and are left out: "
        said.append(Finding("lost samples", notes.lost, None, text + _listed(notes.reasons) + "."))
    if notes.missing:
        text = f"Counted as missing, since it cannot be read ({schema}): {_number(notes.missing, 'cell')} of {file}: "
        said.append(Finding("unreadable cells", notes.missing, None, text + _listed(notes.cells) + "."))
    if found.contradicted:
        text = (
            f"The file's own answers and references contradict {_number(found.contradicted, 'grade')} ({found.said}): "
            + ("the grades count, as its classes go with them." if found.stands else "the comparison counts there.")
        )
        said.append(Finding("logged grades", found.contradicted, found.example, text))
    if found.unanswered:
        text = (
            f"Logged as right, without an answer that is known: {_number(found.unanswered, 'sample')}. What has no "
            "answer cannot vote, and counts as wrong."
        )
        said.append(Finding("right without an answer", found.unanswered, None, text))
    if found.failed:
        text = f"The grader failed on {_number(found.failed, 'answer')}, which equals none then: {found.failure}"
        said.append(Finding("grader", found.failed, None, text))
    if found.texts:
        text = f"No answer can be read in any sample: whole texts are compared, {found.texts:,} of them."
        said.append(Finding("texts as answers", found.texts, None, text))
    return said


def _number(count: int, thing: str) -> str:
    return f"{count:,} {thing}" if count == 1 else f"{count:,} {thing}s"


SAID = 3
"""So many reasons are given."""


def _listed(reasons: Sequence[str]) -> str:
    more = len(reasons) - SAID
    return "; ".join(reasons[:SAID]) + (f"; and {more:,} more" if more > 0 else "")
