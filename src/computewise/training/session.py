"""One training from the recipe's name to the weights file and the model card."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from computewise.models.config import NetworkConfig
from computewise.models.weights import SHIPPED, Weights, save_weights
from computewise.training import generator, orm, prm, revision
from computewise.training.card import generator_card, orm_card, prm_card, revision_card


def train_by_name(name: str, directory: Path, *, threads: int, workers: int, log: Callable[[str], None]) -> Path:
    """Train `name` in `directory`; the path of the card, which stands beside the weights."""
    torch.set_num_threads(threads)
    # bf16 activations meet fp32 gains: right, only not PyTorch's fused kernel.
    warnings.filterwarnings("ignore", message="Mismatch dtype between input and weight")
    os.makedirs(directory, exist_ok=True)
    if name == "prm":
        return _train_prm(directory, workers, log)
    if name == "orm":
        return _train_orm(directory, workers, log)
    if name in revision.RECIPES:
        return _train_revision(name, directory, workers, log)
    recipe = generator.RECIPES[name]
    network = generator.train(recipe, directory, report=lambda step, loss: log(f"step {step}: loss {loss:.4f}"))
    path = export(network, network.config, directory / f"{name}.safetensors")
    return generator_card(name, recipe, path, _seconds(directory))


def _train_prm(directory: Path, workers: int, log: Callable[[str], None]) -> Path:
    recipe = prm.PRMRecipe()
    network, step, held_out = prm.train(
        recipe,
        SHIPPED / "small.safetensors",
        directory,
        workers=workers,
        report=_as_json(log),
    )
    path = export(network, network.config, directory / "prm.safetensors")
    return prm_card(recipe, path, network, held_out, step, _seconds(directory))


def _train_revision(name: str, directory: Path, workers: int, log: Callable[[str], None]) -> Path:
    recipe = revision.RECIPES[name]
    network, step = revision.train(
        recipe, SHIPPED / "small.safetensors", directory, workers=workers, report=_as_json(log)
    )
    path = export(network, network.config, directory / f"{name}.safetensors")
    return revision_card(name, recipe, path, step, _seconds(directory))


def _train_orm(directory: Path, workers: int, log: Callable[[str], None]) -> Path:
    recipe = orm.ORMRecipe()
    network, step, held_out = orm.train(recipe, SHIPPED, directory, workers=workers, report=_as_json(log))
    path = export(network, network.config, directory / "orm.safetensors")
    return orm_card(recipe, path, network, held_out, step, _seconds(directory))


def _as_json(log: Callable[[str], None]) -> Callable[[int, dict[str, float]], None]:
    return lambda step, measured: log(f"step {step}: " + json.dumps(measured))


def export(network: nn.Module, config: NetworkConfig, path: Path) -> Path:
    """The network's tensors as a weights file."""
    save_weights(path, Weights(config, {name: t.detach().float().numpy() for name, t in network.state_dict().items()}))
    return path


def _seconds(directory: Path) -> float:
    return float(torch.load(directory / "checkpoint.pt", weights_only=True)["seconds"])
