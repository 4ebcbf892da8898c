"""The strategies by name, and their way to plain data and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from computewise.errors import UsageError
from computewise.session import Strategy
from computewise.strategies.adaptive_branching import AdaptiveBranching
from computewise.strategies.beam_search import DVTS, BeamSearch, Lookahead
from computewise.strategies.best_of_n import BestOfN, Greedy, Single
from computewise.strategies.particle_filter import ParticleFilter
from computewise.strategies.ratio_pool import RatioPool
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
    "KEPT_STEPS",
    "Lookahead",
    "NEEDS_VERIFIER",
    "ParticleFilter",
    "RatioPool",
    "Rebase",
    "Revisions",
    "Single",
    "SHOWN_ATTEMPTS",
    "STEPWISE",
    "StepRevisions",
    "WHOLE",
    "make_strategy",
    "strategy_to_dict",
    "strategy_label",
]

STRATEGIES: dict[str, Any] = {
    kind.name: kind
    for kind in (
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
        RatioPool,
    )
}
WHOLE = tuple(kind.name for kind in (Single, Greedy, BestOfN, Revisions, GatedRevisions, RatioPool))
"""Strategies that ask a model for whole solutions only; greedy's only step is then the whole of it."""
STEPWISE = tuple(name for name in STRATEGIES if name not in WHOLE)
"""Strategies that let a model go on from the beginning of a solution."""
SHOWN_ATTEMPTS = tuple(kind.name for kind in (Revisions, GatedRevisions, RatioPool))
"""Strategies that make sense only for a model that can be told of its attempts."""
KEPT_STEPS = tuple(kind.name for kind in (StepRevisions, AdaptiveBranching))
"""Strategies of revisions that any model can follow: it goes on from what is kept."""
NEEDS_VERIFIER = tuple(name for name, kind in STRATEGIES.items() if "trust" in {field.name for field in fields(kind)})
"""Strategies that without a verifier trust everything, and revise nothing."""


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
    """Plain data that `build` makes the same strategy of."""
    named = {field.name: getattr(strategy, field.name) for field in fields(strategy)}  # type: ignore[arg-type]
    return {"name": strategy.name, **named}


def strategy_from_dict(described: Mapping[str, int | float | str]) -> Strategy:
    """The strategy that `describe` made plain."""
    settings = {name: value for name, value in described.items() if not isinstance(value, str)}
    return make_strategy(str(described["name"]), settings)


def strategy_label(strategy: Strategy) -> str:
    """A short name that tells settings apart: `beam_search(n=16, width=4)`."""
    settings = ", ".join(f"{name}={value}" for name, value in strategy_to_dict(strategy).items() if name != "name")
    return f"{strategy.name}({settings})" if settings else strategy.name
