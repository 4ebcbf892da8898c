"""The controllers of a study, cross-validated, and their rivals."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np

from computewise.controller.bin_policy import allocate, cross_validate
from computewise.controller.controller import Controller
from computewise.controller.file import ControllerArm
from computewise.controller.frontier import StoppingPath
from computewise.controller.ladder import RuleFitter
from computewise.controller.replay import RecordedPool
from computewise.controller.rule import CrossFit, StoppingRule
from computewise.core import LARGE, MODEL, VERIFIER, Role, Usage
from computewise.intervals import Curve, Estimate, as_partitions, times_fewer
from computewise.metrics import Floats, Ints
from computewise.runs import Record, StrategyParams
from computewise.samples import ProblemSamples, SampleArrays, arrays_of_records
from computewise.strategies import Greedy, Single, StepRevisions, strategy_to_dict
from computewise.study.analysis.tables import CostMetric, StrategyRow
from computewise.study.plan import SEARCH

Runs = Sequence[Sequence[Record]]

"""The records of one arm: one or more runs over the same problems in the same order."""


def drawn(
    arms: Mapping[str, Runs], currency: CostMetric, prompts: Mapping[str, str] | None = None
) -> list[ProblemSamples]:
    """The samples of every problem. `prompts` are by the problems' ids, where those are not the prompts."""
    problems = [record.problem for record in next(iter(arms.values()))[0]]
    found = []
    for index, problem in enumerate(problems):
        numbers: dict[str, int] = {}
        held = {name: [run[index] for run in runs] for name, runs in arms.items()}
        scored = _scored_prompt(next(iter(held.values()))[0])
        each = {name: _sample_arrays(records, numbers, currency, scored) for name, records in held.items()}
        opening = {name: _opening(records[0], currency, scored) for name, records in held.items()}
        found.append(ProblemSamples(problem, (prompts or {}).get(problem, problem), each, opening))
    return found


def _sample_arrays(
    records: Sequence[Record], numbers: dict[str, int], currency: CostMetric, scored: int
) -> SampleArrays:
    """The samples of several runs, one run after the other."""
    parts: list[SampleArrays] = []
    blocks = chains = 0
    for record in records:
        parts.append(_draws_of(record, numbers, currency, scored, blocks, chains))
        blocks, chains = (
            int(parts[-1].blocks.max(initial=blocks - 1)) + 1,
            int(parts[-1].chains.max(initial=chains - 1)) + 1,
        )
    return SampleArrays(
        *(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(SampleArrays))
    )


def _draws_of(
    record: Record, numbers: dict[str, int], currency: CostMetric, scored: int, blocks: int, chains: int
) -> SampleArrays:
    outcomes = record.candidates
    count, whole = len(outcomes), is_search(record)
    usages = draw_usages(record, scored)
    waited = [record.sequential, *[0] * (count - 1)] if whole else [one.completion_tokens for one in outcomes]
    chain = {name: number for number, name in enumerate(dict.fromkeys(one.chain for one in outcomes))}
    return arrays_of_records(
        outcomes,
        numbers,
        costs=[currency.cost(u, w, record.role) for u, w in zip(usages, waited, strict=True)],
        blocks=blocks + (np.zeros(count, np.int64) if whole else np.arange(count)),
        chains=chains + np.array([0 if whole else chain[one.chain] for one in outcomes], np.int64),
    )


def is_search(record: Record) -> bool:
    """Whether its candidates were found together: half of a beam search is not a smaller beam search."""
    return record.strategy["name"] not in ("best_of_n", "step_revisions")


def draw_usages(record: Record, scored: int) -> list[Usage]:
    """The usage of each solution, drawn where caches hold the prompt; all of a search is the first one's.

    `scored` are the tokens of the prompt that the verifier's cache holds. A revision reads its prompt and the steps it
    keeps again, and so does its verifier.
    """
    read, spent = _read_prompt(record), record.usage
    if is_search(record):
        cached = replace(
            spent,
            cached_prompt_tokens=spent.cached_prompt_tokens + read,
            cached_verifier_tokens=min(spent.cached_verifier_tokens + scored, spent.verifier_tokens),
        )
        return [cached, *[Usage()] * (len(record.candidates) - 1)]
    payer = next((place for place, one in enumerate(record.candidates) if one.uncached_prompt_tokens), 0)
    before, share = _around(record)
    found = []
    for place, one in enumerate(record.candidates):
        revises = one.uncached_prompt_tokens > 0 and place != payer
        verified = round(before + share * one.tokens)
        found.append(
            Usage(
                samples=1,
                prompt_tokens=max(one.uncached_prompt_tokens, read),
                cached_prompt_tokens=0 if revises else read,
                completion_tokens=one.completion_tokens,
                verifier_tokens=verified,
                cached_verifier_tokens=0 if revises else min(scored, verified),
            )
        )
    return found


def _around(record: Record) -> tuple[float, float]:
    """What the verifier reads of a solution: so many tokens around it, and of its own tokens such a share.

    As if the verifier counted them as the model does: what it read in all is in the record.
    """
    tokens, read = sum(one.tokens for one in record.candidates), record.usage.verifier_tokens
    return max(read - tokens, 0) / max(len(record.candidates), 1), min(1.0, read / max(tokens, 1))


def _read_prompt(record: Record) -> int:
    """The tokens of the prompt, which the first draw reads; a search reads nothing else anew."""
    if is_search(record):
        return record.usage.prompt_tokens - record.usage.cached_prompt_tokens
    return next((one.uncached_prompt_tokens for one in record.candidates if one.uncached_prompt_tokens), 0)


def _scored_prompt(record: Record) -> int:
    """The tokens of the prompt that the verifier's cache held, by samples that were drawn together."""
    cached, count = record.usage.cached_verifier_tokens, len(record.candidates)
    if is_search(record) or count < 2:
        return _read_prompt(record) if cached else 0
    return min(round(cached / (count - 1)), round(_around(record)[0]))


def _opening(record: Record, currency: CostMetric, scored: int) -> tuple[str, float]:
    """The role that draws, and by how much a draw costs more where no cache holds the prompt."""
    held, waited = draw_usages(record, scored)[0], 0 if is_search(record) else record.candidates[0].completion_tokens
    read = replace(
        held,
        cached_prompt_tokens=held.cached_prompt_tokens - _read_prompt(record),
        cached_verifier_tokens=max(held.cached_verifier_tokens - scored, 0),
    )
    cost = currency.cost(read, waited, record.role) - currency.cost(held, waited, record.role)
    return record.role, cost


def fit_policy(
    seeds: Sequence[Mapping[str, Runs]],
    scope: str,
    task: str,
    currency: CostMetric,
    labels: Mapping[Role, str],
    seed: int,
) -> Controller:
    """A controller that chooses among the arms of a scope, see `SCOPES`; `labels` name the models by role."""
    names = [name for name in SCOPES[scope] if all(name in each for each in seeds)]
    problems = [one for each in seeds for one in drawn({name: each[name] for name in names}, currency)]
    workload = RecordedPool(problems)
    policy = RuleFitter(larger=LARGER, seed=seed).fit(workload)
    return Controller(
        policy,
        arms=tuple(
            ControllerArm(
                arm.name,
                labels[_role(arm.name)],
                _strategy(arm.name, seeds[0]),
                int(arm.lengths.max()),
                arm.name in LARGER,
            )
            for arm in workload.arms
        ),
        verifier=labels[VERIFIER],
        task=task,
        currency=currency.name,
        unit=float(workload.arms[0].costs.sum() / workload.arms[0].lengths.sum()),
    )


def _role(arm: str) -> Role:
    return LARGE if arm in LARGER else MODEL


def _strategy(arm: str, runs: Mapping[str, Runs]) -> StrategyParams:
    """The strategy that draws one increment of an arm."""
    match arm:
        case "particle filter":
            return strategy_to_dict(SEARCH)
        case "step revisions":
            return {**strategy_to_dict(StepRevisions()), **runs[arm][0][0].strategy, "chains": 1}
        case "large, greedy":
            return strategy_to_dict(Greedy())
        case _:
            return strategy_to_dict(Single())


ORDERS = 8
"""Random orders of each problem's draws, all partitions together."""

FITTED = 3
"""Of the partitions that rivals are chosen on, those that controllers are fitted on; with trees on the first alone."""

ESCALATING = ("samples", "particle filter", "step revisions", "large, greedy", "large, samples")

SCOPES = {
    "how much": ("samples",),
    "which and how much": ("samples", "particle filter", "step revisions"),
    "with escalation": ESCALATING,
}

"""The arms that a controller of each scope may choose among."""

LARGER = ("large, greedy", "large, samples")

SHIPPED_SCOPE = "with escalation, the shipped policy"

"""The same arms, chosen by the policy that was fitted on validation problems; measured in FLOPs, as it was fitted."""

ALONE = "how much", "which and how much"

"""The scopes without escalation: their rivals are strategies of the small model."""


def widest_alone(scopes: Collection[str]) -> str:
    """The widest of the given scopes that never escalates."""
    return [scope for scope in ALONE if scope in scopes][-1]


def scopes_of(arms: Collection[str]) -> dict[str, list[str]]:
    """The arms of each scope that are available; a scope that adds no arm to the one before is left out."""
    found: dict[str, list[str]] = {}
    for scope, among in SCOPES.items():
        held = [name for name in among if name in arms]
        if held not in found.values():
            found[scope] = held
    return found


@dataclass(frozen=True, slots=True)
class AccuracyAndCost:
    """Accuracy, ([partitions,] problems), and cost, (problems,), of a rule."""

    accuracy: Floats
    cost: Floats


@dataclass(frozen=True, slots=True)
class Path:
    """A controller on problems that it was not fitted on, seed by seed, and as fitted anew for other partitions."""

    whole: StoppingPath
    refitted: tuple[StoppingPath, ...]
    """One for each partition that was fitted, in FLOPs; none for a controller that was fitted on other problems."""
    seeds: int
    partitions: int
    """Those that rivals are chosen on."""

    def spend(self, budget: float, flops: float) -> AccuracyAndCost:
        """At a mean cost of at most `budget`, which is about `flops` in FLOPs.

        What partitions differ by comes from those that were fitted: see `as_partitions`.
        """
        accuracy, cost = (one.reshape(self.seeds, -1).mean(0) for one in self.whole.at(self.whole.price(budget)))
        if not self.refitted:
            return AccuracyAndCost(accuracy, cost)
        means = np.array([path.at(path.price(flops))[0].mean() for path in self.refitted])
        return AccuracyAndCost(as_partitions(accuracy, means, self.partitions), cost)


@dataclass(frozen=True, slots=True)
class Fitted:
    """The controllers of a scope, one for each part; what an option gains does not depend on what it costs."""

    pool: RecordedPool
    rules: CrossFit
    refitted: tuple[StoppingPath, ...]
    seeds: int
    partitions: int

    def path(self, pool: RecordedPool, seed: int) -> Path:
        """Its path with the costs of draws in `pool`."""
        whole = self.rules.repriced(self.pool, pool).follow(pool, repeats=ORDERS, seed=seed)
        return Path(whole, self.refitted, self.seeds, self.partitions)


@dataclass(frozen=True, slots=True)
class BudgetPoint:
    """The rules at one budget: the cost of `n` samples by best-of-N weighted."""

    n: int
    budget: float
    controllers: dict[str, AccuracyAndCost]
    best_fixed: dict[str, AccuracyAndCost]
    """By scope: the controller's rival."""
    at_rivals_cost: dict[str, AccuracyAndCost]
    """The controller at no more than its rival's cost, where that pays for its first draw."""
    tables: dict[str, AccuracyAndCost]
    """The paper's policy by each estimate of difficulty; the cost of the estimate is not included."""
    uniform: AccuracyAndCost
    """Best-of-N weighted."""
    ceiling: AccuracyAndCost
    """The best allocation of actions to problems in hindsight; it includes luck."""


@dataclass(frozen=True, slots=True)
class ControllerEvaluation:
    """The comparison in one cost metric: budgets rising, and the draws of each controller at each of them."""

    currency: CostMetric
    budgets: list[BudgetPoint]
    draws: dict[str, list[dict[str, float]]]
    """By scope and budget: mean increments a problem by each arm."""
    beside_large: AccuracyAndCost | None
    """The controller with escalation at no more than the cost of one greedy answer by the larger model."""
    needed: dict[str, tuple[float, Estimate]]
    """By scope: the least cost from which on it matches best-of-N weighted at the largest, infinite if there is none,
    and how many times fewer that is."""


@dataclass(frozen=True, slots=True)
class Baselines:
    """What controllers are compared with: fixed strategies of the model and of a larger one, bins, and partitions."""

    rows: Sequence[StrategyRow]
    larger: Sequence[StrategyRow]
    """First the larger model's greedy answer; empty without one."""
    bins: Mapping[str, Ints]
    parts: Ints
    """(partitions, problems): the parts that rivals are chosen on are those that controllers are fitted on."""
    seed: int


def compare(
    seeds: Sequence[Mapping[str, Runs]],
    currencies: Mapping[str, CostMetric],
    uniform: Sequence[StrategyRow],
    rivals: Baselines,
    shipped: StoppingRule | None,
) -> dict[str, ControllerEvaluation]:
    """The comparison by the column of each cost metric; empty where one sample is all that is affordable.

    `seeds` holds each seed's arms, `uniform` best-of-N weighted from two samples up.
    """
    if uniform[-1].n == 1:
        return {}
    fitted: dict[str, Fitted] = {}
    return {
        column: _compare(column, currency, seeds, uniform, rivals, fitted, shipped if column == "flops" else None)
        for column, currency in currencies.items()
    }


def _compare(
    column: str,
    currency: CostMetric,
    seeds: Sequence[Mapping[str, Runs]],
    uniform: Sequence[StrategyRow],
    rivals: Baselines,
    fitted: dict[str, Fitted],
    shipped: StoppingRule | None,
) -> ControllerEvaluation:
    paths: dict[str, Path] = {}
    names: dict[str, Sequence[str]] = {}
    for scope, arms in scopes_of([name for name in ESCALATING if all(name in each for each in seeds)]).items():
        held = {name: [each[name] for each in seeds] for name in arms}
        problems = [
            one for index in range(len(seeds)) for one in drawn({n: r[index] for n, r in held.items()}, currency)
        ]
        workload = RecordedPool(problems)
        names[scope] = workload.names
        if scope not in fitted:
            fitted[scope] = _fit(workload, len(seeds), rivals)
        paths[scope] = fitted[scope].path(workload, rivals.seed)
        if shipped is not None and shipped.arms == tuple(workload.names):
            names[SHIPPED_SCOPE] = workload.names
            followed = shipped.follow(workload, repeats=ORDERS, seed=rivals.seed)
            paths[SHIPPED_SCOPE] = Path(followed, (), len(seeds), 1)
    at = [_at_budget(column, row, paths, rivals) for row in uniform]
    large = rivals.larger[0] if rivals.larger else None
    return ControllerEvaluation(
        currency,
        at,
        draws={
            scope: [_draws(path.whole, path.whole.price(one.budget), names[scope]) for one in at]
            for scope, path in paths.items()
        },
        beside_large=paths.get(SHIPPED_SCOPE, paths["with escalation"]).spend(*_costs(large, column))
        if large
        else None,
        needed={scope: _needed(path, uniform[-1], column) for scope, path in paths.items()},
    )


def _fit(pool: RecordedPool, seeds: int, rivals: Baselines) -> Fitted:
    """On a pool that holds every problem once a seed, seed by seed."""
    fitter = RuleFitter(larger=LARGER, seed=rivals.seed)
    rules = fitter.cross_fits(pool, [np.tile(one, seeds) for one in rivals.parts[:FITTED]])
    paths = tuple(one.follow(pool, repeats=ORDERS, seed=rivals.seed) for one in rules)
    return Fitted(pool, rules[0], paths, seeds, len(rivals.parts))


def _costs(row: StrategyRow, column: str) -> tuple[float, float]:
    """Its mean cost in the metric, and in FLOPs."""
    return float(row.usage[column].mean()), float(row.usage["flops"].mean())


def _needed(path: Path, most: StrategyRow, column: str) -> tuple[float, Estimate]:
    cost, flops = _costs(most, column)
    points = [path.spend(cost * share, flops * share) for share in (np.arange(1, 65) / 64).tolist()]
    ours = Curve(np.stack([one.accuracy for one in points], -1), np.stack([one.cost for one in points], -1))
    theirs = Curve(most.accuracy[:, None], most.usage[column][:, None])
    spent, _, ratio = times_fewer(ours, theirs)
    return spent, ratio


def _at_budget(column: str, row: StrategyRow, paths: Mapping[str, Path], rivals: Baselines) -> BudgetPoint:
    budget, flops = _costs(row, column)
    small, large = (
        [one for one in rows if one.usage[column].mean() <= budget * (1 + 1e-9)]
        for rows in (rivals.rows, rivals.larger)
    )
    both = [*small, *large]
    best = {scope: _chosen(column, small if scope in ALONE else both, None, rivals) for scope in paths}
    return BudgetPoint(
        n=row.n,
        budget=budget,
        controllers={scope: path.spend(budget, flops) for scope, path in paths.items()},
        best_fixed=best,
        at_rivals_cost={
            scope: path.spend(float(best[scope].cost.mean()), flops)
            for scope, path in paths.items()
            if path.whole.spent[:, 0].mean() <= best[scope].cost.mean()
        },
        tables={kind: _chosen(column, small, bins, rivals) for kind, bins in rivals.bins.items()},
        uniform=AccuracyAndCost(row.accuracy, row.usage[column]),
        ceiling=_ceiling(column, rivals.rows, budget),
    )


def _chosen(column: str, rows: Sequence[StrategyRow], bins: Ints | None, rivals: Baselines) -> AccuracyAndCost:
    """A strategy chosen on all parts but one and measured on that; with `bins`, one strategy for each bin."""
    rows = sorted(rows, key=lambda row: float(row.usage[column].mean()))
    accuracy = np.stack([row.accuracy for row in rows], 1)
    cost = np.stack([row.usage[column] for row in rows], 1)
    bins = np.zeros(len(accuracy), np.int64) if bins is None else bins
    validated = cross_validate(accuracy, bins, rivals.parts)
    return AccuracyAndCost(validated.average(accuracy), validated.average(cost).mean(0))


def _ceiling(column: str, rows: Sequence[StrategyRow], budget: float) -> AccuracyAndCost:
    accuracy = np.stack([row.accuracy for row in rows], 1)
    cost = np.stack([row.usage[column] for row in rows], 1)
    shares = allocate(accuracy, cost, budget)
    return AccuracyAndCost((shares * accuracy).sum(1), (shares * cost).sum(1))


def _draws(path: StoppingPath, price: float, arms: Sequence[str]) -> dict[str, float]:
    """Increments a problem by each arm, the first probe included."""
    taken = path.arms[:, :-1][np.arange(path.arms.shape[1] - 1) < path.stops(price)[:, None]]
    counts = np.bincount(taken, minlength=len(arms)) / len(path.arms)
    return {arm: float(count) + (index == 0) for index, (arm, count) in enumerate(zip(arms, counts, strict=True))}
