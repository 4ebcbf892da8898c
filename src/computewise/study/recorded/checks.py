"""Find errors in recorded samples before anything is computed from them."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np

from computewise.grading.normalize import normalize
from computewise.metrics import Bools, Floats, Ints
from computewise.samples import LONG
from computewise.study.recorded.rows import RECORDED_CHARACTERS_A_TOKEN, Finding, RecordedProblem, Sample, counted

ECHO = 0.3

"""The least share of its prompt's rare words that a completion is assumed to repeat."""

MARGIN = 6.0

"""Nats by which another prompt must explain a completion better: e^6 to 1, since the best of hundreds wins by chance.
"""

LOOKED_AT = 16

"""Number of completions that are examined for each problem; their majority decides."""

_WORD = re.compile(r"\d+(?:\.\d+)?|[^\W\d_]+")

Gram = str | tuple[str, str]


def misplaced(problems: Sequence[RecordedProblem]) -> list[tuple[int, int]]:
    """Pairs of places: a problem, and the problem that its completions belong to.

    Most completions of such a problem are explained better by other prompts, by at least `MARGIN`. The prompt that
    explains them best most often must have lost its own completions too: otherwise the two problems are only similar.
    """
    prompts = _Prompts([problem.prompt for problem in problems])
    echoed = [[prompts.echoed(sample.text) for sample in problem.samples[:LOOKED_AT]] for problem in problems]
    shares = sum(map(prompts.shares, echoed), np.zeros(prompts.size))
    best: list[Ints] = []
    leads: list[Floats] = []
    for own, completions in enumerate(echoed):
        # Frequencies in the other problems' completions, plus half a completion, so that none is 0.
        evidence = prompts.evidence(completions, (shares - prompts.shares(completions) + 0.5) / len(problems))
        best.append(evidence.argmax(1))
        # Completions need not repeat some prompts, such as the code of a drawing: that is no evidence against them.
        leads.append(evidence.max(1) - np.maximum(evidence[:, own], 0))
    lost = [_most(places != own) for own, places in enumerate(best)]
    found = []
    for own, lead in enumerate(leads):
        if _most(lead >= MARGIN):
            rival = int(np.bincount(best[own][lead >= MARGIN]).argmax())
            if lost[rival]:
                found.append((own, rival))
    return found


def _most(votes: Bools) -> bool:
    return bool(2 * votes.sum() > len(votes))


def _grams(text: str) -> set[Gram]:
    words = _WORD.findall(text.lower())
    return {*words, *pairwise(words)}


class _Prompts:
    """The prompts that contain each word and each pair of words."""

    def __init__(self, prompts: Sequence[str]) -> None:
        holders: dict[Gram, list[int]] = {}
        for place, prompt in enumerate(prompts):
            for gram in _grams(prompt):
                holders.setdefault(gram, []).append(place)
        self.size = len(holders)
        self._count = len(prompts)
        self._numbers = {gram: number for number, gram in enumerate(holders)}
        self._holders = [np.array(places) for places in holders.values()]
        self._lengths = np.array([len(places) for places in self._holders])

    def echoed(self, completion: str) -> Ints:
        """The numbers of the words and pairs that a completion contains."""
        return np.array([self._numbers[gram] for gram in _grams(completion) if gram in self._numbers], dtype=np.int64)

    def shares(self, completions: Sequence[Ints]) -> Floats:
        """(size,): the share of a problem's completions that contain each word or pair."""
        return np.bincount(np.concatenate(completions), minlength=self.size) / len(completions)

    def evidence(self, completions: Sequence[Ints], common: Floats) -> Floats:
        """(completions, prompts): evidence in nats; `common` is how often others contain each word or pair."""
        common = np.minimum(common, ECHO)
        absent = np.log((1 - ECHO) / (1 - common))
        gain = np.log(ECHO / common) - absent
        least = self._summed(np.arange(self.size), absent)
        return np.array([least + self._summed(echoed[gain[echoed] > 0], gain) for echoed in completions])

    def _summed(self, numbers: Ints, weights: Floats) -> Floats:
        if not len(numbers):
            return np.zeros(self._count)
        places = np.concatenate([self._holders[number] for number in numbers])
        each = np.repeat(weights[numbers], self._lengths[numbers])
        return np.asarray(np.bincount(places, each, self._count), np.float64)


SHARED = 80

"""Longer texts, in characters, hardly solve two problems; shorter ones, such as a number, may."""

LEAST_SAMPLES = 4

"""With fewer samples for a problem there is little to choose among."""


Problems = Sequence[RecordedProblem]

Found = list[tuple[RecordedProblem, int]]

"""The problems that a check finds, each with the number of cases."""


def check(problems: Problems) -> list[Finding]:
    """All findings, the most harmful first; empty for a file without errors."""
    checks = (
        _same_id,
        _misplaced,
        _under_two_problems,
        _all_alike,
        _equal_texts,
        _grades,
        _no_right_answer,
        _few,
        _unscored,
        _scores,
        _steps,
        _blank_steps,
        _tokens,
    )
    return [finding for each in checks if (finding := each(problems))]


def each_text_once(problem: RecordedProblem) -> RecordedProblem:
    """The problem with the first of its samples of equal text; samples without a text are kept."""
    seen: set[str] = set()
    kept = []
    for sample in problem.samples:
        if not sample.text or sample.text not in seen:
            kept.append(sample)
        seen.add(sample.text)
    return replace(problem, samples=tuple(kept))


def _finding(kind: str, found: Found, sentence: str) -> Finding | None:
    if not found:
        return None
    return Finding(kind, sum(count for _, count in found), found[0][0].id, sentence)


def _samples(problems: Problems, holds: Callable[[Sample], bool]) -> Found:
    counts = ((problem, sum(map(holds, problem.samples))) for problem in problems)
    return [(problem, count) for problem, count in counts if count]


def _of(found: Found, problems: Problems) -> str:
    return f"{len(found)} of {len(problems)} problems"


def _share(found: Found, problems: Problems) -> str:
    count, total = sum(count for _, count in found), sum(len(problem.samples) for problem in problems)
    return f"{count} of {total} samples ({count / total:.1%})"


def _same_id(problems: Problems) -> Finding | None:
    times = Counter(problem.id for problem in problems)
    first = {problem.id: problem for problem in reversed(problems)}
    found = [(first[name], count - 1) for name, count in times.items() if count > 1]
    return _finding("same id", found, f"{len(found)} ids stand in several rows; each row is used as its own problem.")


def _misplaced(problems: Problems) -> Finding | None:
    prompted = [problem for problem in problems if problem.prompted]
    pairs = misplaced(prompted) if len(prompted) > 1 else []
    found = [(prompted[own], 1) for own, _ in pairs]
    rival = f" ({prompted[pairs[0][1]].id!r} in the example)" if pairs else ""
    meant = (
        "rows or batches were permuted, and their grades and votes mean nothing. Repair the file."
        if len(found) > len(prompted) / 2
        else "perhaps rows were exchanged. Look at them: if so, their grades and votes mean nothing."
    )
    return _finding(
        "misplaced completions",
        found,
        f"The completions of {_of(found, prompted)} fit another problem's text better{rival}: {meant}",
    )


def _under_two_problems(problems: Problems) -> Finding | None:
    prompts: defaultdict[str, set[str]] = defaultdict(set)
    for problem in problems:
        for sample in problem.samples:
            if len(sample.text) > SHARED:
                prompts[sample.text].add(problem.prompt)
    shared = {text for text, held in prompts.items() if len(held) > 1}
    found = _samples(problems, lambda sample: sample.text in shared)
    unanswered = sum(
        sample.answer is None for problem in problems for sample in problem.samples if sample.text in shared
    )
    total = sum(count for _, count in found)
    if 2 * unanswered > total:
        meant = "most give no answer, as refusals and messages of a server do. Those are samples that failed."
    elif any(len(prompts[text]) > 2 for text in shared):
        meant = "some stand under three or more, as a phrase does that the model repeats. Look at them."
    else:
        meant = "perhaps they were attached to the wrong one. Look at them."
    return _finding(
        "completions of two problems",
        found,
        f"{_share(found, problems)} stand under another problem too, in {_of(found, problems)}: {meant}",
    )


def _all_alike(problems: Problems) -> Finding | None:
    several = [problem for problem in problems if len(problem.samples) > 1]
    found = [(one, 1) for one in several if one.samples[0].text and len({sample.text for sample in one.samples}) == 1]
    if 2 * len(found) > len(several):
        meant = "sampling seems to have been off (a temperature of 0, one seed for all, or a cache)"
    else:
        meant = "the model may be sure of them, or a cache may have answered"
    return _finding(
        "samples all the same",
        found,
        f"All samples of {_of(found, several)} have one text: {meant}. More samples of these change nothing.",
    )


def _equal_texts(problems: Problems) -> Finding | None:
    found = [(problem, count) for problem in problems if (count := _repeats(problem))]
    return _finding(
        "equal texts",
        found,
        f"{_share(found, problems)} repeat a text of more than {LONG} characters of their problem, in "
        f"{_of(found, problems)}: a model that is sure does so, and so do copies, of a search or a cache. Each counts "
        "as a sample; if they are copies, --equal-texts once counts each text once.",
    )


def _repeats(problem: RecordedProblem) -> int:
    texts = [sample.text for sample in problem.samples if len(sample.text) > LONG]
    return len(texts) - len(set(texts))


def _grades(problems: Problems) -> Finding | None:
    found = [(problem, 1) for problem in problems if _contradicts_itself(problem)]
    return _finding(
        "grades",
        found,
        f"In {_of(found, problems)} equal answers are graded differently, or right answers are in several classes.",
    )


def _contradicts_itself(problem: RecordedProblem) -> bool:
    answered = [(sample, sample.answer) for sample in problem.samples if sample.answer is not None]
    right = {sample.answer_class for sample, _ in answered if sample.correct}
    wrong = {sample.answer_class for sample, _ in answered if not sample.correct}
    texts = {normalize(answer) for sample, answer in answered if not sample.correct}
    return len(right) > 1 or bool(right & wrong) or normalize(problem.answer) in texts


def _no_right_answer(problems: Problems) -> Finding | None:
    found = [(problem, 1) for problem in problems if not any(sample.correct for sample in problem.samples)]
    return _finding(
        "no right answer",
        found,
        f"No sample of {_of(found, problems)} gives the reference answer: they are too hard for the model, or the "
        "references are wrong or written in a way the grader does not know.",
    )


def _few(problems: Problems) -> Finding | None:
    found = [(problem, 1) for problem in problems if len(problem.samples) < LEAST_SAMPLES]
    return _finding(
        "few samples",
        found,
        f"{_of(found, problems)} have fewer than {LEAST_SAMPLES} samples: hardly anything to choose among.",
    )


def _unscored(problems: Problems) -> Finding | None:
    found = _samples(problems, lambda sample: not sample.step_scores)
    if sum(count for _, count in found) == sum(len(problem.samples) for problem in problems):
        return _finding("unscored", found, "No sample has scores: every sample is one vote.")
    rule = "each counts 1 where no sample of its problem has scores, 0 beside samples that have"
    return _finding("unscored", found, f"{_share(found, problems)} have no scores: {rule}.")


def _scores(problems: Problems) -> Finding | None:
    found = _samples(problems, lambda sample: not all(0 <= score <= 1 for score in sample.step_scores))
    return _finding(
        "scores out of range",
        found,
        f"{_share(found, problems)} have scores that are NaN or outside [0, 1]: NaN counts as 0, others as the nearer "
        "end. Raw rewards need --scores logit.",
    )


def _steps(problems: Problems) -> Finding | None:
    if all(len(sample.step_scores) <= 1 for problem in problems for sample in problem.samples):
        return None  # one score a solution, as an outcome verifier gives
    found = _samples(
        problems, lambda sample: bool(sample.step_scores) and len(sample.step_scores) not in _pieces(sample)
    )
    return _finding(
        "scores and steps",
        found,
        f"{_share(found, problems)} have another number of scores than of steps (parts between blank lines): their "
        "last score may not be the last step's.",
    )


def _pieces(sample: Sample) -> tuple[int, int]:
    parts = sample.text.split("\n\n")
    return len(parts), sum(map(bool, map(str.strip, parts)))


def _blank_steps(problems: Problems) -> Finding | None:
    found = _samples(problems, _ends_blank)
    return _finding(
        "blank last steps",
        found,
        f"{_share(found, problems)} end in a blank step that was scored: with the aggregation 'last' their value is "
        "the score of nothing.",
    )


def _ends_blank(sample: Sample) -> bool:
    parts = sample.text.split("\n\n")
    return len(parts) > 1 and not parts[-1].strip() and len(sample.step_scores) == len(parts)


def _tokens(problems: Problems) -> Finding | None:
    found = _samples(problems, lambda sample: not counted(sample))
    return _finding(
        "tokens",
        found,
        f"{_share(found, problems)} have no token count, or one of 0 or less: "
        f"characters / {RECORDED_CHARACTERS_A_TOKEN} are used instead, or the mean of the problem's others.",
    )
