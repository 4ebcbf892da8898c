"""From records to rows, bins and policies: no model is run here, and nothing is written."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from computewise.core import Usage
from computewise.difficulty import rank_bins
from computewise.difficulty.comparison import compare_estimators
from computewise.errors import RunError
from computewise.metrics import within_problem_aurocs
from computewise.policy import CrossValidated, best_per_bin, cross_validate
from computewise.policy.compute_optimal import Policy
from computewise.records import Key, Record, key_of
from computewise.strategies import describe
from computewise.strategies.gating import TRUST
from computewise.study.arms import Runs, drawn
from computewise.study.chains import ChainPool, Ratio, ratios
from computewise.study.config import LEAST_PROBLEMS, StudyConfig
from computewise.study.controlled import Controlled, Rivals, compare
from computewise.study.currencies import currencies
from computewise.study.plan import Run, plan, search_seeds
from computewise.study.tables import Floats, Pool, Row, Sizes, elected, usage_columns

POOL_SELECTIONS = ("majority", "weighted, logprob", "best", "weighted")
SEARCH_SELECTIONS = ("best", "weighted")
REVISED = ("step revisions", "adaptive branching")
"""Families whose candidates are chains: selected hierarchically."""
CHOSEN_AMONG = ("none", "majority", "weighted", "hierarchical")
"""The selections a policy chooses among. More of them would be more noise to choose by: `best` is shown, not chosen."""


@dataclass(frozen=True, slots=True)
class Difficulty:
    """Each problem's ease and quintile (0 the easiest), by who estimates it."""

    ease: dict[str, Floats]
    bins: dict[str, np.ndarray]
    probe: dict[str, Floats]
    """What the estimate cost, as `usage_columns`, by who estimates; no answer came of it."""


@dataclass(frozen=True, slots=True)
class Choice:
    """A rule at one budget: its row, and the action it would take in each bin, fitted on all problems."""

    row: Row
    actions: list[Row]


@dataclass(frozen=True, slots=True)
class RatioRow:
    """A ratio of sequential to parallel, and what came of it."""

    ratio: Ratio
    row: Row


@dataclass(frozen=True, slots=True)
class Analysis:
    """Everything a summary says."""

    problems: list[str]
    sizes: Sizes
    pools: list[Pool]
    difficulty: Difficulty
    rows: list[Row]
    ratios: list[RatioRow]
    chains: list[ChainPool]
    large: Row
    policies: dict[str, list[Choice]]
    halves: dict[str, list[Choice]]
    """The policy by predicted bins among one mechanism's actions alone: sampling and search, or revisions."""
    best_fixed: list[Choice]
    oracle_per_problem: list[Row]
    aurocs: dict[str, Floats]
    controlled: dict[str, Controlled]
    """The controller beside the others, by currency."""
    arms: list[dict[str, Runs]]
    """What a controller may draw by, one for each seed."""
    estimators: list[dict[str, Any]]
    """How well each estimate of difficulty predicts it."""
    failed: list[Record]


def analyse(config: StudyConfig, records: Sequence[Record], sizes: Sizes, shipped: Policy | None = None) -> Analysis:
    """Records in any order; problems that failed anywhere are left out everywhere, and named.

    `shipped` is a controller fitted on other problems, to be measured beside those fitted here.
    """
    failed = [record for record in records if record.error]
    lost = {record.problem for record in failed}
    groups: dict[Key, list[Record]] = defaultdict(list)
    for record in sorted(records, key=lambda record: record.problem):
        if record.problem not in lost:
            groups[_key(record)].append(record)
    runs = plan(config)

    def of(purpose: str, model: str) -> list[list[Record]]:
        return [groups[_key(run)] for run in runs if (run.purpose, run.model) == (purpose, model)]

    problems = [record.problem for record in of("greedy", "small")[0]]
    if len(problems) < LEAST_PROBLEMS:
        why = f": {failed[0].error}" if failed else ""
        raise RunError(f"only {len(problems)} problems did not fail, at least {LEAST_PROBLEMS} are needed{why}")
    pools = [Pool(same) for same in of("pool", "small")]
    chains = [ChainPool(same) for same in of("chains", "revision")]
    a_generation = np.mean([pool.tokens.mean(1) for pool in pools], axis=0)
    difficulty = _difficulty(Pool(of("difficulty", "small")[0]), problems, sizes, a_generation)
    ratios = [one for n in config.budgets for one in _ratio_rows(n, chains, sizes, a_generation)]
    rows = _pool_rows(config, pools, sizes, a_generation)
    rows += _search_rows([(run, groups[_key(run)]) for run in runs], sizes, a_generation)
    rows += [one.row for one in ratios if one.row.selection == "hierarchical"]
    (greedy,) = of("greedy", "large")
    large_usage = usage_columns(
        [replace(r.usage, verifier_tokens=0, cached_verifier_tokens=0) for r in greedy],
        [r.usage.completion_tokens for r in greedy],
        sizes,
        a_generation,
        "large",
    )
    large = Row("greedy", greedy[0].strategy, "none", 1, _accuracy([greedy], "best"), large_usage, "large")
    scores = np.concatenate([pool.values for pool in pools], 1)
    logprobs = np.concatenate([pool.logprobs for pool in pools], 1)
    right = np.concatenate([pool.correct for pool in pools], 1)
    index = np.broadcast_to(np.arange(len(problems))[:, None], right.shape)
    bins, folds = difficulty.bins["predicted"], difficulty.bins["oracle"]
    rivals = Rivals(
        [row for row in rows if row.selection in CHOSEN_AMONG],
        large,
        difficulty.bins,
        folds,
        config.repeats,
        config.seed,
    )
    arms, counted = _arms(runs, groups), currencies(asdict(sizes))
    uniform = [_pool_row(pools, "weighted", k, sizes, a_generation) for k in _doublings(config.budgets[-1])]
    return Analysis(
        problems=problems,
        sizes=sizes,
        pools=pools,
        difficulty=difficulty,
        rows=rows,
        ratios=ratios,
        chains=chains,
        large=large,
        policies={kind: _policy(config, rows, bins, folds) for kind, bins in difficulty.bins.items()},
        halves={
            "sampling and search": _policy(config, [row for row in rows if not _revises(row)], bins, folds),
            "revisions": _policy(config, [row for row in rows if _revises(row)], bins, folds),
        },
        best_fixed=_policy(config, rows, np.zeros(len(problems), np.int64), folds),
        oracle_per_problem=[_ceiling(rows, budget) for budget in config.budgets],
        aurocs={
            "prm": within_problem_aurocs(scores.ravel(), right.ravel(), index.ravel()),
            "logprob": within_problem_aurocs(logprobs.ravel(), right.ravel(), index.ravel()),
        },
        controlled=compare(arms, counted, uniform, rivals, shipped),
        arms=arms,
        estimators=compare_estimators(
            drawn({"samples": arms[0]["samples"]}, counted["flops"]), difficulty.ease["oracle"], config.seed
        ),
        failed=failed,
    )


def _arms(runs: list[Run], groups: dict[Key, list[Record]]) -> list[dict[str, Runs]]:
    """What a controller may draw by, one for each seed."""

    def of(purpose: str, model: str, seeds: Sequence[int]) -> list[list[Record]]:
        found = [run for run in runs if (run.purpose, run.model) == (purpose, model) and run.seed in seeds]
        return [groups[_key(run)] for run in found]

    greedy = of("greedy", "large", [run.seed for run in runs])
    arms = []
    for seed in dict.fromkeys(run.seed for run in runs if run.purpose == "pool"):
        widest = [run for run in runs if run.purpose.startswith("step revisions") and run.seed == seed][-1:]
        each: dict[str, Runs] = {
            "samples": of("pool", "small", [seed]),
            "particle filter": of("draws", "small", search_seeds(seed)),
            "step revisions": [groups[_key(run)] for run in widest],
            "large, greedy": greedy,
            "large, samples": of("pool", "large", [seed]),
        }
        arms.append({name: found for name, found in each.items() if found})
    return arms


def _doublings(largest: int) -> list[int]:
    return [1 << power for power in range(1, largest.bit_length()) if 1 << power < largest] + [largest]


def _revises(row: Row) -> bool:
    return row.model == "revision" or row.family.startswith(REVISED)


def _key(what: Run | Record) -> Key:
    return key_of(what.purpose, what.model, what.strategy, what.seed, "")


def _difficulty(probe: Pool, problems: list[str], sizes: Sizes, a_generation: Floats) -> Difficulty:
    n = probe.values.shape[1]
    ease = {"oracle": probe.correct.mean(1), "predicted": probe.values.mean(1)}
    return Difficulty(
        ease=ease,
        bins={kind: rank_bins(values.tolist(), problems) for kind, values in ease.items()},
        probe={
            "oracle": usage_columns(probe.usage(n, verified=False), probe.longest(n), sizes, a_generation)["flops"],
            "predicted": usage_columns(probe.usage(n, verified=True), probe.longest(n), sizes, a_generation)["flops"],
        },
    )


def _pool_rows(config: StudyConfig, pools: list[Pool], sizes: Sizes, a_generation: Floats) -> list[Row]:
    return [
        _pool_row(pools, selection, k, sizes, a_generation)
        for k in config.budgets
        for selection in (POOL_SELECTIONS if k > 1 else ("best",))
    ]


def _pool_row(pools: list[Pool], selection: str, k: int, sizes: Sizes, a_generation: Floats) -> Row:
    verified = selection in ("best", "weighted") and k > 1
    usages = [_mean(usages) for usages in zip(*(pool.usage(k, verified=verified) for pool in pools), strict=True)]
    accuracy = np.mean([pool.accuracy(selection, k) for pool in pools], axis=0)
    columns = usage_columns(usages, np.mean([pool.longest(k) for pool in pools], axis=0), sizes, a_generation)
    if k == 1:
        return Row("single sample", {"name": "single"}, "none", k, accuracy, columns)
    return Row("best-of-N", {"name": "best_of_n", "n": k}, selection, k, accuracy, columns)


def _search_rows(runs: list[tuple[Run, list[Record]]], sizes: Sizes, a_generation: Floats) -> list[Row]:
    by_strategy: dict[Key, list[tuple[Run, list[Record]]]] = defaultdict(list)
    for run, records in runs:
        if run.purpose not in ("pool", "difficulty", "chains", "draws") and run.model != "large":
            by_strategy[key_of(run.purpose, run.model, run.strategy, 0, "")].append((run, records))
    rows = []
    for same in by_strategy.values():
        run, seeds = same[0][0], [records for _, records in same]
        usages = [_mean([record.usage for record in one]) for one in zip(*seeds, strict=True)]
        sequential = np.mean([[record.sequential for record in one] for one in seeds], axis=0)
        columns = usage_columns(usages, sequential, sizes, a_generation, run.model)
        selections = ("hierarchical",) if run.purpose.startswith(REVISED) else SEARCH_SELECTIONS
        for selection in selections if run.purpose != "greedy" else ("best",):
            name = selection if run.purpose != "greedy" else "none"
            accuracy = _accuracy(seeds, selection)
            rows.append(Row(run.purpose, run.strategy, name, run.budget, accuracy, columns, run.model))
    return rows


def _ratio_rows(n: int, chains: list[ChainPool], sizes: Sizes, a_generation: Floats) -> list[RatioRow]:
    """Every ratio at a budget: by verifier, by majority, and with chains that end at a trusted attempt."""
    rows = []
    for ratio in ratios(n):
        # A single attempt leaves nothing to select, but to revise one takes the verifier's verdict, by majority too.
        ways = [(ratio, "hierarchical", n > 1), (ratio, "majority", ratio.length > 1)]
        if ratio.length > 1:
            ways.append((replace(ratio, trust=TRUST), "hierarchical", True))
        for way, selection, verified in ways:
            usages = [_mean(one) for one in zip(*(c.usage(way, verified=verified) for c in chains), strict=True)]
            sequential = np.mean([c.longest(way) for c in chains], axis=0)
            columns = usage_columns(usages, sequential, sizes, a_generation, "revision")
            accuracy = np.mean([c.accuracy(way, selection) for c in chains], axis=0)
            strategy = describe(way.strategy())
            rows.append(RatioRow(way, Row(way.family, strategy, selection, n, accuracy, columns, "revision")))
    return rows


def _accuracy(seeds: Sequence[Sequence[Record]], selection: str) -> Floats:
    return np.mean([[elected(record, selection) for record in records] for records in seeds], axis=0, dtype=float)


def _mean(usages: Sequence[Usage]) -> Usage:
    total = sum(usages, Usage())
    return Usage(*(round(getattr(total, name) / len(usages)) for name in Usage.__dataclass_fields__))


def at_budget(rows: Sequence[Row], budget: int) -> list[Row]:
    """The actions a policy chooses among at a budget, the cheapest first."""
    actions = [row for row in rows if row.n == budget and row.selection in CHOSEN_AMONG]
    return sorted(actions, key=lambda row: float(row.usage["flops"].mean()))


def _policy(config: StudyConfig, rows: list[Row], bins: np.ndarray, folds: np.ndarray) -> list[Choice]:
    choices = []
    for budget in config.budgets:
        actions = at_budget(rows, budget)
        accuracy = np.stack([row.accuracy for row in actions], 1)
        validated = cross_validate(accuracy, bins, folds, repeats=config.repeats, seed=config.seed)
        fitted = [actions[index] for index in best_per_bin(accuracy, bins)]
        choices.append(Choice(_average(validated, actions, budget), fitted))
    return choices


def _average(validated: CrossValidated, actions: list[Row], budget: int) -> Row:
    usage = {name: validated.average(np.stack([row.usage[name] for row in actions], 1)) for name in actions[0].usage}
    accuracy = validated.average(np.stack([row.accuracy for row in actions], 1))
    return Row("policy", {"name": "policy"}, "chosen", budget, accuracy, usage)


def _ceiling(rows: list[Row], budget: int) -> Row:
    """The best action of every problem in hindsight: luck included, so no rule can be asked to reach it."""
    actions = at_budget(rows, budget)
    accuracy = np.stack([row.accuracy for row in actions], 1)
    best = np.eye(len(actions))[accuracy.argmax(1)]
    return _average(CrossValidated(best), actions, budget)
