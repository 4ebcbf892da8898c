"""Fit a controller on recorded samples: a list of dicts, one for each problem.

A sample needs an answer and whether it is correct; `score` (a verifier's) and `tokens` are optional. Without scores
every vote counts 1. The table compares the controller with as many samples for every problem, cross-validated.
"""

from __future__ import annotations

import random
import tempfile
from pathlib import Path
from typing import Any

import computewise as cw


def recorded(problems: int = 60, samples: int = 16) -> list[dict[str, Any]]:
    """Made-up samples: problem i is solved with a chance that depends on i, and scores tell right from wrong."""
    rng = random.Random(0)
    rows = []
    for number in range(problems):
        chance = rng.random()
        drawn = []
        for _ in range(samples):
            correct = rng.random() < chance
            answer = "42" if correct else str(rng.randint(0, 5))
            score = min(1.0, max(0.0, rng.gauss(0.7 if correct else 0.4, 0.2)))
            drawn.append({"answer": answer, "correct": correct, "score": score, "tokens": rng.randint(100, 400)})
        rows.append({"problem": f"problem {number}", "answer": "42", "samples": drawn})
    return rows


if __name__ == "__main__":
    controller = cw.Controller.fit(recorded(), model="my-model", verifier="my-verifier")
    print(controller.frontier([1, 2, 4, 8]))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "controller.json"
        controller.save(path)
        print(f"saved: {cw.Controller.load(path).models == ['my-model']}")
