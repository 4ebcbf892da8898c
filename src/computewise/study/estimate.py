"""What a study on a server will cost, told before it starts: solutions, requests, tokens, minutes, dollars."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from computewise.core import MODEL, Problem, Role, Usage, Verifier
from computewise.session import gather
from computewise.setups.base import Setup, SetupSpec
from computewise.solver import solve
from computewise.strategies import BestOfN
from computewise.study.analysis.tables import cost_metrics
from computewise.study.plan import Job, Run, chain_lengths

TRIED = 2
"""Problems that are tried, and solutions of each."""

TRIAL_SEED = 1_000_003
"""Far from the seeds of a study, which are small: nothing that is tried is measured."""


@dataclass(frozen=True, slots=True)
class Trial:
    """A few solutions by one model, drawn and verified at the same time: totals, and the seconds until the last."""

    solutions: int
    steps: float
    """Steps a solution, on average."""
    usage: Usage
    seconds: float


@dataclass(frozen=True, slots=True)
class StudyCost:
    """What is still to be done. Tokens and seconds are those of the trials in proportion."""

    solutions: int
    requests: int
    """At most: servers that return several solutions at once need fewer."""
    usage: Usage
    seconds: float
    """At the trials' speed; a server that answers more requests at once needs less."""
    dollars: float | None

    def __str__(self) -> str:
        tokens = f"{_many(self.usage.completion_tokens)} tokens sampled, {_many(self.usage.prompt_tokens)} read"
        text = f"about {_many(self.solutions)} solutions in at most {_many(self.requests)} requests: {tokens}"
        if self.usage.verifier_tokens:
            text += f", {_many(self.usage.verifier_tokens)} read by the verifier"
        price = "" if self.dollars is None else f", ${self.dollars:,.2f}"
        return f"{text}{price}; {duration(self.seconds)} at the speed of a few trial solutions"


def duration(seconds: float) -> str:
    """Seconds, minutes or hours in words."""
    if seconds < 90:
        return f"about {max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    return f"about {minutes} min" if minutes < 100 else f"about {minutes // 60} h {minutes % 60} min"


def _many(count: float) -> str:
    if count >= 1e6:
        return f"{count / 1e6:.1f} M"
    return f"{round(count):,}"


def solutions_of(run: Run) -> int:
    """How many solutions a run draws for one problem, at most."""
    match run.strategy["name"]:
        case "best_of_n":
            return int(run.strategy["n"])
        case "revision_pool":
            return sum(chain_lengths(int(run.strategy["n"])))
        case _:
            return max(1, run.budget)


def estimate(missing: Sequence[Job], source: SetupSpec) -> StudyCost:
    """Try each model on a few problems and multiply; raises `ModelError` where a model does not answer."""
    problems = [problem for job in missing for problem in job.problems][:TRIED]
    roles = list(dict.fromkeys(job.run.role for job in missing))
    trials = asyncio.run(_try(source, problems, roles))
    return multiply(missing, trials, source)


def multiply(missing: Sequence[Job], trials: Mapping[Role, Trial], source: SetupSpec) -> StudyCost:
    """The cost of jobs by the trials of their models."""
    solutions = requests = 0
    usage, seconds, dollars = Usage(), 0.0, 0.0
    prices = cost_metrics(source.roles()).get("dollars")
    drawn: dict[Role, int] = {}
    for job in missing:
        count = solutions_of(job.run) * len(job.problems)
        whole = job.run.strategy["name"] in ("best_of_n", "greedy", "revision_pool")
        each = 1.0 if whole else trials[job.run.role].steps
        requests += round(count * each * (2 if job.run.verified else 1))
        solutions += count
        drawn[job.run.role] = drawn.get(job.run.role, 0) + count
    for role, count in drawn.items():
        trial = trials[role]
        share = count / trial.solutions
        part = Usage(*(round(getattr(trial.usage, name) * share) for name in Usage.__dataclass_fields__))
        usage, seconds = usage + part, seconds + trial.seconds * share
        dollars += 0.0 if prices is None else prices.cost(part, 0, role)
    return StudyCost(solutions, requests, usage, seconds, None if prices is None else dollars)


async def _try(source: SetupSpec, problems: Sequence[Problem], roles: Sequence[Role]) -> dict[Role, Trial]:
    async with source.open() as opened:
        verifier = opened.verifier()
        return {role: await _trial(source, opened, role, verifier, problems) for role in roles}


async def _trial(
    source: SetupSpec, opened: Setup, role: Role, verifier: Verifier | None, problems: Sequence[Problem]
) -> Trial:
    model, task, begun = opened.model(role), source.task(), time.monotonic()
    results = await gather(
        solve(
            problem,
            BestOfN(TRIED if role == MODEL else 1),
            model,
            verifier,
            task,
            seed=TRIAL_SEED,
            temperature=source.temperature(),
            limits=source.limits(),
        )
        for problem in problems
    )
    drawn = [candidate for result in results for candidate in result.candidates]
    return Trial(
        solutions=max(1, len(drawn)),
        steps=sum(max(1, len(candidate.steps)) for candidate in drawn) / max(1, len(drawn)),
        usage=sum((result.usage for result in results), Usage()),
        seconds=time.monotonic() - begun,
    )
