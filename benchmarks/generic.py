"""The shipped controllers for any model: fitted on recorded samples of several models and sets, and left out by set.

    python benchmarks/generic.py DIRECTORY          the table: each set measured by a formula fitted on the other sets
    python benchmarks/generic.py DIRECTORY --write  the same, and writes policies/generic-{scores,votes}.json

DIRECTORY holds recorded samples by the names in `SETS`; a set that is not there is left out. A formula is fitted by
searching the exponents in `GRID` for the highest accuracy at equal mean cost, over `doubt / draws`, mean over sets of a
group and then over groups, so that many sets of one kind do not decide. Of formulas within a tenth of a standard error
the one nearest to `doubt / draws` is kept.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np

from computewise.controller.controller import Controller
from computewise.controller.file import ANY_MODEL, ANY_VERIFIER, GENERIC, POLICIES, ControllerArm
from computewise.controller.formula import DOUBT_PER_DRAW, FormulaRule, Walk, fit_confidence
from computewise.controller.frontier import join, price_list
from computewise.controller.ladder import curve
from computewise.controller.replay import RecordedPool
from computewise.intervals import Estimate, difference, proportion
from computewise.metrics import Floats
from computewise.study.recorded.read import read_recording
from computewise.study.recorded.readers.cells import Reading
from computewise.study.recorded.rows import RecordedProblem, to_drawn

SETS = {
    "llama 8B MATH-500": "math500_llama3.1-8b-awq.dev.jsonl.gz",
    "llama 3B MATH-500": "math500_llama3.2-3b-awq.dev.jsonl.gz",
    "qwen 1.5B MATH-500": "math500_qwen2.5-1.5b_skywork_cassette0.json.gz",
    "qwen 1.5B MATH-500, again": "math500_qwen2.5-1.5b_skywork_cassette1.json.gz",
    "qwen 0.5B GSM8K": "gsm8k_qwen2.5-0.5b_trajectories.dev.jsonl.gz",
    "qwen 1.5B MGSM": "mgsm_qwen2.5-1.5b.dev.jsonl.gz",
    "qwen 7B MGSM": "mgsm_qwen2.5-7b.dev.jsonl.gz",
    "qwen 32B MGSM": "mgsm_qwen2.5-32b.dev.jsonl.gz",
}
AIME = "otis_mock_aime.dev.csv.gz"
AIME_RUNS = ("ikUWdu6HJ2qRgZynfzDCFe", "VpsMexBEhXkPYJBe7v6Fk9", "A3ZGeCNhHMp55ZjtRtCGVB", "3qLHwibDhgtWEbKGwxUYVa")
AIME_RUNS += ("R82gycJfm5jaCdh32tFkH4", "Y9YnaJQWpPFAPhe6jtKMhH", "5Hcw3Td96qF66quWrDMKJB", "5mmrBSQb7hVSJ9VYtNm46i")
GRID = {"doubt": (0.7, 0.85, 1.0, 1.25, 1.5), "unanswered": (0.0, 0.4, 0.8, 1.2), "error": (0.0, 0.15, 0.3, 0.6)}
COSTS = (1.5, 2, 2.5, 3, 4, 5, 6, 8, 10, 12)
ORDERS = 10
LIMIT = 64

Powers = Mapping[str, float]


class Set:
    """The samples of one model on one set, drawn to the end in random orders."""

    def __init__(self, name: str, problems: Sequence[RecordedProblem], *, scored: bool) -> None:
        self.name, self.group = name, name.split()[0] + name.split()[-1] if "AIME" not in name else "AIME"
        if not scored:
            problems = [
                replace(one, samples=tuple(replace(sample, step_scores=()) for sample in one.samples))
                for one in problems
            ]
        self.pool = RecordedPool([to_drawn(problem, "last") for problem in problems])
        most = float(np.median(self.pool.arms[0].lengths))
        self.costs = [cost for cost in COSTS if cost <= 0.75 * most]
        self.walk = Walk.of(_rule(DOUBT_PER_DRAW), self.pool, repeats=ORDERS, seed=0)
        self._known: dict[str, Floats] = {}

    def accuracy(self, powers: Powers) -> Floats:
        """(problems,): the mean over the costs."""
        key = repr(sorted(powers.items()))
        if key not in self._known:
            self._known[key] = curve(self.walk.follow(_rule(powers)), self.costs).mean(0)
        return self._known[key]

    def gain(self, powers: Powers) -> Floats:
        """(problems,): over `doubt / draws`."""
        return self.accuracy(powers) - self.accuracy(DOUBT_PER_DRAW)


def _rule(powers: Powers) -> FormulaRule:
    return FormulaRule(arms=("samples",), steps=(("samples", LIMIT),), powers=powers, costs=(1.0,), rung="generic")


def fit(sets: Sequence[Set], *, scored: bool) -> Powers:
    """The exponents of the highest mean gain over groups of sets."""
    grid = [GRID["doubt"], GRID["unanswered"], GRID["error"] if scored else (0.0,)]
    groups = sorted({one.group for one in sets})
    best, value = DOUBT_PER_DRAW, 0.0
    for doubt, unanswered, error in sorted(product(*grid), key=lambda one: abs(one[0] - 1) + one[1] + one[2]):
        powers = {"doubt": doubt, "error": error, "unanswered": unanswered, "draws": -1.0}
        kept = {term: power for term, power in powers.items() if power}
        gains = [np.mean([each.gain(kept).mean() for each in sets if each.group == group]) for group in groups]
        if np.mean(gains) > value + 1e-4:
            best, value = kept, float(np.mean(gains))
    return best


def left_out(sets: Sequence[Set], *, scored: bool) -> list[str]:
    """Rows of the table: each set by a formula fitted on the sets of other groups."""
    rows = []
    for group in sorted({one.group for one in sets}):
        powers = fit([one for one in sets if one.group != group], scored=scored)
        for one in (one for one in sets if one.group == group):
            plain, gain = proportion(one.accuracy(DOUBT_PER_DRAW)), difference(one.gain(powers))
            same = difference(one.accuracy(powers) - one.accuracy({"draws": -1.0}))
            rows.append(f"| {one.name} | {100 * plain.value:.1f} | {_points(same)} | {_points(gain)} |")
    return rows


def _points(estimate: Estimate) -> str:
    return f"{100 * estimate.value:+.1f} [{100 * estimate.low:+.1f}, {100 * estimate.high:+.1f}]"


def write(sets: Sequence[Set], powers: Powers, *, scored: bool) -> None:
    """The controller's file: prices and confidence over all sets."""
    paths = [one.walk.follow(_rule(powers)) for one in sets]
    features = np.concatenate([one.walk.evidence[0] for one in sets])
    right = np.concatenate([one.walk.evidence[1] for one in sets])
    steps = sum(
        float((np.diff(path.spent, axis=1) * np.maximum(path.worth[:, :-1], 0)).sum(1).mean()) for path in paths
    )
    gained = sum(float(path.right[:, -1].mean() - path.right[:, 0].mean()) for path in paths)
    rule = replace(_rule(powers), scale=gained / steps, confidence=fit_confidence(features, right))
    rows = []
    for number, one in enumerate(sets):
        path = one.walk.follow(rule)
        rows.append(replace(path, problems=path.problems + 10_000 * number))
    names = ", ".join(one.name for one in sets)
    why = f"fitted on other models' samples: {names}; its accuracies are theirs, not yours"
    rule = replace(rule, prices=price_list(join(rows), 1.0), why=why)
    arm = ControllerArm("samples", ANY_MODEL, {"name": "single"}, LIMIT)
    held = Controller(rule, (arm,), ANY_VERIFIER if scored else None, "question", "samples", 1.0)
    held.save(POLICIES / f"{GENERIC[scored]}.json")


def main(directory: Path, *, writing: bool) -> None:
    """Print both tables."""
    for scored in (True, False):
        sets = []
        for name, file in SETS.items():
            if (directory / file).exists():
                problems = read_recording(directory / file).problems
                if not scored or any(sample.step_scores for one in problems for sample in one.samples):
                    sets.append(Set(name, problems, scored=scored))
        if not scored and (directory / AIME).exists():
            for run in AIME_RUNS:
                problems = read_recording(directory / AIME, Reading(only={"run_id": run})).problems
                sets.append(Set(f"{run[:5]} AIME", problems, scored=False))
        powers = fit(sets, scored=scored)
        print(f"\n{'with a verifier' if scored else 'votes alone'}: {_rule(powers)}; left out by group of sets:\n")
        print(
            "| set | doubt / draws, % | generic minus equal samples | generic minus doubt / draws |\n|---|---|---|---|"
        )
        print("\n".join(left_out(sets, scored=scored)), flush=True)
        if writing:
            write(sets, powers, scored=scored)


if __name__ == "__main__":
    main(Path(sys.argv[1]), writing="--write" in sys.argv[2:])
