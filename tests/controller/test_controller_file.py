"""A policy file: it says what it was written from, a person can read it, and what is none is refused in a line."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from worlds import sampled, workload

from computewise.controller.controller import Controller, read_controller
from computewise.controller.file import ControllerArm
from computewise.controller.replay import RecordedPool, ReplayEnv
from computewise.controller.state import FEATURES, Option
from computewise.controller.trees import Forest, ForestFitter, ForestRule, Recipe, grow
from computewise.errors import RunError

ARMS = (
    ControllerArm("small", "tiny-llama", {"name": "best_of_n", "n": 1}, 8),
    ControllerArm("search", "tiny-llama", {"name": "beam_search", "n": 4, "width": 2}, 2),
    ControllerArm("large", "big-llama", {"name": "best_of_n", "n": 1}, 2, larger=True),
)
MODELS = ["tiny-llama", "big-llama"]


@cache
def held() -> RecordedPool:
    """Chances from 0 to 1 by the small model, some more by the other arms."""
    rng = np.random.default_rng(0)
    return workload(
        *(
            {
                "small": sampled(rng, chance, 8),
                "search": sampled(rng, chance**0.5, 2, cost=3.0),
                "large": sampled(rng, 0.9, 2, cost=6.0),
            }
            for chance in np.linspace(0, 1, 60)
        )
    )


@cache
def fitted() -> Controller:
    estimator = ForestFitter(larger=("large",), numbers=60_000, recipe=Recipe(trees=20, depth=3))
    return Controller(estimator.fit(held()), ARMS, "a PRM", "sums", "FLOPs", 12.5)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "policy.json"
    file.write_text(fitted().to_json())
    return file


def forest_of(controller: Controller) -> ForestRule:
    assert isinstance(controller.rule, ForestRule)
    return controller.rule


def read(path: Path) -> Controller:
    return read_controller(path, models=MODELS, verifier="a PRM")


def edited(path: Path, edit: Callable[[dict[str, Any]], object]) -> Path:
    contents = json.loads(path.read_text())
    edit(contents)
    path.write_text(json.dumps(contents))
    return path


def refused(path: Path, match: str, **instead: Any) -> None:
    with pytest.raises(RunError, match=match) as caught:
        read_controller(path, **({"models": MODELS, "verifier": "a PRM"} | instead))
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_policy_that_is_read_back_is_for_the_same_and_by_the_same_arms(path: Path) -> None:
    again = read(path)
    assert (again.arms, again.verifier, again.task, again.currency, again.unit) == (
        *(ARMS, "a PRM", "sums", "FLOPs", 12.5),
    )
    assert (again.models, again.limits) == (MODELS, {"small": 8, "search": 2, "large": 2})
    assert (again.rule.arms, again.rule.larger) == (("small", "search", "large"), ("large",))


def test_a_policy_that_is_read_back_predicts_the_same_to_four_digits(path: Path) -> None:
    """But for a value that lies between a split and the same rounded, which hardly any does."""
    walk = ReplayEnv(held(), 3, seed=1)
    every = np.arange(len(walk.problems))
    before, after = forest_of(fitted()), forest_of(read(path))
    for arm in (0, 0, 0, 1, 2, 0, 0, 0):
        walk.draw(arm, every)
        features = walk.tally.features(every)
        away = np.abs(after.forest.predict(features) - before.forest.predict(features)).max(1)
        assert (away > 1e-3).mean() < 0.05
    assert [o.costs for o in after.options] == pytest.approx([o.costs for o in before.options], rel=1e-3)
    assert [(o.arm, o.amount) for o in after.options] == [(o.arm, o.amount) for o in before.options]
    assert [p.mean_cost for p in after.prices] == pytest.approx([p.mean_cost for p in before.prices], rel=1e-3)


def test_a_policy_that_is_read_back_stops_where_it_did(path: Path) -> None:
    before, after = (policy.follow(held(), repeats=3, seed=2) for policy in (fitted().rule, read(path).rule))
    for price in (0.003, 0.01, 0.03, 0.1):
        assert (before.stops(price) != after.stops(price)).mean() < 0.06
        for measured, again in zip(before.at(price), after.at(price), strict=True):
            assert again.mean() == pytest.approx(measured.mean(), rel=0.05)


def test_a_share_of_draws_that_a_tree_splits_at_stays_on_its_side(path: Path) -> None:
    """1/3, 2/7, .. are what splits are at: rounded down, they would be over what they were under."""
    shares = np.unique([k / n for n in range(1, 13) for k in range(n + 1)])
    rows = np.zeros((len(shares), len(FEATURES)))
    rows[:, 0] = shares
    targets = np.column_stack([np.cumsum(np.ones(len(shares))) % 7, shares]) / 7
    forest = grow(rows, targets, Recipe(trees=40, depth=3, rate=0.5))
    policy = ForestRule(arms=("small",), options=(Option("small", 1, 1.0),), forest=forest)
    path.write_text(Controller(policy, ARMS[:1], "a PRM", "sums", "FLOPs", 1.0).to_json())
    away = np.abs(forest_of(read(path)).forest.predict(rows) - forest.predict(rows))
    assert away.max() < 1e-3


def test_what_was_read_is_written_as_it_was(path: Path) -> None:
    assert read(path).to_json() == path.read_text()


@given(st.one_of(st.integers(-20, 20).map(lambda n: n / 7), st.floats(-1e4, 1e4, allow_subnormal=False)))
def test_a_split_is_never_rounded_down_and_by_a_thousandth_at_most(split: float) -> None:
    thresholds = np.array([[split]])
    forest = Forest(np.zeros(1), np.zeros((1, 1), np.int64), thresholds, np.array([[[1.0], [2.0]]]))
    odd = Controller(ForestRule(arms=("small",), options=(), forest=forest), ARMS[:1], None, "", "", 1.0)
    written = json.loads(odd.to_json())["forest"]["trees"][0]["split"]
    assert split <= written <= split + abs(split) * 1.0001e-3


def test_a_person_can_read_what_it_decides_by(path: Path) -> None:
    contents = json.loads(path.read_text())
    assert (contents["version"], contents["kind"]) == (3, "computewise controller")
    assert "while the worth of the next is above the price" in contents["reads"]
    forest = contents["forest"]
    assert forest["predicts"][:2] == ["the leader is right", "gain of 1 by small"]
    assert len(forest["predicts"]) == len(forest["base"]) == 1 + len(forest["options"])
    assert contents["arms"][2] == {
        "name": "large",
        "model": "big-llama",
        "strategy": {"name": "best_of_n", "n": 1},
        "limit": 2,
        "larger": True,
    }
    assert set(contents["prices"][0]) == {"price", "mean_cost", "accuracy"}
    named = {tree["of"] for tree in forest["trees"] if "of" in tree}
    assert named
    assert named <= {*FEATURES, "draws by search", "draws by large"}


def test_it_has_a_line_for_every_tree_and_every_price(path: Path) -> None:
    lines, contents = [line.strip().rstrip(",") for line in path.read_text().splitlines()], json.loads(path.read_text())
    for part in (contents["prices"], contents["arms"], contents["forest"]["trees"], contents["forest"]["options"]):
        assert all(json.dumps(one) in lines for one in part)
    assert len(lines) < 200


@pytest.mark.parametrize("version", [1, 2, 4])
def test_another_version_is_refused(path: Path, version: int) -> None:
    refused(edited(path, lambda held: held.update(version=version)), f"of version {version} .*version 3 of a")


def test_another_kind_of_file_is_refused(path: Path) -> None:
    refused(edited(path, lambda held: held.update(kind="table of bins")), r"\(table of bins\): version 3 of a")
    refused(edited(path, lambda held: held.pop("kind")), r"\(another kind\)")
    refused(edited(path, lambda held: held.pop("version")), "not a controller file: .*`version`")


def test_a_policy_for_other_models_is_refused_by_their_names(path: Path) -> None:
    small, large = "for the model 'tiny-llama', not for other, big-llama: fit one", "for the model 'big-llama', not for"
    refused(path, small, models=["other", "big-llama"])
    refused(path, f"{large} tiny-llama, other: fit one", models=["tiny-llama", "other"])
    refused(path, f"{large} tiny-llama: fit one", models=["tiny-llama"])


def test_a_policy_for_another_verifier_is_refused(path: Path) -> None:
    refused(path, "for the verifier 'a PRM', not for 'an ORM': fit one for it", verifier="an ORM")
    refused(path, "for the verifier 'a PRM', not for 'none': fit one for it", verifier=None)


@pytest.mark.parametrize("garbage", [b"", b"{", b"no JSON", b"\xff\xfe\x00", b"[1, 2]", b'{"version": "two"}', b"null"])
def test_garbage_is_refused(path: Path, garbage: bytes) -> None:
    path.write_bytes(garbage)
    refused(path, "is not a controller file")


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    refused(tmp_path / "none.json", "cannot read the controller .*No such file")
    refused(tmp_path, "cannot read the controller .*[Dd]irectory")


def first_split(contents: dict[str, Any]) -> dict[str, Any]:
    return next(tree for tree in contents["forest"]["trees"] if "of" in tree)


@pytest.mark.parametrize(
    ("edit", "match"),
    [
        (lambda held: first_split(held).pop("under"), "'under'"),
        (lambda held: first_split(held).pop("split"), "'split'"),
        (lambda held: first_split(held).pop("of"), "'of'"),
        (lambda held: first_split(held).update(of="the weather"), "the weather"),
        (lambda held: first_split(held).update(split="high"), "high"),
        (lambda held: first_split(held).update(over=3), "cannot be read"),
        (lambda held: first_split(held).update(over={"add": [0.5, 0.5]}), "cannot be read"),
        (lambda held: held["forest"]["options"].pop(), "cannot be read"),
        (lambda held: held["forest"]["options"][0].update(arm="medium"), "cannot be read"),
        (lambda held: held["forest"]["options"][0].pop("costs"), "costs"),
        (lambda held: held["prices"][0].pop("price"), "price"),
        (lambda held: held.update(arms=[]), "cannot be read"),
        (lambda held: held["arms"].pop(), "cannot be read"),
        (lambda held: held["arms"][0].pop("limit"), "limit"),
        (lambda held: held["forest"].pop("trees"), "trees"),
        (lambda held: held["forest"].update(base=[]), "cannot be read"),
        (lambda held: held.update(surprise=1), "surprise"),
        (lambda held: held.pop("forest"), "either a formula or a forest"),
        (lambda held: held.update(votes=[1.0]), "every arm needs a vote"),
    ],
)
def test_a_part_that_does_not_fit_is_refused(path: Path, edit: Callable[[dict[str, Any]], object], match: str) -> None:
    refused(edited(path, edit), f"is not a controller file: .*{match}")
