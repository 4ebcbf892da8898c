"""What is wrong with recorded samples, found before they are trusted."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np

from computewise.grading.normalize import normalize
from computewise.metrics import Bools, Floats, Ints
from computewise.study.recorded.rows import RECORDED_CHARACTERS_A_TOKEN, Finding, RecordedProblem, Sample, counted

ECHO = 0.3

"""Share of its prompt's rare words that a completion echoes, at the least."""

MARGIN = 6.0

"""Nats by which another prompt must explain a completion better: e^6 to 1, for the best of hundreds wins by chance."""

LOOKED_AT = 16

"""Completions a problem; its majority decides."""

_WORD = re.compile(r"\d+(?:\.\d+)?|[^\W\d_]+")

Gram = str | tuple[str, str]


def misplaced(problems: Sequence[RecordedProblem]) -> list[tuple[int, int]]:
    """Which problems hold the completions of which others, by their places.

    Such a problem's completions mostly are explained better by other prompts, by `MARGIN`; and the prompt that most
    often is the best has lost its own completions too, or it would only be a problem much like this one.
    """
    prompts = _Prompts([problem.prompt for problem in problems])
    echoed = [[prompts.echoed(sample.text) for sample in problem.samples[:LOOKED_AT]] for problem in problems]
    shares = sum(map(prompts.shares, echoed), np.zeros(prompts.size))
    best: list[Ints] = []
    leads: list[Floats] = []
    for own, completions in enumerate(echoed):
        # As common as in the other problems' completions; half a completion more, so that nothing is impossible.
        evidence = prompts.evidence(completions, (shares - prompts.shares(completions) + 0.5) / len(problems))
        best.append(evidence.argmax(1))
        # A prompt that its completions need not echo, like the code of a drawing, is no evidence against it.
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
    """Where each word and pair stands in the prompts."""

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
        """Which of them a completion holds, by their numbers."""
        return np.array([self._numbers[gram] for gram in _grams(completion) if gram in self._numbers], dtype=np.int64)

    def shares(self, completions: Sequence[Ints]) -> Floats:
        """(size,): in which share of a problem's completions each is."""
        return np.bincount(np.concatenate(completions), minlength=self.size) / len(completions)

    def evidence(self, completions: Sequence[Ints], common: Floats) -> Floats:
        """(completions, prompts): nats for each being of each, where `common` is how often strangers echo each word."""
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


LONG = 80

"""Characters beyond which two independent samples are not the same by chance."""

LEAST_SAMPLES = 4

"""Samples a problem; with fewer there is little to choose among."""


Problems = Sequence[RecordedProblem]

Found = list[tuple[RecordedProblem, int]]

"""Problems a check objects to, and how often in each."""


def check(problems: Problems) -> list[Finding]:
    """Everything found, what endangers most first; nothing for a file in good order."""
    checks = (
        _same_id,
        _misplaced,
        _under_two_problems,
        _duplicates,
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


def without_duplicates(problem: RecordedProblem) -> RecordedProblem:
    """Each sample once, the first; short ones stay, since independent samples may well agree on a short text."""
    seen: set[str] = set()
    kept = []
    for sample in problem.samples:
        if sample.text not in seen:
            kept.append(sample)
        if len(sample.text) > LONG:
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
    pairs = misplaced(problems)
    found = [(problems[own], 1) for own, _ in pairs]
    rival = f" ({problems[pairs[0][1]].id!r} in the example)" if pairs else ""
    return _finding(
        "misplaced completions",
        found,
        f"The completions of {_of(found, problems)} fit another problem's text better{rival}: rows or batches were "
        "permuted, and their grades and votes mean nothing. Repair the file.",
    )


def _under_two_problems(problems: Problems) -> Finding | None:
    prompts: defaultdict[str, set[str]] = defaultdict(set)
    for problem in problems:
        for sample in problem.samples:
            if len(sample.text) > LONG:
                prompts[sample.text].add(problem.prompt)
    found = _samples(problems, lambda sample: len(prompts.get(sample.text, ())) > 1)
    return _finding(
        "completions of two problems",
        found,
        f"{_share(found, problems)} stand under another problem too, in {_of(found, problems)}: they were attached to "
        "the wrong one. Repair the file.",
    )


def _duplicates(problems: Problems) -> Finding | None:
    counts = ((problem, len(problem.samples) - len(without_duplicates(problem).samples)) for problem in problems)
    found = [(problem, count) for problem, count in counts if count]
    return _finding(
        "duplicates",
        found,
        f"{_share(found, problems)} repeat another of their problem, in {_of(found, problems)}, and would vote twice: "
        "only the first of each is used.",
    )


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
    found = [(problem, 1) for problem in problems if len(without_duplicates(problem).samples) < LEAST_SAMPLES]
    return _finding(
        "few samples",
        found,
        f"{_of(found, problems)} have fewer than {LEAST_SAMPLES} different samples: hardly anything to choose among.",
    )


def _unscored(problems: Problems) -> Finding | None:
    found = _samples(problems, lambda sample: not sample.step_scores)
    rule = "each counts 1 where no sample of its problem has scores, 0 beside samples that have"
    return _finding("unscored", found, f"{_share(found, problems)} have no scores: {rule}.")


def _scores(problems: Problems) -> Finding | None:
    found = _samples(problems, lambda sample: not all(0 <= score <= 1 for score in sample.step_scores))
    return _finding(
        "scores out of range",
        found,
        f"{_share(found, problems)} have scores that are NaN or outside [0, 1]: NaN counts as 0, others as the nearer "
        "end. Map rewards to probabilities first.",
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
        f"characters / {RECORDED_CHARACTERS_A_TOKEN} are used instead.",
    )
