"""Formulas, cascades, and which rung of the ladder is chosen."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from worlds import sampled, workload

from computewise.controller import ladder
from computewise.controller.controller import Controller
from computewise.controller.file import ControllerArm
from computewise.controller.formula import (
    DOUBT_PER_DRAW,
    UNIFORM,
    FormulaRule,
    Walk,
    calibrated,
    fit_confidence,
    formula,
)
from computewise.controller.frontier import StoppingPath
from computewise.controller.ladder import RUNGS, Choice, RuleFitter, candidates, curve, has_values
from computewise.controller.replay import RecordedPool, Transitions
from computewise.controller.rule import CrossFit, StoppingRule, random_parts
from computewise.controller.state import FEATURES, LiveState, doubt
from computewise.controller.trees import ForestFitter, ForestRule, Recipe
from computewise.core import ObservedSample
from computewise.errors import RunError, UsageError
from computewise.metrics import Bools, Floats, Ints
from computewise.samples import SampleArrays

QUICK = RuleFitter(larger=("large",), numbers=50_000, recipe=Recipe(trees=10, depth=3, share=0.05))


def seen(answer: str | None, value: float = 1.0) -> ObservedSample:
    return ObservedSample(answer, value, value, value, -1.0, 10)


def cascade(**changes: Any) -> FormulaRule:
    made = FormulaRule(
        arms=("small", "large"),
        larger=("large",),
        steps=(("small", 2), ("large", 3)),
        powers=DOUBT_PER_DRAW,
        costs=(1.0, 5.0),
        rung="cascade",
    )
    return replace(made, **changes)


def pool(problems: int = 40, *, small: int = 6, large: int = 3, seed: int = 0) -> RecordedPool:
    """Half of the problems are nearly always right by `small`, half nearly never; `large` is right on most."""
    rng = np.random.default_rng(seed)
    chances = np.where(np.arange(problems) % 2 == 0, 0.95, 0.05)
    return workload(
        *({"small": sampled(rng, chance, small), "large": sampled(rng, 0.9, large, cost=5.0)} for chance in chances)
    )


def test_a_formula_is_a_product_of_powers() -> None:
    state = LiveState({"small": 6, "large": 3})
    for answer, value in (("7", 0.9), ("8", 0.5), (None, 0.1)):
        state.add("small", [seen(answer, value)])
    features = state.features()
    rule = cascade(powers={"doubt": 2.0, "error": 1.0, "draws": -1.0, "cost": -0.5, "unanswered": 0.8}, scale=3.0)
    worth, arm, _ = rule.worth(features, state.left)
    # The first step allows two draws, so that the third is not counted as one of its own.
    expected = 3.0 * (doubt(features)[0] + 1e-4) ** 2 * (0.1 + 1e-3) / 3 / 2**0.5 * np.exp(0.8 / 3)
    assert worth[0] == pytest.approx(expected)
    assert arm.tolist() == [1]


def test_a_cascade_draws_in_its_order_and_stops_where_nothing_is_left() -> None:
    rule, state, drawn = cascade(), LiveState({"small": 6, "large": 3}), []
    while (action := rule.choose(state, 0.0)).arm is not None:
        drawn.append((action.kind, action.arm))
        state.add(action.arm, [seen(str(len(drawn)))])
    assert drawn == [
        ("more", "small"),
        ("more", "small"),
        ("escalate", "large"),
        ("more", "large"),
        ("more", "large"),
    ]


def test_a_cascade_may_begin_with_the_larger_model() -> None:
    rule = cascade(steps=(("large", 3),))
    action = rule.choose(LiveState({"small": 6, "large": 3}), 1e9)
    assert (action.kind, action.arm) == ("escalate", "large")


def test_an_arm_with_fewer_draws_than_its_step_is_left_for_the_next() -> None:
    state = LiveState({"small": 1, "large": 3})
    state.add("small", [seen("7")])
    assert cascade().choose(state, 0.0).arm == "large"


def test_a_vote_of_the_larger_model_may_count_more() -> None:
    for votes, leader in (((), "7"), ((1.0, 4.0), "8")):
        state = LiveState({"small": 6, "large": 3}, votes)
        state.add("small", [seen("7")])
        state.add("small", [seen("7")])
        state.add("large", [seen("8")])
        assert state.leader == leader


def test_replayed_votes_count_as_live_ones() -> None:
    rule = cascade(votes=(1.0, 4.0), steps=(("small", 2), ("large", 1)))
    held = pool()
    path = rule.follow(held, repeats=1, seed=3)
    plain = replace(rule, votes=()).follow(held, repeats=1, seed=3)
    assert path.at(0.0)[0].mean() > plain.at(0.0)[0].mean()
    assert path.at(0.0)[1].mean() == plain.at(0.0)[1].mean()


@pytest.mark.parametrize("steps", [(), (("medium", 2),), (("small", 0),), (("small", 1), ("large", 1), ("small", 1))])
def test_steps_that_cannot_be_are_refused(steps: tuple[tuple[str, int], ...]) -> None:
    with pytest.raises(RunError, match=r"steps .* are not allowed"):
        cascade(steps=steps)


def test_an_unknown_term_is_refused() -> None:
    with pytest.raises(RunError, match="unknown term 'luck' of a formula: allowed are doubt, error"):
        cascade(powers={"luck": 1.0})


def test_a_formula_is_written_as_a_person_would() -> None:
    assert formula(DOUBT_PER_DRAW) == "doubt / draws"
    assert formula(UNIFORM) == "1 / draws"
    assert formula({"doubt": 1.25, "error": 0.3, "draws": -0.5}) == "doubt^1.25 x error^0.3 / draws^0.5"
    assert str(cascade()) == "doubt / draws: up to 2 by small, then up to 3 by large"


@pytest.mark.parametrize("powers", [DOUBT_PER_DRAW, UNIFORM, {"error": 1.0, "cost": -1.0}])
def test_a_walk_follows_every_formula_as_the_rule_itself_does(powers: dict[str, float]) -> None:
    held = pool()
    rule = cascade(powers=powers, votes=(1.0, 2.0))
    followed = Walk.of(cascade(votes=(1.0, 2.0)), held, repeats=3, seed=1).follow(rule)
    alone = rule.follow(held, repeats=3, seed=1)
    for price in (*np.quantile(alone.worth[np.isfinite(alone.worth)], [0.1, 0.5, 0.9]), 0.0):
        for ours, theirs in zip(followed.at(price), alone.at(price), strict=True):
            assert ours.tolist() == theirs.tolist()


def test_the_worth_is_accuracy_by_draw_on_average() -> None:
    held, every = pool(), np.arange(40)
    rule = calibrated(cascade(), held, every, repeats=4, seed=0)
    path = Walk.of(rule, held, repeats=4, seed=0).follow(rule)
    going = np.isfinite(path.worth[:, :-1])
    told = (np.where(going, path.worth[:, :-1], 0.0) * np.diff(path.spent, axis=1)).sum(1).mean()
    assert told == pytest.approx(path.right[:, -1].mean() - path.right[:, 0].mean())


def test_confidence_is_calibrated_where_the_share_tells_it() -> None:
    rng = np.random.default_rng(0)
    features = np.ones((4000, len(FEATURES)))
    share = rng.uniform(size=4000)
    features[:, FEATURES.index("leader's share of draws")] = share
    right = rng.uniform(size=4000) < share
    said = fit_confidence(features, right, ridge=0.01).of(features)
    for low in (0.0, 0.3, 0.7):
        among = (share >= low) & (share < low + 0.3)
        assert said[among].mean() == pytest.approx(right[among].mean(), abs=0.06)


def test_a_curve_spends_exactly_what_it_may() -> None:
    """Two rows of equal worth: a price takes both or none, a mixture of two prices takes a share."""
    both = np.array([[0.5, -np.inf]] * 2)
    right = np.array([[False, True]] * 2)
    path = StoppingPath(np.arange(2), both, np.array([[1.0, 3.0]] * 2), right, np.zeros((2, 2), np.int64))
    assert curve(path, [0.5, 1.0, 1.5, 2.0, 3.0, 9.0]).mean(1).tolist() == [0.0, 0.0, 0.25, 0.5, 1.0, 1.0]


def test_equal_chances_need_no_more_than_the_simplest_rung() -> None:
    """Every problem's samples are coins: no evidence tells one problem from another."""
    rng = np.random.default_rng(5)
    held = workload(*({"small": sampled(rng, 0.0, 6)} for _ in range(40)))
    assert QUICK.fit(held).rung == "uniform"


def test_a_model_that_cannot_is_handed_over() -> None:
    rule = QUICK.fit(pool(60))
    assert rule.rung in ("plain cascade", "cascade", "forest")
    assert "right on problems outside the fit" in rule.why
    assert rule.prices[0].mean_cost < rule.prices[-1].mean_cost


def test_a_rung_that_is_left_out_is_not_chosen() -> None:
    assert replace(QUICK, rungs=("uniform", "doubt per draw")).fit(pool(60)).rung in ("uniform", "doubt per draw")


def test_budgets_that_only_the_larger_model_can_pay_for_are_its_own() -> None:
    """At the cost of four of its samples it may draw first; at less than one it cannot."""
    rng = np.random.default_rng(2)
    held = workload(*({"small": sampled(rng, 0.02, 6), "large": sampled(rng, 0.9, 6, cost=2.0)} for _ in range(40)))
    rungs = ("cascade",)
    rich = replace(QUICK, rungs=rungs, budgets=(4.0, 8.0)).fit(held)
    poor = replace(QUICK, rungs=rungs, budgets=(1.2, 1.5)).fit(held)
    assert (rich.first, poor.first) == ("large", "small")


def test_nothing_to_choose_among_is_refused() -> None:
    with pytest.raises(UsageError, match="too few to fit on"):
        QUICK.fit(pool(2))
    rng = np.random.default_rng(0)
    with pytest.raises(UsageError, match="no problem has more than one draw"):
        QUICK.fit(workload(*({"small": sampled(rng, 0.5, 1)} for _ in range(8))))


def test_every_rung_has_a_candidate_and_names_itself() -> None:
    found = list(candidates(pool(), ("large",), by_length=True))
    assert {rule.rung for rule in found} == set(RUNGS) - {"forest"}
    assert all(rule.log_tokens is not None for rule in found)


def test_values_are_a_verifiers_where_they_differ() -> None:
    assert has_values(pool())
    rng = np.random.default_rng(0)
    held = workload(*({"small": sampled(rng, 0.5, 4)} for _ in range(4)))
    for arm in held.arms:
        arm.ballots.values[:] = 1.0
    assert not has_values(held)


def test_cross_fitted_rules_were_chosen_outside_their_part() -> None:
    held = pool(60)
    parts = random_parts(np.random.default_rng(0), 60)
    fitted = QUICK.cross_fit(held, parts)
    flipped = workload(*held_with_other_answers(held, parts == 0))
    again = QUICK.cross_fit(flipped, parts)
    same(fitted.rules[0], again.rules[0])


def held_with_other_answers(held: RecordedPool, changed: Bools) -> list[dict[str, SampleArrays]]:
    """The same samples, but for the problems `changed`, whose every sample is wrong."""
    return [
        {
            name: replace(arm, correct=np.zeros(len(arm), np.bool_) if changed[row] else arm.correct)
            for name, arm in problem.arms.items()
        }
        for row, problem in enumerate(held.problems)
    ]


def same(first: StoppingRule, second: StoppingRule) -> None:
    rows = np.random.default_rng(0).uniform(0.05, 1, (50, len(FEATURES) + 1))
    left = np.ones((50, 2), np.int64)
    for ours, theirs in zip(first.worth(rows, left), second.worth(rows, left), strict=True):
        assert ours.tolist() == theirs.tolist()


def test_a_formula_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    arms = (
        ControllerArm("small", "tiny", {"name": "single"}, 6),
        ControllerArm("large", "big", {"name": "single"}, 3, larger=True),
    )
    rule = calibrated(cascade(votes=(1.0, 2.0)), pool(), np.arange(40), repeats=2, seed=0)
    path = tmp_path / "controller.json"
    Controller(rule, arms, None, "question", "FLOPs", 2.0).save(path)
    again = Controller.load(path)
    assert isinstance(again.rule, FormulaRule)
    assert (again.rule.powers, again.rule.steps, again.rule.votes) == (rule.powers, rule.steps, rule.votes)
    assert again.rule.rung == "cascade"
    contents = json.loads(path.read_text())
    assert contents["formula"]["powers"] == {"doubt": 1.0, "draws": -1.0}
    assert "the product of 'powers'" in contents["reads"]
    for edit, fault in (
        ({"powers": {"luck": 1.0}}, "unknown term 'luck'"),
        ({"costs": [1.0]}, "every arm needs a cost"),
        ({"steps": []}, "steps"),
    ):
        path.write_text(json.dumps(contents | {"formula": contents["formula"] | edit}))
        with pytest.raises(RunError, match=f"is not a controller file: .*{fault}"):
            Controller.load(path)


@pytest.mark.parametrize("verifier", [None, "a-prm-7b"])
def test_the_shipped_controller_is_for_any_model(verifier: str | None) -> None:
    found = Controller.generic("somebody/model", verifier)
    found.check_names(["somebody/model"], verifier)
    assert isinstance(found.rule, FormulaRule)
    assert found.rule.rung == "generic"
    assert "error" in found.rule.powers if verifier else "unanswered" in found.rule.powers
    prices = [found.price_for(mean_cost=cost) for cost in (2, 4, 8)]
    assert prices == sorted(prices, reverse=True)
    assert "not yours" in found.rule.why
    with pytest.raises(UsageError, match="knows no accuracy of this model"):
        found.price_for(accuracy=0.9)


def test_prices_of_cross_fitted_rules_agree_though_their_worths_do_not() -> None:
    """The same rule in other units for every part spends the same in every part."""
    held, parts = pool(50), random_parts(np.random.default_rng(0), 50)
    entries = tuple(np.flatnonzero(parts == number) for number in range(5))
    rules = tuple(cascade(scale=10.0**number) for number in range(5))
    path = CrossFit(rules, entries).follow(held, repeats=4, seed=0)
    for budget in (2.0, 4.0, 8.0):
        cost = path.at(path.price(budget))[1]
        assert [cost[part].mean() for part in entries] == pytest.approx([budget] * 5, rel=0.25)


def test_a_path_by_cost_stops_where_it_did() -> None:
    path = cascade().follow(pool(), repeats=3, seed=0)
    for budget in (1.5, 3.0, 6.0, 12.0):
        before, after = path.at(path.price(budget)), path.by_cost().at(path.by_cost().price(budget))
        assert before[0].tolist() == after[0].tolist()
        assert before[1].tolist() == after[1].tolist()


def test_the_entries_of_a_problem_are_never_in_two_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """With several seeds a problem has several entries: prices and rungs are measured on problems outside the fit."""
    once = pool(12).problems
    held = RecordedPool([*once, *(replace(problem) for problem in once), *once])
    fits: list[set[str]] = []
    measured: list[set[str]] = []
    fit, follow = ForestFitter.fit_unpriced, ForestRule.follow

    def fitted(self: ForestFitter, held: RecordedPool, only: Ints, walked: Transitions | None = None) -> ForestRule:
        fits.append({held.ids[entry] for entry in only.tolist()})
        return fit(self, held, only, walked)

    def followed(self: ForestRule, held: RecordedPool, *, only: Ints, **settings: Any) -> StoppingPath:
        measured.append({held.ids[entry] for entry in only.tolist()})
        return follow(self, held, only=only, **settings)

    monkeypatch.setattr(ForestFitter, "fit_unpriced", fitted)
    monkeypatch.setattr(ForestRule, "follow", followed)
    compared: list[int] = []

    def simplest(scores: Mapping[str, Floats]) -> Choice:
        compared.extend(len(score) for score in scores.values())
        return choose(scores)

    choose = ladder._simplest
    monkeypatch.setattr(ladder, "_simplest", simplest)
    ForestFitter(numbers=5_000, recipe=Recipe(trees=2)).fit(held)
    replace(QUICK, numbers=5_000, rungs=("doubt per draw", "forest")).fit(held)
    assert len(fits) >= 6
    assert all(not one & other for one, other in zip(fits, measured, strict=False))
    assert set(compared) == {12}  # copies of a problem make no standard error smaller
    assert held.numbers(np.array([3, 15, 4, 27])).tolist() == [0, 0, 1, 0]
