"""Time and memory to fit a controller and to ask it for an action: 500 problems, 12 strategies, 64 samples each.

python benchmarks/fit.py
"""

from __future__ import annotations

import resource
import time

import numpy as np

from computewise.controller.ladder import RuleFitter
from computewise.controller.replay import RecordedPool
from computewise.controller.state import LiveState
from computewise.core import ObservedSample
from computewise.models.embedded.engine import one_thread
from computewise.samples import ProblemSamples, SampleArrays

PROBLEMS, STRATEGIES, SAMPLES = 500, 12, 64
ASKED = 200


def problem(number: int, rng: np.random.Generator) -> ProblemSamples:
    """Problems with random chances of a right sample, and arms of rising cost; one of nine answers is right."""
    chance = rng.beta(0.5, 0.5)
    arms = {}
    for arm in range(STRATEGIES):
        right = rng.random(SAMPLES) < chance
        values = np.clip(rng.normal(0.3 + 0.4 * right, 0.2), 0, 1)
        each = np.arange(SAMPLES)
        arms[f"arm {arm}"] = SampleArrays(
            answers=np.where(right, 0, 1 + rng.integers(0, 8, SAMPLES)),
            values=values,
            correct=right,
            means=values,
            lows=0.8 * values,
            logprobs=-values,
            tokens=rng.integers(20, 60, SAMPLES).astype(float),
            costs=np.full(SAMPLES, 1 + arm / 4),
            blocks=each,
            chains=each,
        )
    return ProblemSamples(str(number), "a problem", arms)


def main() -> None:
    """Print seconds, memory and milliseconds."""
    one_thread()
    rng = np.random.default_rng(0)
    problems = [problem(number, rng) for number in range(PROBLEMS)]
    start = time.perf_counter()
    policy = RuleFitter().fit(RecordedPool(problems))
    print(
        f"fit on {PROBLEMS} problems x {SAMPLES} samples x {STRATEGIES} strategies: {time.perf_counter() - start:.1f} s"
    )
    print(f"most memory of the process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3:.0f} MB")
    state, times = LiveState(dict.fromkeys(policy.arms, SAMPLES)), []
    for draw in range(ASKED):
        start = time.perf_counter()
        policy.choose(state, 0.001)
        times.append(1e3 * (time.perf_counter() - start))
        state.add(policy.arms[draw % STRATEGIES], [ObservedSample(str(draw % 9), 0.5, 0.5, 0.4, -0.5, 40)])
    print(
        f"one decision: {np.median(times):.2f} ms in the median, {np.quantile(times, 0.99):.2f} ms at the 99th of 100"
    )


if __name__ == "__main__":
    main()
