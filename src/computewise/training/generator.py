"""Training of `small` and `large`: next-token prediction on solved problems, resumable, one recipe for both."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from computewise.models.embedded.weights import TOKENS, NetworkConfig
from computewise.training.checkpoint import build_optimizers, load_checkpoint, save_checkpoint, set_learning_rate
from computewise.training.corpus import Documents, batch, random_document
from computewise.training.network import Generator, document_mask


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
