"""What step-by-step search could gain over best-of-N here, were the verifier perfect: what the model leaves to gain.

    python benchmarks/headroom.py

The perfect verifier reads a step as an expression and compares its value with the reference answer. Search beats
best-of-N by as much as a solution's errors are spread over several steps; where nearly all of a problem's failures
happen at one step, both need the same rare sample. Validation problems, so that nothing is learned about the test ones.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence

import numpy as np

from computewise.core import Candidate, Problem, Result, Usage, Verifier
from computewise.errors import ProblemError
from computewise.intervals import Estimate, difference, proportion
from computewise.metrics import Floats
from computewise.models.embedded.engine import EngineLoop, one_thread
from computewise.models.embedded.model import EmbeddedModel
from computewise.session import Strategy
from computewise.solver import solve
from computewise.strategies import BeamSearch, BestOfN
from computewise.tasks import arithmetic
from computewise.tasks.arithmetic import TASKS
from computewise.verifiers.embedded import EmbeddedPRM

PROBLEMS = 400
LEAST_FAILURES = 4
TASK = TASKS["expressions"]


class PerfectVerifier:
    """1 for the lines up to the first that no longer has the problem's value, then 0."""

    name = "perfect"
    parameters = 0

    async def score(self, problem: Problem, candidates: Sequence[Candidate]) -> tuple[list[tuple[float, ...]], Usage]:
        """See `computewise.core.Verifier.score`."""
        wrong = [first_wrong(problem, candidate) for candidate in candidates]
        scores = [
            tuple(float(step < at) for step in range(len(c.steps))) for c, at in zip(candidates, wrong, strict=True)
        ]
        return scores, Usage()

    def value(self, scores: Sequence[float]) -> float:
        """The last step's score."""
        return scores[-1] if scores else 0.0


def first_wrong(problem: Problem, candidate: Candidate) -> int:
    """The index of the first step whose value is not the problem's; the number of steps where there is none."""
    for index, step in enumerate(candidate.steps):
        if value(step.text.strip()) != problem.answer:
            return index
    return len(candidate.steps)


def value(line: str) -> str | None:
    """The value of a line; None where it is neither a number nor an expression."""
    try:
        return str(int(line))
    except ValueError:
        pass
    try:
        return str(arithmetic.evaluate(arithmetic.parse(line)))
    except ProblemError:
        return None


async def main() -> None:
    """Print where failures happen, then beam search against best-of-N under both verifiers at N = 4 and 16."""
    problems = TASK.problems("validation", PROBLEMS, 7)
    loop = EngineLoop()
    model = EmbeddedModel("small", loop)

    async def run(strategy: Strategy, verifier: Verifier) -> list[Result]:
        return await asyncio.gather(*(solve(p, strategy, model, verifier, TASK, seed=1) for p in problems))

    async def accuracy(strategy: Strategy, verifier: Verifier) -> Floats:
        found = [(p, r.chosen) for p, r in zip(problems, await run(strategy, verifier), strict=True)]
        return np.array([float(c is not None and TASK.correct(p, TASK.answer(c.text))) for p, c in found])

    shares = []
    for problem, result in zip(problems, await run(BestOfN(16), PerfectVerifier()), strict=True):
        wrong = [first_wrong(problem, c) for c in result.candidates]
        failures = Counter(at for at, c in zip(wrong, result.candidates, strict=True) if at < len(c.steps))
        if failures.total() >= LEAST_FAILURES:
            shares.append(max(failures.values()) / failures.total())
    print(
        f"of a problem's failures, at its worst step: {estimate(proportion(np.array(shares)))} ({len(shares)} problems)"
    )
    for n in (4, 16):
        for verifier in (PerfectVerifier(), EmbeddedPRM(loop)):
            sampled, searched = [await accuracy(s, verifier) for s in (BestOfN(n), BeamSearch(n, 4))]
            print(
                f"N = {n:2}, {verifier.name:7}: best-of-N {sampled.mean():.3f}, beam search {searched.mean():.3f}, "
                f"difference {estimate(difference(searched - sampled))}"
            )


def estimate(found: Estimate) -> str:
    """As text."""
    return f"{found.value:+.3f} [{found.low:+.3f}, {found.high:+.3f}]"


if __name__ == "__main__":
    one_thread()
    asyncio.run(main())
