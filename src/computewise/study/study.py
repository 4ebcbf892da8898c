"""The main job from end to end."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from computewise.models.weights import SHIPPED, load_weights
from computewise.records import RunDirectory
from computewise.strategies.validation import at_least_one
from computewise.study.analysis import analyse
from computewise.study.config import StudyConfig
from computewise.study.run import Progress, measure
from computewise.study.summary import policy_file, summarise
from computewise.study.tables import Sizes

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
            "best of each problem, in hindsight": self.summary["oracle_per_problem"],
        }
        return {name: {row["n"]: row for row in rows} for name, rows in named.items()}


def run_study(config: StudyConfig, out: Path, *, resume: bool, workers: int, progress: Progress) -> Outcome:
    """Measure what is not recorded, analyse, write summary and policy."""
    config.check()
    at_least_one(workers=workers)
    sizes = Sizes(*(load_weights(SHIPPED / f"{name}.safetensors").parameters for name in SIZED))
    directory = RunDirectory(out, config.plain(), resume=resume)
    records = measure(config, directory, workers=workers, progress=progress)
    analysis = analyse(config, records, sizes)
    summary = summarise(config, analysis)
    directory.write("summary.json", json.dumps(summary, indent=1) + "\n")
    directory.write("policy.json", json.dumps(policy_file(config, analysis), indent=2) + "\n")
    return Outcome(summary)
