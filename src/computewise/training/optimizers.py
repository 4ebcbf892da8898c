"""Muon for the matrices inside the blocks, AdamW for everything else."""

from __future__ import annotations

from collections.abc import Sequence

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
    """One learning rate for all groups."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = rate
