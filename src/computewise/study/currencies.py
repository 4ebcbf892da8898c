"""What compute is counted in: FLOPs, memory traffic, price, latency."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

from computewise.core import Usage
from computewise.costs import NO_VERIFIER, CostModel, FlopsCost, LatencyCost, MemoryCost, PriceCost
from computewise.study.source import Models

T = TypeVar("T")

BATCH = 16
"""Rows that share one pass over the weights."""


@dataclass(frozen=True, slots=True)
class Currency:
    """A way to count, for every model that is run."""

    name: str
    unit: str
    models: Mapping[str, CostModel]

    def cost(self, usage: Usage, sequential: int, model: str) -> float:
        """What a usage of a model and the verifier comes to; see `CostModel.cost`."""
        return self.models[model].cost(usage, sequential)


def currencies(models: Models) -> dict[str, Currency]:
    """Each by the column it is kept in: FLOPs, and what else is known of all the models."""
    roles, shapes = models.generators, models.shapes
    prm = models.sizes["prm"]
    found = {"flops": Currency("FLOPs", "FLOPs", {role: FlopsCost(models.sizes[role], prm) for role in roles})}
    verifier = shapes.get("prm", None if prm else NO_VERIFIER)
    if verifier and shapes.keys() >= set(roles):
        traffic = {role: MemoryCost(shapes[role], verifier, BATCH) for role in roles}
        found["bytes"] = Currency("memory traffic", "bytes", traffic)
    if prices := _of_all(models.prices, roles):
        found["dollars"] = Currency("price", "$", {role: PriceCost(held) for role, held in prices.items()})
    if speeds := _of_all(models.speeds, roles):
        found["seconds"] = Currency("latency", "s", {role: LatencyCost(held) for role, held in speeds.items()})
    return found


def assumed(models: Models) -> dict[str, Any]:
    """What the currencies count with, as plain data: by role dollars a million tokens, and seconds a token."""
    numbers = {shape.bytes_per_number for shape in models.shapes.values()}
    return {
        "nominal": models.nominal,
        "batch": BATCH,
        "bytes_per_number": max(numbers, default=None),
        "prices": {role: asdict(held) for role, held in models.prices.items()},
        "speeds": {role: asdict(held) for role, held in models.speeds.items()},
    }


def _of_all(known: Mapping[str, T], roles: Sequence[str]) -> dict[str, T]:
    """By role, a revision model's those of `small`; nothing where one is not known."""
    if not all(role in known for role in roles if role != "revision"):
        return {}
    return {role: known.get(role, known["small"]) for role in roles}
