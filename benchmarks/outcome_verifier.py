"""Best-of-N by the process and by the outcome verifier, from the recorded samples of a study of the embedded models.

    computewise study && python benchmarks/outcome_verifier.py runs/study

The paper's figures 13, 14 and the line of the outcome verifier in figure 4: the same samples, weighed by `prm` with
each way to make one value of the steps' scores, by `orm`, by the model's own probability, and not at all. `orm` reads
the recorded texts; nothing is sampled. 95 % intervals over problems, differences paired.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from computewise.core import MODEL, Candidate, Problem, Step
from computewise.intervals import Estimate, difference, proportion
from computewise.metrics import Floats, within_problem_aurocs
from computewise.models.embedded.engine import EngineLoop, one_thread
from computewise.runs import Record, last_records, read_problems
from computewise.selection import AGGREGATIONS, aggregate
from computewise.study.analysis.tables import SamplePool
from computewise.study.plan import restore_config
from computewise.verifiers.embedded import EmbeddedORM


async def main(directory: Path) -> None:
    """Print a table, and the paired differences to the last step of `prm` at the largest budget."""
    config = restore_config(json.loads((directory / "config.json").read_text()))
    records = [r for r in last_records(directory) if (r.purpose, r.role, r.seed) == ("pool", MODEL, config.seed)]
    pool, problems = SamplePool(records), read_problems(directory)
    weights = {f"prm, {how}": _aggregated(pool, how) for how in AGGREGATIONS}
    weights["orm"] = await outcome_values(records, problems)
    weights["log-probability"] = pool.logprobs
    weights["majority"] = np.ones_like(pool.values)
    budgets = [budget for budget in config.budgets if budget > 1]
    print(f"| {len(records)} problems | AUROC within a problem | {' | '.join(f'N = {n}' for n in budgets)} |")
    print("|---" * (2 + len(budgets)) + "|")
    index = np.broadcast_to(np.arange(len(records))[:, None], pool.correct.shape)
    votes = {name: [pool.vote(each, n) for n in budgets] for name, each in weights.items()}
    for name, each in weights.items():
        aurocs = within_problem_aurocs(each.ravel(), pool.correct.ravel(), index.ravel())
        cells = [estimate(proportion(vote), 100, 1) for vote in votes[name]]
        print(f"| {name} | {estimate(proportion(aurocs), 1, 3)} | {' | '.join(cells)} |")
    for name, vote in list(votes.items())[1:]:
        differences = [
            estimate(difference(one - other), 100, 1) for one, other in zip(vote, votes["prm, last"], strict=True)
        ]
        print(f"{name} minus prm, last, at N = {', '.join(map(str, budgets))}: {'; '.join(differences)} points")


async def outcome_values(records: Sequence[Record], problems: dict[str, Problem]) -> Floats:
    """(problems, samples): the values that `orm` gives to the recorded solutions."""
    verifier = EmbeddedORM(EngineLoop())
    rows = []
    for record in records:
        candidates = [
            Candidate(
                str(at),
                None,
                tuple(Step(line, len(line), 0.0) for line in one.text.splitlines(keepends=True)),
                end="length" if one.answer is None else "stop",
            )
            for at, one in enumerate(record.candidates)
        ]
        scores, _ = await verifier.score(problems[record.problem], candidates)
        rows.append([verifier.value(each) for each in scores])
    return np.array(rows)


def _aggregated(pool: SamplePool, how: str) -> Floats:
    return np.array([[aggregate(one.scores, how) for one in record.candidates] for record in pool.records])


def estimate(found: Estimate, scale: float, digits: int) -> str:
    """As text."""
    value, low, high = (f"{scale * one:.{digits}f}" for one in found)
    return f"{value} [{low}, {high}]"


if __name__ == "__main__":
    if len(sys.argv) != 2 or not (Path(sys.argv[1]) / "records.jsonl").exists():
        sys.exit("usage: python benchmarks/outcome_verifier.py RUN, the directory of a finished study")
    one_thread()
    asyncio.run(main(Path(sys.argv[1])))
