"""Completions that stand under the wrong problem, as a permutation inside a batch leaves them.

A completion echoes what is rare in its own prompt: numbers, names, and pairs of neighbouring words. How well prompt j
explains a completion is a log-likelihood ratio: each rare word or pair of the prompt is echoed with probability `ECHO`
if the completion belongs to it, and as often as in all completions if not. Words that most completions hold weigh
nothing.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from computewise.draws import Bools, Floats, Ints
from computewise.replay.rows import RecordedProblem

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
