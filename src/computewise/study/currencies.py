"""What compute is counted in: FLOPs, memory traffic, price, latency."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from computewise.core import Usage
from computewise.costs import CostModel, FlopsCost, LatencyCost, MemoryCost, PriceCost, Prices, Shape, Speeds

BYTES_A_NUMBER = 4
BATCH = 16
"""Rows that share one pass over the weights."""
LAYERS_AND_WIDTH = {"small": (4, 128), "revision": (4, 128), "large": (6, 384), "prm": (6, 128)}
"""Of the embedded models: what a position takes in a cache."""
PRICES = {
    "small": Prices(input=0.05, cached_input=0.025, output=0.1, verifier=0.1),
    "large": Prices(input=0.2, cached_input=0.1, output=0.4, verifier=0.1),
}
"""Dollars a million tokens, nominal: hosts ask about four times as much for a model fourteen times as large."""
SPEEDS = {
    "small": Speeds(decoded=1 / 200, read=1 / 20_000, verified=1 / 20_000),
    "large": Speeds(decoded=1 / 50, read=1 / 4_000, verified=1 / 20_000),
}
"""Seconds a token, nominal: a model of one and one of fourteen billion parameters on one accelerator."""


@dataclass(frozen=True, slots=True)
class Currency:
    """A way to count, for every model that is run."""

    name: str
    unit: str
    models: Mapping[str, CostModel]

    def cost(self, usage: Usage, sequential: int, model: str) -> float:
        """What a usage of a model and the verifier comes to; see `CostModel.cost`."""
        return self.models[model].cost(usage, sequential)


def currencies(parameters: Mapping[str, int]) -> dict[str, Currency]:
    """Each by the column it is kept in; `parameters` of small, large, revision and prm."""
    verifier = _shape("prm", parameters)
    generators = [name for name in parameters if name != "prm"]
    kin = {name: "large" if name == "large" else "small" for name in generators}
    flops = {name: FlopsCost(parameters[name], parameters["prm"]) for name in generators}
    memory = {name: MemoryCost(_shape(name, parameters), verifier, BATCH) for name in generators}
    return {
        "flops": Currency("FLOPs", "FLOPs", flops),
        "bytes": Currency("memory traffic", "bytes", memory),
        "dollars": Currency("price", "$", {name: PriceCost(PRICES[kin[name]]) for name in generators}),
        "seconds": Currency("latency", "s", {name: LatencyCost(SPEEDS[kin[name]]) for name in generators}),
    }


def _shape(name: str, parameters: Mapping[str, int]) -> Shape:
    layers, width = LAYERS_AND_WIDTH[name]
    return Shape(parameters[name], layers, width, BYTES_A_NUMBER)
