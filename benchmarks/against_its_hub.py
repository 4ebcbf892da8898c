"""Problems a minute against its_hub 1.2.0: one server, one model, one verifier, in one run.

    python -m venv its_hub && its_hub/bin/pip install 'its_hub[lm]==1.2.0'
    PYTHONPATH=tests python benchmarks/against_its_hub.py its_hub/bin/python [REPEATS [SECONDS]]

The server is llama.cpp (xllamacpp) on the exported `small`, 16 slots, one thread. Both sides sample at temperature 1
without filters, end a step at the line's end and a solution after 240 tokens. The verifier takes SECONDS (0.02) a call,
whatever it is given and whoever else calls, and is exact. Best-of-16, which its_hub does not score where all solutions
are one text; and beam search with N = 16 and M = 4, which its_hub begins with 4 samples and we with 16.

its_hub takes one problem after another, as its documentation does, and in a second row four at once; we take all at
once. Starting up and finding out what the server can do are not timed.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from arithmetic_values import scores
from llama import LlamaServer, llama_server

from computewise.core import Candidate, Problem, Usage
from computewise.export.weights import export_gguf
from computewise.http.client import CONCURRENCY, HttpClient
from computewise.models.server.connect import connect_model, probe_model
from computewise.selection import best
from computewise.session import Strategy
from computewise.solver import solve
from computewise.strategies import BeamSearch, BestOfN
from computewise.tasks.arithmetic import TASKS

TASK = TASKS["expressions"]
PROBLEMS = TASK.problems("test", 64, 11)
N, WIDTH = 16, 4
AT_ONCE = 4
DEFAULTS = ("3", "0.02")
STRATEGIES: dict[str, Strategy] = {"best-of-16": BestOfN(N), "beam search": BeamSearch(N, WIDTH)}


@dataclass(frozen=True, slots=True)
class Measured:
    """One pass over all problems."""

    seconds: float
    right: float
    sampled: int
    requests: int
    server: float = 0.0
    """Seconds of the server's processor, which do not depend on other load on the machine."""

    @property
    def pace(self) -> float:
        """Problems a minute."""
        return 60 * len(PROBLEMS) / self.seconds


@dataclass(frozen=True, slots=True)
class Timed:
    """The verifier of both sides in our protocol."""

    seconds: float
    name: str = "timed"
    parameters: int = 0

    async def score(self, problem: Problem, candidates: Sequence[Candidate]) -> tuple[list[tuple[float, ...]], Usage]:
        """See `computewise.core.Verifier.score`; scores that a candidate already has are kept."""
        last = await scores(problem.prompt, [candidate.text for candidate in candidates], self.seconds)
        return [
            (*c.scores, *[score] * (len(c.steps) - len(c.scores))) for c, score in zip(candidates, last, strict=True)
        ], Usage()

    def value(self, scores: Sequence[float]) -> float:
        """The last step's score."""
        return scores[-1]


async def ours(url: str, method: str, seconds: float, seed: int) -> Measured:
    """Run all problems at once, as a study does."""
    served = await probe_model(f"{url}/v1", None)
    async with HttpClient(served.base_url, concurrency=served.capabilities.slots or CONCURRENCY) as client:
        model = await connect_model(served, client, delimiter=TASK.delimiter)
        started = time.perf_counter()
        results = await asyncio.gather(
            *(solve(p, STRATEGIES[method], model, Timed(seconds), TASK, select=best, seed=seed) for p in PROBLEMS)
        )
        passed = time.perf_counter() - started
    answers = [result.chosen.text if result.chosen else "" for result in results]
    return Measured(
        passed, right(answers), sum(result.usage.completion_tokens for result in results), model.observed.requests
    )


def theirs(url: str, method: str, seconds: float, interpreter: str, at_once: int) -> Measured:
    """Run the driver in its_hub's own environment."""
    prompts = [problem.prompt for problem in PROBLEMS]
    job: dict[str, Any] = {"url": url, "method": method, "prompts": prompts, "seconds": seconds, "n": N, "width": WIDTH}
    driver = Path(__file__).with_name("its_hub_driver.py")
    ended = subprocess.run(
        [interpreter, str(driver)], input=json.dumps({**job, "at_once": at_once}), capture_output=True, text=True
    )
    if ended.returncode:
        sys.exit(f"the driver of its_hub failed:\n{ended.stderr[-2000:]}")
    held = json.loads(ended.stdout)
    return Measured(held["seconds"], right(held["answers"]), held["sampled"], held["requests"])


def right(answers: Sequence[str]) -> float:
    """The share of right answers."""
    return statistics.mean(TASK.correct(p, TASK.answer(a)) for p, a in zip(PROBLEMS, answers, strict=True))


def processor(server: LlamaServer) -> float:
    """Seconds of the processor that the server has used (Linux)."""
    fields = Path(f"/proc/{server.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def compare(server: LlamaServer, method: str, seconds: float, interpreter: str, repeats: int) -> None:
    """Run all three in turn, `repeats` times, every other time in reverse; print each pass, medians and ratios."""
    found: dict[str, list[Measured]] = {"computewise": [], "its_hub": [], f"its_hub, {AT_ONCE} at once": []}
    for repeat in range(repeats):
        for name in sorted(found, reverse=repeat % 2 == 1):
            before = processor(server)
            if name == "computewise":
                measured = asyncio.run(ours(server.url, method, seconds, repeat))
            else:
                measured = theirs(server.url, method, seconds, interpreter, 1 if name == "its_hub" else AT_ONCE)
            measured = replace(measured, server=round(processor(server) - before, 2))
            found[name].append(measured)
            print(json.dumps({"method": method, "who": name, **asdict(measured)}), flush=True)
    first = found["computewise"]
    for name, measured in found.items():
        faster = [mine.pace / one.pace for mine, one in zip(first, measured, strict=True)]
        print(
            f"{method}, {name}: {statistics.median(one.pace for one in measured):.0f} problems a minute, "
            f"server {statistics.median(one.server for one in measured):.1f} s; computewise is "
            f"{statistics.median(faster):.2f} times as fast ({min(faster):.2f} to {max(faster):.2f})",
            flush=True,
        )


def main() -> None:
    """Compare both methods."""
    interpreter, repeats, seconds = (*sys.argv[1:], *DEFAULTS[len(sys.argv) - 2 :])[:3]
    with (
        tempfile.TemporaryDirectory() as directory,
        llama_server(export_gguf("small", Path(directory) / "small.gguf")) as server,
    ):
        for method in STRATEGIES:
            compare(server, method, float(seconds), interpreter, int(repeats))


if __name__ == "__main__":
    main()
