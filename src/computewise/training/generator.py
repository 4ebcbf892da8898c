"""The generators' training text, and the recipe they are trained by."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from computewise.models.embedded.network import END, TOKENS, NetworkConfig, encode
from computewise.tasks import arithmetic
from computewise.tasks.dataset import split_of
from computewise.training.network import (
    Generator,
    build_optimizers,
    document_mask,
    load_checkpoint,
    save_checkpoint,
    set_learning_rate,
)

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


@dataclass(frozen=True, slots=True)
class GeneratorRecipe:
    """Everything that determines the weights, except for rounding, which the number of threads affects."""

    network: NetworkConfig
    steps: int
    rows: int = 16
    time: int = 256
    learning_rate: float = 4e-3
    warmup: int = 100
    seed: int = 0


SMALL = NetworkConfig(width=128, layers=4, heads=4, hidden=336, vocabulary=len(TOKENS))

LARGE = NetworkConfig(width=384, layers=6, heads=6, hidden=1088, vocabulary=len(TOKENS))

RECIPES = {
    "small": GeneratorRecipe(SMALL, steps=2000),
    "large": GeneratorRecipe(LARGE, steps=2000, learning_rate=2.5e-3),
}


def schedule(step: int, recipe: GeneratorRecipe) -> float:
    """Learning rate: linear warm-up, then linear decay to a hundredth."""
    if step < recipe.warmup:
        return recipe.learning_rate * (step + 1) / recipe.warmup
    left = (recipe.steps - step) / (recipe.steps - recipe.warmup)
    return recipe.learning_rate * max(left, 0.01)


def loss_of(network: Generator, recipe: GeneratorRecipe, step: int, documents_of: Documents) -> Tensor:
    """Cross-entropy over the solution tokens of one batch, without padding and prompts."""
    data = batch(recipe.seed, step, recipe.rows, recipe.time, documents_of)
    tokens, targets, positions, documents = map(
        torch.from_numpy, (data.inputs, data.targets, data.positions, data.documents)
    )
    with torch.autocast("cpu", torch.bfloat16):
        logits = network(tokens, positions, document_mask(documents))
    return F.cross_entropy(logits.float().flatten(0, 1), targets.flatten(), ignore_index=-1)


def train(
    recipe: GeneratorRecipe,
    directory: Path,
    *,
    start: Mapping[str, Tensor] | None = None,
    documents: Documents = random_document,
    checkpoint_every: int = 100,
    report: Callable[[int, float], None],
    at_checkpoint: Callable[[Generator, int], None] = lambda network, step: None,
) -> Generator:
    """Train, from the tensors of `start` if given; continues from a checkpoint in `directory`.

    Calls `report(step, loss)` every 20 steps, and `at_checkpoint(network, steps done)` before each checkpoint.
    """
    torch.manual_seed(recipe.seed)
    network = Generator(recipe.network)
    if start is not None:
        network.load_state_dict(start)
    optimizers = build_optimizers(network)
    directory.mkdir(parents=True, exist_ok=True)
    first, seconds = load_checkpoint(directory, network, optimizers)
    started = time.monotonic() - seconds
    for step in range(first, recipe.steps):
        set_learning_rate(optimizers, schedule(step, recipe))
        loss = loss_of(network, recipe, step, documents)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()
        if step % 20 == 0:
            report(step, loss.item())
            line = {"step": step, "loss": round(loss.item(), 5), "seconds": round(time.monotonic() - started, 1)}
            with (directory / "log.jsonl").open("a") as log:
                log.write(json.dumps(line) + "\n")
        if (step + 1) % checkpoint_every == 0 or step + 1 == recipe.steps:
            at_checkpoint(network, step + 1)
            save_checkpoint(directory, network, optimizers, step + 1, time.monotonic() - started)
    return network
