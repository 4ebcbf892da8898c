"""The file of a fitted controller: its fields, and how it is read and written."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from computewise.controller.frontier import PricePoint
from computewise.controller.rule import StoppingRule
from computewise.controller.state import Option, feature_names
from computewise.controller.trees import Forest
from computewise.errors import RunError, UsageError
from computewise.runs import StrategyParams

POLICIES = Path(__file__).parent.parent / "policies"
"""The directory of the controllers that are part of the package."""

VERSION = 2
"""Version 1 was the table of bins alone."""

KIND = "computewise controller"


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


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    version: int
    kind: str
    verifier: str | None
    task: str
    currency: str
    unit: float
    reads: str
    arms: list[ControllerArm]
    prices: list[dict[str, float]]
    options: list[dict[str, str | int | float]]
    predicts: list[str]
    base: list[float]
    trees: list[dict[str, Any]]
    log_tokens: float | None = None


class _Version(msgspec.Struct, frozen=True):
    version: int
    kind: str = ""


READS = (
    "An answer is worth its chance to be right. 'predicts' is base plus what each tree adds: first the chance that the "
    "leading answer is right, then by how much each option would raise it. An option's worth is that rise, if it is "
    "one, divided by what the option costs in draws of the first arm, and a hundredth of the chance (by the margin in "
    "standard errors) that the leader is not ahead. With 'log_tokens', the worth is divided by how much longer the "
    "problem's draws are than exp of it. The best option is drawn, one increment at a time, while its worth "
    "is above the price; then the leading answer is given. 'prices' says what each price came to on problems it was "
    "not fitted on: mean cost in draws of the first arm, and accuracy."
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
        reads=READS,
        arms=list(data.arms),
        prices=[{name: _short(value) for name, value in asdict(priced).items()} for priced in rule.prices],
        options=[{**asdict(option), "costs": _short(option.costs)} for option in rule.options],
        predicts=["the leader is right", *(f"gain of {o.amount} by {o.arm}" for o in rule.options)],
        base=[_short(value) for value in rule.forest.base],
        trees=[_rounded(tree) for tree in rule.forest.plain(feature_names(rule.arms))],
        log_tokens=None if rule.log_tokens is None else _short(rule.log_tokens),
    )
    plain = msgspec.to_builtins(held)
    if held.log_tokens is None:
        del plain["log_tokens"]
    return _lines(plain)


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
    names = tuple(arm.name for arm in held.arms)
    try:
        options = tuple(msgspec.convert(option, Option) for option in held.options)
        if len(held.base) != 1 + len(options) or any(option.costs <= 0 for option in options):
            raise ValueError("every option needs a base and a cost above 0")
        prices = tuple(msgspec.convert(priced, PricePoint) for priced in held.prices)
        forest = Forest.read(held.base, held.trees, feature_names(names))
        rule = StoppingRule(
            names, tuple(arm.name for arm in held.arms if arm.larger), options, forest, prices, held.log_tokens
        )
        # One evaluation shows whether all parts fit together.
        rule.worth(np.zeros((1, len(feature_names(names)))), np.ones((1, len(names)), np.int64))
    except (msgspec.ValidationError, KeyError, ValueError, TypeError, IndexError) as error:
        raise RunError(f"{path} is not a controller file: a part of it cannot be read ({error})") from None
    return ControllerData(rule, tuple(held.arms), held.verifier, held.task, held.currency, held.unit)


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


def _lines(held: dict[str, Any]) -> str:
    """JSON with one line for each field, and one line for each element of a list of objects."""
    parts = []
    for name, value in held.items():
        if isinstance(value, list) and value and isinstance(value[0], dict):
            text = "[\n" + ",\n".join(f"  {json.dumps(one)}" for one in value) + "\n ]"
        else:
            text = json.dumps(value)
        parts.append(f" {json.dumps(name)}: {text}")
    return "{\n" + ",\n".join(parts) + "\n}\n"
