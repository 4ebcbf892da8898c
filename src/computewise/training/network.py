"""The embedded models in PyTorch, for training: networks, optimizers and checkpoints."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from computewise.models.embedded.network import EPSILON, NetworkConfig


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
