"""Training of the revision model on `small`'s own samples (Snell et al. 2024, section 6.1 and appendix H).

An example is a question, up to four of its sampled attempts, and a right sample as what is to be said next.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate
from pathlib import Path

import torch
from rapidfuzz.distance import Levenshtein

from computewise.models.embedded import context_tokens
from computewise.models.vocabulary import END, encode
from computewise.models.weights import load_weights
from computewise.training.generator import SMALL, GeneratorRecipe, loss_of
from computewise.training.generator import train as train_generator
from computewise.training.labelling import Labelling, hold_out, label_all
from computewise.training.network import Generator
from computewise.training.rollouts import LabelledQuestion

MEMORY = 4
_VALIDATION_BATCHES = 12


@dataclass(frozen=True, slots=True)
class RevisionRecipe:
    """What decides the weights, beside the generator's.

    `keep` is the share of examples whose context is drawn from all samples, right and wrong, as a chain meets them, so
    that the model learns to let a right attempt stand; 0 is the paper's recipe: contexts of wrong attempts alone.
    """

    keep: float
    training: GeneratorRecipe = field(
        default_factory=lambda: GeneratorRecipe(
            replace(SMALL, context=832, attempts=MEMORY),
            steps=1500,
            rows=8,
            time=768,
            learning_rate=1.5e-3,
            warmup=50,
            seed=2,
        )
    )
    labelling: Labelling = field(
        default_factory=lambda: Labelling(
            questions=0, outcome_questions=5000, solutions=64, rollouts=0, seed=2, temperature=1.2
        )
    )


RECIPES = {"revision": RevisionRecipe(keep=0.5), "revision_paper": RevisionRecipe(keep=0.0)}


@dataclass(frozen=True, slots=True)
class Samples:
    """One question's samples by whether they are right, each as often as it was drawn."""

    prompt: str
    right: tuple[str, ...]
    wrong: tuple[str, ...]


def samples_of(questions: Sequence[LabelledQuestion]) -> list[Samples]:
    """The questions that were answered right at least once."""
    found = []
    for question in questions:
        texts: dict[bool, list[str]] = {True: [], False: []}
        for solution in question.solutions:
            texts[solution.labels[-1] == 1] += ["".join(solution.steps)] * solution.count
        if texts[True]:
            found.append(Samples(question.prompt, tuple(texts[True]), tuple(texts[False])))
    return found


class Examples:
    """A source of training documents: tokens of context and target, and how many of them are context."""

    def __init__(self, samples: Sequence[Samples], keep: float) -> None:
        self._samples = samples
        self._keep = keep
        self._weights = list(accumulate(len(one.right) for one in samples))

    def __call__(self, rng: random.Random) -> tuple[list[int], int]:
        """Draw an example: in the paper's recipe every right sample is one, in ours every question counts the same."""
        if rng.random() < self._keep:
            one = rng.choice(self._samples)
            attempts = rng.sample(one.right + one.wrong, rng.randint(0, min(MEMORY, len(one.right + one.wrong))))
            target = rng.choice(one.right)
        else:
            one = (
                rng.choices(self._samples, cum_weights=self._weights)[0]
                if not self._keep
                else rng.choice(self._samples)
            )
            target = rng.choice(one.right)
            attempts = wrong_attempts(rng, one, target)
        context = context_tokens(one.prompt, attempts)
        return [*context, *encode(target), END], len(context)


def wrong_attempts(rng: random.Random, one: Samples, target: str) -> list[str]:
    """k ~ U{0..4} wrong samples, as far as there are; the one nearest to the target by edit distance comes last."""
    attempts = rng.sample(one.wrong, min(rng.randint(0, MEMORY), len(one.wrong)))
    if attempts:
        nearest = min(range(len(attempts)), key=lambda index: Levenshtein.distance(attempts[index], target))
        attempts.append(attempts.pop(nearest))
    return attempts


def train(
    recipe: RevisionRecipe,
    weights: Path,
    directory: Path,
    *,
    workers: int = 2,
    report: Callable[[int, dict[str, float]], None],
) -> tuple[Generator, int]:
    """Sample, fine-tune; the network one checkpoint after its least validation loss, and that step. Resumable."""
    directory.mkdir(parents=True, exist_ok=True)
    questions = label_all(recipe.labelling, weights, directory, workers)
    training, held_out = (samples_of(part) for part in hold_out(questions))
    validation = Examples(held_out, recipe.keep)
    start = {name: torch.from_numpy(tensor) for name, tensor in load_weights(weights).tensors.items()}

    def keep(network: Generator, step: int) -> None:
        loss = validation_loss(network, recipe.training, validation)
        report(step, {"validation loss": loss})
        torch.save({"network": network.state_dict(), "loss": loss}, directory / f"step{step}.pt")

    network = train_generator(
        recipe.training,
        directory,
        start=start,
        documents=Examples(training, recipe.keep),
        report=lambda step, loss: report(step, {"loss": loss}),
        at_checkpoint=keep,
    )
    saved = {
        int(path.stem.removeprefix("step")): torch.load(path, weights_only=True) for path in directory.glob("step*.pt")
    }
    step = just_after_the_least({step: held["loss"] for step, held in saved.items()})
    network.load_state_dict(saved[step]["network"])
    (directory / "validation.json").write_text(json.dumps({step: saved[step]["loss"] for step in sorted(saved)}))
    return network, step


def just_after_the_least(losses: dict[int, float]) -> int:
    """The step one checkpoint after the least loss: "slightly after" it turns; the last one where it never does."""
    steps = sorted(losses)
    least = min(steps, key=losses.__getitem__)
    return steps[min(steps.index(least) + 1, len(steps) - 1)]


@torch.no_grad()
def validation_loss(network: Generator, recipe: GeneratorRecipe, examples: Examples) -> float:
    """Mean loss over the same few batches of held-out questions every time."""
    fixed = replace(recipe, seed=recipe.seed + 1)
    losses = [loss_of(network, fixed, index, examples).item() for index in range(_VALIDATION_BATCHES)]
    return sum(losses) / len(losses)
