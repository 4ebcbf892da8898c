"""Training of a verifier's head on a frozen trunk: soft labels for steps, and pairs within each problem.

`train_prm` trains the process reward model of `small`: Monte Carlo labels, and a trunk that is trained for longer.
"""

from __future__ import annotations

import math
import os
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from computewise.metrics import Bools, Floats, Ints, auroc, within_auroc
from computewise.models.embedded.model import context_tokens
from computewise.models.embedded.network import END, encode, load_weights
from computewise.training.generator import (
    PRM,
    SMALL,
    GeneratorRecipe,
    build_optimizers,
    load_checkpoint,
    save_checkpoint,
    set_learning_rate,
)
from computewise.training.generator import train as train_generator
from computewise.training.labelling import LabelledQuestion, LabelledSolution, Labelling, hold_out, label_all


@dataclass(frozen=True, slots=True)
class VerifierRecipe:
    """What determines the head's weights, beside its trunk and its labels."""

    steps: int = 1200
    problems_a_batch: int = 12
    learning_rate: float = 2e-3
    pairwise: float = 1.0
    warmup: int = 50
    evaluate_every: int = 100
    seed: int = 1


@dataclass(frozen=True, slots=True)
class _Rows:
    """Padded solutions: `labels` (rows, time) is NaN where nothing is learned; `last` (rows,) is the last token."""

    tokens: Tensor
    labels: Tensor
    last: Tensor
    problem: Tensor


def _rows(chosen: Sequence[tuple[int, str, LabelledSolution]]) -> _Rows:
    encoded = []
    for _, prompt, solution in chosen:
        tokens = list(context_tokens(prompt, solution.history))
        marks: list[tuple[int, float]] = []
        for index, (step, label) in enumerate(zip(solution.steps, solution.labels, strict=True)):
            tokens += encode(step) + ([END] if index == len(solution.steps) - 1 else [])
            if label is not None:
                marks.append((len(tokens) - 1, label))
        encoded.append((tokens, marks))
    time_ = max(len(tokens) for tokens, _ in encoded)
    padded = torch.zeros(len(encoded), time_, dtype=torch.long)
    labels = torch.full((len(encoded), time_), torch.nan)
    for row, (tokens, marks) in enumerate(encoded):
        padded[row, : len(tokens)] = torch.tensor(tokens)
        for position, label in marks:
            labels[row, position] = label
    last = torch.tensor([len(tokens) - 1 for tokens, _ in encoded])
    return _Rows(padded, labels, last, torch.tensor([problem for problem, _, _ in chosen]))


def _logits(network: PRM, rows: _Rows) -> Tensor:
    batch, time_ = rows.tokens.shape
    mask = torch.ones(1, 1, time_, time_, dtype=torch.bool).tril()
    positions = torch.arange(time_)[None].expand(batch, time_)
    with torch.autocast("cpu", torch.bfloat16):
        return network(rows.tokens, positions, mask).float()


def _loss(network: PRM, rows: _Rows, pairwise: float) -> Tensor:
    """BCE on the soft labels, and -log sigmoid(right - wrong) over the last steps of each problem's pairs."""
    logits = _logits(network, rows)
    learned = ~rows.labels.isnan()
    loss = F.binary_cross_entropy_with_logits(logits[learned], rows.labels[learned])
    index = torch.arange(len(rows.last))
    final, label = logits[index, rows.last], rows.labels[index, rows.last]
    pairs = (rows.problem[:, None] == rows.problem[None]) & (label[:, None] > label[None])
    if pairs.any():
        loss = loss + pairwise * F.softplus(final[None] - final[:, None])[pairs].mean()
    return loss


def _batch(
    questions: Sequence[LabelledQuestion], mixed: Sequence[LabelledQuestion], recipe: VerifierRecipe, step: int
) -> _Rows:
    """Up to eight samples of each of several problems of similar length; half of the problems are from `mixed`.

    `mixed` holds the problems with right and wrong solutions. Both lists are sorted by length, and a window at a random
    place keeps padding small.
    """
    rng = random.Random(f"{recipe.seed}/{step}")
    place, half = rng.random(), recipe.problems_a_batch // 2
    drawn = _window(rng, mixed, place, half) + _window(rng, questions, place, recipe.problems_a_batch - half)
    chosen = []
    for index, question in enumerate(drawn):
        pool = [solution for solution in question.solutions for _ in range(solution.count)]
        chosen += [(index, question.prompt, solution) for solution in rng.sample(pool, min(8, len(pool)))]
    return _rows(chosen)


def _window(rng: random.Random, items: Sequence[LabelledQuestion], place: float, count: int) -> list[LabelledQuestion]:
    size = max(count, len(items) // 20)
    first = round(place * (len(items) - size))
    return rng.sample(items[first : first + size], count)


def _length(question: LabelledQuestion) -> int:
    return len(question.prompt) + max(
        sum(map(len, (*solution.history, *solution.steps))) for solution in question.solutions
    )


@dataclass(frozen=True, slots=True)
class HeldOut:
    """One entry for each sample: the last step's score, the generator's mean log-probability, correctness, problem."""

    scores: Floats
    logprobs: Floats
    right: Bools
    problem: Ints
    bce: float
    """The mean binary cross-entropy over all labelled steps."""


@torch.no_grad()
def held_out_scores(network: PRM, questions: Sequence[LabelledQuestion]) -> HeldOut:
    """Score every sample of the questions."""
    network.eval()
    chosen = [(i, q.prompt, s) for i, q in enumerate(questions) for s in q.solutions]
    chosen.sort(key=lambda item: sum(map(len, (*item[2].history, *item[2].steps))) + len(item[1]))
    scores, step_losses = np.zeros(len(chosen)), []
    for first in range(0, len(chosen), 256):
        rows = _rows(chosen[first : first + 256])
        logits = _logits(network, rows)
        learned = ~rows.labels.isnan()
        step_losses += F.binary_cross_entropy_with_logits(
            logits[learned], rows.labels[learned], reduction="none"
        ).tolist()
        scores[first : first + 256] = logits[torch.arange(len(rows.last)), rows.last].sigmoid().numpy()
    network.train()
    samples = np.array([solution.count for _, _, solution in chosen])
    return HeldOut(
        scores=np.repeat(scores, samples),
        logprobs=np.repeat([solution.logprob for _, _, solution in chosen], samples),
        right=np.repeat([solution.labels[-1] == 1 for _, _, solution in chosen], samples),
        problem=np.repeat([index for index, _, _ in chosen], samples),
        bce=float(np.mean(step_losses)),
    )


def evaluate(held: HeldOut) -> dict[str, float]:
    """Measures at the last step: AUROC within problems and pooled, Brier score; AUROCs of the log-probability."""
    return {
        "bce": held.bce,
        "auroc_within": within_auroc(held.scores, held.right, held.problem),
        "auroc_pooled": auroc(held.scores, held.right),
        "brier": float(np.mean((held.scores - held.right) ** 2)),
        "logprob_auroc_within": within_auroc(held.logprobs, held.right, held.problem),
        "logprob_auroc_pooled": auroc(held.logprobs, held.right),
    }


def train_verifier(
    recipe: VerifierRecipe,
    network: PRM,
    training: Sequence[LabelledQuestion],
    held_out: Sequence[LabelledQuestion],
    directory: Path,
    report: Callable[[int, dict[str, float]], None],
) -> int:
    """Train the parameters that are not frozen, restore those of the best held-out AUROC within problems.

    Returns the step of that AUROC.
    """
    training = sorted(training, key=_length)
    mixed = [question for question in training if len({s.labels[-1] for s in question.solutions}) == 2]
    optimizers = build_optimizers(network)
    first, seconds = load_checkpoint(directory, network, optimizers)
    started = time.monotonic() - seconds
    for step in range(first, recipe.steps):
        set_learning_rate(optimizers, _schedule(step, recipe))
        loss = _loss(network, _batch(training, mixed, recipe, step), recipe.pairwise)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()
        if (step + 1) % recipe.evaluate_every == 0 or step + 1 == recipe.steps:
            measured = {"loss": loss.item()} | evaluate(held_out_scores(network, held_out))
            report(step + 1, measured)
            path = directory / "best.pt"
            if _better(measured["auroc_within"], path):
                torch.save({"network": network.state_dict(), "step": step + 1} | measured, path.with_suffix(".tmp"))
                os.replace(path.with_suffix(".tmp"), path)
            save_checkpoint(directory, network, optimizers, step + 1, time.monotonic() - started)
    best = torch.load(directory / "best.pt", weights_only=True)
    network.load_state_dict(best["network"])
    return int(best["step"])


def _better(auroc_within: float, path: Path) -> bool:
    """Whether `path` holds nothing, a lower AUROC, or NaN, which questions that are all right or all wrong give."""
    if not path.exists():
        return True
    kept = float(torch.load(path, weights_only=True)["auroc_within"])
    return math.isnan(kept) or auroc_within > kept


def _schedule(step: int, recipe: VerifierRecipe) -> float:
    warm = min(1.0, (step + 1) / recipe.warmup)
    return recipe.learning_rate * warm * max((recipe.steps - step) / recipe.steps, 0.01)


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


def train_prm(
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
