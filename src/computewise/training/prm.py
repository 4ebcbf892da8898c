"""Training of the process reward model of `small`: Monte Carlo labels, and a trunk that is trained for longer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from computewise.models.embedded.weights import load_weights
from computewise.training.generator import SMALL, GeneratorRecipe
from computewise.training.generator import train as train_generator
from computewise.training.labelling import LabelledQuestion, Labelling, hold_out, label_all
from computewise.training.network import PRM
from computewise.training.verifier import VerifierRecipe, train_verifier


@dataclass(frozen=True, slots=True)
class PRMRecipe:
    """What determines the verifier's weights, beside the generator's weights.

    `trunk` trains a copy of the generator further on the generators' corpus; the copy is then frozen. A tenth of the
    labelled questions is held out.
    """

    trunk: GeneratorRecipe = field(
        default_factory=lambda: GeneratorRecipe(SMALL, steps=4000, learning_rate=3e-3, seed=1)
    )
    labelling: Labelling = field(
        default_factory=lambda: Labelling(questions=1000, outcome_questions=5000, solutions=16, rollouts=16, seed=1)
    )
    head: VerifierRecipe = field(default_factory=VerifierRecipe)
    verifier_layers: int = 2


def train(
    recipe: PRMRecipe,
    weights: Path,
    directory: Path,
    *,
    workers: int = 2,
    report: Callable[[int, dict[str, float]], None],
) -> tuple[PRM, int, list[LabelledQuestion]]:
    """Label questions and train. Resumable.

    Returns the network at its best held-out AUROC within problems, that step, and the held-out questions.
    """
    directory.mkdir(parents=True, exist_ok=True)
    training, held_out = hold_out(label_all(recipe.labelling, weights, directory, workers))
    generator = {name: torch.from_numpy(tensor) for name, tensor in load_weights(weights).tensors.items()}
    trunk = train_generator(
        recipe.trunk, directory / "trunk", start=generator, report=lambda step, loss: report(step, {"trunk loss": loss})
    )
    trunk.requires_grad_(False)
    torch.manual_seed(recipe.head.seed)
    network = PRM(replace(trunk.config, verifier_layers=recipe.verifier_layers))
    network.adopt(trunk)
    return network, train_verifier(recipe.head, network, training, held_out, directory, report), held_out
