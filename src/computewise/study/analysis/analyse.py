"""From records to rows, bins and policies. No model is run here, and nothing is written."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from msgspec.structs import replace

from computewise.controller.bin_policy import CrossValidated, best_per_bin, cross_validate, partitions
from computewise.controller.rule import StoppingRule
from computewise.core import LARGE, MODEL, REVISER, VERIFIER, Role
from computewise.difficulty import rank_bins
from computewise.difficulty.evaluate import compare_estimators
from computewise.errors import RunError
from computewise.metrics import Floats, within_problem_aurocs
from computewise.runs import Key, Record, make_key
from computewise.samples import repeated_samples
from computewise.setups.base import Roles
from computewise.study.analysis.controller import FITTED, Baselines, ControllerEvaluation, Runs, compare, drawn
from computewise.study.analysis.revisions import ChainPool
from computewise.study.analysis.rivals import by_rung
from computewise.study.analysis.tables import (
    RatioRow,
    SamplePool,
    StrategyRow,
    UsageColumns,
    cost_metrics,
    large_row,
    larger_rows,
    pool_row,
    pool_rows,
    ratio_rows,
    revises,
    search_rows,
    share_of_usage,
    weighs_probability,
)
from computewise.study.plan import LEAST_PROBLEMS, Run, StudyConfig, difficulty_run, left_out, search_seeds

CHOSEN_AMONG = ("none", "majority", "weighted", "hierarchical")
"""The selections that a policy chooses among. More would add noise to the choice: `best` is shown but not chosen."""
OVERSPENT = 1.1
"""Times its budget in generations; beyond that an action is not at its budget, and no rule may choose it."""
NO_LOGPROBS = "The samples came without log-probabilities: nothing is weighed by them."


@dataclass(frozen=True, slots=True)
class Difficulty:
    """Each problem's ease and its quintile (0 the easiest), for each estimate."""

    ease: dict[str, Floats]
    bins: dict[str, np.ndarray]
    probe: dict[str, Floats]
    """The cost of each estimate in FLOPs; these samples give no answer."""


@dataclass(frozen=True, slots=True)
class BinChoice:
    """A rule at one budget: its row, and the action it takes in each bin, fitted on all problems."""

    row: StrategyRow
    actions: list[StrategyRow]


@dataclass(frozen=True, slots=True)
class Analysis:
    """Everything that the summary is made of."""

    problems: list[str]
    models: Roles
    pools: list[SamplePool]
    difficulty: Difficulty
    rows: list[StrategyRow]
    ratios: list[RatioRow]
    chains: list[ChainPool]
    large: StrategyRow | None
    large_samples: list[StrategyRow]
    """Best-of-k of the larger model's samples, verified: what a controller that escalates could do to every problem."""
    policies: dict[str, list[BinChoice]]
    halves: dict[str, list[BinChoice]]
    """The policy by predicted bins, restricted to one mechanism's actions: sampling and search, or revisions.

    Empty where there is no larger model to compare with.
    """
    mechanisms: dict[str, dict[str, list[BinChoice]]]
    """By mechanism and kind of bins, the paper's policy among that mechanism's actions alone (its figures 4 and 8).

    "search" is samples and searches, "revisions, by verifier" and "revisions, by majority" the ratios of sequential to
    parallel attempts.
    """
    best_fixed: list[BinChoice]
    oracle_per_problem: list[StrategyRow]
    aurocs: dict[str, Floats]
    controller: dict[str, ControllerEvaluation]
    rungs: dict[str, Floats]
    """By rung of the ladder: accuracy at the FLOPs of best-of-N, (budgets, problems)."""
    """The controller and its rivals, by cost metric."""
    arms: list[dict[str, Runs]]
    """What a controller may draw by, one for each seed."""
    estimators: list[dict[str, Any]]
    """How well each estimate of difficulty predicts it."""
    failed: list[Record]
    left_out: list[str]
    """What was not run or cannot be measured, with the reason."""


def analyse(
    config: StudyConfig,
    runs: Sequence[Run],
    records: Sequence[Record],
    models: Roles,
    *,
    prompts: Mapping[str, str] | None = None,
    shipped: StoppingRule | None = None,
) -> Analysis:
    """Analyse `records` of the planned `runs`, which may come in any order.

    A problem that failed in any run is left out everywhere, and is named. `prompts` are by the problems' ids, where
    those are not the prompts. `shipped` is a controller fitted on other problems, which is measured beside those fitted
    here.
    """
    runs, records = separate_difficulty(config, runs, records)
    failed = [record for record in records if record.error]
    lost = {record.problem for record in failed}
    groups: dict[Key, list[Record]] = defaultdict(list)
    for record in sorted(records, key=lambda record: record.problem):
        if record.problem not in lost:
            groups[_key(record)].append(record)

    def of(purpose: str, role: Role) -> list[list[Record]]:
        return [groups[_key(run)] for run in runs if (run.purpose, run.role) == (purpose, role)]

    problems = [record.problem for record in of("greedy", MODEL)[0]]
    if len(problems) < LEAST_PROBLEMS:
        why = f": {failed[0].error}" if failed else ""
        raise RunError(f"only {len(problems)} problems succeeded, at least {LEAST_PROBLEMS} are needed{why}")
    pools = [SamplePool(same) for same in of("pool", MODEL)]
    chains = [ChainPool(same) for same in of("chains", REVISER)]
    columns = UsageColumns(models, cost_metrics(models), np.mean([pool.tokens.mean(1) for pool in pools], axis=0))
    difficulty = _difficulty(SamplePool(of("difficulty", MODEL)[0]), problems, columns)
    ratios = [one for n in config.budgets for one in ratio_rows(n, chains, columns)]
    rows = pool_rows(config, pools, columns)
    rows += search_rows([(run, groups[_key(run)]) for run in runs], columns)
    rows += [one.row for one in ratios if one.row.selection == "hierarchical"]
    large = large_row(of("greedy", LARGE), columns)
    large_samples = larger_rows([SamplePool(same) for same in of("pool", LARGE)], columns)
    bins = difficulty.bins["predicted"]
    parts = partitions(difficulty.bins["oracle"], max(config.repeats, FITTED), config.seed)
    uniform = [pool_row(pools, "weighted", k, columns) for k in doublings(config.budgets[-1])]
    rivals = Baselines(
        [row for row in rows if row.selection in CHOSEN_AMONG]
        + [row for row in uniform if row.n not in config.budgets],
        [large, *large_samples] if large else [],
        difficulty.bins,
        parts,
        config.seed,
    )
    arms = _arms(runs, groups)
    return Analysis(
        problems=problems,
        models=models,
        pools=pools,
        difficulty=difficulty,
        rows=rows,
        ratios=ratios,
        chains=chains,
        large=large,
        large_samples=large_samples,
        policies={kind: _policy(config, rows, bins, parts) for kind, bins in difficulty.bins.items()},
        halves=_halves(config, rows, bins, parts) if large else {},
        mechanisms=_mechanisms(config, rows, ratios, difficulty.bins, parts),
        best_fixed=_policy(config, rows, np.zeros(len(problems), np.int64), parts),
        oracle_per_problem=[_ceiling(rows, budget) for budget in config.budgets],
        aurocs=_aurocs(pools),
        controller=compare(arms, columns.metrics, uniform, rivals, shipped),
        rungs=by_rung(arms, columns.metrics["flops"], uniform, rivals),
        arms=arms,
        estimators=compare_estimators(
            [one.drawn_in_order() for one in drawn({"samples": arms[0]["samples"]}, columns.metrics["flops"], prompts)],
            difficulty.ease["oracle"],
            config.seed,
        ),
        failed=failed,
        left_out=left_out(models)
        + ([] if weighs_probability(pools) else [NO_LOGPROBS])
        + _ungraded(records)
        # Runs whose samples are meant to be independent.
        + _repeated([pool for run in ("pool", "difficulty") for pool in of(run, MODEL)])
        + _noted(records),
    )


def _ungraded(records: Sequence[Record]) -> list[str]:
    """How many answers could not be graded, and the most frequent reason, in a sentence."""
    found = [(record.problem, one.ungraded) for record in records for one in record.candidates if one.ungraded]
    if not found:
        return []
    often, _ = Counter(why for _, why in found).most_common(1)[0]
    problems = len({problem for problem, _ in found})
    return [
        f"Answers that could not be graded and count as wrong: {len(found)}, of {problems} problems, such as: {often}."
    ]


def _repeated(pools: Sequence[Sequence[Record]]) -> list[str]:
    """Whether samples repeat one another, in a sentence."""
    every = [one for pool in pools for record in pool for one in record.candidates]
    known = any(one.mean_token_prob != 1 for one in every)
    found = repeated_samples(
        [
            [(one.thinking + one.text, one.mean_token_prob**one.tokens if known else None) for one in record.candidates]
            for pool in pools
            for record in pool
        ]
    )
    return [] if found is None else [found]


def _noted(records: Sequence[Record]) -> list[str]:
    """What was replaced in the servers' answers, with the number of solutions."""
    total = sum(len(record.candidates) for record in records)
    notes = Counter(note for record in records for one in record.candidates for note in one.notes)
    return [f"In {count} of {total} solutions {note}." for note, count in notes.most_common()]


def separate_difficulty(
    config: StudyConfig, runs: Sequence[Run], records: Sequence[Record]
) -> tuple[list[Run], list[Record]]:
    """Make a run of their own of the pool's samples beyond the largest budget, where those estimate the difficulty.

    So no sample that tells a problem's difficulty is measured too. Of several seeds, the first one's are taken.
    """
    if not config.extra:
        return list(runs), list(records)
    probe, separated = difficulty_run(config), list[Record]()
    for record in records:
        if (record.purpose, record.role) != ("pool", MODEL) or record.error:
            separated.append(record)
            continue
        drawn, kept = record.candidates, max(1, len(record.candidates) - config.extra)
        usages = [share_of_usage(record.usage, n, len(drawn), verified=True) for n in (kept, len(drawn) - kept)]
        separated.append(replace(record, candidates=drawn[:kept], usage=usages[0]))
        if record.seed == config.seed:
            apart = replace(record, purpose=probe.purpose, strategy=probe.strategy, seed=probe.seed)
            separated.append(replace(apart, candidates=drawn[kept:], usage=usages[1]))
    return [probe, *runs], separated


def _halves(
    config: StudyConfig, rows: list[StrategyRow], bins: np.ndarray, parts: np.ndarray
) -> dict[str, list[BinChoice]]:
    each = {
        "sampling and search": [row for row in rows if not revises(row)],
        "revisions": [row for row in rows if revises(row)],
    }
    return {name: _policy(config, half, bins, parts) for name, half in each.items() if half}


def _mechanisms(
    config: StudyConfig,
    rows: list[StrategyRow],
    ratios: Sequence[RatioRow],
    bins: Mapping[str, np.ndarray],
    parts: np.ndarray,
) -> dict[str, dict[str, list[BinChoice]]]:
    chains = [one.row for one in ratios if one.ratio.trust is None]
    each = {
        "search": [row for row in rows if not revises(row)],
        "revisions, by verifier": [row for row in chains if row.selection == "hierarchical"],
        "revisions, by majority": [row for row in chains if row.selection == "majority"],
    }
    return {
        name: {kind: _policy(config, among, one, parts) for kind, one in bins.items()}
        for name, among in each.items()
        if among
    }


def _aurocs(pools: Sequence[SamplePool]) -> dict[str, Floats]:
    right = np.concatenate([pool.correct for pool in pools], 1)
    index = np.broadcast_to(np.arange(len(right))[:, None], right.shape)
    scores: dict[str, Floats] = {VERIFIER: np.concatenate([pool.values for pool in pools], 1)}
    if weighs_probability(pools):
        scores["logprob"] = np.concatenate([pool.logprobs for pool in pools], 1)
    return {name: within_problem_aurocs(each.ravel(), right.ravel(), index.ravel()) for name, each in scores.items()}


def _arms(runs: Sequence[Run], groups: dict[Key, list[Record]]) -> list[dict[str, Runs]]:
    """What a controller may draw by, one for each seed."""

    def of(purpose: str, role: Role, seeds: Sequence[int]) -> list[list[Record]]:
        found = [run for run in runs if (run.purpose, run.role) == (purpose, role) and run.seed in seeds]
        return [groups[_key(run)] for run in found]

    greedy = of("greedy", LARGE, [run.seed for run in runs])
    arms = []
    for seed in dict.fromkeys(run.seed for run in runs if run.purpose == "pool"):
        widest = [run for run in runs if run.purpose.startswith("step revisions") and run.seed == seed][-1:]
        each: dict[str, Runs] = {
            "samples": of("pool", MODEL, [seed]),
            "particle filter": of("draws", MODEL, search_seeds(seed)),
            "step revisions": [groups[_key(run)] for run in widest],
            "large, greedy": greedy,
            "large, samples": of("pool", LARGE, [seed]),
        }
        arms.append({name: found for name, found in each.items() if found})
    return arms


def doublings(largest: int) -> list[int]:
    """2, 4, 8, .. below the largest, and the largest."""
    return [1 << power for power in range(1, largest.bit_length()) if 1 << power < largest] + [largest]


def _key(what: Run | Record) -> Key:
    return make_key(what.purpose, what.role, what.strategy, what.seed, "")


def _difficulty(probe: SamplePool, problems: list[str], columns: UsageColumns) -> Difficulty:
    n = probe.values.shape[1]
    ease = {"oracle": probe.correct.mean(1), "predicted": probe.values.mean(1)}
    return Difficulty(
        ease=ease,
        bins={kind: rank_bins(values.tolist(), problems) for kind, values in ease.items()},
        probe={
            "oracle": columns.of(probe.usage(n, verified=False), probe.longest(n))["flops"],
            "predicted": columns.of(probe.usage(n, verified=True), probe.longest(n))["flops"],
        },
    )


def at_budget(rows: Sequence[StrategyRow], budget: int) -> list[StrategyRow]:
    """The actions that a policy chooses among at a budget, the cheapest first.

    What sampled more than `OVERSPENT` times the budget is none: a search may, where solutions are not equally long. But
    where all did, as attempts may that are longer than a first one, all are.
    """
    actions = [row for row in rows if row.n == budget and row.selection in CHOSEN_AMONG]
    within = [row for row in actions if row.usage["generations"].mean() <= OVERSPENT * budget]
    return sorted(within or actions, key=lambda row: float(row.usage["flops"].mean()))


def _policy(config: StudyConfig, rows: list[StrategyRow], bins: np.ndarray, parts: np.ndarray) -> list[BinChoice]:
    choices = []
    # Step revisions alone have no action at the first budget.
    for budget in [budget for budget in config.budgets if at_budget(rows, budget)]:
        actions = at_budget(rows, budget)
        accuracy = np.stack([row.accuracy for row in actions], 1)
        validated = cross_validate(accuracy, bins, parts)
        fitted = [actions[index] for index in best_per_bin(accuracy, bins)]
        choices.append(BinChoice(_average(validated, actions, budget), fitted))
    return choices


def _average(validated: CrossValidated, actions: list[StrategyRow], budget: int) -> StrategyRow:
    usage = {
        name: validated.average(np.stack([row.usage[name] for row in actions], 1)).mean(0) for name in actions[0].usage
    }
    accuracy = validated.average(np.stack([row.accuracy for row in actions], 1))
    return StrategyRow("policy", {"name": "policy"}, "chosen", budget, accuracy, usage)


def _ceiling(rows: list[StrategyRow], budget: int) -> StrategyRow:
    """The best action of every problem in hindsight. It includes luck, so no rule can be expected to reach it."""
    actions = at_budget(rows, budget)
    accuracy = np.stack([row.accuracy for row in actions], 1)
    return _average(CrossValidated(accuracy.argmax(1)[None]), actions, budget)
