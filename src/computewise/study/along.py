"""What happens along a chain of revisions: how often an attempt is right, is mended, is broken."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from computewise.metrics import Bools, Floats, Interval, bootstrap_ratio


@dataclass(frozen=True, slots=True)
class Rate:
    """A share of `chances`, with its interval clustered by problem; NaN where there was no chance."""

    value: float
    ci95: Interval


@dataclass(frozen=True, slots=True)
class Along:
    """The attempt of that number, 1 the first: over all chains of all problems."""

    attempt: int
    right: Rate
    mended: Rate
    """Right, where the attempt before was wrong; of the first attempt NaN."""
    broken: Rate
    """Wrong, where the attempt before was right."""
    gated: Rate
    """Right, where a chain ends at its first attempt the verifier trusts."""


def along(correct: Bools, values: Floats, trust: float) -> list[Along]:
    """Attempts 1, 2, 4, ..: from (problems, chains, attempts) of right or wrong and of the verifier's values."""
    found = []
    for attempt in (1 << power for power in range(correct.shape[2].bit_length())):
        now = correct[:, :, attempt - 1]
        before = correct[:, :, attempt - 2] if attempt > 1 else np.zeros_like(now)
        chance = np.full_like(now, attempt > 1)
        found.append(
            Along(
                attempt,
                right=_rate(now, np.ones_like(now)),
                mended=_rate(now & ~before & chance, ~before & chance),
                broken=_rate(~now & before, before),
                gated=_rate(gated(correct, values, trust, attempt), np.ones_like(now)),
            )
        )
    return found


def gated(correct: Bools, values: Floats, trust: float, attempts: int) -> Bools:
    """(problems, chains): whether a chain of `attempts`, ended at its first of value `trust`, ends right."""
    trusted = values[:, :, :attempts] >= trust
    ends = np.where(trusted.any(2), trusted.argmax(2), attempts - 1)
    return np.take_along_axis(correct, ends[:, :, None], 2)[:, :, 0]


def _rate(events: Bools, chances: Bools) -> Rate:
    count = chances.sum()
    value = float(events.sum() / count) if count else float("nan")
    return Rate(value, bootstrap_ratio(events.sum(1).astype(float), chances.sum(1).astype(float)))
