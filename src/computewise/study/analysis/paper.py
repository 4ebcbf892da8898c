"""The paper's figures that are not one table of strategies, from a study's recorded samples (Snell et al. 2024).

How many samples a search saves (section 5), how the scores of a solution's steps become one (appendix E, figure 13),
what becomes of the comparison with the larger model under a worse verifier (appendix K of the ICLR version), and that
comparison itself, FLOPs-matched: against one greedy answer of the larger model (section 7), over R.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from computewise.core import LARGE, MODEL, VERIFIER
from computewise.flops_matched import from_curve
from computewise.intervals import difference, proportion, resample_counts
from computewise.metrics import Floats, within_auroc
from computewise.selection import AGGREGATIONS, aggregate
from computewise.study.analysis.analyse import Analysis, BinChoice, doublings
from computewise.study.analysis.controller import widest_alone
from computewise.study.analysis.tables import SamplePool, StrategyRow, UsageColumns, cost_metrics

FLIPPED = (0.0, 0.1, 0.2, 0.3)
"""Shares of the verifier's values v that become 1 - v: at .5 nothing is left of it."""
RESAMPLES = 2000
EASY = 2
"""The number of bins, from the easiest, in which the paper finds that searches do harm at large budgets."""


def paper_figures(analysis: Analysis, budgets: Sequence[int]) -> dict[str, Any]:
    """For the summary; the budgets are those of the study. Entries that a study cannot have are empty."""
    if budgets[-1] == 1:
        return {"samples_saved": [], "aggregations": [], "verifier_quality": []}
    sizes = doublings(budgets[-1])
    return {
        "samples_saved": samples_saved(analysis, sizes),
        "aggregations": aggregations(analysis.pools, [n for n in budgets if n > 1])
        if VERIFIER in analysis.aurocs
        else [],
        "verifier_quality": verifier_quality(analysis, sizes) if VERIFIER in analysis.aurocs else [],
    }


def samples_saved(analysis: Analysis, sizes: Sequence[int]) -> list[dict[str, Any]]:
    """For each search at each budget, the number of samples at which best-of-N weighted is as accurate.

    Between the measured numbers of samples it is interpolated in the logarithm of N. In each resample of problems the
    crossing is found anew. None: not up to the largest number. `times` is that number over what the search sampled.
    `difference` is the search minus best-of-N at as many sampled tokens, or at the largest number where those are more:
    over all problems, and `easy` and `hard` over the first `EASY` bins and the others (the paper's figure 3).
    """
    curve = np.stack([_weighted(analysis.pools, k, [pool.values for pool in analysis.pools]) for k in (1, *sizes)], 1)
    counts = resample_counts(len(curve), resamples=RESAMPLES) / len(curve)
    means, resampled = curve.mean(0), counts @ curve
    bins = analysis.difficulty.bins["oracle"]
    logs = np.log2([1, *sizes])
    found = []
    for row in analysis.rows:
        if row.n == 1 or row.selection != "weighted" or row.family == "best-of-N":
            continue
        needed = crossing(logs, means, float(row.accuracy.mean()))
        each = [crossing(logs, one, at) for one, at in zip(resampled, counts @ row.accuracy, strict=True)]
        low, high = np.quantile(each, (0.025, 0.975), method="inverted_cdf")
        spent = float(row.usage["generations"].mean())
        change = row.accuracy - curve @ between(logs, math.log2(spent))
        found.append(
            {
                "label": row.label,
                "n": row.n,
                "generations": spent,
                "accuracy": float(row.accuracy.mean()),
                "samples": _finite(needed),
                "ci95": [_finite(low), _finite(high)],
                "times": _finite(needed / spent),
                "largest": sizes[-1],
                **_difference("difference", change),
                **_difference("easy", change[bins < EASY]),
                **_difference("hard", change[bins >= EASY]),
            }
        )
    return found


def between(places: Floats, at: float) -> Floats:
    """(places,): the shares of the two neighbours of `at`, by linear interpolation; the nearest end outside."""
    return np.array([np.interp(at, places, one) for one in np.eye(len(places))])


def crossing(logs: Floats, means: Floats, level: float) -> float:
    """The first number of samples at which the line through `means` over log2 N reaches the level; inf where none."""
    above = np.flatnonzero(means >= level - 1e-12)
    if not len(above):
        return math.inf
    at = int(above[0])
    if at == 0:
        return float(2 ** logs[0])
    part = (level - means[at - 1]) / (means[at] - means[at - 1])
    return float(2 ** (logs[at - 1] + part * (logs[at] - logs[at - 1])))


def aggregations(pools: Sequence[SamplePool], sizes: Sequence[int]) -> list[dict[str, Any]]:
    """Best-of-N weighted with each way to make one value of the steps' scores, and the majority of the same samples.

    Empty where the steps' scores are not in the records.
    """
    if not any(outcome.scores for pool in pools for record in pool.records for outcome in record.candidates):
        return []
    ways = {how: [_aggregated(pool, how) for pool in pools] for how in AGGREGATIONS}
    ways["majority"] = [np.ones_like(pool.values) for pool in pools]
    right = np.concatenate([pool.correct for pool in pools], 1)
    problem = np.broadcast_to(np.arange(len(right))[:, None], right.shape)
    found = []
    for how, weights in ways.items():
        values = np.concatenate(weights, 1)
        auroc = within_auroc(values.ravel(), right.ravel(), problem.ravel())
        each = [(k, _weighted(pools, k, weights)) for k in sizes]
        found.append(
            {
                "name": how,
                "auroc_within_problem": None if math.isnan(auroc) else auroc,
                "at": [_accuracy(k, a) for k, a in each],
            }
        )
    return found


def verifier_quality(analysis: Analysis, sizes: Sequence[int]) -> list[dict[str, Any]]:
    """Best-of-N weighted, and its comparison with the larger model, where a share of the values is flipped.

    Only samples are selected again: a search that a worse verifier guides would sample others.
    """
    pools = analysis.pools
    columns = UsageColumns(
        analysis.models, cost_metrics(analysis.models), np.mean([pool.tokens.mean(1) for pool in pools], axis=0)
    )
    costs = [
        np.mean([columns.of(pool.usage(k, verified=True), pool.longest(k))["flops"] for pool in pools], axis=0)
        for k in sizes
    ]
    right = np.concatenate([pool.correct for pool in pools], 1)
    problem = np.broadcast_to(np.arange(len(right))[:, None], right.shape)
    rng = np.random.default_rng(0)
    dice = [rng.random(pool.values.shape) for pool in pools]
    found = []
    for share in FLIPPED:
        values = [
            np.where(thrown < share, 1 - pool.values, pool.values) for pool, thrown in zip(pools, dice, strict=True)
        ]
        accuracies = [_weighted(pools, k, values) for k in sizes]
        curve: Curve = list(zip(accuracies, costs, strict=True))
        found.append(
            {
                "share": share,
                "auroc_within_problem": within_auroc(np.concatenate(values, 1).ravel(), right.ravel(), problem.ravel()),
                "at": [_accuracy(k, a) for k, a in zip(sizes, accuracies, strict=True)],
                "exchange": exchange_of(analysis, analysis.large, curve)["at"] if analysis.large else [],
            }
        )
    return found


def _accuracy(n: int, accuracy: Floats) -> dict[str, Any]:
    return {"n": n, "accuracy": float(accuracy.mean()), "ci95": list(proportion(accuracy).interval)}


def _difference(name: str, paired: Floats) -> dict[str, Any]:
    return {name: float(paired.mean()), f"{name}_ci95": list(difference(paired).interval)}


def _weighted(pools: Sequence[SamplePool], k: int, weights: Sequence[Floats]) -> Floats:
    """(problems,): the vote of k samples by these weights, (problems, samples) for each pool."""
    return np.mean([pool.vote(one, k) for pool, one in zip(pools, weights, strict=True)], axis=0)


def _aggregated(pool: SamplePool, how: str) -> Floats:
    values = np.zeros_like(pool.values)
    for row, record in enumerate(pool.records):
        for column, outcome in enumerate(record.candidates):
            values[row, column] = aggregate(outcome.scores, how)
    return values


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


SHARES = (0.16, 0.79, 4.0, 22.0)
"""R, inference tokens over pretraining tokens: the paper's three and one between."""

Curve = list[tuple[Floats, Floats]]
"""Accuracy, ([partitions,] problems), and FLOPs, (problems,), at every point."""


def exchanges(analysis: Analysis) -> dict[str, Any]:
    """For the summary, by the rule that spends what the model saves; empty without a larger model."""
    large = analysis.large
    if not large:
        return {"exchange": [], "exchange_halves": {}, "exchange_over_R": None}
    return {
        "exchange": exchange_of(analysis, large, _of_choices(analysis.policies["predicted"], analysis))["at"],
        "exchange_halves": {
            name: exchange_of(analysis, large, _of_choices(choices, analysis))["at"]
            for name, choices in analysis.halves.items()
        },
        "exchange_over_R": exchange_of(analysis, large, _of_controller(analysis)),
    }


def _of_choices(choices: Sequence[BinChoice], analysis: Analysis) -> Curve:
    """By predicted bins, with what the samples cost that place a problem in its bin."""
    placed = analysis.difficulty.probe["predicted"]
    return [(choice.row.accuracy, choice.row.usage["flops"] + placed) for choice in choices]


def _of_controller(analysis: Analysis) -> Curve:
    budgets = analysis.controller["flops"].budgets if analysis.controller else []
    each = [at.controllers[widest_alone(at.controllers)] for at in budgets]
    return [(one.accuracy, one.cost) for one in each]


def exchange_of(analysis: Analysis, large: StrategyRow, curve: Curve) -> dict[str, Any]:
    """A curve of the model against the larger one: the greedy answer is its first point, and the unit of budgets."""
    greedy = next(row for row in analysis.rows if row.family == "greedy")
    unit = float(greedy.usage["flops"].mean())
    sizes = analysis.models.sizes
    points, bins = [(greedy.accuracy, greedy.usage["flops"]), *curve], analysis.difficulty.bins["oracle"]
    found, trained = (
        from_curve((sizes[MODEL], sizes[LARGE]), points, large.accuracy, bins, unit, tokens)
        for tokens in (1.0, analysis.models.pretrained)
    )
    at = [
        {
            **found.overall.at(share).to_dict(),
            "small_flops": found.overall.at(share).k * unit,
            "by_bin": [match.at(share).to_dict() for _, match in sorted(found.bins.items())],
            "verifier_pretrained": trained.overall.at(share).to_dict(),
        }
        for share in SHARES
    ]
    return {"unit_flops": unit, "at": at, **found.to_dict()}
