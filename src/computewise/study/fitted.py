"""The controller fitted on all of a run's problems, as the file that `solve --policy` follows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from computewise.policy.compute_optimal import ComputeOptimal
from computewise.policy.file import Arm, Fitted
from computewise.policy.workload import Workload
from computewise.records import Settings
from computewise.strategies import Greedy, Single, StepRevisions, describe
from computewise.study.arms import Runs, drawn
from computewise.study.controlled import LARGER, SCOPES
from computewise.study.currencies import Currency
from computewise.study.plan import SEARCH


def fit_policy(
    seeds: Sequence[Mapping[str, Runs]],
    scope: str,
    task: str,
    currency: Currency,
    labels: Mapping[str, str],
    seed: int,
) -> Fitted:
    """A controller that chooses among the arms of a scope, see `controlled.SCOPES`; `labels` name models by role."""
    names = [name for name in SCOPES[scope] if all(name in each for each in seeds)]
    problems = [one for each in seeds for one in drawn({name: each[name] for name in names}, currency)]
    workload = Workload(problems)
    policy = ComputeOptimal(larger=LARGER, seed=seed).fit(workload)
    return Fitted(
        policy,
        arms=tuple(
            Arm(
                arm.name,
                labels[_role(arm.name)],
                _strategy(arm.name, seeds[0]),
                int(arm.lengths.max()),
                arm.name in LARGER,
            )
            for arm in workload.arms
        ),
        verifier=labels["prm"],
        task=task,
        currency=currency.name,
        unit=float(workload.arms[0].costs.sum() / workload.arms[0].lengths.sum()),
    )


def _role(arm: str) -> str:
    return "large" if arm in LARGER else "small"


def _strategy(arm: str, runs: Mapping[str, Runs]) -> Settings:
    """What draws one increment of it."""
    match arm:
        case "particle filter":
            return describe(SEARCH)
        case "step revisions":
            return {**describe(StepRevisions()), **runs[arm][0][0].strategy, "chains": 1}
        case "large, greedy":
            return describe(Greedy())
        case _:
            return describe(Single())
