"""Training of the revision model on `small`'s own samples (Snell et al. 2024, section 6.1 and appendix H).

An example is a question, up to four of its sampled attempts, and a right sample as the target.

Its outcome verifier is trained on the chains that it samples (appendix I).
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import accumulate
from pathlib import Path

import torch
from rapidfuzz.distance import Levenshtein

from computewise.core import Candidate, Problem
from computewise.models.embedded.engine import EngineLoop, one_thread
from computewise.models.embedded.model import EmbeddedModel, context_tokens
from computewise.models.embedded.network import END, encode, load_weights
from computewise.session import MAX_ATTEMPTS_SHOWN, Session, derive_seed
from computewise.strategies import Revisions
from computewise.tasks.arithmetic import EmbeddedTask
from computewise.training.generator import PRM, SMALL, Documents, Generator, GeneratorRecipe, loss_of
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

TRUNK = ("embedding.", "blocks.", "norm.")
"""Prefixes of the names of a generator's own tensors."""
_VALIDATION_BATCHES = 12


@dataclass(frozen=True, slots=True)
class RevisionRecipe:
    """What determines the weights, beside the generator's weights.

    Without `verdicts` of the network, the recipe is the paper's: contexts hold whole wrong attempts. With `verdicts`, a
    wrong attempt is shown up to its first wrong step, where a verifier would cut it, and a right attempt is shown whole
    and must be kept.
    """

    training: GeneratorRecipe
    labelling: Labelling


def _recipe(questions: int, solutions: int, steps: int, learning_rate: float, *, verdicts: bool) -> RevisionRecipe:
    network = replace(SMALL, context=832, attempts=MAX_ATTEMPTS_SHOWN, verdicts=verdicts)
    return RevisionRecipe(
        GeneratorRecipe(network, steps=steps, rows=8, time=768, learning_rate=learning_rate, warmup=50, seed=2),
        Labelling(0, questions, solutions, rollouts=0, seed=2, temperature=1.2),
    )


RECIPES = {
    # Three times the questions with a quarter of the samples each: with fewer questions the model memorises answers.
    "revision": _recipe(15_000, 16, steps=2500, learning_rate=1e-3, verdicts=True),
    "revision_paper": _recipe(5000, 64, steps=1500, learning_rate=1.5e-3, verdicts=False),
}


Steps = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Samples:
    """One question's right and wrong samples, each as often as it was drawn."""

    prompt: str
    right: tuple[Steps, ...]
    wrong: tuple[Steps, ...]


def samples_of(questions: Sequence[LabelledQuestion]) -> list[Samples]:
    """The questions with at least one right sample."""
    found = []
    for question in questions:
        texts: dict[bool, list[Steps]] = {True: [], False: []}
        for solution in question.solutions:
            texts[solution.labels[-1] == 1] += [solution.steps] * solution.count
        if texts[True]:
            found.append(Samples(question.prompt, tuple(texts[True]), tuple(texts[False])))
    return found


def draw_wrong(rng: random.Random, wrong: Sequence[Steps], target: Steps) -> list[Steps]:
    """k ~ U{0..4} wrong samples, or all if there are fewer; the one nearest to the target by edit distance is last."""
    attempts = rng.sample(wrong, min(rng.randint(0, MAX_ATTEMPTS_SHOWN), len(wrong)))
    if attempts:
        text = "".join(target)
        nearest = min(range(len(attempts)), key=lambda at: Levenshtein.distance("".join(attempts[at]), text))
        attempts.append(attempts.pop(nearest))
    return attempts


def cut_at_the_mistake(attempt: Steps, right: Sequence[Steps]) -> Steps:
    """The attempt up to and including the first step that no right sample has there; whole where it only ends early."""
    beginnings = {solution[:end] for solution in right for end in range(len(solution) + 1)}
    return next((attempt[:end] for end in range(1, len(attempt) + 1) if attempt[:end] not in beginnings), attempt)


class PaperExamples:
    """Training documents by the paper's recipe: the target is a right sample, the context holds only wrong ones."""

    def __init__(self, samples: Sequence[Samples]) -> None:
        self._samples = samples
        self._weights = list(accumulate(len(one.right) for one in samples))

    def __call__(self, rng: random.Random) -> tuple[list[int], int]:
        """Tokens of context and target, and how many of them are context."""
        one = rng.choices(self._samples, cum_weights=self._weights)[0]
        target = rng.choice(one.right)
        return document(one.prompt, draw_wrong(rng, one.wrong, target), target)


class VerdictExamples:
    """Training documents by our recipe: wrong attempts are cut as a verifier would cut them, right ones are kept.

    Every question has the same weight. A sixth of the contexts end in a whole right attempt. Half of the contexts hold
    only attempts that fail at the same step, as in a chain of step revisions.
    """

    def __init__(self, samples: Sequence[Samples]) -> None:
        self._samples = samples
        self._cut = [tuple(cut_at_the_mistake(attempt, one.right) for attempt in one.wrong) for one in samples]

    def __call__(self, rng: random.Random) -> tuple[list[int], int]:
        """Tokens of context and target, and how many of them are context."""
        index = rng.randrange(len(self._samples))
        one, wrong = self._samples[index], self._cut[index]
        target = rng.choice(one.right)
        if wrong and rng.random() < 0.5:
            step = len(rng.choice(wrong))
            wrong = tuple(attempt for attempt in wrong if len(attempt) == step)
        attempts = draw_wrong(rng, wrong, target)
        if rng.random() < 1 / 6:
            attempts = [*attempts[1:], target]
        return document(one.prompt, attempts, target)


def document(prompt: str, attempts: Sequence[Steps], target: Steps) -> tuple[list[int], int]:
    """Tokens of context and target, and how many of them are context."""
    context = context_tokens(prompt, ["".join(attempt) for attempt in attempts])
    return [*context, *encode("".join(target)), END], len(context)


def train(
    recipe: RevisionRecipe,
    weights: Path,
    directory: Path,
    *,
    workers: int = 2,
    report: Callable[[int, dict[str, float]], None],
) -> tuple[Generator, int]:
    """Sample and fine-tune; returns the network one checkpoint after its least validation loss, and that step.

    Resumable.
    """
    directory.mkdir(parents=True, exist_ok=True)
    questions = label_all(recipe.labelling, weights, directory, workers)
    training, held_out = (samples_of(part) for part in hold_out(questions))
    examples = VerdictExamples if recipe.training.network.verdicts else PaperExamples
    validation = examples(held_out)
    start = {name: torch.from_numpy(tensor) for name, tensor in load_weights(weights).tensors.items()}

    def keep(network: Generator, step: int) -> None:
        loss = validation_loss(network, recipe.training, validation)
        report(step, {"validation loss": loss})
        torch.save({"network": network.state_dict(), "loss": loss}, directory / f"step{step}.pt")

    network = train_generator(
        recipe.training,
        directory,
        start=start,
        documents=examples(training),
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
    """The step one checkpoint after the least loss ("slightly after", in the paper); the last step if there is none."""
    steps = sorted(losses)
    least = min(steps, key=losses.__getitem__)
    return steps[min(steps.index(least) + 1, len(steps) - 1)]


@torch.no_grad()
def validation_loss(network: Generator, recipe: GeneratorRecipe, examples: Documents) -> float:
    """Mean loss over a fixed set of batches of held-out questions."""
    fixed = replace(recipe, seed=recipe.seed + 1)
    losses = [loss_of(network, fixed, index, examples).item() for index in range(_VALIDATION_BATCHES)]
    return sum(losses) / len(losses)


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
    samples: Labelling = RECIPES["revision_paper"].labelling
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


def train_orm(
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
        start={name: t for name, t in network.state_dict().items() if name.startswith(TRUNK)},
        documents=PaperExamples(samples_of(labelled)),
        report=lambda step, loss: report(step, {"trunk loss": loss}),
    )
    trunk.requires_grad_(False)
    network.adopt(trunk)
    torch.manual_seed(recipe.head.seed)
    return network, train_verifier(recipe.head, network, training, held_out, directory, report), held_out
