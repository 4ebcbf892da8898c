"""A fitted controller on disk, and the one that is shipped."""

from __future__ import annotations

import json
import math
from collections.abc import Collection
from dataclasses import asdict
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from computewise.controller.controller import Policy
from computewise.controller.frontier import PricePoint
from computewise.controller.state import Option, feature_names
from computewise.controller.trees import Forest
from computewise.errors import RunError, UsageError
from computewise.runs import StrategyParams

POLICIES = Path(__file__).parent.parent / "policies"


def controller_path(name: str) -> Path:
    """The shipped policy of a task, or the file of that name."""
    shipped = POLICIES / f"{name}.json"
    if shipped.exists():
        return shipped
    if not Path(name).exists():
        known = ", ".join(sorted(path.stem for path in POLICIES.glob("*.json")))
        raise UsageError(f"no policy {name!r}: allowed are a policy file, or {known}")
    return Path(name)


VERSION = 2

"""1 was the table of bins alone."""


class ControllerArm(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How an arm draws: `strategy`, a name and its numbers, run by the model of that name.

    One increment is a whole run of the strategy, but for step revisions, of which it is one attempt. `limit` is how
    many increments the policy was fitted on: it knows nothing beyond. To draw by a `larger` one is to escalate.
    """

    name: str
    model: str
    strategy: StrategyParams
    limit: int
    larger: bool = False


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


class _Version(msgspec.Struct, frozen=True):
    version: int
    kind: str = ""


class Controller(msgspec.Struct, frozen=True):
    """A policy and what it was fitted for; `unit` is what a draw of the probe arm took on average, in `currency`."""

    policy: Policy
    arms: tuple[ControllerArm, ...]
    verifier: str | None
    task: str
    currency: str
    unit: float

    @property
    def models(self) -> list[str]:
        """The models its arms draw by, the probe's first."""
        return list(dict.fromkeys(arm.model for arm in self.arms))

    @property
    def limits(self) -> dict[str, int]:
        """By arm, for a `LiveState`."""
        return {arm.name: arm.limit for arm in self.arms}


KIND = "computewise controller"

READS = (
    "An answer is worth its chance to be right. 'predicts' is base plus what each tree adds: first the chance that the "
    "leading answer is right, then by how much each option would raise it. An option's worth is that rise, if it is "
    "one, divided by what the option costs in draws of the first arm, and a hundredth of the chance (by the margin in "
    "standard errors) that the leader is not ahead. The best option is drawn, one increment at a time, while its worth "
    "is above the price; then the leading answer is given. 'prices' says what each price came to on problems it was "
    "not fitted on: mean cost in draws of the first arm, and accuracy."
)


def write_controller(fitted: Controller) -> str:
    """The text of the file."""
    policy = fitted.policy
    held = _File(
        version=VERSION,
        kind=KIND,
        verifier=fitted.verifier,
        task=fitted.task,
        currency=fitted.currency,
        unit=fitted.unit,
        reads=READS,
        arms=list(fitted.arms),
        prices=[{name: _short(value) for name, value in asdict(priced).items()} for priced in policy.prices],
        options=[{**asdict(option), "costs": _short(option.costs)} for option in policy.options],
        predicts=["the leader is right", *(f"gain of {o.amount} by {o.arm}" for o in policy.options)],
        base=[_short(value) for value in policy.forest.base],
        trees=[_rounded(tree) for tree in policy.forest.plain(feature_names(policy.arms))],
    )
    return _lines(msgspec.to_builtins(held))


def read_controller(path: Path, *, models: Collection[str], verifier: str | None) -> Controller:
    """The policy in a file; raises `RunError` where it is no such file, of an unknown version or for other models."""
    try:
        data = path.read_bytes()
        version = msgspec.json.decode(data, type=_Version)
        if version.version != VERSION or version.kind != KIND:
            kind = version.kind or "another kind"
            raise RunError(
                f"{path} is a policy of version {version.version} ({kind}): "
                f"this reads version {VERSION} of a {KIND}; fit one anew"
            )
        held = msgspec.json.decode(data, type=_File)
    except OSError as error:
        raise RunError(f"cannot read the policy {path}: {error.strerror or error}") from None
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise RunError(f"{path} is no policy file: {error}") from None
    foreign = next((arm.model for arm in held.arms if arm.model not in models), None)
    if foreign is not None:
        raise RunError(f"the policy {path} is for the model {foreign!r}, not for {', '.join(models)}: fit one for it")
    if held.verifier != verifier:
        raise RunError(f"the policy {path} is for the verifier {held.verifier!r}, not for {verifier!r}: fit one for it")
    return _fitted(path, held)


def _fitted(path: Path, held: _File) -> Controller:
    names = tuple(arm.name for arm in held.arms)
    try:
        options = tuple(msgspec.convert(option, Option) for option in held.options)
        if len(held.base) != 1 + len(options) or any(option.costs <= 0 for option in options):
            raise ValueError("every option needs a base and a cost above 0")
        prices = tuple(msgspec.convert(priced, PricePoint) for priced in held.prices)
        forest = Forest.read(held.base, held.trees, feature_names(names))
        policy = Policy(names, tuple(arm.name for arm in held.arms if arm.larger), options, forest, prices)
        # One look at it says whether every part fits the others.
        policy.worth(np.zeros((1, len(feature_names(names)))), np.ones((1, len(names)), np.int64))
    except (msgspec.ValidationError, KeyError, ValueError, TypeError, IndexError) as error:
        raise RunError(f"{path} is no policy file: a part of it cannot be read ({error})") from None
    return Controller(policy, tuple(held.arms), held.verifier, held.task, held.currency, held.unit)


def _short(value: float) -> float:
    return float(f"{value:.4g}")


def _rounded(tree: dict[str, Any]) -> dict[str, Any]:
    if "add" in tree:
        return {"add": [_short(value) for value in tree["add"]]}
    return {**tree, "split": _up(tree["split"]), "under": _rounded(tree["under"]), "over": _rounded(tree["over"])}


def _up(value: float) -> float:
    """Four digits too, rounded up: a feature equal to a split is under it, as a share of 1/3 under one of 1/3."""
    short = _short(value)
    return short if short >= value else _short(short + 10.0 ** (math.floor(math.log10(abs(value))) - 3))


def _lines(held: dict[str, Any]) -> str:
    """JSON with one line for each part, and one for each element of a long list."""
    parts = []
    for name, value in held.items():
        if isinstance(value, list) and value and isinstance(value[0], dict):
            text = "[\n" + ",\n".join(f"  {json.dumps(one)}" for one in value) + "\n ]"
        else:
            text = json.dumps(value)
        parts.append(f" {json.dumps(name)}: {text}")
    return "{\n" + ",\n".join(parts) + "\n}\n"
