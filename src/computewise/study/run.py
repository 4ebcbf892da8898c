"""Run a study: measure what is planned, analyse the records, write the results."""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from computewise.core import VERIFIER, Problem
from computewise.errors import RunError, SpendLimitError, UsageError
from computewise.models.embedded.engine import one_thread
from computewise.runs import Key, Record, RunDirectory, make_key
from computewise.setups.base import Roles, SetupSpec
from computewise.setups.embedded import EmbeddedSpec
from computewise.study.analysis.analyse import analyse
from computewise.study.analysis.controller import fit_policy, widest_alone
from computewise.study.analysis.rivals import chosen_plain
from computewise.study.analysis.summary import policy_file, summarise
from computewise.study.analysis.tables import cost_metrics
from computewise.study.executors import RESUME_HINT, Done, Executor, executor_for
from computewise.study.plan import DIFFICULTY_SAMPLES, Job, Run, StudyConfig, jobs, plan
from computewise.study.shards import Shard

Progress = Callable[[str, int, int], None]

"""Called with the kind of runs just recorded, the number of problem runs that are done, and the total."""

Approve = Callable[[Sequence[Job]], None]

"""Called once with the jobs that are missing, before any of them is started; raises where they must not be."""


GIVE_UP = 32

"""After this many failures in a row the model itself is considered unavailable, and the study stops."""


def measure(
    runs: Sequence[Run],
    source: SetupSpec,
    problems: list[Problem],
    directory: RunDirectory,
    *,
    executor: Executor,
    progress: Progress,
    approve: Approve | None = None,
) -> list[Record]:
    """Run what `directory` has no successful record of; returns every record of the runs, in their order."""
    held = {key: record for key, record in directory.read().items() if not record.error}
    planned = [job for run in runs for job in jobs(run, problems, source.batch(run.purpose, run.budget))]
    # A job whose append was cut short is run again completely: its numbers depend on all of its problems together. The
    # records that were already written are kept.
    missing = [job for job in planned if any(_key(job, problem.id) not in held for problem in job.problems)]
    # The largest budget first, so that no long job is left for the end.
    missing.sort(key=lambda job: -job.run.budget)
    total = len(runs) * len(problems)
    done = sum(_key(job, problem.id) in held for job in planned for problem in job.problems)
    if approve is not None and missing:
        approve(missing)
    progress("recorded before", done, total)
    with closing(_batches(executor, source, missing)) as batches:
        for batch in batches:
            new = [(job, one) for job, records in batch for one in records if _key(job, one.problem) not in held]
            directory.append(record for _, record in new)
            held.update({_key(job, record.problem): record for job, record in new})
            done += len(new)
            progress(f"{batch[-1][0].run.purpose}, {batch[-1][0].run.role}", done, total)
    return [held[_key(job, problem.id)] for job in planned for problem in job.problems]


def _batches(executor: Executor, source: SetupSpec, missing: list[Job]) -> Generator[list[Done], None, None]:
    """Finished batches as they arrive; raises `RunError` after `GIVE_UP` failures in a row."""
    failures = 0
    try:
        with closing(executor.run(source, missing)) as found:
            for batch in found if missing else ():
                if batch:
                    yield batch
                for record in (record for _, records in batch for record in records):
                    failures = failures + 1 if record.error else 0
                    if failures == GIVE_UP:
                        raise RunError(f"{GIVE_UP} problems in a row failed, the last: {record.error}; {RESUME_HINT}")
    except SpendLimitError as error:
        raise SpendLimitError(f"{error}; {RESUME_HINT}") from None


def _key(job: Job, problem: str) -> Key:
    return make_key(job.run.purpose, job.run.role, job.run.strategy, job.run.seed, problem)


@dataclass(frozen=True, slots=True, repr=False)
class StudyResult:
    """The result of a study; `summary` is what `summary.json` of the run directory holds."""

    summary: dict[str, Any]

    def __repr__(self) -> str:
        best = ", ".join(f"{row['n']}: {row['accuracy']:.3f}" for row in self.summary["best_fixed"])
        return (
            f"StudyResult(task={self.summary['task']!r}, problems={self.summary['problems']}, "
            f"accuracy of the best fixed strategy by budget={{{best}}})"
        )

    def headline(self) -> dict[str, dict[int, dict[str, Any]]]:
        """The rows of the short table by name, each by its budget."""
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
        """The controllers within the FLOPs of each budget; empty where there is no choice to make."""
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
    source: SetupSpec | None = None,
    executor: Executor | None = None,
    resume: bool,
    progress: Progress,
    approve: Approve | None = None,
) -> StudyResult:
    """Measure what is not recorded, analyse, write the results; on the embedded models without a `source`."""
    source = source or EmbeddedSpec()
    config = settled(config, source)
    models, task = source.roles(), source.task()
    directory, problems, runs = _begin(config, source, models, out, {}, resume)
    records = measure(
        runs,
        source,
        problems,
        directory,
        executor=executor or executor_for(source),
        progress=progress,
        approve=approve,
    )
    one_thread()
    prompts = {problem.id: problem.prompt for problem in problems}
    analysis = analyse(config, runs, records, models, prompts=prompts, shipped=source.shipped())
    fitted = fit_policy(
        analysis.arms, "with escalation", task.name, cost_metrics(models)["flops"], models.labels, config.seed
    )
    summary = summarise(config, task.name, analysis) | {"policy_chosen": chosen_plain(fitted.rule)}
    directory.write("summary.json", json.dumps(summary, indent=1) + "\n")
    directory.write("controller.json", fitted.to_json())
    directory.write("bin_policy.json", json.dumps(policy_file(config, task.name, analysis), indent=2) + "\n")
    return StudyResult(summary)


def run_shard(
    config: StudyConfig,
    out: Path,
    shard: Shard,
    *,
    source: SetupSpec,
    executor: Executor | None = None,
    resume: bool,
    progress: Progress,
    approve: Approve | None = None,
) -> int:
    """Measure one part of a study's problems; returns the number of its records.

    To analyse a study, merge all parts and resume the merged run.
    """
    config, models = settled(config, source), source.roles()
    directory, problems, runs = _begin(config, source, models, out, shard.to_dict(), resume)
    part, executor = shard.problems(problems), executor or executor_for(source)
    return len(measure(runs, source, part, directory, executor=executor, progress=progress, approve=approve))


def settled(config: StudyConfig, source: SetupSpec) -> StudyConfig:
    """With the difficulty samples decided: a server's are not spent on that alone unless somebody asks for it."""
    if config.difficulty_samples is not None:
        return config
    return replace(config, difficulty_samples=DIFFICULTY_SAMPLES if source.kind() == "compute" else 0)


def _begin(
    config: StudyConfig, source: SetupSpec, models: Roles, out: Path, part: Mapping[str, object], resume: bool
) -> tuple[RunDirectory, list[Problem], list[Run]]:
    """The run directory with the study's problems in it, and what is to run; raises `UsageError` for what cannot."""
    config.check()
    if resume and not (out / "config.json").exists():
        raise RunError(f"nothing to resume in {out}: name the directory of the run, or start one without --resume")
    if VERIFIER not in models.sizes:
        raise UsageError("a study needs a verifier: a reward model, a judge, or the model's own probabilities")
    problems = source.task().problems(source.split(), config.problems, config.seed)
    runs = plan(config, models)
    directory = RunDirectory(out, {**source.to_dict(), **config.to_dict(), **part}, resume=resume)
    directory.write_problems(problems)
    return directory, problems, runs
