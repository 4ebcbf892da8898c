"""Difficulty before anything is drawn: from the text of a prompt, or from what a model's hidden state is at its end."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Self

import numpy as np

from computewise.difficulty.estimator import Cost, fitted
from computewise.difficulty.logistic import Logistic, fit_logistic
from computewise.draws import Floats

FREE = Cost(0.0, 0.0, 0.0)
"""A prompt is read for the first draw anyhow."""

LARGEST = 1e18
"""Numbers beyond it are alike, and none is infinite."""

OPERATORS = "+-*/^="

_COMMAND = re.compile(r"\\[A-Za-z]+")
_WORD = re.compile(r"[A-Za-z]+")
_NUMBER = re.compile(r"[0-9]+")
_RARE = re.compile(r"[^A-Za-z0-9\s.,?]")
_NESTING = {"(": 1, "[": 1, "{": 1, ")": -1, "]": -1, "}": -1}


@dataclass(slots=True)
class PromptDifficulty:
    """Ridge logistic regression on counts and sizes read off the text: an expression's or a word problem's in LaTeX."""

    model_: Logistic | None = field(default=None, init=False, repr=False)

    def fit(self, inputs: Sequence[str], ease: Floats) -> Self:
        """From prompts and their pass@1 (problems,)."""
        self.model_ = fit_logistic(_texts(inputs), ease, np.ones(len(ease)))
        return self

    def predict(self, inputs: Sequence[str]) -> Floats:
        """(problems,)."""
        return fitted(self.model_, self).predict(_texts(inputs))

    def cost(self, inputs: Sequence[str]) -> Cost:
        """Nothing."""
        return FREE


@dataclass(slots=True)
class StateDifficulty:
    """The same on a hidden state (width,) of each prompt, as Damani et al. 2024 (arXiv 2410.04707) probe a model's."""

    model_: Logistic | None = field(default=None, init=False, repr=False)

    def fit(self, inputs: Sequence[Floats], ease: Floats) -> Self:
        """From states, all of one width, and their problems' pass@1 (problems,)."""
        self.model_ = fit_logistic(np.asarray(inputs, np.float64), ease, np.ones(len(ease)))
        return self

    def predict(self, inputs: Sequence[Floats]) -> Floats:
        """(problems,)."""
        return fitted(self.model_, self).predict(np.asarray(inputs, np.float64))

    def cost(self, inputs: Sequence[Floats]) -> Cost:
        """Nothing."""
        return FREE


def _texts(prompts: Sequence[str]) -> Floats:
    return np.array([_text_features(prompt) for prompt in prompts])


def _text_features(prompt: str) -> list[float]:
    numbers = [float(digits) for digits in _NUMBER.findall(prompt)]
    words = _WORD.findall(_COMMAND.sub(" ", prompt))
    counts = [
        len(prompt),
        len(words),
        len(numbers),
        *(prompt.count(operator) for operator in OPERATORS),
        len(_COMMAND.findall(prompt)),
        prompt.count("$"),
        prompt.count("\n"),
        len(_RARE.findall(prompt)),
        sum(character in _NESTING for character in prompt),
        max(accumulate((_NESTING.get(character, 0) for character in prompt), initial=0)),
    ]
    sizes = np.log1p(np.minimum(numbers, LARGEST))
    letters = sum(map(len, words))
    return [
        *np.log1p(counts).tolist(),
        float(sizes.sum()),
        float(sizes.max(initial=0)),
        letters / max(1, len(words)),
        letters / max(1, len(prompt)),
    ]
