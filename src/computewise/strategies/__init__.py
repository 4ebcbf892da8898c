"""The strategies by name, and their conversion from text, to plain data and back."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from functools import cache
from typing import Any, get_type_hints

from computewise.errors import UsageError
from computewise.registry import Registry, as_strategy, import_object, is_reference, name_of
from computewise.session import Strategy
from computewise.strategies.beam_search import DVTS, BeamSearch, Lookahead, Rebase
from computewise.strategies.best_of_n import BestOfN, Greedy, Single
from computewise.strategies.particle_filter import ParticleFilter
from computewise.strategies.revisions import AdaptiveBranching, GatedRevisions, Revisions, StepRevisions

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
    "load_strategy",
    "make_strategy",
    "parse_settings",
    "parse_strategy",
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
    return _made(STRATEGIES[name], name, settings)


def _made(kind: Any, name: str, settings: Mapping[str, int | float]) -> Strategy:
    allowed = [field.name for field in fields(kind)]
    for setting in settings:
        if setting not in allowed:
            listed = ", ".join(allowed) or "no settings at all"
            raise UsageError(f"strategy {name!r} has no setting {setting!r}: allowed are {listed}")
    for setting, value in settings.items():
        if not isinstance(value, int) and setting in _whole_numbers(kind):
            raise UsageError(f"{setting} = {value} is not allowed: the strategy {name!r} takes a whole number")
    built: Strategy = kind(**settings)
    return built


@cache
def _whole_numbers(kind: type) -> frozenset[str]:
    """The settings of a strategy that are integers; kept, since reading annotations takes longer than the rest."""
    return frozenset(name for name, of in get_type_hints(kind).items() if of is int)


_SYNTAX = re.compile(r"\s*([\w.]+:\w+|\w+)\s*(?:\(([^()]*)\)\s*)?")
_LONGEST = 400
"""Characters of a strategy with its settings: what is longer is no strategy."""
_NUMBER = re.compile(r"[+-]?(?:\d{1,12}(?:\.\d{0,12})?|\.\d{1,12})(?:e[+-]?\d{1,2})?", re.IGNORECASE)


def parse_strategy(text: str) -> Strategy:
    """The strategy in `beam_search(n=16, width=4)`, or with its defaults in `beam_search`; settings are numbers.

    Raises `UsageError` for any other syntax and for an unknown name, setting or number.
    """
    return make_strategy(*parse_settings(text))


def load_strategy(text: str) -> Strategy:
    """As `parse_strategy`, also by ``module:Class``; this imports the module, so it is not for texts of a client."""
    name, settings = parse_settings(text)
    if is_reference(name):
        found = import_object(name, "strategy", lambda value: isinstance(value, type) and is_dataclass(value))
        called = name_of(found)
        if called in STRATEGIES and STRATEGIES[called] is not found:
            raise UsageError(f"the name {called!r} of {name} is taken among the strategies: give it another")
        return _made(as_strategy(called, found), called, settings)
    if name not in STRATEGIES:
        raise UsageError(f"unknown strategy {name!r}: allowed are {', '.join(STRATEGIES)}, or your own module:Class")
    return make_strategy(name, settings)


def parse_settings(text: str) -> tuple[str, dict[str, int | float]]:
    """The name and the settings in such a text, unchecked but for the syntax, which raises `UsageError`."""
    called = _SYNTAX.fullmatch(text) if len(text) <= _LONGEST else None
    if called is None:
        raise UsageError(
            f"the strategy {text[:200]!r} is malformed: write it as beam_search or beam_search(n=16, width=4)"
        )
    name, listed = called[1], called[2] or ""
    settings: dict[str, int | float] = {}
    for one in listed.split(",") if listed.strip() else ():
        setting, equals, value = (part.strip() for part in one.partition("="))
        if not equals or not setting.isidentifier():
            raise UsageError(
                f"the strategy {name} takes settings as name=number, such as n=16, not {one.strip()[:80]!r}"
            )
        if not _NUMBER.fullmatch(value):
            raise UsageError(f"{setting} = {value[:80]!r} of the strategy {name} is not allowed: give a number")
        if setting in settings:
            raise UsageError(f"the strategy {name} has its setting {setting} twice")
        settings[setting] = int(value) if value.lstrip("+-").isdigit() else float(value)
    return name, settings


def strategy_to_dict(strategy: Strategy) -> dict[str, int | float | str]:
    """As plain data, which `strategy_from_dict` reads; a setting that is `UNSAID` only where it is no default."""
    named = {
        field.name: value
        for field in fields(strategy)  # type: ignore[arg-type]
        if (value := getattr(strategy, field.name)) != field.default or not field.metadata.get("unsaid")
    }
    return {"name": strategy.name, **named}


def strategy_from_dict(described: Mapping[str, int | float | str]) -> Strategy:
    """The strategy that `strategy_to_dict` wrote."""
    settings = {name: value for name, value in described.items() if not isinstance(value, str)}
    return make_strategy(str(described["name"]), settings)


def strategy_label(strategy: Strategy) -> str:
    """A short name that tells settings apart: `beam_search(n=16, width=4)`."""
    settings = ", ".join(f"{name}={value}" for name, value in strategy_to_dict(strategy).items() if name != "name")
    return f"{strategy.name}({settings})" if settings else strategy.name
