"""What an operator sets: plain data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from computewise.errors import UsageError

EFFORTS: Mapping[str, float] = MappingProxyType({"low": 2.0, "medium": 8.0, "high": 32.0})
"""OpenAI's `reasoning_effort`, as draws a problem on average: what the policy's price is taken from."""
EXTREMES = {"none": "low", "minimal": "low", "xhigh": "high", "max": "high"}
"""Efforts that some clients have beyond those: each means the nearest."""
DEFAULT_EFFORT = "medium"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSettings:
    """Bounds on what clients may do, and what an effort is worth."""

    efforts: Mapping[str, float] = field(default_factory=lambda: EFFORTS)
    keys: tuple[str, ...] = ()
    """Bearer keys of clients; none needed where there are none."""
    hosts: frozenset[str] = frozenset()
    """Names this server is called by, where no key protects it; any where empty."""
    in_flight: int = 64
    """Requests worked on at the same time."""
    queue: int = 2048
    """Requests that may wait for that; what comes beyond is told to come again."""
    timeout: float = 600.0
    """Seconds a request may take, waiting included."""
    largest_body: int = 8 << 20
    most_generations: int = 256
    """Generations that a client may ask for by a strategy."""
    traces: int = 200
    """Requests that are remembered for the page."""
    progress: float = 1.0
    """Seconds between two signs of life of a stream whose answer is not there yet."""

    def __post_init__(self) -> None:
        for name in ("in_flight", "most_generations", "largest_body"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} = {getattr(self, name)} is not allowed: at least 1")
        for name in ("queue", "traces"):
            if getattr(self, name) < 0:
                raise UsageError(f"{name} = {getattr(self, name)} is not allowed: at least 0")
        if not 0 < self.timeout < float("inf"):
            raise UsageError(f"timeout = {self.timeout} is not allowed: seconds above 0")
        if list(self.efforts.values()) != sorted(self.efforts.values()):
            raise UsageError(f"efforts {list(self.efforts.values())} are not allowed: a higher one is worth no less")
        for effort, draws in self.efforts.items():
            if not 1 <= draws <= self.most_generations:
                allowed = f"1 to {self.most_generations}"
                raise UsageError(f"effort {effort} = {draws} is not allowed: {allowed} draws on average")
