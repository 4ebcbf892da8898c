"""The strategies by name, and their way to plain data and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from computewise.errors import UsageError
from computewise.registry import Registry, as_strategy
from computewise.session import Strategy
from computewise.strategies.adaptive_branching import AdaptiveBranching
from computewise.strategies.beam_search import DVTS, BeamSearch, Lookahead
from computewise.strategies.best_of_n import BestOfN, Greedy, Single
from computewise.strategies.particle_filter import ParticleFilter
from computewise.strategies.rebase import Rebase
from computewise.strategies.revisions import GatedRevisions, Revisions, StepRevisions

__all__ = [
    "STRATEGIES",
    "AdaptiveBranching",
    "BeamSearch",
    "BestOfN",
    "DVTS",
    "GatedRevisions",
    "Greedy",
    "Lookahead",
    "ParticleFilter",
    "Rebase",
    "Revisions",
    "Single",
    "StepRevisions",
    "make_strategy",
    "strategy_from_dict",
    "strategy_label",
    "strategy_to_dict",
]

_BUILT_IN = (
    Single,
    Greedy,
    BestOfN,
    BeamSearch,
    Lookahead,
    DVTS,
    Rebase,
    ParticleFilter,
    Revisions,
    GatedRevisions,
    StepRevisions,
    AdaptiveBranching,
)
STRATEGIES: Registry[Any] = Registry("strategies", {kind.name: kind for kind in _BUILT_IN}, as_strategy)


def make_strategy(name: str, settings: Mapping[str, int | float]) -> Strategy:
    """The strategy of that name; raises `UsageError` for an unknown name, setting or number."""
    if name not in STRATEGIES:
        raise UsageError(f"unknown strategy {name!r}: allowed are {', '.join(STRATEGIES)}")
    kind = STRATEGIES[name]
    allowed = [field.name for field in fields(kind)]
    for setting in settings:
        if setting not in allowed:
            listed = ", ".join(allowed) or "no settings at all"
            raise UsageError(f"strategy {name!r} has no setting {setting!r}: allowed are {listed}")
    built: Strategy = kind(**settings)
    return built


def strategy_to_dict(strategy: Strategy) -> dict[str, int | float | str]:
    """As plain data, which `strategy_from_dict` reads."""
    named = {field.name: getattr(strategy, field.name) for field in fields(strategy)}  # type: ignore[arg-type]
    return {"name": strategy.name, **named}


def strategy_from_dict(described: Mapping[str, int | float | str]) -> Strategy:
    """The strategy that `strategy_to_dict` wrote."""
    settings = {name: value for name, value in described.items() if not isinstance(value, str)}
    return make_strategy(str(described["name"]), settings)


def strategy_label(strategy: Strategy) -> str:
    """A short name that tells settings apart: `beam_search(n=16, width=4)`."""
    settings = ", ".join(f"{name}={value}" for name, value in strategy_to_dict(strategy).items() if name != "name")
    return f"{strategy.name}({settings})" if settings else strategy.name
