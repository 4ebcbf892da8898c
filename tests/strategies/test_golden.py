"""Search trees as they were: a change of any id, text, score or order shows here.

Where a change is meant, `COMPUTEWISE_GOLDEN=write pytest tests/test_golden.py` writes the trees anew; read the diff.
Skills 0.75 and 0.5 and uniform noise keep every number exact on any machine.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path

import pytest
from doubles import TASK, problem

from computewise.core import Candidate, Result
from computewise.session import Strategy
from computewise.solver import solve
from computewise.strategies import (
    DVTS,
    STRATEGIES,
    AdaptiveBranching,
    BeamSearch,
    BestOfN,
    GatedRevisions,
    Greedy,
    Lookahead,
    ParticleFilter,
    Rebase,
    Revisions,
    Single,
    StepRevisions,
    strategy_to_dict,
)
from computewise.study.plan import RevisionPool
from computewise.testing import SimulatedModel, SimulatedPRM

GOLDEN = Path(__file__).parent / "golden"
TREES: list[Strategy] = [
    Single(),
    Greedy(),
    BestOfN(4),
    BeamSearch(4, 2),
    Lookahead(4, 2, 1),
    DVTS(4, 2),
]
STEEP_TREES: list[Strategy] = [
    Rebase(6),
    ParticleFilter(6),
    Revisions(6, 2),
    GatedRevisions(4, 3, 0.9),
    StepRevisions(4, 3, 0.9),
    AdaptiveBranching(10, 1.0),
    RevisionPool(4),
]
"""Grown where most attempts fail, so that there is something to resample, to revise and to go deeper into."""


def node(candidate: Candidate) -> dict[str, object]:
    told = {
        "id": candidate.id,
        "parent": candidate.parent,
        "text": candidate.text,
        "scores": candidate.scores,
        "end": candidate.end,
    }
    return told | ({"history": [attempt.id for attempt in candidate.history]} if candidate.history else {})


@pytest.mark.parametrize("strategy", TREES, ids=lambda strategy: strategy.name)
async def test_search_tree(strategy: Strategy) -> None:
    model, verifier = SimulatedModel(skill=0.75), SimulatedPRM(skill=0.75, noise=0.25)
    check(strategy, await solve(problem(depth=3), strategy, model, verifier, TASK, seed=1))


@pytest.mark.parametrize("strategy", STEEP_TREES, ids=lambda strategy: strategy.name)
async def test_steep_search_tree(strategy: Strategy) -> None:
    model, verifier = SimulatedModel(skill=0.5, mend=0.1), SimulatedPRM(skill=0.5, noise=0.25)
    check(strategy, await solve(problem(depth=4), strategy, model, verifier, TASK, seed=20))


def check(strategy: Strategy, result: Result) -> None:
    tree = {
        "strategy": strategy_to_dict(strategy),
        "explored": [node(candidate) for candidate in result.tree],
        "candidates": [candidate.id for candidate in result.candidates],
        "chosen": result.chosen.id if result.chosen else None,
        "usage": asdict(result.usage),
    }
    path = GOLDEN / f"{strategy.name}.json"
    if os.environ.get("COMPUTEWISE_GOLDEN") == "write":
        path.write_text(json.dumps(tree, indent=1) + "\n")
    assert json.loads(json.dumps(tree)) == json.loads(path.read_text())


def test_there_is_a_tree_for_every_strategy() -> None:
    assert {strategy.name for strategy in TREES + STEEP_TREES} == {*STRATEGIES, RevisionPool.name}
