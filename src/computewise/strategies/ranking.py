"""Who survives."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

T = TypeVar("T")


def top(items: Sequence[T], count: int, value: Callable[[T], float]) -> list[T]:
    """The `count` items of highest value, best first; the earlier of equals, all where there are fewer."""
    return sorted(items, key=value, reverse=True)[:count]
