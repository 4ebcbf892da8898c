"""One training, from the name of its recipe to the weights file and the model card."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Sequence
from hashlib import sha256
from pathlib import Path

import torch
from torch import nn

from computewise.errors import UsageError
from computewise.models.embedded.network import WEIGHTS_DIRECTORY, NetworkConfig, Weights, save_weights
from computewise.training import generator, revision
from computewise.training.card import generator_card, orm_card, prm_card, revision_card
from computewise.training.verifier import PRMRecipe, train_prm

_STARTS_FROM = {
    "prm": ("small",),
    "revision": ("small",),
    "revision_paper": ("small",),
    "orm": ("small", "prm", "revision"),
}


def train_by_name(name: str, directory: Path, *, threads: int, workers: int, log: Callable[[str], None]) -> Path:
    """Train `name` in `directory`; returns the path of the card, which is beside the weights."""
    torch.set_num_threads(threads)
    # Norms mix bf16 activations with fp32 gains, which is intended; PyTorch warns that it cannot fuse this.
    warnings.filterwarnings("ignore", message="Mismatch dtype between input and weight")
    claim(directory, _recipe(name), _STARTS_FROM.get(name, ()))
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


def _recipe(name: str) -> object:
    if name in revision.RECIPES:
        return revision.RECIPES[name]
    return {"prm": PRMRecipe(), "orm": revision.ORMRecipe(), **generator.RECIPES}[name]


def claim(directory: Path, recipe: object, starts_from: Sequence[str]) -> None:
    """Note in the directory its recipe and the weights it starts from; `UsageError` where it has others.

    Otherwise a training would continue from labels and checkpoints of another recipe.
    """
    held = {"recipe": repr(recipe)}
    held |= {name: sha256((WEIGHTS_DIRECTORY / f"{name}.safetensors").read_bytes()).hexdigest() for name in starts_from}
    path = directory / "recipe.json"
    directory.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        path.write_text(json.dumps(held, indent=1) + "\n")
    elif json.loads(path.read_text()) != held:
        raise UsageError(f"{directory} belongs to another recipe or to other weights: choose another --out")


def _train_prm(directory: Path, workers: int, log: Callable[[str], None]) -> Path:
    recipe = PRMRecipe()
    network, step, held_out = train_prm(
        recipe,
        WEIGHTS_DIRECTORY / "small.safetensors",
        directory,
        workers=workers,
        report=_as_json(log),
    )
    path = export(network, network.config, directory / "prm.safetensors")
    return prm_card(recipe, path, network, held_out, step, _seconds(directory))


def _train_revision(name: str, directory: Path, workers: int, log: Callable[[str], None]) -> Path:
    recipe = revision.RECIPES[name]
    network, step = revision.train(
        recipe, WEIGHTS_DIRECTORY / "small.safetensors", directory, workers=workers, report=_as_json(log)
    )
    path = export(network, network.config, directory / f"{name}.safetensors")
    return revision_card(name, recipe, path, step, _seconds(directory))


def _train_orm(directory: Path, workers: int, log: Callable[[str], None]) -> Path:
    recipe = revision.ORMRecipe()
    network, step, held_out = revision.train_orm(
        recipe, WEIGHTS_DIRECTORY, directory, workers=workers, report=_as_json(log)
    )
    path = export(network, network.config, directory / "orm.safetensors")
    return orm_card(recipe, path, network, held_out, step, _seconds(directory))


def _as_json(log: Callable[[str], None]) -> Callable[[int, dict[str, float]], None]:
    return lambda step, measured: log(f"step {step}: " + json.dumps(measured))


def export(network: nn.Module, config: NetworkConfig, path: Path) -> Path:
    """Write the network's tensors as a weights file."""
    save_weights(path, Weights(config, {name: t.detach().float().numpy() for name, t in network.state_dict().items()}))
    return path


def _seconds(directory: Path) -> float:
    return float(torch.load(directory / "checkpoint.pt", weights_only=True)["seconds"])
