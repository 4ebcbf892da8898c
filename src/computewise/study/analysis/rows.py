"""From records to rows: one strategy and selection at one budget, with its accuracy and its cost."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from computewise.core import LARGE, MODEL, REVISER, Role, Usage
from computewise.metrics import Floats
from computewise.runs import Key, Record, make_key
from computewise.strategies import strategy_to_dict
from computewise.strategies.revisions import TRUST
from computewise.study.analysis.revisions import ChainPool, Ratio, ratios
from computewise.study.analysis.tables import SamplePool, StrategyRow, UsageColumns, elected
from computewise.study.plan import Run, StudyConfig

POOL_SELECTIONS = ("majority", "weighted, logprob", "best", "weighted")
SEARCH_SELECTIONS = ("best", "weighted")
REVISED = ("step revisions", "adaptive branching")
"""Families whose candidates are chains: selected hierarchically."""


@dataclass(frozen=True, slots=True)
class RatioRow:
    """A ratio of sequential to parallel attempts, and its row."""

    ratio: Ratio
    row: StrategyRow


def revises(row: StrategyRow) -> bool:
    """Whether its candidates are attempts that may be made in view of earlier ones."""
    return row.role == REVISER or row.family.startswith(REVISED)


def weighs_probability(pools: Sequence[SamplePool]) -> bool:
    """Whether the samples have log-probabilities: some servers give none."""
    return any(np.ptp(pool.logprobs) > 0 for pool in pools)


def large_row(greedy: list[list[Record]], columns: UsageColumns) -> StrategyRow | None:
    """The larger model's one greedy answer, without a verifier; None where there is no larger model."""
    for records in greedy:
        usages = [replace(r.usage, verifier_tokens=0, cached_verifier_tokens=0) for r in records]
        waited = [r.usage.completion_tokens for r in records]
        usage = columns.of(usages, waited, LARGE)
        return StrategyRow("greedy", records[0].strategy, "none", 1, _accuracy([records], "best"), usage, LARGE)
    return None


def pool_rows(config: StudyConfig, pools: list[SamplePool], columns: UsageColumns) -> list[StrategyRow]:
    """Best-of-N at every budget, by every selection, from the same samples."""
    selections = [one for one in POOL_SELECTIONS if weighs_probability(pools) or one != "weighted, logprob"]
    return [
        pool_row(pools, selection, k, columns)
        for k in config.budgets
        for selection in (selections if k > 1 else ("best",))
    ]


def larger_rows(pools: list[SamplePool], columns: UsageColumns) -> list[StrategyRow]:
    """Best-of-k of the larger model's samples, weighted by the verifier, for every k that was drawn."""
    most = pools[0].values.shape[1] if pools else 0
    return [pool_row(pools, "weighted", k, columns, LARGE) for k in range(2, most + 1)]


def pool_row(pools: list[SamplePool], selection: str, k: int, columns: UsageColumns, role: Role = MODEL) -> StrategyRow:
    """Best-of-k by one selection; a single sample where k is 1."""
    verified = selection in ("best", "weighted") and k > 1
    usages = [_mean(usages) for usages in zip(*(pool.usage(k, verified=verified) for pool in pools), strict=True)]
    accuracy = np.mean([pool.accuracy(selection, k) for pool in pools], axis=0)
    usage = columns.of(usages, np.mean([pool.longest(k) for pool in pools], axis=0), role)
    if k == 1:
        return StrategyRow("single sample", {"name": "single"}, "none", k, accuracy, usage, role)
    return StrategyRow("best-of-N", {"name": "best_of_n", "n": k}, selection, k, accuracy, usage, role)


def search_rows(runs: list[tuple[Run, list[Record]]], columns: UsageColumns) -> list[StrategyRow]:
    """The rows of strategies that have runs of their own: greedy, the searches and the step revisions."""
    by_strategy: dict[Key, list[tuple[Run, list[Record]]]] = defaultdict(list)
    for run, records in runs:
        if run.purpose not in ("pool", "difficulty", "chains", "draws") and run.role != LARGE:
            by_strategy[make_key(run.purpose, run.role, run.strategy, 0, "")].append((run, records))
    rows = []
    for same in by_strategy.values():
        run, seeds = same[0][0], [records for _, records in same]
        usages = [_mean([record.usage for record in one]) for one in zip(*seeds, strict=True)]
        sequential = np.mean([[record.sequential for record in one] for one in seeds], axis=0)
        usage = columns.of(usages, sequential, run.role)
        selections = ("hierarchical",) if run.purpose.startswith(REVISED) else SEARCH_SELECTIONS
        for selection in selections if run.purpose != "greedy" else ("best",):
            name = selection if run.purpose != "greedy" else "none"
            accuracy = _accuracy(seeds, selection)
            rows.append(StrategyRow(run.purpose, run.strategy, name, run.budget, accuracy, usage, run.role))
    return rows


def ratio_rows(n: int, chains: list[ChainPool], columns: UsageColumns) -> list[RatioRow]:
    """Every ratio at a budget: by verifier, by majority, and with chains that end at a trusted attempt."""
    rows = []
    for ratio in ratios(n) if chains else ():
        # One attempt needs no selection, but a revision needs the verifier's scores, even where a majority selects.
        ways = [(ratio, "hierarchical", n > 1), (ratio, "majority", ratio.length > 1)]
        if ratio.length > 1:
            ways.append((replace(ratio, trust=TRUST), "hierarchical", True))
        for way, selection, verified in ways:
            usages = [_mean(one) for one in zip(*(c.usage(way, verified=verified) for c in chains), strict=True)]
            sequential = np.mean([c.longest(way) for c in chains], axis=0)
            usage = columns.of(usages, sequential, REVISER)
            accuracy = np.mean([c.accuracy(way, selection) for c in chains], axis=0)
            strategy = strategy_to_dict(way.strategy())
            rows.append(RatioRow(way, StrategyRow(way.family, strategy, selection, n, accuracy, usage, REVISER)))
    return rows


def _accuracy(seeds: Sequence[Sequence[Record]], selection: str) -> Floats:
    return np.mean([[elected(record, selection) for record in records] for records in seeds], axis=0, dtype=float)


def _mean(usages: Sequence[Usage]) -> Usage:
    total = sum(usages, Usage())
    return Usage(*(round(getattr(total, name) / len(usages)) for name in Usage.__dataclass_fields__))
