"""A finished run made of drawn records that the real analysis has summarised: what the report is tested on."""

from __future__ import annotations

import json
import random
from pathlib import Path

import msgspec
from quick import quick_controllers

from computewise.core import Usage
from computewise.models.embedded.engine import one_thread
from computewise.runs import FORMAT, CandidateRecord, NodeRecord, Record
from computewise.setups.embedded import embedded_roles
from computewise.strategies import strategy_to_dict
from computewise.study.analysis.analyse import Analysis, analyse
from computewise.study.analysis.summary import policy_file, summarise
from computewise.study.plan import TREE_OF, Run, StudyConfig, chain_lengths, plan

CONFIG = StudyConfig(problems=40, budgets=(1, 4, 16, 64), difficulty_samples=16, repeats=5)
TASK = "expressions"
MODELS = embedded_roles()
HOSTILE = "<b>1+2</b>&*3"


def drawn_records(config: StudyConfig = CONFIG) -> list[Record]:
    """A record for everything planned: problems fall from easy to impossible, the PRM ranks well."""
    rng = random.Random(1)
    ids = [f"{number}*({number + 7}-4)+{number % 9}" for number in range(config.problems - 1)]
    ids.insert(0, HOSTILE)
    records = []
    for run in plan(config, MODELS):
        for place, problem in enumerate(ids):
            skill = max(0.0, 1.05 - 1.1 * place / len(ids))
            records.append(_drawn(rng, run, problem, skill + 0.12 * (run.role == "large")))
    return records


def _drawn(rng: random.Random, run: Run, problem: str, skill: float) -> Record:
    n = int(run.strategy.get("n", 1))
    if run.purpose == "chains":
        outcomes = _chains(rng, n, skill)
        n = len(outcomes)
    else:
        searching = run.purpose not in ("pool", "difficulty", "greedy")
        outcomes = [_outcome(rng, skill * (1.1 if searching else 1)) for _ in range(n)]
    usage = Usage(n, 90 * n, 60 * n, 33 * (n if run.role == "reviser" else _spent(run)), 50 * n, 30 * n)
    tree = _tree(rng, outcomes) if run.strategy == strategy_to_dict(TREE_OF) else None
    return Record(run.purpose, run.role, run.strategy, run.seed, problem, usage, outcomes, tree, sequential=33)


def _spent(run: Run) -> int:
    """Generations: what ends at a trusted attempt stays under its budget."""
    return max(run.budget // 2 if "trust" in run.strategy else run.budget, int(run.strategy.get("n", 1)), 1)


def _chains(rng: random.Random, n: int, skill: float) -> list[CandidateRecord]:
    """As `RevisionPool` draws them: an attempt gets a little worse with each revision."""
    return [
        msgspec.structs.replace(
            _outcome(rng, skill * 0.97**attempt), chain=str(chain), uncached_prompt_tokens=20 + 33 * min(attempt, 4)
        )
        for chain, length in enumerate(chain_lengths(n))
        for attempt in range(length)
    ]


def _outcome(rng: random.Random, skill: float) -> CandidateRecord:
    correct = rng.random() < skill
    value = min(max(rng.gauss(0.7 if correct else 0.35, 0.2), 0.0), 1.0)
    answer = "42" if correct else str(rng.randint(1, 6))
    return CandidateRecord(
        answer, value, rng.uniform(0.3, 0.9), 33, correct, completion_tokens=33, score_mean=value, score_min=0.9 * value
    )


def _tree(rng: random.Random, outcomes: list[CandidateRecord]) -> list[NodeRecord]:
    """Sixteen first steps, a quarter of which go on to the final candidates; some discarded at each level."""
    nodes = [
        NodeRecord(str(i), None, rng.choice(["7*4+1", "28+1", "<i>9</i>"]), rng.random(), None, None) for i in range(16)
    ]
    for index, outcome in enumerate(outcomes):
        parent = str(index % 4)
        step = outcome.answer or ""
        nodes.append(NodeRecord(f"{parent}.{index}", parent, step, outcome.value, "stop", outcome.answer))
        if index % 2:
            nodes.append(NodeRecord(f"{parent}.{index + 50}", parent, f"{index}+1", rng.random() / 3, None, None))
    return nodes


def analysed(records: list[Record], config: StudyConfig = CONFIG) -> Analysis:
    """With quick controllers."""
    with one_thread(), quick_controllers():
        return analyse(config, plan(config, MODELS), records, MODELS)


def write_run(directory: Path, records: list[Record], config: StudyConfig = CONFIG) -> None:
    analysis = analysed(records, config)
    (directory / "config.json").write_text(json.dumps({"format": FORMAT, "task": TASK, **config.to_dict()}))
    (directory / "summary.json").write_text(json.dumps(summarise(config, TASK, analysis), allow_nan=False))
    (directory / "bin_policy.json").write_text(json.dumps(policy_file(config, TASK, analysis), allow_nan=False))
    (directory / "records.jsonl").write_bytes(b"".join(msgspec.json.encode(record) + b"\n" for record in records))
