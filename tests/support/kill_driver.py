"""What `test_kill` kills: a workload through the cache into a run directory, gone on with from wherever it stood."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from computewise.cache import GenerationCache
from computewise.core import MODEL, Completion, Model, Problem
from computewise.models.cached import CachedModel, CachedVerifier
from computewise.runs import CandidateRecord, Record, RunDirectory, record_key
from computewise.session import Strategy
from computewise.solver import solve
from computewise.strategies import BeamSearch, BestOfN, strategy_to_dict
from computewise.testing import SimulatedModel, SimulatedPRM, SimulatedTask

TASK = SimulatedTask()
PROBLEMS = TASK.problems("test", 120, 0)
STRATEGIES: tuple[Strategy, ...] = (BestOfN(4), BeamSearch(4, 2))
IN_FLIGHT = 8
WIDTH = 4
"""Samples that one strategy ever waits for at once."""
SLOW = 0.02


class Paid:
    """A slow model; every sample is noted at the moment it is to be paid, just before it is given.

    Its name goes with the sample, so that what the store holds can be told.
    """

    name = "paid"
    parameters = 0
    revises = revises_steps = steps = True

    def __init__(self, log: Path) -> None:
        self._log = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    async def sample(self, prompt: str, prefix: str, n: int, **settings: Any) -> list[Completion]:
        seeds = settings["seeds"]
        await asyncio.sleep(SLOW * (1 + seeds[0] % 3) / 2)
        names = [f"{seed} to {settings['stop']!r}" for seed in seeds]
        os.write(self._log, "".join(f"{name}\n" for name in names).encode())
        sampled = await SimulatedModel().sample(prompt, prefix, n, **settings)
        return [replace(one, thinking=name) for one, name in zip(sampled, names, strict=True)]


async def record_of(problem: Problem, strategy: Strategy, model: Model, verifier: Any) -> Record:
    """One unit of work."""
    result = await solve(problem, strategy, model, verifier, TASK)
    outcomes = [
        CandidateRecord(result.answers[c.id], verifier.value(c.scores), 0.0, 0, False, text=c.text, scores=c.scores)
        for c in result.candidates
    ]
    return Record("killed", MODEL, strategy_to_dict(strategy), 0, problem.id, result.usage, outcomes)


async def work(directory: Path, started: Callable[[], object]) -> None:
    """Everything that is not recorded."""
    run = RunDirectory(directory / "run", {"problems": len(PROBLEMS)}, resume=True)
    held = run.read()
    with GenerationCache(directory / "cache.db") as store:
        model = CachedModel(Paid(directory / "paid.log"), store, {"model": "paid"})
        verifier = CachedVerifier(SimulatedPRM(noise=0.2), store, {"verifier": "simulated"})
        units = iter([(problem, strategy) for problem in PROBLEMS for strategy in STRATEGIES])
        started()

        async def lane() -> None:
            for problem, strategy in units:
                wanted = Record("killed", MODEL, strategy_to_dict(strategy), 0, problem.id)
                if record_key(wanted) not in held:
                    run.append([await record_of(problem, strategy, model, verifier)])

        await asyncio.gather(*(lane() for _ in range(IN_FLIGHT)))


if __name__ == "__main__":
    asyncio.run(work(Path(sys.argv[1]), lambda: os.write(1, b"started\n")))
