"""Training text for the generators: every batch is a function of (seed, step), so a resumed run sees the same data."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from computewise.models.embedded.weights import END, encode
from computewise.tasks import arithmetic
from computewise.tasks.dataset import split_of

STORY_SHARE = 0.2

Documents = Callable[[random.Random], tuple[list[int], int]]
"""Draws a training document: its tokens, and how many of them precede the tokens that are learned."""


def random_document(rng: random.Random) -> tuple[list[int], int]:
    """Tokens of one training problem with its solution, and how many of them are the prompt.

    Neither the prompt nor any line of the solution is a text of the validation or test split.
    """
    while True:
        draw = arithmetic.random_story if rng.random() < STORY_SHARE else arithmetic.random_expression_problem
        prompt, lines = draw(rng)
        if all(split_of(text) == "train" for text in (prompt, *lines)):
            question = [END, *encode(prompt + "\n")]
            return [*question, *encode("\n".join(lines)), END], len(question)


@dataclass(frozen=True, slots=True)
class Batch:
    """Packed documents, (rows, time) each: `inputs` predicts `targets`; a target of -1 is not learned."""

    inputs: NDArray[np.int64]
    targets: NDArray[np.int64]
    positions: NDArray[np.int64]
    documents: NDArray[np.int64]


def batch(seed: int, step: int, rows: int, time: int, documents_of: Documents = random_document) -> Batch:
    """The packed batch of one step. A document that does not fit a row is deferred, never cut."""
    rng = random.Random(f"{seed}/{step}")
    inputs, positions, documents = (np.zeros((rows, time), np.int64) for _ in range(3))
    targets = np.full((rows, time), -1, np.int64)
    waiting: list[tuple[list[int], int]] = []
    for row in range(rows):
        at = number = 0
        skipped: list[tuple[list[int], int]] = []
        while len(skipped) < 6:
            tokens, prompt = waiting.pop() if waiting else documents_of(rng)
            length = len(tokens) - 1
            if length > time - at:
                skipped.append((tokens, prompt))
                continue
            number += 1
            where = np.s_[row, at : at + length]
            inputs[where], targets[where] = tokens[:-1], tokens[1:]
            targets[row, at : at + prompt - 1] = -1
            positions[where], documents[where] = np.arange(length), number
            at += length
        waiting = skipped
    return Batch(inputs, targets, positions, documents)
