"""What numbers a strategy can be built with."""

from __future__ import annotations

from computewise.errors import UsageError


def at_least_one(**settings: int) -> None:
    """Raise `UsageError` for a setting below 1."""
    for name, value in settings.items():
        if value < 1:
            raise UsageError(f"{name} = {value} is not allowed: at least 1")


def divisible(n: int, width: int) -> None:
    """Raise `UsageError` where `n` beams cannot be cut into survivors with `width` children each."""
    at_least_one(n=n, width=width)
    if n % width:
        allowed = [divisor for divisor in range(1, n + 1) if n % divisor == 0]
        raise UsageError(f"n = {n} is not divisible by width = {width}: allowed widths are {_listed(allowed)}")


def _listed(numbers: list[int]) -> str:
    return ", ".join(map(str, numbers))
