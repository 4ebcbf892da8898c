"""Let a controller decide in your own sampling loop: it says whether to draw again, you draw.

The controller here is fitted on made-up samples; load your own by `cw.Controller.load("controller.json")`.
"""

from __future__ import annotations

import random
from typing import Any

import computewise as cw


def my_sampler(rng: random.Random, chance: float) -> dict[str, Any]:
    """In place of your model and your verifier: an answer, its score, and the tokens it took."""
    right = rng.random() < chance
    answer = "42" if right else str(rng.randint(0, 9))
    return {"answer": answer, "score": 0.8 if right else 0.4, "tokens": rng.randint(20, 60)}


def fitted(rng: random.Random) -> cw.Controller:
    """A controller from 60 problems with 12 recorded samples each."""
    rows = []
    for number in range(60):
        samples = [my_sampler(rng, chance=number / 60) for _ in range(12)]
        graded = [{**sample, "correct": sample["answer"] == "42"} for sample in samples]
        rows.append({"problem": f"problem {number}", "answer": "42", "samples": graded})
    return cw.Controller.fit(rows)


if __name__ == "__main__":
    rng = random.Random(1)
    episode = fitted(rng).start(mean_cost=4)
    draws = 0
    while (action := episode.next()).draw:
        sample = my_sampler(rng, chance=0.7)
        episode.observe(answer=sample["answer"], score=sample["score"], tokens=sample["tokens"])
        draws += 1
    print(f"answer: {episode.answer}, confidence: {episode.confidence:.2f}, draws: {draws}, decision: {action.kind}")
