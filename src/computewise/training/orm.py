"""Training of the outcome verifier for revisions, on the revision model's chains (Snell et al. 2024, appendix I)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import torch

from computewise.core import Candidate, Problem
from computewise.models.embedded.engine import EngineLoop, one_thread
from computewise.models.embedded.model import EmbeddedModel
from computewise.models.embedded.network import load_weights
from computewise.session import MAX_ATTEMPTS_SHOWN, Session, derive_seed
from computewise.strategies import Revisions
from computewise.tasks.arithmetic import EmbeddedTask
from computewise.training import revision
from computewise.training.generator import PRM, SMALL, GeneratorRecipe
from computewise.training.generator import train as train_generator
from computewise.training.labelling import (
    LabelledQuestion,
    LabelledSolution,
    Labelling,
    collect,
    hold_out,
    label_all,
    problems_of_chunk,
)
from computewise.training.verifier import VerifierRecipe, train_verifier
from computewise.verifiers.embedded import EmbeddedPRM


@dataclass(frozen=True, slots=True)
class ORMRecipe:
    """What determines the weights, beside those of the revision model and of the process reward model it starts from.

    `trunk` trains the process reward model's trunk to continue after whole attempts, as in the paper's recipe; it is
    then frozen. The head learns from `chains` of the revision model on `questions`, a tenth of which is held out.
    """

    trunk: GeneratorRecipe = field(
        default_factory=lambda: GeneratorRecipe(
            replace(SMALL, context=832, attempts=MAX_ATTEMPTS_SHOWN),
            steps=300,
            rows=8,
            time=768,
            learning_rate=1e-3,
            warmup=50,
            seed=3,
        )
    )
    samples: Labelling = revision.RECIPES["revision_paper"].labelling
    """The samples from which the trunk's examples are made."""
    questions: int = 1000
    chains: Revisions = field(default_factory=lambda: Revisions(chain_length=5, chains=3))
    head: VerifierRecipe = field(
        default_factory=lambda: VerifierRecipe(steps=300, problems_a_batch=8, learning_rate=1.5e-3, seed=3)
    )


def _chains_of_chunk(shipped: Path, recipe: ORMRecipe, first: int) -> list[LabelledQuestion]:
    with one_thread():
        loop = EngineLoop()
        model = EmbeddedModel("revision", loop, path=shipped / "revision.safetensors")
        verifier = EmbeddedPRM(loop, path=shipped / "prm.safetensors")
        return asyncio.run(_all_chains(model, verifier, recipe.chains, derive_seed(recipe.head.seed, first)))


async def _all_chains(
    model: EmbeddedModel, verifier: EmbeddedPRM, chains: Revisions, seed: int
) -> list[LabelledQuestion]:
    return list(
        await asyncio.gather(
            *(
                _label_chains(model, verifier, chains, task, problem, seed)
                for task, problems in problems_of_chunk(seed)
                for problem in problems
            )
        )
    )


async def _label_chains(
    model: EmbeddedModel,
    verifier: EmbeddedPRM,
    chains: Revisions,
    task: EmbeddedTask,
    problem: Problem,
    seed: int,
) -> LabelledQuestion:
    attempts = await chains(problem, Session(problem, model, verifier, task.delimiter, seed=seed))
    answered = [attempt for attempt in attempts if attempt.end == "stop" and task.answer(attempt.text) is not None]
    return LabelledQuestion(problem.prompt, tuple(_labelled(task, problem, attempt) for attempt in answered))


def _labelled(task: EmbeddedTask, problem: Problem, attempt: Candidate) -> LabelledSolution:
    """The attempt with its outcome as the label of every step, as in the token-level verifier of Cobbe et al. 2021."""
    right = float(task.correct(problem, task.answer(attempt.text)))
    return LabelledSolution(
        steps=tuple(step.text for step in attempt.steps),
        labels=(right,) * len(attempt.steps),
        logprob=sum(step.logprob for step in attempt.steps) / sum(step.tokens for step in attempt.steps),
        count=1,
        history=tuple(one.text for one in attempt.history),
    )


def train(
    recipe: ORMRecipe,
    shipped: Path,
    directory: Path,
    *,
    workers: int = 2,
    report: Callable[[int, dict[str, float]], None],
) -> tuple[PRM, int, list[LabelledQuestion]]:
    """Sample chains, label them, and train. Resumable.

    Returns the network at its best held-out AUROC within problems, that step, and the held-out questions. `shipped` is
    the directory with the weights of `small`, `revision` and `prm`.
    """
    directory.mkdir(parents=True, exist_ok=True)
    chains = collect(partial(_chains_of_chunk, shipped, recipe), recipe.questions, directory, workers)
    training, held_out = hold_out(chains)
    (directory / "trunk").mkdir(exist_ok=True)
    labelled = label_all(recipe.samples, shipped / "small.safetensors", directory / "trunk", workers)
    judge = load_weights(shipped / "prm.safetensors")
    network = PRM(replace(judge.config, context=recipe.trunk.network.context, attempts=MAX_ATTEMPTS_SHOWN))
    network.load_state_dict({name: torch.from_numpy(tensor) for name, tensor in judge.tensors.items()})
    trunk = train_generator(
        recipe.trunk,
        directory / "trunk",
        start={name: t for name, t in network.state_dict().items() if name.startswith(revision.TRUNK)},
        documents=revision.PaperExamples(revision.samples_of(labelled)),
        report=lambda step, loss: report(step, {"trunk loss": loss}),
    )
    trunk.requires_grad_(False)
    network.adopt(trunk)
    torch.manual_seed(recipe.head.seed)
    return network, train_verifier(recipe.head, network, training, held_out, directory, report), held_out
