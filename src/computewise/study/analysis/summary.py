"""The summary of a study, as written to `summary.json`."""

from __future__ import annotations

from typing import Any

import numpy as np

from computewise.core import MODEL, VERIFIER
from computewise.difficulty import BINS, bin_edges
from computewise.intervals import Estimate, Verdict, difference, proportion, simultaneous, verdict
from computewise.metrics import Floats, pass_at_k
from computewise.runs import FORMAT
from computewise.setups.base import ROLES
from computewise.strategies.revisions import TRUST
from computewise.study.analysis.analyse import Analysis, BinChoice
from computewise.study.analysis.controller import AccuracyAndCost, BudgetPoint, ControllerEvaluation
from computewise.study.analysis.paper import exchanges, paper_figures
from computewise.study.analysis.revisions import along, gated
from computewise.study.analysis.rivals import FLOPS, policy_plain
from computewise.study.analysis.tables import REVISED, RatioRow, StrategyRow, assumed
from computewise.study.plan import StudyConfig

POLICY_VERSION = 1

KINDS = ("oracle", "predicted")


def summarise(config: StudyConfig, task: str, analysis: Analysis) -> dict[str, Any]:
    """Everything that the report shows: accuracies in [0, 1], mean usages by problem, bins from the easiest to the
    hardest.

    Entries about a model that a study did not have are empty or None.
    """
    bins = analysis.difficulty.bins["oracle"]
    correct = np.concatenate([pool.correct for pool in analysis.pools], 1)
    return {
        "format": FORMAT,
        "task": task,
        "problems": len(analysis.problems),
        "failed": [{"problem": record.problem, "error": record.error} for record in analysis.failed],
        "left_out": analysis.left_out,
        "steps": analysis.models.steps,
        "models": {
            role: {"parameters": analysis.models.sizes[role], "label": analysis.models.labels[role]}
            for role in ROLES
            if role in analysis.models.sizes
        },
        "assumed": assumed(analysis.models),
        "bin_sizes": np.bincount(bins, minlength=BINS).tolist(),
        "bins": {kind: _by_bin(analysis.difficulty.ease["oracle"], analysis.difficulty.bins[kind]) for kind in KINDS},
        "difficulty": {
            "samples": config.probes,
            "apart": not config.extra,
            "agreement": float(np.mean(bins == analysis.difficulty.bins["predicted"])),
            "within_one_bin": float(np.mean(abs(bins - analysis.difficulty.bins["predicted"]) <= 1)),
            "flops": {kind: float(analysis.difficulty.probe[kind].mean()) for kind in KINDS},
            "estimators": analysis.estimators,
        },
        "verifiers": {
            name: {
                "auroc_within_problem": float(aurocs.mean()),
                "ci95": list(proportion(aurocs).interval),
                "problems": len(aurocs),
            }
            for name, aurocs in analysis.aurocs.items()
            if len(aurocs) > 1  # with one sample for each problem there is nothing to rank, and JSON has no NaN
        },
        "coverage": [{"n": k, **_mean_accuracy(pass_at_k(correct, k))} for k in config.budgets],
        "curves": [_row(row, bins) for row in analysis.rows],
        "large": _row(analysis.large, bins) if analysis.large else None,
        "large_samples": [_row(row, bins) for row in analysis.large_samples],
        "policy": {kind: [_choice(choice, bins) for choice in analysis.policies[kind]] for kind in KINDS},
        "best_fixed": [_choice(choice, bins) for choice in analysis.best_fixed],
        "oracle_per_problem": [_row(row, bins) for row in analysis.oracle_per_problem],
        "comparisons": _comparisons(analysis),
        "controller": {
            column: controller_plain(one, analysis.large, column) for column, one in analysis.controller.items()
        },
        **(policy_plain(analysis.controller[FLOPS], analysis.rungs) if analysis.controller else {}),
        **exchanges(analysis),
        "mechanisms": {
            name: {kind: [_choice(choice, bins) for choice in choices] for kind, choices in each.items()}
            for name, each in analysis.mechanisms.items()
        },
        **paper_figures(analysis, config.budgets),
        "ratios": [
            {
                **_row(one.row, bins),
                "chain_length": one.ratio.length,
                "chains": one.ratio.chains,
                "gated": one.ratio.trust is not None,
                "minus_parallel": _minus_parallel(one, analysis, bins),
            }
            for one in analysis.ratios
        ],
        "along": _along(analysis) if analysis.chains else [],
        "along_change": _along_change(analysis) if analysis.chains else {},
        "trust": TRUST,
        "seeds": list(range(config.seed, config.seed + config.seeds)),
    }


def _row(row: StrategyRow, bins: np.ndarray) -> dict[str, Any]:
    return {
        "strategy": row.strategy["name"],
        "role": row.role,
        "settings": {name: value for name, value in row.strategy.items() if name != "name"},
        "label": row.label,
        "selection": row.selection,
        "n": row.n,
        **_mean_accuracy(row.accuracy),
        "by_bin": _by_bin(row.accuracy, bins),
        "by_bin_ci95": [list(proportion(row.accuracy[..., bins == bin]).interval) for bin in range(BINS)],
        "usage": {name: float(column.mean()) for name, column in row.usage.items()},
    }


def _choice(choice: BinChoice, bins: np.ndarray) -> dict[str, Any]:
    return {**_row(choice.row, bins), "actions": [action.label for action in choice.actions]}


def _by_bin(values: Floats, bins: np.ndarray) -> list[float]:
    return [float(values[..., bins == bin].mean()) for bin in range(BINS)]


def _mean_accuracy(values: Floats) -> dict[str, Any]:
    found = proportion(values)
    return {"accuracy": found.value, "ci95": list(found.interval)}


def _comparisons(analysis: Analysis) -> list[dict[str, Any]]:
    """Paired differences at each budget, with the ratio of the first side's FLOPs to the second's."""
    found = []
    for index, fixed in enumerate(analysis.best_fixed):
        n = fixed.row.n
        rivals = {"best fixed strategy": fixed.row}
        rivals |= {
            row.label: row
            for row in analysis.rows
            if row.n == n and row.family == "best-of-N" and row.selection in ("weighted", "majority")
        }
        sides = {f"compute-optimal, {kind} bins": analysis.policies[kind][index].row for kind in KINDS}
        searches = {row.label: row for row in analysis.rows if row.n == n and _compared(row)}
        for name, side in (sides | searches).items():
            for rival, other in rivals.items():
                found.append(_difference(n, name, side, rival, other))
    return found + _against_most(analysis)


def _against_most(analysis: Analysis) -> list[dict[str, Any]]:
    """Step revisions at smaller budgets against best-of-N weighted at the largest."""
    n = analysis.best_fixed[-1].row.n
    most = [row for row in analysis.rows if row.n == n and row.label == "best-of-N, weighted"]
    sides = [row for row in analysis.rows if 1 < row.n < n and row.family.startswith(REVISED)]
    return [_difference(side.n, side.label, side, f"best-of-{n}, weighted", rival) for rival in most for side in sides]


def _compared(row: StrategyRow) -> bool:
    """The strategies that are compared by themselves, not only through a policy."""
    return row.family == "beam search, M = 4" or row.family.startswith(REVISED)


def _difference(n: int, name: str, side: StrategyRow, rival: str, other: StrategyRow) -> dict[str, Any]:
    found = difference(side.accuracy - other.accuracy)
    return {
        "n": n,
        "policy": name,
        "against": rival,
        "difference": found.value,
        "ci95": list(found.interval),
        "flops_ratio": float(side.usage["flops"].mean() / other.usage["flops"].mean()),
        "completion_tokens_ratio": float(
            side.usage["completion_tokens"].mean() / other.usage["completion_tokens"].mean()
        ),
    }


def _along(analysis: Analysis) -> list[dict[str, Any]]:
    """Rates by attempt over chains long enough for four in each problem, or over the longest there are."""
    correct, values = _chains(analysis)
    return [
        {"attempt": one.attempt, **{name: _rate(getattr(one, name)) for name in ("right", "mended", "broken", "gated")}}
        for one in along(correct, values, TRUST)
    ]


def _chains(analysis: Analysis) -> tuple[np.ndarray, Floats]:
    """(problems, chains, attempts): whether each attempt is right, and the verifier's values."""
    least = max(analysis.ratios[-1].row.n // 4, 1)
    correct = np.concatenate([chains.correct(least) for chains in analysis.chains], 1)
    return correct, np.concatenate([chains.values(least) for chains in analysis.chains], 1)


def _along_change(analysis: Analysis) -> dict[str, Any]:
    """The last attempt minus the first of its chain, paired; and where gated chains end minus their first attempt."""
    correct, values = _chains(analysis)
    ends = {"right": correct[:, :, -1], "gated": gated(correct, values, TRUST, correct.shape[2])}
    changes = {name: end.mean(1) - correct[:, :, 0].mean(1) for name, end in ends.items()}
    return {
        name: {"difference": float(change.mean()), "ci95": list(difference(change).interval)}
        for name, change in changes.items()
    }


def _minus_parallel(one: RatioRow, analysis: Analysis, bins: np.ndarray) -> dict[str, Any]:
    """The ratio minus the all-parallel ratio at the same budget and selection, paired."""
    parallel = next(
        other.row
        for other in analysis.ratios
        if other.ratio.length == 1 and (other.row.n, other.row.selection) == (one.row.n, one.row.selection)
    )
    paired = one.row.accuracy - parallel.accuracy
    return {
        "difference": float(paired.mean()),
        "ci95": list(difference(paired).interval),
        "by_bin": _by_bin(paired, bins),
        "by_bin_ci95": [list(difference(paired[bins == bin]).interval) for bin in range(BINS)],
        "flops_ratio": float(one.row.usage["flops"].mean() / parallel.usage["flops"].mean()),
    }


def _rate(rate: Estimate) -> dict[str, Any] | None:
    """None where there was no opportunity: JSON has no NaN."""
    return None if np.isnan(rate.value) else {"value": rate.value, "ci95": list(rate.interval)}


def policy_file(config: StudyConfig, task: str, analysis: Analysis) -> dict[str, Any]:
    """The fitted table in readable form: for each budget, the action in each bin of predicted difficulty."""
    labels = analysis.models.labels
    ease, bins = analysis.difficulty.ease["predicted"], analysis.difficulty.bins["predicted"]
    return {
        "version": POLICY_VERSION,
        "task": task,
        "model": labels[MODEL],
        "verifier": labels[VERIFIER],
        "difficulty": {
            "estimate": "mean of the verifier's values over samples of the problem",
            "samples": config.probes,
            "least_ease_of_bins_1_to_4": bin_edges(ease.tolist(), bins),
        },
        "budgets": [
            {
                "generations": choice.row.n,
                "bins": [
                    {
                        "bin": bin + 1,
                        "model": labels[action.role],
                        "strategy": action.strategy,
                        "selection": action.selection,
                    }
                    for bin, action in enumerate(choice.actions)
                ],
            }
            for choice in analysis.policies["predicted"]
        ],
    }


def controller_plain(one: ControllerEvaluation, large: StrategyRow | None, column: str) -> dict[str, Any]:
    """The comparison in one cost metric: accuracies in [0, 1], mean costs by problem in the metric's unit."""
    scopes = list(one.draws)
    most = one.budgets[-1].budget
    held: dict[str, Any] = {
        "name": one.currency.name,
        "unit": one.currency.unit,
        "budgets": [
            _at(at, {scope: one.draws[scope][index] for scope in scopes}) for index, at in enumerate(one.budgets)
        ],
        "problems": one.budgets[0].uniform.accuracy.shape[-1],
        "mean_minus_best_fixed": {scope: _mean(one.budgets, scope) for scope in scopes},
        "beside_large": _beside(one.beside_large, AccuracyAndCost(large.accuracy, large.usage[column]))
        if large and one.beside_large
        else None,
        "needed": {
            scope: {"cost": cost, "share": cost / most, "times_fewer": list(ratio)} if np.isfinite(cost) else None
            for scope, (cost, ratio) in one.needed.items()
        },
    }
    return {**held, "sentence": summary_sentence(held)}


def _beside(controller: AccuracyAndCost, large: AccuracyAndCost) -> dict[str, Any]:
    return {"controller": _point(controller), "large": _point(large), **_controller_difference(controller, large)}


def _at(at: BudgetPoint, draws: dict[str, dict[str, float]]) -> dict[str, Any]:
    return {
        "n": at.n,
        "budget": at.budget,
        "uniform": _point(at.uniform),
        "controllers": {scope: _point(spent) for scope, spent in at.controllers.items()},
        "best_fixed": {scope: _point(spent) for scope, spent in at.best_fixed.items()},
        "minus_best_fixed": {
            scope: {**_point(spent), **_controller_difference(spent, at.best_fixed[scope])}
            for scope, spent in at.at_rivals_cost.items()
        },
        "minus_uniform": {scope: _controller_difference(spent, at.uniform) for scope, spent in at.controllers.items()},
        "tables": {kind: _point(spent) for kind, spent in at.tables.items()},
        "ceiling": _point(at.ceiling),
        "draws": draws,
    }


def _point(spent: AccuracyAndCost) -> dict[str, Any]:
    return {"cost": float(spent.cost.mean()), **_mean_accuracy(spent.accuracy)}


def _controller_difference(spent: AccuracyAndCost, rival: AccuracyAndCost) -> dict[str, Any]:
    found = difference(spent.accuracy - rival.accuracy)
    return {"difference": found.value, "difference_ci95": list(found.interval)}


def _mean(budgets: list[BudgetPoint], scope: str) -> dict[str, Any] | None:
    """The controller minus the best fixed strategy at the same cost, over all budgets where both exist.

    Taking all of them avoids a choice of budgets. A larger budget that the rival does not use adds no comparison.
    `at_worst` is what it loses at most at any of them: the lowest end of a simultaneous band.
    """
    both: list[tuple[AccuracyAndCost, AccuracyAndCost]] = []
    for at in budgets:
        rival = at.best_fixed[scope]
        if scope in at.at_rivals_cost and not (both and rival.cost.mean() <= 1.01 * both[-1][1].cost.mean()):
            both.append((at.at_rivals_cost[scope], rival))
    if not both:
        return None
    paired = np.stack([spent.accuracy - rival.accuracy for spent, rival in both])
    found = difference(paired.mean(0))
    return {
        "difference": found.value,
        "difference_ci95": list(found.interval),
        "at_worst": min(one.low for one in simultaneous(paired)),
    }


def summary_sentence(held: dict[str, Any]) -> str:
    """The gain of adapting to each problem in this cost metric, as a sentence."""
    parts = []
    for scope, mean in held["mean_minus_best_fixed"].items():
        if mean is None:
            continue
        low, high = mean["difference_ci95"]
        says = verdict((low, high), held["problems"])
        shown = {Verdict.OPEN: ", which cannot be told from nothing", Verdict.TOO_FEW: f", {Verdict.TOO_FEW.value}"}
        parts.append(
            f"{scope}: {100 * mean['difference']:+.1f} points [{100 * low:.1f}, {100 * high:.1f}]{shown.get(says, '')}"
            f" (at no budget less than {100 * mean['at_worst']:+.1f}, with 95 % confidence for all of them at once)"
        )
    if not parts:
        return f"Counted in {held['name']}, the controller costs more than every rival."
    return (
        f"Counted in {held['name']}, at equal cost and on average over the budgets, deciding problem by problem "
        f"changed accuracy against the best fixed strategy by: {'; '.join(parts)}."
    )
