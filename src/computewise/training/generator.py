"""The embedded models in PyTorch: networks, optimizers, checkpoints; the generators' training text and recipe."""

from __future__ import annotations

import json
import os
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from computewise.models.embedded.network import END, EPSILON, TOKENS, NetworkConfig, encode
from computewise.tasks import arithmetic
from computewise.tasks.dataset import split_of


def rotary(config: NetworkConfig, positions: Tensor) -> tuple[Tensor, Tensor]:
    """Cosines and sines of `positions` (batch, time), each of shape (batch, 1, time, head / 2)."""
    half = config.width // config.heads // 2
    frequencies = config.rope_base ** (-torch.arange(half, dtype=torch.float32) / half)
    angles = positions[:, None, :, None].float() * frequencies
    return angles.cos(), angles.sin()


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    first, second = x.chunk(2, -1)
    return torch.cat((first * cos - second * sin, second * cos + first * sin), -1)


class Block(nn.Module):
    """Pre-norm attention and SwiGLU."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        width, hidden = config.width, config.hidden
        self.heads = config.heads
        self.norm_attention = nn.RMSNorm(width, EPSILON)
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.output = nn.Linear(width, width, bias=False)
        self.norm_mlp = nn.RMSNorm(width, EPSILON)
        self.gate_up = nn.Linear(width, 2 * hidden, bias=False)
        self.down = nn.Linear(hidden, width, bias=False)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, mask: Tensor) -> Tensor:
        """`x` is (batch, time, width); `mask` is (batch, 1, time, time), true where a position is attended to."""
        batch, time, width = x.shape
        qkv = self.qkv(self.norm_attention(x)).view(batch, time, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        query, key = _rotate(qkv[0], cos, sin).to(x.dtype), _rotate(qkv[1], cos, sin).to(x.dtype)
        attended = F.scaled_dot_product_attention(query, key, qkv[2].to(x.dtype), attn_mask=mask)
        x = x + self.output(attended.transpose(1, 2).reshape(batch, time, width))
        gate, up = self.gate_up(self.norm_mlp(x)).chunk(2, -1)
        return x + self.down(F.silu(gate) * up)


class Generator(nn.Module):
    """The language model."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.vocabulary, config.width)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.norm = nn.RMSNorm(config.width, EPSILON)
        for name, parameter in self.named_parameters():
            if parameter.ndim == 2:
                residual = name.endswith(("output.weight", "down.weight"))
                nn.init.normal_(parameter, std=0.02 / (2 * config.layers) ** 0.5 if residual else 0.02)

    def states(self, tokens: Tensor, positions: Tensor, mask: Tensor) -> Tensor:
        """Normalised final states (batch, time, width)."""
        cos, sin = rotary(self.config, positions)
        x = self.embedding(tokens)
        for block in self.blocks:
            x = block(x, cos, sin, mask)
        return self.norm(x)

    def forward(self, tokens: Tensor, positions: Tensor, mask: Tensor) -> Tensor:
        """Logits (batch, time, vocabulary)."""
        return self.states(tokens, positions, mask) @ self.embedding.weight.T


class PRM(Generator):
    """A process reward model: a generator as the trunk, and further blocks that compare its prediction to the token.

    In a shallow network the prediction of a token exists only after the last block, so no later position can see how
    probable the token was. Therefore the inputs of the further blocks are the trunk's state one position back, its
    state at the token, the token's embedding, and the surprise (log-probability of the token and of the likeliest one,
    entropy).
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__(config)
        self.input = nn.Linear(3 * config.width + 3, config.width, bias=False)
        self.verifier_blocks = nn.ModuleList(Block(config) for _ in range(config.verifier_layers))
        self.verifier_norm = nn.RMSNorm(config.width, EPSILON)
        self.head = nn.Linear(config.width, 1)
        for parameter in self.verifier_blocks.parameters():
            if parameter.ndim == 2:
                nn.init.normal_(parameter, std=0.02)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def adopt(self, trunk: Generator) -> None:
        """Use the modules of a trained generator as the trunk; frozen parameters stay frozen."""
        self.embedding, self.blocks, self.norm = trunk.embedding, trunk.blocks, trunk.norm

    def forward(self, tokens: Tensor, positions: Tensor, mask: Tensor) -> Tensor:
        """Logits (batch, time) of the probability that a solution, up to each token, ends right; one document a row."""
        states = self.states(tokens, positions, mask)
        before = F.pad(states, (0, 0, 1, 0))[:, :-1]
        expected = (before @ self.embedding.weight.T).float().log_softmax(-1)
        came = expected.gather(-1, tokens[..., None])
        entropy = -(expected.exp() * expected).sum(-1, keepdim=True)
        surprise = torch.cat((came, expected.max(-1, keepdim=True).values, entropy), -1).clamp(min=-20)
        surprise = surprise * (positions > 0)[..., None]
        x = self.input(torch.cat((before, states, self.embedding(tokens), surprise.to(states.dtype)), -1))
        cos, sin = rotary(self.config, positions)
        for block in self.verifier_blocks:
            x = block(x, cos, sin, mask)
        return self.head(self.verifier_norm(x)).squeeze(-1)


def document_mask(documents: Tensor) -> Tensor:
    """Causal attention within each document: (batch, 1, time, time) from document numbers (batch, time)."""
    same = documents[:, :, None] == documents[:, None, :]
    return same.tril()[:, None]


def build_optimizers(network: nn.Module, weight_decay: float = 0.05) -> list[torch.optim.Optimizer]:
    """Muon orthogonalises matrix updates (Jordan 2024), scaled so that AdamW's learning rates carry over."""
    matrices = [p for name, p in network.named_parameters() if p.requires_grad and p.ndim == 2 and "blocks" in name]
    chosen = {id(p) for p in matrices}
    others = [p for p in network.parameters() if p.requires_grad and id(p) not in chosen]
    return [
        torch.optim.Muon(matrices, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(others, betas=(0.9, 0.95), weight_decay=0.0, fused=True),
    ]


def set_learning_rate(optimizers: Sequence[torch.optim.Optimizer], rate: float) -> None:
    """Set the learning rate of all parameter groups."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = rate


_NAME = "checkpoint.pt"


def save_checkpoint(
    directory: Path, network: nn.Module, optimizers: Sequence[torch.optim.Optimizer], step: int, seconds: float
) -> None:
    """Write weights, optimiser states, the next step and the seconds spent so far."""
    state = {
        "network": network.state_dict(),
        "optimizers": [optimizer.state_dict() for optimizer in optimizers],
        "step": step,
        "seconds": seconds,
    }
    aside = directory / f"{_NAME}.tmp"
    torch.save(state, aside)
    os.replace(aside, directory / _NAME)


def load_checkpoint(
    directory: Path, network: nn.Module, optimizers: Sequence[torch.optim.Optimizer]
) -> tuple[int, float]:
    """Restore in place; returns the next step and the seconds spent, (0, 0.0) where there is no checkpoint."""
    if not (directory / _NAME).exists():
        return 0, 0.0
    state = torch.load(directory / _NAME, weights_only=True)
    network.load_state_dict(state["network"])
    for optimizer, saved in zip(optimizers, state["optimizers"], strict=True):
        optimizer.load_state_dict(saved)
    return state["step"], state["seconds"]


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
