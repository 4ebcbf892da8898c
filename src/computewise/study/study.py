"""The main job from end to end."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from computewise.models.threads import one_thread
from computewise.models.weights import SHIPPED, load_weights
from computewise.policy.compute_optimal import Policy
from computewise.policy.file import read_policy, write_policy
from computewise.policy.shipped import POLICIES
from computewise.records import RunDirectory
from computewise.strategies.validation import at_least_one
from computewise.study.analysis import analyse
from computewise.study.config import StudyConfig
from computewise.study.currencies import currencies
from computewise.study.fitted import fit_policy
from computewise.study.plan import plan
from computewise.study.run import Progress, measure
from computewise.study.summary import policy_file, summarise
from computewise.study.tables import Sizes
from computewise.tasks.embedded import find_task

SIZED = ("small", "large", "prm", "revision")
"""The weights a study runs, in the order of `Sizes`."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a study came to."""

    summary: dict[str, Any]

    def headline(self) -> dict[str, dict[int, dict[str, Any]]]:
        """The rows of the short table, each by its budget."""
        curves = self.summary["curves"]
        named = {
            "single sample": [row for row in curves if row["label"] == "single sample"],
            "greedy": [row for row in curves if row["label"] == "greedy"],
            "majority": [row for row in curves if row["label"] == "best-of-N, majority"],
            "best-of-N weighted": [row for row in curves if row["label"] == "best-of-N, weighted"],
            "beam search, M = 4": [row for row in curves if row["label"] == "beam search, M = 4, weighted"],
            "revisions, one chain": [
                row for row in curves if row["label"] == f"revisions, 1 x {row['n']}, hierarchical"
            ],
            "step revisions, one chain": [
                row for row in curves if row["label"] == "step revisions, C = 1, hierarchical"
            ],
            "best fixed strategy": self.summary["best_fixed"],
            "compute-optimal, predicted bins": self.summary["policy"]["predicted"],
            "compute-optimal, oracle bins": self.summary["policy"]["oracle"],
            "controller, small model": self._controlled("which and how much"),
            "controller, with escalation": self._controlled("with escalation"),
            "best of each problem, in hindsight": self.summary["oracle_per_problem"],
        }
        return {name: {row["n"]: row for row in rows} for name, rows in named.items()}

    def _controlled(self, scope: str) -> list[dict[str, Any]]:
        """The controller within the FLOPs of each budget; nothing where there was nothing to decide."""
        budgets = self.summary["controller"]["flops"]["budgets"] if self.summary["controller"] else []
        points = [(at["n"], at["controllers"][scope]) for at in budgets]
        return [{**point, "n": n, "usage": {"flops": point["cost"]}} for n, point in points]


def run_study(config: StudyConfig, out: Path, *, resume: bool, workers: int, progress: Progress) -> Outcome:
    """Measure what is not recorded, analyse, write summary and policy."""
    config.check()
    at_least_one(workers=workers)
    sizes = Sizes(*(load_weights(SHIPPED / f"{name}.safetensors").parameters for name in SIZED))
    directory = RunDirectory(out, config.plain(), resume=resume)
    problems = find_task(config.task).problems("test", config.problems, config.seed)
    records = measure(plan(config), config.task, problems, directory, workers=workers, progress=progress)
    one_thread()
    analysis = analyse(config, records, sizes, _shipped(config.task))
    summary = summarise(config, analysis)
    directory.write("summary.json", json.dumps(summary, indent=1) + "\n")
    fitted = fit_policy(analysis.arms, "with escalation", config.task, currencies(asdict(sizes))["flops"], config.seed)
    directory.write("controller.json", write_policy(fitted))
    directory.write("policy.json", json.dumps(policy_file(config, analysis), indent=2) + "\n")
    return Outcome(summary)


def _shipped(task: str) -> Policy | None:
    """The shipped controller of the task, if there is one."""
    path = POLICIES / f"{task}.json"
    return read_policy(path, models=("small", "large"), verifier="prm").policy if path.exists() else None
