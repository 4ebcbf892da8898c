"""Which failures are worth another try, and how long to wait before it."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

NOT_FOR_LONG = frozenset({408, 409, 425, 429})
NEVER = frozenset({501, 505})
"""Server errors that another try does not change."""
OVERLOADED = frozenset({429, 503, 529})


def worth_retrying(status: int) -> bool:
    """Whether the same request may be answered later."""
    return status in NOT_FOR_LONG or (status >= 500 and status not in NEVER)


@dataclass(frozen=True, slots=True)
class Retry:
    """At most `tries` tries, and `seconds` of waits and failed tries in all; waits double from `first` to `longest`.

    So a request that the server let run into its time limit is not made again.
    """

    tries: int = 6
    seconds: float = 180.0
    first: float = 0.5
    longest: float = 30.0

    def wait(self, failures: int, asked: float | None, rng: random.Random) -> float:
        """Seconds before the next try after so many failures: full jitter, never less than the server asked for."""
        jitter = rng.uniform(0, min(self.longest, self.first * 2 ** (failures - 1)))
        return jitter if asked is None else asked + min(jitter, 1.0)


def asked_to_wait(headers: Mapping[str, str], now: datetime | None = None) -> float | None:
    """Seconds that `retry-after-ms` or `Retry-After` (seconds, or a date) asks for; None where they say nothing."""
    for name, unit in (("retry-after-ms", 1e-3), ("retry-after", 1.0)):
        if (text := headers.get(name)) is None:
            continue
        try:
            seconds = float(text) * unit
        except ValueError:
            pass
        else:
            return max(seconds, 0.0) if math.isfinite(seconds) else None
        try:
            until = parsedate_to_datetime(text)
        except ValueError:
            continue
        until = until if until.tzinfo else until.replace(tzinfo=UTC)
        return max((until - (now or datetime.now(UTC))).total_seconds(), 0.0)
    return None
