"""Stopping rules on recorded samples, side by side: accuracy near the cost of n samples for everybody.

    python benchmarks/recorded_rules.py runs/replay-a runs/replay-b ...

Each argument is the directory of a finished `computewise replay`. Of each rule the setting whose cost is nearest is
taken, whatever its accuracy, with its own mean samples after the @; of the rules that start k samples at once, the
nearest at a setting that their authors recommend. So no setting is chosen by what it was measured on. The controller is
fitted on other problems than it is measured on, and spends no more than the cost. Prints Markdown.
"""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

Point = dict[str, Any]

AT = (4, 8, 16)

SEQUENTIAL = {
    "adaptive_consistency": "Adaptive-Consistency",
    "normal": "stop when ahead (normal)",
    "doubt_per_draw": "doubt per draw",
    "esc": "ESC",
}

PARALLEL = {"short_m_at_k": "short-3@k", "its_hub": "its_hub's Beta rule, 0.95"}


def main(runs: list[str]) -> None:
    """Print a table for each run."""
    for run in map(Path, runs):
        summary = json.loads((run / "summary.json").read_text())
        same = {point["budget"]: point for point in summary["frontier"]["uniform"]}
        at = [n for n in AT if n in same] or [max(same)]
        print(
            f"**{Path(summary['fit']).name}**, {summary['problems']['evaluate']} problems, cost in {summary['cost']}\n"
        )
        print("| rule | " + " | ".join(f"cost of {n}" for n in at) + " |")
        print("|---" * (len(at) + 1) + "|")
        rows: dict[str, list[Point]] = {
            "equal samples": [same[n] for n in at],
            "controller": [_of(summary["frontier"]["controller"], n) for n in at],
        }
        for rule, name in SEQUENTIAL.items():
            rows[name] = [_nearest(summary["rules"][rule], same[n]["mean_cost"]) for n in at]
        for rule, name in PARALLEL.items():
            points = [one for one in summary["rules"][rule] if one["published"] and one.get("m", 3) == 3]
            rows[name] = [_nearest(points, same[n]["mean_cost"]) for n in at]
        for name, points_of in rows.items():
            print(f"| {name} | " + " | ".join(map(_cell, points_of)) + " |")
        print(f"\n{summary['sentence']}\n")


def _of(points: list[Point], budget: int) -> Point:
    return next(point for point in points if point["budget"] == budget)


def _nearest(points: list[Point], cost: float) -> Point:
    return min(points, key=lambda point: abs(math.log(point["mean_cost"] / cost)))


def _cell(point: Point) -> str:
    low, high = (100 * end for end in point["ci95"])
    return f"{100 * point['accuracy']:.1f} [{low:.1f}, {high:.1f}] @ {point['mean_samples']:.1f}"


if __name__ == "__main__":
    main(sys.argv[1:])
