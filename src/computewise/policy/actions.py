"""What a controller can do next."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

AMOUNTS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32)
"""How many further increments of an arm are looked ahead to: an answer may need several to change."""


@dataclass(frozen=True, slots=True)
class Option:
    """Draw `amount` further increments by `arm`; `costs` so many draws of the probe arm, on average."""

    arm: str
    amount: int
    costs: float


@dataclass(frozen=True, slots=True)
class Action:
    """What to do now.

    `kind` is "stop" (answer with the leader), "abstain", "more" (of the arm that drew last), "switch" or "escalate" (to
    a larger model); the last three name the `arm` to draw by, once, before choosing again. `worth` is the expected gain
    in accuracy by the cost of one draw of the probe arm of the best there is to do, the highest price at which it would
    be done; `confidence` the chance that the leader is right.
    """

    kind: Literal["stop", "abstain", "more", "switch", "escalate"]
    arm: str | None
    worth: float
    confidence: float
