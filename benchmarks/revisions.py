"""Chains of revisions on test problems: what happens along them, for the paper's recipe and for ours.

    python benchmarks/revisions.py chains 300
    python benchmarks/revisions.py comparison 1000

`chains`: for each model trained to revise, four chains of sixteen attempts a problem: pass@1, how often a wrong attempt
is mended and a right one broken, and a chain that ends at its first trusted attempt. Its first attempts are the same
model as a plain sampler, so that a chain is not credited with the fine-tuning; `small`, which was never trained to
revise, shows what independent samples would do in a chain's place. The outcome verifier and the process reward model
are ranked on the same attempts.

`comparison`: what sixteen generations a problem, on average or at most, can do against best-of-64 weighted, paired. A
cap holds every problem to the tokens of sixteen average samples.
"""

from __future__ import annotations

import asyncio
import sys
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context

import numpy as np

from computewise.core import Candidate, Problem, Result
from computewise.costs import flops
from computewise.intervals import Estimate, difference, proportion
from computewise.metrics import Bools, Floats, within_problem_aurocs
from computewise.models.embedded.engine import EngineLoop, one_thread
from computewise.models.embedded.model import EmbeddedModel
from computewise.selection import SELECTIONS, Ballot
from computewise.session import Strategy
from computewise.solver import solve
from computewise.strategies import (
    AdaptiveBranching,
    BeamSearch,
    BestOfN,
    GatedRevisions,
    Revisions,
    StepRevisions,
    strategy_label,
)
from computewise.strategies.revisions import TRUST
from computewise.study.analysis.revisions import along
from computewise.tasks.arithmetic import TASKS
from computewise.verifiers.embedded import EmbeddedORM, EmbeddedPRM

TASK = TASKS["expressions"]
LENGTH, CHAINS = 16, 4
CHUNK = 50


def chains(problems: int) -> None:
    """Print one block for each model."""
    with workers() as pool:
        for name in ("revision_paper", "revision", "small"):
            show_chains(name, run(pool, name, Revisions(LENGTH, CHAINS), problems))


def comparison(problems: int) -> None:
    """Compare strategies of up to sixteen generations with best-of-64 weighted."""
    with workers() as pool:
        most = run(pool, "small", BestOfN(64), problems)
        cap = round(16 * np.mean([one.tokens for one in most]))
        print(f"{problems} test problems; cap: {cap} tokens a problem, the length of 16 samples of `small`")
        rival = show("small", BestOfN(64), most, None)
        for name, strategy, budget in (
            ("small", BestOfN(16), None),
            ("small", BeamSearch(16, 4), None),
            ("small", StepRevisions(16, 1), None),
            ("small", StepRevisions(64, 1), cap),
            ("small", StepRevisions(64, 1), None),
            ("small", StepRevisions(32, 2), None),
            ("small", StepRevisions(16, 4), None),
            ("small", AdaptiveBranching(64), None),
            ("revision", GatedRevisions(16, 1), None),
        ):
            show(name, strategy, run(pool, name, strategy, problems, budget), rival, capped=budget is not None)


def workers() -> ProcessPoolExecutor:
    """Two worker processes, one for each core."""
    return ProcessPoolExecutor(2, mp_context=get_context("spawn"))


def run(
    pool: ProcessPoolExecutor, name: str, strategy: Strategy, count: int, budget: int | None = None
) -> list[Solved]:
    """The strategy on the first `count` test problems."""
    parts = pool.map(partial(solved, name, strategy, count, budget), range(0, count, CHUNK))
    return [one for part in parts for one in part]


class Solved:
    """The part of one problem's result that is kept."""

    def __init__(self, problem: Problem, result: Result, orm: list[float], parameters: tuple[int, int]) -> None:
        answers = [TASK.answer(c.text) if c.end == "stop" else None for c in result.candidates]
        self.ballots = [Ballot(a, c.scores[-1], c.chain) for a, c in zip(answers, result.candidates, strict=True)]
        self.right = [TASK.correct(problem, answer) for answer in answers]
        self.orm = orm
        self.all_tokens = result.usage.completion_tokens
        self.tokens = self.all_tokens / result.usage.samples
        self.flops = flops(result.usage, *parameters).total

    def elected(self, selection: str) -> float:
        """1 where the selected answer is right."""
        chosen = SELECTIONS[selection](self.ballots)
        return float(chosen is not None and self.right[chosen])


def solved(name: str, strategy: Strategy, count: int, budget: int | None, first: int) -> list[Solved]:
    """Run the problems of one chunk in a worker."""
    with one_thread():
        return asyncio.run(_solved(name, strategy, TASK.problems("test", count, 0)[first : first + CHUNK], budget))


async def _solved(name: str, strategy: Strategy, problems: list[Problem], budget: int | None) -> list[Solved]:
    loop = EngineLoop()
    generator, verifier = EmbeddedModel(name, loop), EmbeddedPRM(loop)
    orm = EmbeddedORM(loop) if strategy.name == "revisions" and generator.revises else None

    async def one(problem: Problem) -> Solved:
        result = await solve(problem, strategy, generator, verifier, TASK, budget=budget)
        judged = await _judged(orm, problem, result.candidates) if orm else []
        return Solved(problem, result, judged, (generator.parameters, verifier.parameters))

    return list(await asyncio.gather(*map(one, problems)))


async def _judged(orm: EmbeddedORM, problem: Problem, candidates: tuple[Candidate, ...]) -> list[float]:
    unread = [Candidate(c.id, c.parent, c.steps, (), c.end, c.history) for c in candidates]
    scores, _ = await orm.score(problem, unread)
    return [orm.value(one) for one in scores]


def show_chains(name: str, results: list[Solved]) -> None:
    """Print the rates along the chains, and the model as a parallel sampler."""
    shape = (len(results), CHAINS, LENGTH)
    right: Bools = np.array([one.right for one in results]).reshape(shape)
    values: Floats = np.array([[ballot.value for ballot in one.ballots] for one in results]).reshape(shape)
    print(f"{name}: {CHAINS} chains of {LENGTH} attempts on {len(results)} test problems")
    for step in along(right, values, TRUST):
        print(
            f"  attempt {step.attempt:2}: right {rate(step.right)}, mended {rate(step.mended)}, "
            f"broken {rate(step.broken)}, gated chain {rate(step.gated)}"
        )
    print(
        f"  all {LENGTH * CHAINS} attempts, hierarchical: {estimate([one.elected('hierarchical') for one in results])}"
    )
    if results[0].orm:
        index = np.repeat(np.arange(len(results)), LENGTH * CHAINS)
        for verifier, scores in (("prm", values), ("orm", np.array([one.orm for one in results]))):
            aurocs = within_problem_aurocs(scores.ravel(), right.ravel(), index)
            print(f"  AUROC within a problem, {verifier}: {estimate(aurocs)} ({len(aurocs)} problems)")


def show(
    model: str, strategy: Strategy, results: list[Solved], rival: Floats | None, *, capped: bool = False
) -> Floats:
    """One strategy's accuracy and cost, and its paired difference to the first."""
    selection = "weighted" if strategy.name in ("best_of_n", "beam_search") else "hierarchical"
    accuracy = np.array([one.elected(selection) for one in results])
    tokens = np.array([one.all_tokens for one in results])
    name = f"{model}, {strategy_label(strategy)}{', capped' if capped else ''}"
    line = f"  {name}: {estimate(accuracy)}, {tokens.mean():.0f} tokens (most {tokens.max()}), "
    line += f"{np.mean([one.flops for one in results]):.2e} FLOPs a problem"
    if rival is None:
        print(line)
        return accuracy
    value, low, high = (100 * one for one in difference(accuracy - rival))
    print(f"{line}; minus the first {value:+.1f} points [{low:.1f}, {high:.1f}]")
    return rival


def estimate(values: list[float] | Floats) -> str:
    """Mean with interval."""
    return rate(proportion(np.asarray(values, float)))


def rate(held: Estimate) -> str:
    """A rate with its interval."""
    return "-" if np.isnan(held.value) else f"{held.value:.3f} [{held.low:.3f}, {held.high:.3f}]"


if __name__ == "__main__":
    {"chains": chains, "comparison": comparison}[sys.argv[1]](int(sys.argv[2]))
