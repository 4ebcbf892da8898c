"""Random numbers by counting: the n-th draw of a row depends on its seed and n alone, not on its neighbours."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def uniforms(seeds: NDArray[np.uint64], counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """The `counts`-th uniform in [0, 1) of each seed: splitmix64 (Steele et al. 2014)."""
    x = seeds + (counts.astype(np.uint64) + np.uint64(1)) * _GOLDEN
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return ((x ^ (x >> np.uint64(31))) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def draw(
    log_probabilities: NDArray[np.float32], temperatures: NDArray[np.float64], uniform: NDArray[np.float64]
) -> NDArray[np.int64]:
    """One token a row by inverse transform; the likeliest where the temperature is 0."""
    greedy = temperatures == 0
    scaled = log_probabilities / np.where(greedy, 1.0, temperatures)[:, None]
    cumulative = np.cumsum(np.exp(scaled - scaled.max(-1, keepdims=True)), -1)
    drawn = (cumulative <= uniform[:, None] * cumulative[:, -1:]).sum(-1)
    return np.where(greedy, log_probabilities.argmax(-1), drawn)
