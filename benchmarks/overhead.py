"""What strategy and session cost beside the models: the share of a beam-search run spent outside the engine.

python benchmarks/overhead.py
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from computewise.core import Problem
from computewise.models.embedded.engine import Decoder, EngineLoop, one_thread
from computewise.models.embedded.model import EmbeddedModel
from computewise.solver import solve
from computewise.strategies import BeamSearch
from computewise.tasks.arithmetic import TASKS
from computewise.verifiers.embedded import EmbeddedPRM, Scorer

PROBLEMS = 50
spent = 0.0


def timed(advance: Callable[..., None]) -> Callable[..., None]:
    """Count the seconds inside the engine."""

    def wrapper(stage: object) -> None:
        global spent
        started = time.perf_counter()
        advance(stage)
        spent += time.perf_counter() - started

    return wrapper


async def run(problems: list[Problem], model: EmbeddedModel, prm: EmbeddedPRM) -> None:
    """Run beam search on many problems at once, as a study does."""
    task = TASKS["expressions"]
    await asyncio.gather(*(solve(problem, BeamSearch(16, 4), model, prm, task) for problem in problems))


def main() -> None:
    """Print the share of the second run; the first warms up the caches."""
    global spent
    one_thread()
    Decoder.advance = timed(Decoder.advance)  # type: ignore[method-assign]
    Scorer.advance = timed(Scorer.advance)  # type: ignore[method-assign]
    problems = TASKS["expressions"].problems("validation", PROBLEMS, 1)
    loop = EngineLoop()
    prm = EmbeddedPRM(loop)
    model = EmbeddedModel("small", loop)
    for _ in range(2):
        spent = 0.0
        started = time.perf_counter()
        asyncio.run(run(problems, model, prm))
        total = time.perf_counter() - started
    print(f"beam search (N = 16, M = 4) on {PROBLEMS} problems: {total:.2f} s, engine {spent:.2f} s")
    print(f"strategy, session and tokenising: {(total - spent) / total:.1%} of the run")


if __name__ == "__main__":
    main()
