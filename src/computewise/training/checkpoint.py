"""Optimizers, and checkpoints that hold them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn


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
