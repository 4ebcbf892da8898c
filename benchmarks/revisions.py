"""Chains of revisions on test problems: what happens along them, for the paper's recipe and for ours.

    python benchmarks/revisions.py [problems of the chains] [problems of the comparison]

For each model trained to revise, four chains of sixteen attempts a problem: pass@1, how often a wrong attempt is mended
and a right one broken, and a chain that ends at its first trusted attempt. The same model is measured as a plain
parallel sampler, so that a chain is not credited with the fine-tuning; and `small`, which was never trained to revise,
as what independent samples would do in a chain's place. The outcome verifier and the process reward model are ranked on
the same attempts. Then the token-capped comparison: no problem may take more than sixteen average generations.
"""

from __future__ import annotations

import asyncio
import sys
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context

import numpy as np

from computewise.compute import flops
from computewise.core import Candidate, Problem, Result
from computewise.metrics import Bools, Floats, bootstrap, within_problem_aurocs
from computewise.models.embedded import EmbeddedModel
from computewise.models.forgetful import Forgetful
from computewise.models.loop import EngineLoop
from computewise.models.threads import one_thread
from computewise.selection import SELECTIONS, Ballot
from computewise.session import Strategy
from computewise.solve import solve
from computewise.strategies import BeamSearch, BestOfN, GatedRevisions, Revisions, StepRevisions, label
from computewise.strategies.gating import TRUST
from computewise.study.along import Rate, along
from computewise.tasks.embedded import TASKS
from computewise.verifiers.orm import EmbeddedORM
from computewise.verifiers.prm import EmbeddedPRM

TASK = TASKS["expressions"]
LENGTH, CHAINS = 16, 4
CHUNK = 50


def main(problems: int, compared: int) -> None:
    """One block a model, then the capped comparison."""
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:

        def run(name: str, strategy: Strategy, count: int, budget: int | None = None) -> list[Solved]:
            firsts = range(0, count, CHUNK)
            parts = pool.map(partial(solved, name, strategy, count, budget), firsts)
            return [one for part in parts for one in part]

        for name in ("revision_paper", "revision", "small"):
            show_chains(name, run(name, Revisions(LENGTH, CHAINS), problems))
        most = run("small", BestOfN(64), compared)
        cap = round(16 * np.mean([one.tokens for one in most]))
        print(f"on {compared} test problems; cap: {cap} tokens a problem, the length of 16 samples of `small`")
        rival = show(BestOfN(64), most, None)
        show(BestOfN(16), run("small", BestOfN(16), compared), rival)
        show(BeamSearch(16, 4), run("small", BeamSearch(16, 4), compared), rival)
        show(StepRevisions(16, 1), run("small", StepRevisions(16, 1), compared), rival)
        for strategy in (StepRevisions(64, 1), StepRevisions(32, 2)):
            show(strategy, run("small", strategy, compared, cap), rival)
        show(BestOfN(64), run("revision", BestOfN(64), compared), rival, "revision")
        show(GatedRevisions(16, 1), run("revision", GatedRevisions(16, 1), compared), rival, "revision")


class Solved:
    """What is kept of one problem's result."""

    def __init__(self, problem: Problem, result: Result, orm: list[float], parameters: tuple[int, int]) -> None:
        answers = [TASK.answer(c.text) if c.end == "stop" else None for c in result.candidates]
        self.ballots = [Ballot(a, c.scores[-1], c.chain) for a, c in zip(answers, result.candidates, strict=True)]
        self.right = [TASK.correct(problem, answer) for answer in answers]
        self.orm = orm
        self.all_tokens = result.usage.completion_tokens
        self.tokens = self.all_tokens / result.usage.samples
        self.flops = flops(result.usage, *parameters).total

    def elected(self, selection: str) -> float:
        """1 where the selection is right."""
        chosen = SELECTIONS[selection](self.ballots)
        return float(chosen is not None and self.right[chosen])


def solved(name: str, strategy: Strategy, count: int, budget: int | None, first: int) -> list[Solved]:
    """Worker: the problems of one chunk."""
    with one_thread():
        return asyncio.run(_solved(name, strategy, TASK.problems("test", count, 0)[first : first + CHUNK], budget))


async def _solved(name: str, strategy: Strategy, problems: list[Problem], budget: int | None) -> list[Solved]:
    loop = EngineLoop()
    generator, verifier, orm = EmbeddedModel(name, loop), EmbeddedPRM(loop), EmbeddedORM(loop)
    model = generator if generator.revises else Forgetful(generator)

    async def one(problem: Problem) -> Solved:
        result = await solve(problem, strategy, model, verifier, TASK, budget=budget)
        chained = strategy.name == "revisions" and generator.revises
        judged = await _judged(orm, problem, result.candidates) if chained else []
        return Solved(problem, result, judged, (generator.parameters, verifier.parameters))

    return list(await asyncio.gather(*map(one, problems)))


async def _judged(orm: EmbeddedORM, problem: Problem, candidates: tuple[Candidate, ...]) -> list[float]:
    unread = [Candidate(c.id, c.parent, c.steps, (), c.end, c.history) for c in candidates]
    scores, _ = await orm.score(problem, unread)
    return [orm.value(one) for one in scores]


def show_chains(name: str, results: list[Solved]) -> None:
    """Along the chains, and the model as a parallel sampler."""
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
            print(
                f"  AUROC within a problem, {verifier}: {aurocs.mean():.3f} {interval(aurocs)} ({len(aurocs)} problems)"
            )


def show(strategy: Strategy, results: list[Solved], rival: Floats | None, model: str = "small") -> Floats:
    """One strategy's accuracy and cost, and its paired difference to the first."""
    selection = "hierarchical" if "revisions" in strategy.name else "weighted"
    accuracy = np.array([one.elected(selection) for one in results])
    tokens = np.array([one.all_tokens for one in results])
    line = f"  {model}, {label(strategy)}: {estimate(accuracy)}, {tokens.mean():.0f} tokens (most {tokens.max()}), "
    line += f"{np.mean([one.flops for one in results]):.2e} FLOPs a problem"
    print(
        line
        if rival is None
        else f"{line}; minus the first {100 * (accuracy - rival).mean():+.1f} points "
        f"{interval(100 * (accuracy - rival))}"
    )
    return accuracy if rival is None else rival


def estimate(values: list[float] | Floats) -> str:
    """Mean with interval."""
    held = np.asarray(values, float)
    return f"{held.mean():.3f} {interval(held)}"


def interval(values: Floats) -> str:
    """95 %, by problem."""
    low, high = bootstrap(values)
    return f"[{low:.3f}, {high:.3f}]"


def rate(held: Rate) -> str:
    """A rate with its interval."""
    return "-" if np.isnan(held.value) else f"{held.value:.3f} [{held.ci95.low:.3f}, {held.ci95.high:.3f}]"


if __name__ == "__main__":
    chains, compared = map(int, sys.argv[1:3]) if len(sys.argv) > 2 else (300, 1000)
    main(chains, compared)
