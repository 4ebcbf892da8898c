"""Model cards: what a model is, how it was trained, and its accuracy on problems that it was not trained on."""

from __future__ import annotations

import asyncio
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure

from computewise.core import Candidate, Problem
from computewise.difficulty import rank_bins
from computewise.intervals import Estimate, proportion
from computewise.metrics import Bools, Floats, within_problem_aurocs
from computewise.models.embedded.engine import EngineLoop
from computewise.models.embedded.model import EmbeddedModel
from computewise.models.embedded.network import WEIGHTS_DIRECTORY, Weights, load_weights, save_weights
from computewise.session import Session
from computewise.solver import answer_of, solve
from computewise.strategies import BestOfN, Greedy, Revisions
from computewise.strategies.revisions import TRUST
from computewise.study.analysis.revisions import Along, along
from computewise.tasks.arithmetic import TASKS, EmbeddedTask
from computewise.training.generator import PRM, GeneratorRecipe
from computewise.training.labelling import LabelledQuestion
from computewise.training.revision import TRUNK, ORMRecipe, RevisionRecipe
from computewise.training.verifier import PRMRecipe, evaluate, held_out_scores
from computewise.verifiers.embedded import EmbeddedPRM

_PROBLEMS = 300
_SAMPLES = 32
_CHAINS = Revisions(chain_length=8, chains=4)
_CHAIN_PROBLEMS = 150


def generator_card(name: str, recipe: GeneratorRecipe, weights: Path, seconds: float) -> Path:
    """Measure on the validation split and write `card.md` beside the weights."""
    about = (
        "A Llama-style decoder (RMSNorm, rotary positions, SwiGLU, tied embeddings) over characters and story words."
    )
    return _write(weights.parent / "card.md", _generator_lines(name, about, recipe, weights, seconds))


def revision_card(name: str, recipe: RevisionRecipe, weights: Path, step: int, seconds: float) -> Path:
    """`generator_card`, and the accuracy along chains of revisions."""
    shown = (
        "each up to the step at which a verifier's score falls most, a right one whole"
        if recipe.training.network.verdicts
        else "whole, by the recipe of Snell et al. 2024"
    )
    labelling = recipe.labelling
    lines = _generator_lines(
        name,
        f"`small`, trained to revise: it is shown up to four earlier attempts, {shown}.",
        recipe.training,
        weights,
        seconds,
    )
    lines += [
        "",
        f"Trained on {labelling.solutions} samples of `small` at temperature {labelling.temperature:g} for each of "
        f"{labelling.outcome_questions:,} training questions; the loss counts the target only; the checkpoint is that "
        f"of step {step}, the one after the least validation loss, or the last.",
        "",
        f"Accuracy along {_CHAINS.chains} chains of {_CHAINS.chain_length} attempts on {_CHAIN_PROBLEMS} validation "
        "problems of `expressions`. Mended is P(right | wrong before), broken is P(wrong | right before). A gated "
        f"chain ends at its first attempt that `prm` scores {TRUST:g} or more. The first attempt has no history.",
        "",
        "| attempt | right | mended | broken | gated chain |",
        "|---|---|---|---|---|",
    ]
    for one in asyncio.run(_chains(name, weights)):
        rates = (_rate(rate) for rate in (one.right, one.mended, one.broken, one.gated))
        lines.append(f"| {one.attempt} | {' | '.join(rates)} |")
    return _write(weights.parent / "card.md", lines)


async def _chains(name: str, weights: Path) -> list[Along]:
    task, loop = TASKS["expressions"], EngineLoop()
    model, verifier = EmbeddedModel(name, loop, path=weights), EmbeddedPRM(loop)
    problems = task.problems("validation", _CHAIN_PROBLEMS, 0)
    results = await asyncio.gather(*(solve(problem, _CHAINS, model, verifier, task) for problem in problems))
    shape = (len(problems), _CHAINS.chains, _CHAINS.chain_length)
    right = [
        [task.correct(problem, result.answers[c.id]) for c in result.candidates]
        for problem, result in zip(problems, results, strict=True)
    ]
    values = [[verifier.value(c.scores) for c in result.candidates] for result in results]
    return along(np.array(right).reshape(shape), np.array(values).reshape(shape), TRUST)


def _rate(rate: Estimate) -> str:
    return "-" if np.isnan(rate.value) else f"{rate.value:.3f} [{rate.low:.3f}, {rate.high:.3f}]"


def _generator_lines(name: str, about: str, recipe: GeneratorRecipe, weights: Path, seconds: float) -> list[str]:
    tokens = recipe.steps * recipe.rows * recipe.time
    lines = [
        f"# `{name}`",
        "",
        about,
        "",
        "| | |",
        "|---|---|",
        f"| parameters | {load_weights(weights).parameters:,} |",
        f"| shape | width {recipe.network.width}, {recipe.network.layers} layers, {recipe.network.heads} heads, "
        f"MLP {recipe.network.hidden}, context {recipe.network.context} |",
        f"| training tokens | {tokens:,} ({recipe.steps} steps of {recipe.rows} x {recipe.time}) |",
        f"| optimiser | Muon on the blocks' matrices, AdamW on the rest; peak rate {recipe.learning_rate:g}, linear "
        f"decay, {recipe.warmup} warm-up steps; bf16 autocast |",
        f"| training time | {seconds / 60:.0f} minutes on shared CPU cores, without sampling |",
        f"| seed | {recipe.seed} |",
        f"| command | `computewise train {name}` |",
        "",
        f"Measured on {_PROBLEMS} problems of the validation split, {_SAMPLES} samples each at temperature 1. "
        "Half of the samples assign problems to quintiles, easiest first, and the other half measures them. "
        "95 % intervals, by problem.",
        "",
        "| task | pass@1 | greedy | by quintile | tokens a solution |",
        "|---|---|---|---|---|",
    ]
    for task in TASKS.values():
        correct, greedy, length = asyncio.run(_measure(task, name, weights))
        bins = rank_bins(correct[:, ::2].mean(1).tolist(), [str(index) for index in range(len(correct))])
        quintiles = " ".join(f"{correct[bins == bin][:, 1::2].mean():.2f}" for bin in range(5))
        lines.append(
            f"| {task.name} | {_with_interval(correct.mean(1))} | {_with_interval(greedy)} | {quintiles} "
            f"| {length:.1f} |"
        )
    return lines


async def _measure(task: EmbeddedTask, name: str, weights: Path) -> tuple[Bools, Floats, float]:
    problems = task.problems("validation", _PROBLEMS, 0)
    model = EmbeddedModel(name, EngineLoop(), path=weights)
    sessions = [Session(problem, model, None, task.delimiter) for problem in problems]
    sampled = await asyncio.gather(*(BestOfN(_SAMPLES)(s.problem, s) for s in sessions))
    greedy = await asyncio.gather(
        *(Greedy()(s.problem, Session(s.problem, model, None, task.delimiter)) for s in sessions)
    )

    def right(problem: Problem, found: list[Candidate]) -> list[bool]:
        return [task.correct(problem, answer_of(c, task)) for c in found]

    correct = [right(problem, found) for problem, found in zip(problems, sampled, strict=True)]
    once = [float(right(problem, found)[0]) for problem, found in zip(problems, greedy, strict=True)]
    tokens = sum(session.ledger.usage.completion_tokens for session in sessions) / (_PROBLEMS * _SAMPLES)
    return np.array(correct), np.array(once), tokens


def prm_card(
    recipe: PRMRecipe, weights: Path, network: PRM, held_out: list[LabelledQuestion], step: int, seconds: float
) -> Path:
    """Measure on the held-out questions, draw the calibration, write `card.md` beside the weights."""
    samples = held_out_scores(network, held_out)
    measured = evaluate(samples)
    _calibration(samples.scores, samples.right).savefig(weights.parent / "prm_calibration.png", dpi=120)
    alone, _, _ = asyncio.run(_measure(TASKS["expressions"], "trunk", trunk_alone(weights)))
    trunk, numbers = recipe.trunk, asdict(recipe.labelling) | asdict(recipe.head)
    lines = [
        "# `prm`",
        "",
        "The process reward model of `small`: a copy of `small` as the trunk, two further blocks, one number for each "
        "step.",
        "Trained without human labels: Monte Carlo rollouts of `small` from every step, the answer at the last step.",
        "",
        "| | |",
        "|---|---|",
        f"| parameters | {load_weights(weights).parameters:,} |",
        f"| trunk | `small`, trained {trunk.steps} further steps of {trunk.rows} x {trunk.time} tokens (peak rate "
        f"{trunk.learning_rate:g}, seed {trunk.seed}), then frozen |",
        *(f"| {name.replace('_', ' ')} | {value} |" for name, value in numbers.items()),
        f"| early stopping | step {step}, of the best AUROC within a problem on held-out questions |",
        f"| training time | {seconds / 60:.0f} minutes on shared CPU cores, without trunk and labelling |",
        "| command | `computewise train prm` |",
        "",
        "The trunk was trained on more of the generators' corpus than `small`, and the verifier's knowledge comes from "
        f"there: as a generator the trunk has pass@1 {_with_interval(alone.mean(1))} on {_PROBLEMS} problems of the "
        "validation split. It is used only to verify; its tokens are charged at the verifier's size.",
        "",
        f"Measured on {len(held_out)} held-out questions, none of them trained on, at the last step of each solution. "
        "The checkpoint was chosen on the same questions, so the first line is slightly optimistic; a study measures "
        "on test problems. 95 % intervals, by problem. A log-probability is not a probability of being right, so it "
        "has no Brier score.",
        "",
        "| verifier | AUROC within a problem | AUROC pooled | Brier |",
        "|---|---|---|---|",
        f"| prm | {_with_interval(within_problem_aurocs(samples.scores, samples.right, samples.problem))} "
        f"| {measured['auroc_pooled']:.3f} | {measured['brier']:.3f} |",
        f"| mean log-probability of `small` "
        f"| {_with_interval(within_problem_aurocs(samples.logprobs, samples.right, samples.problem))} "
        f"| {measured['logprob_auroc_pooled']:.3f} | - |",
        "",
        "![Calibration of prm on held-out questions](prm_calibration.png)",
    ]
    return _write(weights.parent / "card.md", lines)


def orm_card(
    recipe: ORMRecipe, weights: Path, network: PRM, held_out: list[LabelledQuestion], step: int, seconds: float
) -> Path:
    """Measure on the chains of the held-out questions, with the process reward model on the same attempts beside it."""
    samples = held_out_scores(network, held_out)
    process = held_out_scores(load_prm(), [_without_history(question) for question in held_out])
    lines = [
        "# `orm`",
        "",
        "The outcome verifier of `revision`: `prm`, trained further to read the attempts before the one it scores.",
        "Trained at every step, on the outcomes of the revision model's own chains.",
        "",
        "| | |",
        "|---|---|",
        f"| parameters | {load_weights(weights).parameters:,} |",
        f"| trunk | the trunk of `prm`, {recipe.trunk.steps} steps on the examples of `revision_paper`, then frozen |",
        f"| labels | {recipe.chains.chains} chains of {recipe.chains.chain_length} on {recipe.questions:,} questions |",
        *(f"| {name.replace('_', ' ')} | {value} |" for name, value in asdict(recipe.head).items()),
        f"| early stopping | step {step}, of the best AUROC within a problem on held-out questions |",
        f"| training time | {seconds / 60:.0f} minutes on shared CPU cores, without trunk and chains |",
        "| command | `computewise train orm` |",
        "",
        f"Measured on {len(held_out)} held-out questions, on which the checkpoint was chosen too; 95 % intervals, by "
        "problem.",
        "",
        "| verifier, on the same attempts | AUROC within a problem | AUROC pooled |",
        "|---|---|---|",
        *(
            f"| {name} | {_with_interval(within_problem_aurocs(held.scores, held.right, held.problem))} "
            f"| {evaluate(held)['auroc_pooled']:.3f} |"
            for name, held in (("orm", samples), ("prm, which reads no history", process))
        ),
    ]
    return _write(weights.parent / "card.md", lines)


def load_prm() -> PRM:
    """The shipped process reward model in PyTorch."""
    held = load_weights(WEIGHTS_DIRECTORY / "prm.safetensors")
    network = PRM(held.config)
    network.load_state_dict({name: torch.from_numpy(tensor) for name, tensor in held.tensors.items()})
    return network


def _without_history(question: LabelledQuestion) -> LabelledQuestion:
    return replace(question, solutions=tuple(replace(solution, history=()) for solution in question.solutions))


def trunk_alone(weights: Path) -> Path:
    """Write the trunk of a process reward model as a generator's weights file, in the same directory."""
    held = load_weights(weights)
    tensors = {name: t for name, t in held.tensors.items() if name.startswith(TRUNK)}
    path = weights.with_name("trunk.safetensors")
    save_weights(path, Weights(replace(held.config, verifier_layers=0), tensors))
    return path


def _calibration(scores: Floats, right: Bools) -> Figure:
    """The share of right solutions against the mean score, in ten bins of equal size."""
    order = np.argsort(scores)
    groups = np.array_split(order, 10)
    figure = Figure(figsize=(4.5, 4.2), layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color="0.6", linewidth=1)
    axes.plot([scores[g].mean() for g in groups], [right[g].mean() for g in groups], marker="o", color="#0072B2")
    axes.set(xlabel="mean score of the last step", ylabel="share right", title="prm on held-out questions")
    return figure


def _with_interval(per_problem: Floats) -> str:
    return _rate(proportion(per_problem))


def _write(path: Path, lines: list[str]) -> Path:
    path.write_text("\n".join(lines) + "\n")
    return path
