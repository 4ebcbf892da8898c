"""Difficulty bins: by rank, so that no bin is empty however many problems share a value."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from computewise.seeds import derive_seed

BINS = 5
"""Quintiles, as in Snell et al. 2024; bin 0 holds the easiest."""


def rank_bins(ease: Sequence[float], ids: Sequence[str], bins: int = BINS) -> NDArray[np.int64]:
    """Cut problems into `bins` equal parts by falling `ease` (pass@1, or a prediction of it).

    Equal values are ordered by a hash of the problem's id: neither the order of the problems nor their content decides.
    """
    order = sorted(range(len(ease)), key=lambda index: (-ease[index], derive_seed(ids[index])))
    assigned = np.empty(len(ease), np.int64)
    assigned[order] = np.arange(len(ease)) * bins // len(ease)
    return assigned


def bin_edges(ease: Sequence[float], assigned: NDArray[np.int64], bins: int = BINS) -> list[float]:
    """The least ease that still belongs to each bin but the hardest: how an unseen problem is placed."""
    return [min(e for e, b in zip(ease, assigned, strict=True) if b == bin) for bin in range(bins - 1)]
