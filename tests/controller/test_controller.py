"""The controller in worlds whose truth is known, and its choices by hand."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from worlds import RIGHT, add, draws, increments, sampled, workload

from computewise.controller.frontier import PricePoint, StoppingPath
from computewise.controller.orders import SampleOrders
from computewise.controller.replay import RecordedPool, ReplayEnv, collect
from computewise.controller.state import FEATURES, LiveState, Option, doubt
from computewise.controller.trees import DOUBT, Forest, ForestFitter, ForestRule, Recipe
from computewise.core import ObservedSample
from computewise.errors import UsageError
from computewise.metrics import Ints
from computewise.samples import SampleArrays

QUICK = ForestFitter(numbers=200_000, recipe=Recipe(trees=30, depth=3))

EASY, BETWEEN, HOPELESS = 0, 1, 2
CHANCES = (0.99, 0.4, 0.0)
"""By kind. In between the right answer is far more frequent than any wrong one, of which there are twenty."""


def kinds(problems: int) -> Ints:
    return np.arange(problems) % 3


def one_armed(seed: int, problems: int = 120, cost: float = 1.0) -> RecordedPool:
    rng = np.random.default_rng(seed)
    return workload(*({"small": sampled(rng, CHANCES[kind], 24, cost=cost)} for kind in kinds(problems)))


def two_armed(seed: int, problems: int = 90) -> RecordedPool:
    """The larger model costs five draws and is always right. The verifier knows right from wrong."""
    rng = np.random.default_rng(seed)
    return workload(
        *(
            {
                "small": sampled(rng, CHANCES[kind], 12, gap=0.4, noise=0.05),
                "large": sampled(rng, 1.0, 2, cost=5.0, gap=0.4, noise=0.05),
            }
            for kind in kinds(problems)
        )
    )


@cache
def controller() -> ForestRule:
    return QUICK.fit(one_armed(0))


@cache
def escalating() -> ForestRule:
    return replace(QUICK, larger=("large",)).fit(two_armed(0))


@cache
def followed() -> tuple[RecordedPool, StoppingPath]:
    """On problems the controller was not fitted on."""
    fresh = one_armed(1)
    return fresh, controller().follow(fresh, repeats=5, seed=0)


@pytest.mark.parametrize("budget", [3, 4, 6])
def test_the_controller_beats_uniform_at_equal_mean_cost(budget: int) -> None:
    fresh, path = followed()
    accuracy, cost = path.at(path.price(budget))
    same = SampleOrders.of(fresh, repeats=5, seed=0).uniform(budget)
    rival, spent = same.accuracy, same.cost
    assert cost.mean() <= spent.mean() == budget
    assert accuracy.mean() > rival.mean() + 0.03


def test_it_spends_where_drawing_helps() -> None:
    """What is saved on the easy serves those in between; the hopeless look like these until draws agree."""
    fresh, path = followed()
    (accuracy, cost), kind = path.at(path.price(4)), kinds(120)
    same = SampleOrders.of(fresh, repeats=5, seed=0).uniform(4)
    rival, _ = same.accuracy, same.cost
    assert cost[kind == EASY].mean() < 2.5 < cost[kind == BETWEEN].mean()
    assert accuracy[kind == EASY].mean() > 0.98
    assert accuracy[kind == BETWEEN].mean() > rival[kind == BETWEEN].mean() + 0.08


def test_its_list_of_prices_tells_what_they_come_to_elsewhere() -> None:
    _, path = followed()
    for priced in controller().prices[5:-5:5]:
        accuracy, cost = path.at(priced.price)
        assert accuracy.mean() == pytest.approx(priced.accuracy, abs=0.08)
        assert cost.mean() == pytest.approx(priced.mean_cost, rel=0.25)


def test_its_list_of_prices_is_not_flattered_by_what_it_was_fitted_on() -> None:
    """Trees that know every state by heart, where nothing can be known: coins with values at random."""
    rng = np.random.default_rng(0)
    coins = workload(*({"a": draws(rng.integers(0, 2, 12).tolist(), rng.random(12).tolist())} for _ in range(40)))
    policy = replace(QUICK, recipe=Recipe(trees=30, depth=6, rate=0.5, share=1e-4)).fit(coins)
    path = policy.follow(coins, repeats=2, seed=0)
    assert max(path.at(priced.price)[0].mean() for priced in policy.prices) > 0.75
    assert max(priced.accuracy for priced in policy.prices) < 0.65


def test_it_learns_from_every_mixture_of_arms() -> None:
    """Of states, what each arm drew: some by one alone, some by both before either was at its end."""
    held = two_armed(0, problems=30)
    walked = collect(held, np.arange(30), 100_000, seed=0)
    small, large = walked.features[:, FEATURES.index("draws")], walked.features[:, -1]
    small = small - large
    assert ((large == 0) & (small > 4)).any()
    assert ((large == 1) & (small > 1) & (small < 12)).any()
    assert ((large == 2) & (small == 1)).any()
    assert small.min() == 1


def test_what_lay_ahead_of_a_state_is_what_it_learns() -> None:
    """The probe is wrong twice, for a cost of 1 each; the larger model outvotes it once, for 3, but not twice."""
    held = workload({"small": draws([7, 7]), "large": draws([RIGHT], [0.9], cost=3.0)})
    walked = collect(held, np.zeros(1, np.int64), 10_000, seed=0)
    assert walked.options == [(0, 1), (1, 1)]
    seen = {
        (int(features[FEATURES.index("draws")] - features[-1]), int(features[-1])): (right, *gains, *costs, unit)
        for features, right, gains, costs, unit in zip(
            walked.features, walked.right, walked.gains, walked.costs, walked.units, strict=True
        )
    }
    assert seen == {
        (1, 0): (0, 0, 1, 1, 3, 1),
        (2, 0): (0, 0, 0, 0, 3, 1),
        (1, 1): (1, -1, 0, 1, 0, 1),
    }


def test_confidence_is_a_chance() -> None:
    """Of states in which it is given as more than .9, or less than .1, so many are right."""
    fresh = one_armed(2)
    walk = ReplayEnv(fresh, 3, seed=0)
    every = np.arange(len(walk.problems))
    for _ in range(5):
        walk.draw(0, every)
    _, _, confidence = controller().worth(walk.tally.features(every), walk.left)
    right = walk.right()
    assert right[confidence > 0.9].mean() > 0.9
    assert right[confidence < 0.1].mean() < 0.1
    assert min((confidence > 0.9).sum(), (confidence < 0.1).sum()) > 30


def test_it_escalates_where_only_the_larger_model_is_right_and_not_elsewhere() -> None:
    fresh = two_armed(1)
    path = escalating().follow(fresh, repeats=3, seed=0)
    price = path.price(3.5)
    taken = np.arange(path.arms.shape[1]) < path.stops(price)[:, None]
    large = path.by_problem(((path.arms == 1) & taken).any(1))
    kind = kinds(len(large))
    assert large[kind == HOPELESS].mean() > 0.9
    assert large[kind == EASY].mean() < 0.1
    accuracy, _ = path.at(price)
    same = SampleOrders.of(fresh, repeats=3, seed=0).uniform(4)
    rival, _ = same.accuracy, same.cost
    assert accuracy.mean() > rival.mean() + 0.25


def test_it_says_that_it_escalates() -> None:
    state = LiveState({"small": 12, "large": 2})
    price = escalating().price_for(4)
    assert escalating().choose(state, price).kind == "more"
    for answer in range(4):
        state.add("small", [ObservedSample(f"wrong {answer}", 0.5, 0.45, 0.4, -0.5, 10)])
    assert state.left.tolist() == [[8, 2]]
    action = escalating().choose(state, price)
    assert (action.kind, action.arm) == ("escalate", "large")
    assert action.confidence < 0.3
    state.add("large", [ObservedSample("right", 0.9, 0.81, 0.72, -0.9, 10)])
    assert escalating().choose(state, price).kind != "escalate"


def walked(
    policy: ForestRule, held: RecordedPool, row: int, walk: ReplayEnv, price: float
) -> tuple[list[str], str | None]:
    """What `choose` draws by, one increment after the other, in the order of a walk's row; and its answer."""
    drawn = held.problems[walk.problems[row]].arms
    waiting = {
        name: iter([increments(drawn[name])[place] for place in walk.orders[arm][row][: len(drawn[name])]])
        for arm, name in enumerate(held.names)
    }
    state, by = LiveState({name: len(each) for name, each in drawn.items()}), list[str]()
    while (action := policy.choose(state, price)).arm is not None:
        add(state, action.arm, next(waiting[action.arm]))
        by.append(action.arm)
    return by, state.leader


@pytest.mark.parametrize("price", [0.005, 0.02, 0.05])
def test_choosing_online_draws_what_the_path_says(price: float) -> None:
    """Draw for draw, and so at a higher price never more."""
    fresh = two_armed(3, problems=12)
    path, walk = escalating().follow(fresh, repeats=2, seed=5), ReplayEnv(fresh, 2, seed=5)
    for row, stop in enumerate(path.stops(price)):
        by, answer = walked(escalating(), fresh, row, walk, price)
        assert by == ["small", *(fresh.names[arm] for arm in path.arms[row, :stop])]
        assert (answer == str(RIGHT)) == path.right[row, stop]


def test_at_a_higher_price_no_trajectory_is_longer() -> None:
    fresh = two_armed(3, problems=6)
    walk = ReplayEnv(fresh, 1, seed=5)
    for row in range(6):
        lengths = [len(walked(escalating(), fresh, row, walk, price)[0]) for price in (1.0, 0.1, 0.03, 0.01, 0.001, 0)]
        assert lengths == sorted(lengths)
        assert lengths[0] == 1


def test_on_any_trajectory_a_higher_price_spends_no_more() -> None:
    path = escalating().follow(two_armed(4), repeats=2, seed=0)
    rows = np.arange(len(path.worth))
    spent = [path.spent[rows, path.stops(price)] for price in (0.2, 0.1, 0.05, 0.02, 0.01, 0.003, 0.0)]
    assert (np.diff(spent, axis=0) >= 0).all()
    assert spent[0].mean() < spent[-1].mean()


ARMS = ("small", "search", "large")


def constant(
    confidence: float, small: float, search: float, large: float, *, prices: tuple[PricePoint, ...] = ()
) -> ForestRule:
    """Predicts the same everywhere: so much would one draw of each arm gain, of cost 1, 2 and 10."""
    options = (Option("small", 1, 1.0), Option("search", 1, 2.0), Option("large", 1, 10.0))
    base = np.array([confidence, small, search, large])
    nothing = np.zeros((0, 0))
    forest = Forest(base, nothing.astype(int), nothing, np.zeros((0, 1, 4)))
    return ForestRule(arms=ARMS, larger=("large",), options=options, forest=forest, prices=prices)


def probed(small: int = 5, search: int = 5, large: int = 5) -> LiveState:
    state = LiveState({"small": small, "search": search, "large": large})
    state.add("small", [ObservedSample("7", 0.5, 0.5, 0.5, -1.0, 10)])
    return state


def test_worth_is_gain_by_cost_and_the_best_option_is_taken() -> None:
    """By cost .05, .06 and .04; and the one draw of value .5 leaves a doubt."""
    action = constant(0.3, 0.05, 0.12, 0.4).choose(probed(), 0.01)
    assert (action.kind, action.arm, action.confidence) == ("switch", "search", 0.3)
    assert action.worth == pytest.approx(0.06 + DOUBT * 0.5 * math.erfc(0.5 / math.sqrt(0.3) / math.sqrt(2)))


def test_where_nothing_is_expected_to_gain_the_votes_doubt_decides() -> None:
    """Not by what the regression thinks is lost: that is its error."""
    level, ahead = probed(), probed()
    level.add("small", [ObservedSample("8", 0.5, 0.5, 0.5, -1.0, 10)])
    ahead.add("small", [ObservedSample("7", 0.5, 0.5, 0.5, -1.0, 10)])
    policy = constant(0.3, -0.2, -0.1, -0.1)
    assert policy.choose(level, 0.0).worth == pytest.approx(DOUBT / 2 / 2)
    assert policy.choose(ahead, 0.0).worth < DOUBT / 2 / 10


def test_each_kind_of_action() -> None:
    assert constant(0.3, 0.2, 0.1, 0.1).choose(probed(), 0.01).kind == "more"
    assert constant(0.3, 0.0, 0.1, 0.1).choose(probed(), 0.01).kind == "switch"
    assert constant(0.3, 0.0, 0.0, 0.5).choose(probed(), 0.01).kind == "escalate"
    price = 0.02 + DOUBT * float(doubt(probed().features())[0])
    stop = constant(0.3, 0.02, 0.02, 0.02).choose(probed(), price)
    assert (stop.kind, stop.arm, stop.worth) == ("stop", None, price)
    abstain = constant(0.3, 0.02, 0.02, 0.02).choose(probed(), price, min_confidence=0.31)
    assert (abstain.kind, abstain.arm) == ("abstain", None)
    assert constant(0.3, 0.02, 0.02, 0.02).choose(probed(), price, min_confidence=0.3).kind == "stop"
    assert constant(0.3, 0.2, 0.0, 0.0).choose(probed(), 0.02, min_confidence=0.9).kind == "more"


def test_going_back_to_an_arm_is_a_switch_and_going_on_is_more() -> None:
    state = probed()
    state.add("search", [ObservedSample("7", 0.5, 0.5, 0.5, -1.0, 10)] * 4)
    assert constant(0.3, 0.2, 0.1, 0.0).choose(state, 0.01).kind == "switch"
    assert constant(0.3, 0.0, 0.1, 0.0).choose(state, 0.01).kind == "more"
    state.add("large", [ObservedSample("7", 0.5, 0.5, 0.5, -1.0, 10)])
    assert constant(0.3, 0.0, 0.0, 0.5).choose(state, 0.01).kind == "more"


def test_an_arm_that_has_nothing_left_is_passed_over() -> None:
    policy = constant(0.3, 0.2, 0.2, 0.5)
    assert policy.choose(probed(), 0.01).arm == "small"
    assert policy.choose(probed(small=1, search=3), 0.01).arm == "search"
    assert policy.choose(probed(small=1, search=0), 0.01).arm == "large"
    last = policy.choose(probed(small=1, search=0, large=0), 0.0)
    assert (last.kind, last.arm) == ("stop", None)


def test_the_first_draw_is_by_the_probe_at_any_price() -> None:
    state = LiveState(dict.fromkeys(ARMS, 3))
    for price in (0.0, 1.0, 1e9):
        action = constant(0.3, -1.0, -1.0, -1.0).choose(state, price)
        assert (action.kind, action.arm) == ("more", "small")


@given(*[st.floats(-1, 1)] * 4, st.floats(0, 1))
def test_it_stops_at_every_price_from_worth_up_and_at_none_below(
    confidence: float, small: float, search: float, large: float, price: float
) -> None:
    policy, state = constant(confidence, small, search, large), probed()
    worth = policy.choose(state, price).worth
    assert worth == max(small, search / 2, large / 10, 0.0) + DOUBT * doubt(state.features())[0] / 1
    assert (policy.choose(state, price).kind == "stop") == (worth <= price)
    if worth > 0:
        assert policy.choose(state, worth).kind == "stop"
        assert policy.choose(state, np.nextafter(worth, 0)).kind != "stop"
    assert 0 <= policy.choose(state, price).confidence <= 1


@pytest.mark.parametrize("price", [-0.1, float("nan")])
def test_a_price_that_is_none_is_refused(price: float) -> None:
    with pytest.raises(UsageError, match="at least 0"):
        constant(0.3, 0.2, 0.2, 0.2).choose(probed(), price)


def test_a_state_or_a_workload_of_other_arms_is_refused() -> None:
    policy = constant(0.3, 0.2, 0.2, 0.2)
    with pytest.raises(UsageError, match="small, search, large cannot choose for draws by large, small"):
        policy.choose(LiveState({"large": 3, "small": 3}), 0.1)
    held = workload({"large": draws([RIGHT]), "small": draws([RIGHT]), "search": draws([RIGHT])})
    with pytest.raises(UsageError, match="cannot follow draws by large, small, search"):
        policy.follow(held, repeats=1, seed=0)


LISTED = constant(
    0.3, 0, 0, 0, prices=(PricePoint(0.1, 1.0, 0.4), PricePoint(0.02, 2.5, 0.55), PricePoint(0.0, 7.0, 0.6))
)


def test_the_price_of_a_budget_is_the_lowest_that_kept_to_it() -> None:
    assert [LISTED.price_for(cost) for cost in (1.0, 2.4, 2.5, 6.9, 100)] == [0.1, 0.1, 0.02, 0.02, 0.0]


def test_the_price_of_an_accuracy_is_the_highest_that_reached_it() -> None:
    assert [LISTED.price_for_accuracy(accuracy) for accuracy in (0.0, 0.4, 0.41, 0.6)] == [0.1, 0.1, 0.02, 0.0]


def test_what_no_price_comes_to_is_refused_with_what_they_do_come_to() -> None:
    span = "from 1.00 draws a problem and an accuracy of 0.400 to 7.00 and 0.600"
    with pytest.raises(UsageError, match=f"a mean cost of 0.9: they go {span}"):
        LISTED.price_for(0.9)
    with pytest.raises(UsageError, match=f"an accuracy of 0.7: they go {span}"):
        LISTED.price_for_accuracy(0.7)
    with pytest.raises(UsageError, match="without a list of prices"):
        constant(0.3, 0, 0, 0).price_for(2)


def same(first: ForestRule, second: ForestRule) -> bool:
    parts = zip(
        (first.forest.features, first.forest.thresholds, first.forest.leaves, first.forest.base),
        (second.forest.features, second.forest.thresholds, second.forest.leaves, second.forest.base),
        strict=True,
    )
    return all(np.array_equal(one, other) for one, other in parts)


SMALLER = replace(QUICK, numbers=30_000, recipe=Recipe(trees=10, depth=3))


def test_fitting_is_repeatable_and_another_seed_walks_other_ways() -> None:
    held = one_armed(0, problems=30)
    first, second = SMALLER.fit(held), SMALLER.fit(held)
    assert same(first, second)
    assert (first.prices, first.options) == (second.prices, second.options)
    assert not same(first, replace(SMALLER, seed=1).fit(held))


def test_without_prices_the_fit_is_the_same() -> None:
    held = one_armed(0, problems=30)
    policy = SMALLER.fit_unpriced(held, np.arange(30))
    assert same(policy, SMALLER.fit(held))
    assert policy.prices == ()


def test_problems_that_are_left_out_are_not_looked_at() -> None:
    """Twenty problems alone, and before ten others of another world that the fit is told to leave out."""
    rng = np.random.default_rng(5)
    twenty = one_armed(0, problems=20).problems
    ten = [replace(problem, arms={"small": sampled(rng, 0.7, 24)}) for problem in one_armed(9, problems=10).problems]
    alone, among = SMALLER.fit(RecordedPool(twenty)), SMALLER.fit(RecordedPool([*twenty, *ten]), np.arange(20))
    assert same(alone, among)
    assert alone.prices == among.prices


def test_the_order_of_problems_does_not_move_what_is_predicted() -> None:
    """The same walks in another order: sums differ by rounding alone, and a split that is as good may be taken."""
    held = one_armed(0, problems=30)
    walk = ReplayEnv(held, 1, seed=3)
    every = np.arange(30)
    for _ in range(4):
        walk.draw(0, every)
    features = walk.tally.features(every)
    forward, backward = (SMALLER.fit_unpriced(held, only).forest.predict(features) for only in (every, every[::-1]))
    assert np.abs(forward - backward).mean() < 0.005


def test_the_currency_makes_no_difference() -> None:
    """Prices, costs of options and of the listed budgets are in draws of the probe arm."""
    one, many = SMALLER.fit(one_armed(0, problems=30)), SMALLER.fit(one_armed(0, problems=30, cost=4096.0))
    assert same(one, many)
    assert many.options == one.options
    assert many.prices == one.prices
    assert one.prices[0].mean_cost == 1.0


def test_an_option_costs_what_it_took_in_draws_of_the_probe() -> None:
    costs = {(option.arm, option.amount): option.costs for option in escalating().options}
    """A little less than one and five: in some states there is nothing left of an arm."""
    assert 0.8 < costs["small", 1] <= 1
    assert 2.5 < costs["large", 1] <= 5
    assert costs["small", 2] > costs["small", 1]
    assert max(amount for arm, amount in costs if arm == "small") == 8
    assert max(amount for arm, amount in costs if arm == "large") == 2


def test_a_probe_that_draws_once_leaves_only_the_other_arm_to_choose() -> None:
    """Half the problems need the larger model; nothing more can be drawn by the small one."""
    rng = np.random.default_rng(0)

    def problem(number: int) -> dict[str, SampleArrays]:
        small = draws([RIGHT], [0.9]) if number % 2 else draws([number % 9 + 1], [0.2])
        return {"small": small, "large": sampled(rng, 1.0, 1, cost=5.0)}

    policy = replace(SMALLER, larger=("large",)).fit(workload(*map(problem, range(60))))
    assert {option.arm for option in policy.options} == {"large"}
    state = LiveState({"small": 1, "large": 1})
    state.add("small", [ObservedSample("5", 0.2, 0.18, 0.16, -0.2, 10)])
    assert policy.choose(state, 0.05).kind == "escalate"


def test_too_few_problems_or_draws_to_fit_on_are_refused() -> None:
    with pytest.raises(UsageError, match="2 problems are too few to fit on: at least 3"):
        QUICK.fit(one_armed(0, problems=2))
    with pytest.raises(UsageError, match="no problem has more than one draw"):
        QUICK.fit(workload(*({"small": draws([RIGHT])} for _ in range(9))))


def test_a_policy_repriced_predicts_the_same_and_costs_what_draws_cost_there() -> None:
    """All in another currency, in which the larger model costs two draws where it cost five."""
    dear = two_armed(0)
    cheap = workload(
        *(
            {
                "small": replace(problem.arms["small"], costs=np.full(12, 100.0)),
                "large": replace(problem.arms["large"], costs=np.full(2, 200.0)),
            }
            for problem in dear.problems
        )
    )
    policy = escalating().repriced(dear, cheap)
    assert same(policy, escalating())
    assert policy.prices == ()
    ratios = [after.costs / before.costs for after, before in zip(policy.options, escalating().options, strict=True)]
    assert ratios == pytest.approx([0.4 if option.arm == "large" else 1.0 for option in policy.options])
