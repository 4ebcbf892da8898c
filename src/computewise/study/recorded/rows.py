"""Recorded samples in memory, and the same as arrays."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from computewise.grading.normalize import normalize
from computewise.samples import ProblemSamples, SampleArrays, arrays_of_step_scores


@dataclass(frozen=True, slots=True)
class Sample:
    """One completion. `answer_class` numbers equivalent answers of its problem alike; None where there is no answer.

    `step_scores` are a verifier's, in [0, 1], one a step; empty where nobody scored it. `tokens` and `logprob` (mean, a
    token) are None where nobody recorded them; searches are also known to write 0 or -1 tokens. `characters` is the
    length of a text that is not recorded itself.
    """

    text: str
    step_scores: tuple[float, ...]
    answer: str | None
    answer_class: int | None
    correct: bool
    tokens: int | None = None
    logprob: float | None = None
    characters: int | None = None


@dataclass(frozen=True, slots=True)
class RecordedProblem:
    """One problem with its reference answer and at least one sample.

    `id` is the prompt where the file gives none. `prompt` is the id where the file holds no prompt, which `prompted`
    says. `answer` is empty where the file has grades but no reference.
    """

    id: str
    prompt: str
    answer: str
    samples: tuple[Sample, ...]
    prompted: bool = True


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

Servers that report no tokens are charged by another ratio (`models.server.capabilities`), which is a round number.
"""


def counted(sample: Sample) -> bool:
    """Whether somebody counted its tokens; an empty text has 0."""
    return (sample.tokens or 0) > 0 or (sample.tokens == 0 and not sample.text and not sample.characters)


def to_draws(problem: RecordedProblem, aggregation: str) -> SampleArrays:
    """The problem's samples as arrays; see `arrays_of_step_scores` for `aggregation`."""
    samples = problem.samples
    return arrays_of_step_scores(
        answers=[sample.answer_class for sample in samples],
        correct=[sample.correct for sample in samples],
        step_scores=[sample.step_scores for sample in samples],
        aggregation=aggregation,
        logprobs=[sample.logprob or 0.0 for sample in samples],
        tokens=_tokens(samples),
    )


def to_drawn(problem: RecordedProblem, aggregation: str, arm: str = "samples") -> ProblemSamples:
    """The problem with its samples as the only arm."""
    return ProblemSamples(problem.id, problem.prompt, {arm: to_draws(problem, aggregation)})


def _tokens(samples: Sequence[Sample]) -> list[float]:
    """As they were counted, else by the length of the text, else the mean of the problem's other samples."""
    known = [
        float(sample.tokens or 0)
        if counted(sample)
        else (len(sample.text) or sample.characters or 0) / RECORDED_CHARACTERS_A_TOKEN
        for sample in samples
    ]
    unknown = [not tokens and not counted(sample) for tokens, sample in zip(known, samples, strict=True)]
    mean = fmean([tokens for tokens, missing in zip(known, unknown, strict=True) if not missing] or [0.0])
    return [mean if missing else tokens for tokens, missing in zip(known, unknown, strict=True)]


MOST_COMPARISONS = 400
"""Of answers with classes of answers, for a problem; thousands of samples have more, of which keys alone decide."""


def classify(
    answers: Sequence[str | None],
    equal: Callable[[str, str], bool],
    key: Callable[[str], str] = normalize,
    canonical: Callable[[str], str] = normalize,
) -> list[int | None]:
    """Equivalent answers numbered alike, in the order they appear; each is compared with one of each class only.

    Answers of one `key` are not compared. After `MOST_COMPARISONS` equal `canonical` forms alone are one class.
    """
    numbers: dict[str, int] = {}
    representatives: list[str] = []
    forms: dict[str, int] = {}
    found: list[int | None] = []
    compared = 0
    for answer in answers:
        if answer is None:
            found.append(None)
            continue
        text = key(answer)
        if text not in numbers:
            number = None
            if compared < MOST_COMPARISONS:
                compared += len(representatives)
                number = next((place for place, other in enumerate(representatives) if equal(other, answer)), None)
            else:
                forms = forms or {canonical(other): place for place, other in reversed([*enumerate(representatives)])}
                number = forms.setdefault(canonical(answer), len(representatives))
            numbers[text] = len(representatives) if number is None else number
            if numbers[text] == len(representatives):
                representatives.append(answer)
        found.append(numbers[text])
    return found
