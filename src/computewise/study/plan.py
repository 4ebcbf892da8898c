"""A study's configuration, the pool of revision chains, and which strategy runs at which budget, cut into jobs."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from computewise.core import LARGE, MODEL, REVISER, Candidate, Problem, Role
from computewise.errors import UsageError, at_least_one
from computewise.runs import StrategyParams
from computewise.session import Session, Strategy
from computewise.setups.base import Roles
from computewise.strategies import (
    DVTS,
    STRATEGIES,
    AdaptiveBranching,
    BeamSearch,
    BestOfN,
    Greedy,
    Lookahead,
    ParticleFilter,
    Rebase,
    StepRevisions,
    make_strategy,
    parse_settings,
    strategy_from_dict,
    strategy_to_dict,
)


@dataclass(frozen=True, slots=True)
class RevisionPool(Strategy):
    """Chains of falling length, so that there are C of at least `n` / C attempts for C = 1, 2, 4, .. and `n`.

    The beginning of a chain is a shorter chain: C of them, cut to L attempts, are what `Revisions(L, C)` draws, and cut
    at their first trusted attempt what `GatedRevisions(L, C)` draws. For seven ratios at `n` = 64, `Revisions` would
    draw 448 attempts; this draws 256, which hold every smaller budget too.
    """

    n: int = 16
    name = "revision_pool"
    needs_history = True
    default_select = "hierarchical"

    def __post_init__(self) -> None:
        at_least_one(n=self.n)

    async def __call__(self, problem: Problem, session: Session) -> list[Candidate]:
        """Cost: about `n` * (1 + log2(`n`) / 2) generations."""
        lengths = chain_lengths(self.n)
        chains = [[first] for first in await session.score(await session.sample(len(lengths)))]
        for round_ in range(1, lengths[0]):
            going = [chain for chain, length in zip(chains, lengths, strict=True) if length > round_]
            attempts = await session.score(await session.revise(going))
            for chain, attempt in zip(going, attempts, strict=True):
                chain.append(attempt)
        return [attempt for chain in chains for attempt in chain]


def chain_lengths(n: int) -> list[int]:
    """The lengths of the chains, falling; chain j is as long as the longest ratio of more than j chains needs."""
    return [n // next(width for width in parallel_widths(n) if width > chain) for chain in range(n)]


def parallel_widths(n: int) -> list[int]:
    """The numbers of chains worth drawing for up to `n` attempts: powers of two, and `n` itself."""
    return sorted({1 << power for power in range(n.bit_length())} | {n})


LEAST_PROBLEMS = 10

LEAST_EXTRA = 4

DIFFICULTY_SAMPLES = 64

"""Where samples cost nothing but the time of this machine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyConfig:
    """The settings that decide a study's numbers, for any models; the defaults suit the embedded ones."""

    problems: int = 60
    "How many problems of the test split."
    budgets: tuple[int, ...] = (1, 4, 16, 64)
    "Generations a problem, rising; every strategy is run at each."
    seeds: int = 1
    "How often every strategy is run on every problem."
    difficulty_samples: int | None = None
    """Samples a problem that only estimate its difficulty, charged apart. 0: the pool is a quarter larger, and what it
    has beyond the largest budget estimates. Default 64 for the embedded models, 0 for served ones."""
    repeats: int = 10
    "Random partitions into five parts: strategies are chosen on four of them and measured on the fifth."
    seed: int = 0
    "Which problems and which random numbers."
    strategies: tuple[str, ...] = ()
    "Further strategies by name, such as your own: at each budget N with n = N, other settings as in 'mine(width=2)'."

    def check(self) -> None:
        """Raise `UsageError` for settings that cannot be run."""
        at_least_one(seeds=self.seeds, repeats=self.repeats)
        if self.difficulty_samples is not None and self.difficulty_samples < 0:
            raise UsageError(f"difficulty_samples = {self.difficulty_samples} is not allowed: at least 0")
        if self.seed < 0:
            raise UsageError(f"seed = {self.seed} is not allowed: at least 0")
        if self.problems < LEAST_PROBLEMS:
            raise UsageError(
                f"problems = {self.problems} is not allowed: at least {LEAST_PROBLEMS}, two for each part and bin"
            )
        if not self.budgets or min(self.budgets) < 1:
            raise UsageError(f"budgets = {list(self.budgets)} is not allowed: each at least 1")
        if list(self.budgets) != sorted(set(self.budgets)):
            raise UsageError(f"budgets = {list(self.budgets)} is not allowed: rising, each once")

    def to_dict(self) -> dict[str, object]:
        """As plain data for JSON; without `strategies` where there are none, as older runs were written."""
        named = {"strategies": list(self.strategies)} if self.strategies else {}
        plain = {name: value for name, value in asdict(self).items() if name != "strategies"}
        return {**plain, "budgets": list(self.budgets), **named}

    @property
    def extra(self) -> int:
        """Samples of the pool beyond the largest budget, which are not measured but estimate the difficulty."""
        return 0 if self.difficulty_samples else max(LEAST_EXTRA, math.ceil(self.budgets[-1] / 4))

    @property
    def probes(self) -> int:
        """Samples a problem that estimate its difficulty, wherever they are from."""
        return self.difficulty_samples or self.extra


def restore_config(plain: Mapping[str, Any]) -> StudyConfig:
    """The settings in a run directory's configuration."""
    plain = {"strategies": (), **plain}
    held = {field.name: plain[field.name] for field in fields(StudyConfig)}
    return StudyConfig(**{**held, "budgets": tuple(held["budgets"]), "strategies": tuple(held["strategies"])})


TREE_OF = BeamSearch(16, 4)


"""The strategy whose search trees are recorded, for the report."""


LARGER = 4


"""Samples of `large`, for a controller that may escalate."""


SEARCH = ParticleFilter(4)


SEARCHES = 4


"""How many of these searches a controller may draw; each is small enough to be one decision among others."""


_PURPOSES = ("pool", "chains", "draws", "difficulty")
"""Of runs that are no strategy's own."""


@dataclass(frozen=True, slots=True)
class Run:
    """One strategy with one seed over all problems; `budget` is what it is meant to cost, in generations."""

    purpose: str
    role: Role
    strategy: StrategyParams
    seed: int
    budget: int
    verified: bool = True


@dataclass(frozen=True, slots=True)
class Job:
    """A run over some of the problems, which one worker does."""

    run: Run
    problems: tuple[Problem, ...]


def searches(budget: int) -> Iterator[tuple[str, Strategy]]:
    """The searches that cost about `budget` generations, with the names of their families."""
    if budget >= 4 and budget % 4 == 0:
        yield "beam search, M = 4", BeamSearch(budget, 4)
    root = math.isqrt(budget)
    if root * root == budget and root not in (1, 4):
        yield "beam search, M = √N", BeamSearch(budget, root)
    if budget >= 8 and budget % 4 == 0:
        yield "DVTS, M = 4", DVTS(budget, 4)
    if budget >= 4:
        yield "REBASE", Rebase(budget)
        yield "particle filter", ParticleFilter(budget)
    for k in (1, 3):
        beams = budget // (k + 1)
        width = 4 if beams % 4 == 0 else 2
        if budget % (k + 1) == 0 and beams >= 2 and beams % width == 0:
            yield f"lookahead, k = {k}", Lookahead(beams, width, k)


def revising_searches(budget: int) -> Iterator[tuple[str, Strategy]]:
    """The searches over attempts that cost at most `budget` generations."""
    for chains in (1, 2, 4):
        if budget % chains == 0 and budget > chains:
            yield f"step revisions, C = {chains}", StepRevisions(budget // chains, chains)
    if budget >= 4:
        yield "adaptive branching", AdaptiveBranching(budget)


def named_runs(config: StudyConfig, models: Roles, seed: int) -> Iterator[Run]:
    """The runs of `config.strategies`, at the budgets that each accepts as its n.

    Raises `UsageError` for a strategy that accepts none, or that these models cannot follow.
    """
    for text in config.strategies:
        name, settings = parse_settings(text)
        if "n" in settings or name in _PURPOSES:
            why = "a study gives each budget as n" if "n" in settings else "the name has another meaning in a study"
            raise UsageError(f"the strategy {text} cannot be studied: {why}")
        found, refusal = [], None
        for budget in config.budgets:
            try:
                found.append((budget, make_strategy(name, {**settings, "n": budget})))
            except UsageError as error:
                refusal = error
        if refusal is not None and not found:
            raise refusal
        kind = STRATEGIES[name]
        role: Role = REVISER if kind.needs_history else MODEL
        if role not in models.sizes or (kind.needs_steps and not models.steps):
            needs = "is shown its attempts" if kind.needs_history else "continues a solution"
            raise UsageError(f"the strategy {name} needs a model that {needs}, and there is none")
        yield from (Run(text, role, strategy_to_dict(strategy), seed, budget) for budget, strategy in found)


def plan(config: StudyConfig, models: Roles) -> list[Run]:
    """All runs that these models are capable of, the difficulty samples first; see `named_runs` for what is refused."""
    largest = config.budgets[-1]
    runs = [difficulty_run(config)] if config.difficulty_samples else []
    runs.append(Run("greedy", MODEL, strategy_to_dict(Greedy()), config.seed, 1, verified=False))
    runs.append(Run("greedy", LARGE, strategy_to_dict(Greedy()), config.seed, 1))
    for seed in range(config.seed, config.seed + config.seeds):
        drawn = largest + config.extra
        runs.append(Run("pool", MODEL, strategy_to_dict(BestOfN(drawn)), seed, drawn))
        if models.steps:
            for budget in config.budgets:
                for family, strategy in (*searches(budget), *revising_searches(budget)):
                    runs.append(Run(family, MODEL, strategy_to_dict(strategy), seed, budget))
        runs += named_runs(config, models, seed)
        runs.append(Run("chains", REVISER, strategy_to_dict(RevisionPool(largest)), seed, 4 * largest))
        runs.append(Run("pool", LARGE, strategy_to_dict(BestOfN(LARGER)), seed, 8 * LARGER))
        if models.steps:
            runs += [Run("draws", MODEL, strategy_to_dict(SEARCH), other, SEARCH.n) for other in search_seeds(seed)]
    return [run for run in runs if run.role in models.sizes]


def difficulty_run(config: StudyConfig) -> Run:
    """The run of the samples that estimate difficulty, by a seed that nothing else has."""
    return Run("difficulty", MODEL, strategy_to_dict(BestOfN(config.probes)), config.seed - 1, 0)


def strategy_of(run: Run) -> Strategy:
    """The strategy of a run; `RevisionPool` belongs to studies alone, so no user can name it."""
    if run.strategy["name"] == RevisionPool.name:
        return RevisionPool(int(run.strategy["n"]))
    return strategy_from_dict(run.strategy)


def left_out(models: Roles) -> list[str]:
    """What a study of these models does not run and why, in one sentence each."""
    found = []
    if not models.steps:
        found.append(
            f"{models.labels[MODEL]} is asked for whole solutions and cannot go on from a step: "
            "searches by steps, step revisions and adaptive branching were not run."
        )
    if REVISER not in models.sizes:
        found.append("There is no model that revises its own attempts: chains of revisions were not run.")
    if LARGE not in models.sizes:
        found.append("There is no larger model: none is compared with, and none can be asked for help.")
    return found


def search_seeds(seed: int) -> list[int]:
    """The seeds of the searches beside one seed's samples, far from the seeds that a study counts up."""
    return [seed + 1000 * number for number in range(1, SEARCHES + 1)]


def jobs(run: Run, problems: list[Problem], size: int) -> list[Job]:
    """Cut a run into jobs of `size` problems."""
    return [Job(run, tuple(problems[at : at + size])) for at in range(0, len(problems), size)]
