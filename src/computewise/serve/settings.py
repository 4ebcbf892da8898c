"""The operator's settings of a server: plain data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from computewise.errors import UsageError

EFFORTS: Mapping[str, float] = MappingProxyType({"low": 2.0, "medium": 8.0, "high": 32.0})
"""OpenAI's `reasoning_effort`, as samples for each problem on average, which set the controller's price."""
EXTREMES = {"none": "low", "minimal": "low", "xhigh": "high", "max": "high"}
"""Further efforts that some clients send; each means the nearest of those."""
DEFAULT_EFFORT = "medium"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSettings:
    """Bounds on the clients' requests, and the meaning of an effort."""

    efforts: Mapping[str, float] = field(default_factory=lambda: EFFORTS)
    keys: tuple[str, ...] = ()
    """The clients' bearer keys; without any, no key is needed."""
    hosts: frozenset[str] = frozenset()
    """The host names that requests may use when no key protects the server; empty: any."""
    in_flight: int = 64
    """Requests that run at the same time."""
    queue: int = 2048
    """Requests that may wait; further ones are answered with 429."""
    timeout: float = 600.0
    """Seconds that a request may take, waiting included."""
    largest_body: int = 32 << 20
    """Bytes; a conversation with images has many megabytes."""
    most_generations: int = 256
    """Most solutions that a strategy named by a client may sample."""
    traces: int = 200
    """Requests that the history keeps for the page."""
    progress: float = 1.0
    """Seconds between two progress events of a stream before its answer."""

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
