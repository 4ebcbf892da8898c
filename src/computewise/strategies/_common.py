"""Checks of settings, and ranking, for several strategies."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TypeVar

from computewise.errors import UsageError


def at_least_one(**settings: int) -> None:
    """Raise `UsageError` for a setting that is not a whole number of at least 1."""
    for name, value in settings.items():
        if not isinstance(value, int):
            raise UsageError(f"{name} = {value} is not allowed: a whole number, at least 1")
        if value < 1:
            raise UsageError(f"{name} = {value} is not allowed: at least 1")


def zero_or_one(**settings: int) -> None:
    """Raise `UsageError` for a setting that is neither 0, off, nor 1, on."""
    for name, value in settings.items():
        if value not in (0, 1):
            raise UsageError(f"{name} = {value} is not allowed: 0 or 1")


def probability(**settings: float) -> None:
    """Raise `UsageError` for a setting that is not between 0 and 1; NaN is not."""
    for name, value in settings.items():
        if not 0 <= value <= 1:
            raise UsageError(f"{name} = {value} is not allowed: between 0 and 1")


def above_zero(**settings: float) -> None:
    """Raise `UsageError` for a setting that is not positive and finite."""
    for name, value in settings.items():
        if not 0 < value < math.inf:
            raise UsageError(f"{name} = {value} is not allowed: above 0")


def divisible(n: int, width: int) -> None:
    """Raise `UsageError` where `width` does not divide `n` beams into survivors with `width` children each."""
    at_least_one(n=n, width=width)
    if n % width:
        allowed = [divisor for divisor in range(1, n + 1) if n % divisor == 0]
        raise UsageError(f"n = {n} is not divisible by width = {width}: allowed widths are {_listed(allowed)}")


def _listed(numbers: list[int]) -> str:
    return ", ".join(map(str, numbers))


UNSAID = {"unsaid": True}
"""Metadata of a setting that labels and records name only where it differs from its default."""

T = TypeVar("T")


def top(items: Sequence[T], count: int, value: Callable[[T], float]) -> list[T]:
    """The `count` items of highest value, best first, earlier ones first among equals; all where there are fewer."""
    return sorted(items, key=value, reverse=True)[:count]
