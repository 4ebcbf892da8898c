"""Checkpoints that a kill cannot corrupt: written aside, then renamed."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

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
    """Restore in place; the step to go on from and the seconds spent, (0, 0.0) where there is no checkpoint."""
    if not (directory / _NAME).exists():
        return 0, 0.0
    state = torch.load(directory / _NAME, weights_only=True)
    network.load_state_dict(state["network"])
    for optimizer, saved in zip(optimizers, state["optimizers"], strict=True):
        optimizer.load_state_dict(saved)
    return state["step"], state["seconds"]
