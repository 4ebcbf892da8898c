"""The main job from end to end."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from computewise.core import Problem
from computewise.errors import UsageError
from computewise.models.threads import one_thread
from computewise.policy.file import write_policy
from computewise.records import RunDirectory
from computewise.study.analysis import analyse
from computewise.study.config import StudyConfig
from computewise.study.controlled import widest_alone
from computewise.study.currencies import currencies
from computewise.study.embedded import EmbeddedSource
from computewise.study.executors import Executor
from computewise.study.fitted import fit_policy
from computewise.study.plan import plan
from computewise.study.run import Progress, measure
from computewise.study.shards import Shard
from computewise.study.source import Models, Source
from computewise.study.summary import policy_file, summarise


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
            **self._controlled(),
            "best of each problem, in hindsight": self.summary["oracle_per_problem"],
        }
        return {name: {row["n"]: row for row in rows} for name, rows in named.items() if rows}

    def _controlled(self) -> dict[str, list[dict[str, Any]]]:
        """The controllers within the FLOPs of each budget; none where there was nothing to decide."""
        budgets = self.summary["controller"]["flops"]["budgets"] if self.summary["controller"] else []
        found: dict[str, list[dict[str, Any]]] = {
            "controller, without escalation": [],
            "controller, with escalation": [],
        }
        for at in budgets:
            for name, scope in zip(found, (widest_alone(at["controllers"]), "with escalation"), strict=True):
                if scope in at["controllers"]:
                    point = at["controllers"][scope]
                    found[name].append({**point, "n": at["n"], "usage": {"flops": point["cost"]}})
        return found


def run_study(
    config: StudyConfig,
    out: Path,
    *,
    source: Source | None = None,
    executor: Executor | None = None,
    resume: bool,
    progress: Progress,
) -> Outcome:
    """Measure what is not recorded, analyse, write summary and policy; the embedded models without a `source`."""
    source = source or EmbeddedSource()
    models, task = source.models(), source.task()
    directory, problems = _begin(config, source, models, out, {}, resume)
    records = measure(
        plan(config, models),
        source,
        problems,
        directory,
        executor=executor or source.executor(),
        progress=progress,
    )
    one_thread()
    prompts = {problem.id: problem.prompt for problem in problems}
    analysis = analyse(config, records, models, prompts=prompts, shipped=source.shipped())
    summary = summarise(config, task.name, analysis)
    directory.write("summary.json", json.dumps(summary, indent=1) + "\n")
    fitted = fit_policy(
        analysis.arms, "with escalation", task.name, currencies(models)["flops"], models.labels, config.seed
    )
    directory.write("controller.json", write_policy(fitted))
    directory.write("policy.json", json.dumps(policy_file(config, task.name, analysis), indent=2) + "\n")
    return Outcome(summary)


def run_shard(
    config: StudyConfig,
    out: Path,
    shard: Shard,
    *,
    source: Source,
    executor: Executor | None = None,
    resume: bool,
    progress: Progress,
) -> int:
    """Measure one part of a study's problems, how many records that is; to analyse, merge all parts and resume."""
    models = source.models()
    directory, problems = _begin(config, source, models, out, shard.plain(), resume)
    part = shard.problems(problems)
    executor = executor or source.executor()
    return len(measure(plan(config, models), source, part, directory, executor=executor, progress=progress))


def _begin(
    config: StudyConfig, source: Source, models: Models, out: Path, part: Mapping[str, object], resume: bool
) -> tuple[RunDirectory, list[Problem]]:
    """The run directory, and all problems of the study, which it keeps; `UsageError` for what cannot be run."""
    config.check()
    if "prm" not in models.sizes:
        raise UsageError("a study needs a verifier: a reward model, a judge, or the model's own probabilities")
    problems = source.task().problems(source.split(), config.problems, config.seed)
    directory = RunDirectory(out, {**source.plain(), **config.plain(), **part}, resume=resume)
    directory.write_problems(problems)
    return directory, problems
