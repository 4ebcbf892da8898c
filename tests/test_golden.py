"""Search trees as they were: a change of any id, text, score or order shows here.

Where a change is meant, `COMPUTEWISE_GOLDEN=write pytest tests/test_golden.py` writes the trees anew; read the diff.
Skill 0.75 and uniform noise keep every number exact on any machine.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path

import pytest
from doubles import TASK, problem

from computewise.core import Candidate
from computewise.models.simulated import SimulatedModel
from computewise.session import Strategy
from computewise.solve import solve
from computewise.strategies import DVTS, STRATEGIES, BeamSearch, BestOfN, Greedy, Lookahead, Single, describe
from computewise.verifiers.simulated import SimulatedPRM

GOLDEN = Path(__file__).parent / "golden"
TREES: list[Strategy] = [Single(), Greedy(), BestOfN(4), BeamSearch(4, 2), Lookahead(4, 2, 1), DVTS(4, 2)]


def node(candidate: Candidate) -> dict[str, object]:
    return {
        "id": candidate.id,
        "parent": candidate.parent,
        "text": candidate.text,
        "scores": candidate.scores,
        "end": candidate.end,
    }


@pytest.mark.parametrize("strategy", TREES, ids=lambda strategy: strategy.name)
async def test_search_tree(strategy: Strategy) -> None:
    model, verifier = SimulatedModel(skill=0.75), SimulatedPRM(skill=0.75, noise=0.25)
    result = await solve(problem(depth=3), strategy, model, verifier, TASK, seed=1)
    tree = {
        "strategy": describe(strategy),
        "explored": [node(candidate) for candidate in result.explored],
        "candidates": [candidate.id for candidate in result.candidates],
        "chosen": result.chosen.id if result.chosen else None,
        "usage": asdict(result.usage),
    }
    path = GOLDEN / f"{strategy.name}.json"
    if os.environ.get("COMPUTEWISE_GOLDEN") == "write":
        path.write_text(json.dumps(tree, indent=1) + "\n")
    assert json.loads(json.dumps(tree)) == json.loads(path.read_text())


def test_there_is_a_tree_for_every_strategy() -> None:
    assert {strategy.name for strategy in TREES} == set(STRATEGIES)
