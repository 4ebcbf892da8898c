"""From records to rows, bins and policies: no model is run here, and nothing is written."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from computewise.core import Usage
from computewise.difficulty import rank_bins
from computewise.errors import RunError
from computewise.metrics import within_problem_aurocs
from computewise.policy import CrossValidated, best_per_bin, cross_validate
from computewise.records import Record, Settings, key_of
from computewise.study.config import LEAST_PROBLEMS, StudyConfig
from computewise.study.plan import plan
from computewise.study.tables import Floats, Pool, Row, Sizes, elected, usage_columns

POOL_SELECTIONS = ("majority", "weighted, logprob", "best", "weighted")
SEARCH_SELECTIONS = ("best", "weighted")


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
class Analysis:
    """Everything a summary says."""

    problems: list[str]
    sizes: Sizes
    pools: list[Pool]
    difficulty: Difficulty
    rows: list[Row]
    large: Row
    policies: dict[str, list[Choice]]
    best_fixed: list[Choice]
    oracle_per_problem: list[Row]
    aurocs: dict[str, Floats]
    failed: list[Record]


def analyse(config: StudyConfig, records: Sequence[Record], sizes: Sizes) -> Analysis:
    """Records in any order; problems that failed anywhere are left out everywhere, and named."""
    failed = [record for record in records if record.error]
    lost = {record.problem for record in failed}
    groups: dict[tuple[str, str, int, int], list[Record]] = defaultdict(list)
    for record in _in_order(config, records):
        if record.problem not in lost:
            groups[record.purpose, record.model, int(record.strategy.get("n", 1)), record.seed].append(record)
    problems = [record.problem for record in groups[("greedy", "small", 1, config.seed)]]
    if len(problems) < LEAST_PROBLEMS:
        why = f": {failed[0].error}" if failed else ""
        raise RunError(f"only {len(problems)} problems did not fail, at least {LEAST_PROBLEMS} are needed{why}")
    largest = config.budgets[-1]
    seeds = range(config.seed, config.seed + config.seeds)
    pools = [Pool(groups["pool", "small", largest, seed]) for seed in seeds]
    a_generation = np.mean([pool.tokens.mean(1) for pool in pools], axis=0)
    probe = Pool(groups["difficulty", "small", config.difficulty_samples, config.seed - 1])
    difficulty = _difficulty(probe, problems, sizes, a_generation)
    rows = [*_pool_rows(config, pools, sizes, a_generation)]
    rows += _search_rows(groups, sizes, a_generation, config)
    greedy = groups["greedy", "large", 1, config.seed]
    large_usage = usage_columns([r.usage for r in greedy], sizes, a_generation, "large")
    large = Row("greedy", greedy[0].strategy, "none", 1, _accuracy([greedy], "best"), large_usage)
    scores = np.concatenate([pool.values for pool in pools], 1)
    logprobs = np.concatenate([pool.logprobs for pool in pools], 1)
    right = np.concatenate([pool.correct for pool in pools], 1)
    index = np.broadcast_to(np.arange(len(problems))[:, None], right.shape)
    return Analysis(
        problems=problems,
        sizes=sizes,
        pools=pools,
        difficulty=difficulty,
        rows=rows,
        large=large,
        policies={
            kind: _policy(config, rows, bins, difficulty.bins["oracle"]) for kind, bins in difficulty.bins.items()
        },
        best_fixed=_policy(config, rows, np.zeros(len(problems), np.int64), difficulty.bins["oracle"]),
        oracle_per_problem=[_ceiling(rows, budget) for budget in config.budgets],
        aurocs={
            "prm": within_problem_aurocs(scores.ravel(), right.ravel(), index.ravel()),
            "logprob": within_problem_aurocs(logprobs.ravel(), right.ravel(), index.ravel()),
        },
        failed=failed,
    )


def _in_order(config: StudyConfig, records: Sequence[Record]) -> list[Record]:
    """By the plan, then by problem: rows are paired by place, and workers record as they are done."""
    order = {key_of(r.purpose, r.model, r.strategy, r.seed, ""): place for place, r in enumerate(plan(config))}
    return sorted(records, key=lambda r: (order[key_of(r.purpose, r.model, r.strategy, r.seed, "")], r.problem))


def _difficulty(probe: Pool, problems: list[str], sizes: Sizes, a_generation: Floats) -> Difficulty:
    n = probe.values.shape[1]
    ease = {"oracle": probe.correct.mean(1), "predicted": probe.values.mean(1)}
    return Difficulty(
        ease=ease,
        bins={kind: rank_bins(values.tolist(), problems) for kind, values in ease.items()},
        probe={
            "oracle": usage_columns(probe.usage(n, verified=False), sizes, a_generation)["flops"],
            "predicted": usage_columns(probe.usage(n, verified=True), sizes, a_generation)["flops"],
        },
    )


def _pool_rows(config: StudyConfig, pools: list[Pool], sizes: Sizes, a_generation: Floats) -> list[Row]:
    rows = []
    for k in config.budgets:
        for selection in POOL_SELECTIONS if k > 1 else ("best",):
            verified = selection in ("best", "weighted") and k > 1
            usages = [
                _mean(usages) for usages in zip(*(pool.usage(k, verified=verified) for pool in pools), strict=True)
            ]
            accuracy = np.mean([pool.accuracy(selection, k) for pool in pools], axis=0)
            family = "best-of-N" if k > 1 else "single sample"
            columns = usage_columns(usages, sizes, a_generation)
            name = selection if k > 1 else "none"
            strategy: Settings = {"name": "best_of_n", "n": k} if k > 1 else {"name": "single"}
            rows.append(Row(family, strategy, name, k, accuracy, columns))
    return rows


def _search_rows(
    groups: dict[tuple[str, str, int, int], list[Record]], sizes: Sizes, a_generation: Floats, config: StudyConfig
) -> list[Row]:
    by_run: dict[tuple[str, int], list[list[Record]]] = defaultdict(list)
    for (purpose, model, n, _), records in groups.items():
        if purpose not in ("pool", "difficulty") and model == "small":
            by_run[purpose, n].append(records)
    rows = []
    for (purpose, n), seeds in by_run.items():
        budget = n * (int(seeds[0][0].strategy.get("k", 0)) + 1)
        usages = [_mean([record.usage for record in same]) for same in zip(*seeds, strict=True)]
        columns = usage_columns(usages, sizes, a_generation)
        for selection in SEARCH_SELECTIONS if purpose != "greedy" else ("best",):
            name = selection if purpose != "greedy" else "none"
            rows.append(Row(purpose, seeds[0][0].strategy, name, budget, _accuracy(seeds, selection), columns))
    return rows


def _accuracy(seeds: Sequence[Sequence[Record]], selection: str) -> Floats:
    return np.mean([[elected(record, selection) for record in records] for records in seeds], axis=0, dtype=float)


def _mean(usages: Sequence[Usage]) -> Usage:
    total = sum(usages, Usage())
    return Usage(*(round(getattr(total, name) / len(usages)) for name in Usage.__dataclass_fields__))


def at_budget(rows: Sequence[Row], budget: int) -> list[Row]:
    """The actions a policy chooses among at a budget, the cheapest first."""
    return sorted((row for row in rows if row.n == budget), key=lambda row: float(row.usage["flops"].mean()))


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
