"""What searches cost, and which solutions they choose, where the solutions of a problem are not equally long.

    python benchmarks/unequal_lengths.py [PROBLEMS [SETTING]]

By strategy at N = 16: how many candidates it ends with, its sampled tokens in units of best-of-N's, the steps of the
chosen solutions over the mean of their problems' samples, and its accuracy, also minus best-of-N's. Differences are
paired by problem; intervals are 95 %, over problems. Five settings: simulated solutions of 2 to 20 steps, right with
chance .25 at every length, under an unbiased verifier where right and wrong are decided at the first step, the same
where later steps may change it, and the first under a verifier that grows surer along a solution; and the embedded
models on validation problems of `expressions` and of `stories`.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from computewise.core import Model, Problem, Result, Task, Verifier
from computewise.intervals import Estimate, difference, proportion
from computewise.metrics import Floats
from computewise.models.embedded.engine import EngineLoop, one_thread
from computewise.models.embedded.model import EmbeddedModel
from computewise.session import Strategy
from computewise.simulated import SimulatedTask, UnequalModel, UnequalPRM, simulated_problem
from computewise.solver import solve
from computewise.strategies import DVTS, BeamSearch, BestOfN, ParticleFilter, Rebase
from computewise.tasks.arithmetic import TASKS
from computewise.verifiers.embedded import EmbeddedPRM

N, WIDTH = 16, 4
SEED = 7
STRATEGIES: dict[str, Strategy] = {
    "best-of-N": BestOfN(N),
    "beam search": BeamSearch(N, WIDTH),
    "beam search, finished beams kept": BeamSearch(N, WIDTH, 1),
    "DVTS": DVTS(N, WIDTH),
    "DVTS, finished beams kept": DVTS(N, WIDTH, 1),
    "REBASE": Rebase(N),
    "particle filter": ParticleFilter(N),
}
CHANGE, DRIFT = 0.1, 0.5


@dataclass(frozen=True)
class Setting:
    """Models, verifier, task and problems of one comparison."""

    name: str
    model: Model
    verifier: Verifier
    task: Task
    problems: Sequence[Problem]


def settings(count: int) -> list[Setting]:
    """The five settings, each with so many problems."""
    numbered = [simulated_problem(10_000 + number, 1) for number in range(count)]
    loop = EngineLoop()
    model, verifier = EmbeddedModel("small", loop), EmbeddedPRM(loop)
    return [
        *(
            Setting(f"simulated, {name}", prm.model, prm, SimulatedTask(), numbered)
            for name, prm in {
                "decided at the first step": UnequalPRM(UnequalModel(change=0.0)),
                "later steps may change it": UnequalPRM(UnequalModel(change=CHANGE)),
                "the verifier grows surer": UnequalPRM(UnequalModel(change=0.0), drift=DRIFT),
            }.items()
        ),
        *(
            Setting(name, model, verifier, task, task.problems("validation", count, SEED))
            for name, task in TASKS.items()
        ),
    ]


async def measure(setting: Setting) -> None:
    """Print one row for each strategy."""
    print(f"\n{setting.name}, {len(setting.problems)} problems\n")
    print("| N = 16 | candidates, mean (least) | tokens | steps of the chosen | accuracy | minus best-of-N |")
    print("|---|---|---|---|---|---|")
    sampled = await results(setting, STRATEGIES["best-of-N"])
    usual = np.array([np.mean([len(one.steps) for one in result.candidates]) for result in sampled])
    tokens, rival = spent(sampled), accuracy(setting, sampled)
    rights = {}
    for name, strategy in STRATEGIES.items():
        found = await results(setting, strategy)
        ended = np.array([sum(one.end == "stop" for one in result.candidates) for result in found])
        answered = np.array([result.chosen is not None for result in found])
        chosen = np.array([float(len(result.chosen.steps)) for result in found if result.chosen])
        right = rights[name] = accuracy(setting, found)
        minus = "" if right is rights["best-of-N"] else percent(difference(right - rival))
        print(
            f"| {name} | {ended.mean():.1f} ({ended.min()}) | {share(spent(found), tokens)} | "
            f"{share(chosen, usual[answered])} | {percent(proportion(right))} | {minus} |"
        )
    for name in ("beam search", "DVTS"):
        change = rights[f"{name}, finished beams kept"] - rights[name]
        print(f"\n{name}, finished beams kept minus not: {percent(difference(change))} points")


async def results(setting: Setting, strategy: Strategy) -> list[Result]:
    """Every problem solved once."""
    return await asyncio.gather(
        *(solve(one, strategy, setting.model, setting.verifier, setting.task, seed=SEED) for one in setting.problems)
    )


def spent(found: Sequence[Result]) -> Floats:
    """(problems,) sampled tokens."""
    return np.array([float(result.usage.completion_tokens) for result in found])


def accuracy(setting: Setting, found: Sequence[Result]) -> Floats:
    """(problems,) 1 where the chosen answer is right."""
    pairs = zip(setting.problems, found, strict=True)
    return np.array([float(setting.task.correct(one, result.answer)) for one, result in pairs])


def share(one: Floats, other: Floats) -> str:
    """The ratio of the sums with its interval: problems are resampled."""
    drawn = np.random.default_rng(0).integers(len(one), size=(4000, len(one)))
    low, high = np.quantile(one[drawn].sum(1) / other[drawn].sum(1), (0.025, 0.975))
    return f"{one.sum() / other.sum():.2f} [{low:.2f}, {high:.2f}]"


def percent(estimate: Estimate) -> str:
    """In percent or in points, with its interval."""
    value, low, high = (100 * one for one in estimate)
    return f"{value:.1f} [{low:.1f}, {high:.1f}]"


async def main() -> None:
    """Measure all settings."""
    wanted = sys.argv[2] if len(sys.argv) > 2 else ""
    for setting in settings(int(sys.argv[1]) if len(sys.argv) > 1 else 400):
        if wanted in setting.name:
            await measure(setting)


if __name__ == "__main__":
    one_thread()
    asyncio.run(main())
