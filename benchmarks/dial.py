"""How well a running price holds a mean cost, where problems are unlike those that the price was found on.

    python benchmarks/dial.py SAMPLES.jsonl [--by FIELD VALUE]     recorded samples; with --by, rows where FIELD is at
                                                                   most VALUE are the easy ones

Policies are fitted on all problems, on the easy and on the hard ones, and followed for 200 requests in 50 random orders
on all, the hard and the easy ones. Printed for each mean cost asked: what the fitted price spends, what the running
price spends with the furthest of the orders, and its accuracy beside that of one price found for the very problems.
"""

from __future__ import annotations

import gzip
import json
import sys
from pathlib import Path

import numpy as np

from computewise.controller.dial import Dial, followed
from computewise.controller.ladder import RuleFitter
from computewise.controller.replay import RecordedPool
from computewise.study.recorded.read import read_recording
from computewise.study.recorded.readers.cells import Reading
from computewise.study.recorded.rows import to_drawn

ORDERS, REQUESTS, TARGETS = 50, 200, (2, 4, 8, 12)


def main(path: Path, field: str | None, most: float) -> None:
    """Print the table."""
    recording = read_recording(path, Reading())
    pool = RecordedPool([to_drawn(problem, "last") for problem in recording.problems])
    with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as lines:
        rows = {row.get("unique_id", row.get("id")): row for row in map(json.loads, lines)}
    easy = np.array([field is None or float(rows[one.id][field]) <= most for one in recording.problems])
    every = np.arange(len(pool))
    worlds = {"same": (every, every)}
    if field is not None:
        worlds |= {"harder": (every[easy], every[~easy]), "easier": (every[~easy], every[easy])}
    print(
        "| met | asked | fitted price spends | running price spends, furthest | right, % | one price found there, % |"
    )
    print("|---|---|---|---|---|---|")
    for name, (fit, met) in worlds.items():
        rule = RuleFitter().fit(pool, fit)
        walks = rule.follow(pool, repeats=10, seed=3, only=met)
        for target in TARGETS:
            price, spent, right = rule.price_for(target), [], []
            for seed in range(ORDERS):
                order = np.random.default_rng(seed).integers(len(walks.worth), size=REQUESTS)
                found = followed(walks, Dial(target, price), order)
                right.append(found[0].mean())
                spent.append(found[1].mean())
            furthest = max(spent, key=lambda one: abs(one - target))
            known = walks.at(walks.price(target))[0].mean()
            print(
                f"| {name} | {target} | {walks.at(price)[1].mean():.2f} | {np.mean(spent):.2f}, {furthest:.2f} "
                f"| {100 * np.mean(right):.1f} | {100 * known:.1f} |",
                flush=True,
            )


if __name__ == "__main__":
    by = sys.argv.index("--by") if "--by" in sys.argv else None
    main(Path(sys.argv[1]), sys.argv[by + 1] if by else None, float(sys.argv[by + 2]) if by else 0.0)
