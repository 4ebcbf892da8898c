"""The file of a fitted controller: its fields, and how it is read and written."""

from __future__ import annotations

import json
import math
from dataclasses import astuple, replace
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from computewise.controller.formula import Confidence, FormulaRule, Powers
from computewise.controller.frontier import PricePoint
from computewise.controller.rule import StoppingRule
from computewise.controller.state import Option, feature_names
from computewise.controller.trees import Forest, ForestRule
from computewise.errors import RunError, UsageError
from computewise.runs import StrategyParams

POLICIES = Path(__file__).parent.parent / "policies"
"""The directory of the controllers that are part of the package."""

VERSION = 3
"""Version 1 was the table of bins alone, version 2 trees alone."""

KIND = "computewise controller"

ANY_MODEL = "any model"
ANY_VERIFIER = "any verifier"
GENERIC = {True: "generic-scores", False: "generic-votes"}
"""The shipped controllers for any model, by whether a verifier gives values."""


def controller_path(name: str) -> Path:
    """The path of the shipped controller of that name, or `name` itself as a path; raises `UsageError`."""
    shipped = POLICIES / f"{name}.json"
    if shipped.exists():
        return shipped
    if not Path(name).exists():
        known = ", ".join(sorted(path.stem for path in POLICIES.glob("*.json")))
        raise UsageError(f"unknown controller {name!r}: allowed are a controller file, or {known}")
    return Path(name)


class ControllerArm(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One way to draw: `strategy`, a name with its settings, run by the model of that name.

    One increment is one run of the strategy, except for step revisions, where it is one attempt. The controller was
    fitted on at most `limit` increments and draws no more. Drawing by a `larger` arm is an escalation.
    """

    name: str
    model: str
    strategy: StrategyParams
    limit: int
    larger: bool = False


class ControllerData(msgspec.Struct, frozen=True):
    """What a controller file holds; `unit` is the mean cost of one draw by the first arm, in `currency`."""

    rule: StoppingRule
    arms: tuple[ControllerArm, ...]
    verifier: str | None
    task: str
    currency: str
    unit: float


class _Step(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    arm: str
    draws: int


class _Formula(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    powers: dict[str, float]
    steps: list[_Step]
    costs: list[float]
    scale: float
    confidence: list[float]


class _Forest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    options: list[Option]
    predicts: list[str]
    base: list[float]
    trees: list[dict[str, Any]]


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    version: int
    kind: str
    verifier: str | None
    task: str
    currency: str
    unit: float
    rung: str
    why: str
    reads: str
    arms: list[ControllerArm]
    prices: list[PricePoint]
    votes: list[float] = []
    log_tokens: float | None = None
    formula: _Formula | None = None
    forest: _Forest | None = None


class _Version(msgspec.Struct, frozen=True):
    version: int
    kind: str = ""


COMMON = (
    "An answer is worth its chance to be right. One increment after another is drawn while the worth of the next is "
    "above the price; then the leading answer of the vote is given. With 'votes', a vote of each arm counts so much. "
    "With 'log_tokens', the worth is divided by how much longer the problem's draws are than exp of it. 'prices' says "
    "what each price came to on problems it was not fitted on: mean cost in draws of the first arm, and accuracy. "
)
READS_FORMULA = COMMON + (
    "The worth is 'scale' times the product of 'powers': doubt is the chance, by the margin in standard errors, that "
    "the leader is not ahead; error is one minus the leader's best value; draws and cost are what was drawn so far; "
    "unanswered is e to the share without an answer. The arms draw in the order of 'steps'."
)
READS_FOREST = COMMON + (
    "'predicts' is base plus what each tree adds: first the chance that the leading answer is right, then by how much "
    "each option would raise it. An option's worth is that rise, if it is one, divided by what the option costs in "
    "draws of the first arm, and three tenths of the chance that the leader is not ahead divided by the draws. The "
    "best option is drawn."
)


def write_data(data: ControllerData) -> str:
    """The text of the file."""
    rule = data.rule
    held = _File(
        version=VERSION,
        kind=KIND,
        verifier=data.verifier,
        task=data.task,
        currency=data.currency,
        unit=data.unit,
        rung=rule.rung,
        why=rule.why,
        reads=READS_FORMULA if isinstance(rule, FormulaRule) else READS_FOREST,
        arms=list(data.arms),
        prices=[PricePoint(*(_short(value) for value in astuple(priced))) for priced in rule.prices],
        votes=list(rule.votes),
        log_tokens=None if rule.log_tokens is None else _short(rule.log_tokens),
        formula=_plain_formula(rule) if isinstance(rule, FormulaRule) else None,
        forest=_plain_forest(rule) if isinstance(rule, ForestRule) else None,
    )
    return _lines(msgspec.to_builtins(held))


def _plain_formula(rule: FormulaRule) -> _Formula:
    return _Formula(
        dict(rule.powers),
        [_Step(arm, draws) for arm, draws in rule.steps],
        [_short(cost) for cost in rule.costs],
        _short(rule.scale),
        [_short(weight) for weight in rule.confidence.weights],
    )


def _plain_forest(rule: ForestRule) -> _Forest:
    return _Forest(
        [replace(option, costs=_short(option.costs)) for option in rule.options],
        ["the leader is right", *(f"gain of {o.amount} by {o.arm}" for o in rule.options)],
        [_short(value) for value in rule.forest.base],
        [_rounded(tree) for tree in rule.forest.plain(feature_names(rule.arms))],
    )


def read_data(path: Path) -> ControllerData:
    """What the file holds; raises `RunError` for a file that is unreadable, of another kind or of another version."""
    try:
        text = path.read_bytes()
        version = msgspec.json.decode(text, type=_Version)
        if version.version != VERSION or version.kind != KIND:
            kind = version.kind or "another kind"
            raise RunError(
                f"{path} is a file of version {version.version} ({kind}): "
                f"version {VERSION} of a {KIND} is needed; fit a new one"
            )
        held = msgspec.json.decode(text, type=_File)
    except OSError as error:
        raise RunError(f"cannot read the controller {path}: {error.strerror or error}") from None
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise RunError(f"{path} is not a controller file: {error}") from None
    try:
        rule = _rule(held)
        # One evaluation shows whether all parts fit together.
        rule.worth(np.ones((1, len(feature_names(rule.arms)))), np.ones((1, len(rule.arms)), np.int64))
    except (RunError, KeyError, ValueError, TypeError, IndexError) as error:
        raise RunError(f"{path} is not a controller file: a part of it cannot be read ({error})") from None
    return ControllerData(rule, tuple(held.arms), held.verifier, held.task, held.currency, held.unit)


def _rule(held: _File) -> StoppingRule:
    names = tuple(arm.name for arm in held.arms)
    if (held.formula is None) == (held.forest is None):
        raise ValueError("it needs either a formula or a forest")
    if held.votes and len(held.votes) != len(names):
        raise ValueError("every arm needs a vote")
    common: dict[str, Any] = {
        "arms": names,
        "larger": tuple(arm.name for arm in held.arms if arm.larger),
        "prices": tuple(held.prices),
        "log_tokens": held.log_tokens,
        "votes": tuple(held.votes),
        "rung": held.rung,
        "why": held.why,
    }
    if held.formula is not None:
        plain = held.formula
        if len(plain.costs) != len(names) or min(plain.costs) <= 0:
            raise ValueError("every arm needs a cost above 0")
        return FormulaRule(
            **common,
            steps=tuple((step.arm, step.draws) for step in plain.steps),
            powers=plain.powers,
            costs=tuple(plain.costs),
            scale=plain.scale,
            confidence=Confidence(tuple(plain.confidence)),
        )
    assert held.forest is not None
    options = tuple(held.forest.options)
    if len(held.forest.base) != 1 + len(options) or any(option.costs <= 0 for option in options):
        raise ValueError("every option needs a base and a cost above 0")
    forest = Forest.read(held.forest.base, held.forest.trees, feature_names(names))
    return ForestRule(**common, options=options, forest=forest)


@cache
def generic_powers(*, scored: bool) -> Powers:
    """The formula of the shipped controller for any model, with a verifier's values or with votes alone."""
    rule = read_data(POLICIES / f"{GENERIC[scored]}.json").rule
    assert isinstance(rule, FormulaRule)
    return rule.powers


def _short(value: float) -> float:
    return float(f"{value:.4g}")


def _rounded(tree: dict[str, Any]) -> dict[str, Any]:
    if "add" in tree:
        return {"add": [_short(value) for value in tree["add"]]}
    return {**tree, "split": _up(tree["split"]), "under": _rounded(tree["under"]), "over": _rounded(tree["over"])}


def _up(value: float) -> float:
    """Four digits, rounded up: a feature equal to its split stays under it, as a share of 1/3 under a split of 1/3."""
    short = _short(value)
    return short if short >= value else _short(short + 10.0 ** (math.floor(math.log10(abs(value))) - 3))


def _lines(held: dict[str, Any], indent: str = "") -> str:
    """JSON with one line for each field, and one line for each element of a list of objects."""
    parts = []
    for name, value in held.items():
        if name in ("formula", "forest"):
            text = _lines(value, indent + " ").rstrip()
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            text = "[\n" + ",\n".join(f"{indent}  {json.dumps(one)}" for one in value) + f"\n{indent} ]"
        else:
            text = json.dumps(value)
        parts.append(f"{indent} {json.dumps(name)}: {text}")
    return "{\n" + ",\n".join(parts) + f"\n{indent}}}\n"
