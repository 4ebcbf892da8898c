"""How the compute of a request is spent: what a client may ask for, and which field is named where it may not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from serve_doubles import PRICES, asked, fitted

from computewise.controller.controller import Controller
from computewise.selection import best, hierarchical, majority, weighted
from computewise.serve.admission import EFFORTS, ServerSettings
from computewise.serve.errors import ApiError
from computewise.serve.planning import (
    OFFERED,
    ByController,
    FixedStrategy,
    Name,
    PassThrough,
    Plan,
    generations,
    plan_request,
    read_name,
)
from computewise.strategies import (
    DVTS,
    AdaptiveBranching,
    BeamSearch,
    BestOfN,
    GatedRevisions,
    Greedy,
    Lookahead,
    ParticleFilter,
    Rebase,
    Revisions,
    Single,
    StepRevisions,
)

MODELS = ("small", "large")
POLICY = fitted({"samples": 0.1})


def chosen(
    model: str = "small",
    *,
    policy: Controller | None = None,
    strategies: Mapping[str, str | None] | None = None,
    settings: ServerSettings | None = None,
    answerable: bool = True,
    passes: bool = True,
    **fields: Any,
) -> Plan:
    return plan_request(
        asked(model=model, **fields),
        MODELS,
        fitted=policy,
        strategies=strategies or dict.fromkeys(OFFERED),
        settings=settings or ServerSettings(),
        answerable=answerable,
        passes=passes,
    )


def fixed(model: str = "small", **fields: Any) -> FixedStrategy:
    plan = chosen(model, **fields)
    assert isinstance(plan, FixedStrategy), plan
    return plan


def priced(**fields: Any) -> ByController:
    plan = chosen(policy=POLICY, **fields)
    assert isinstance(plan, ByController), plan
    return plan


def passed(model: str = "small", **fields: Any) -> PassThrough:
    plan = chosen(model, **fields)
    assert isinstance(plan, PassThrough), plan
    return plan


def refused(model: str = "small", **fields: Any) -> ApiError:
    with pytest.raises(ApiError) as found:
        chosen(model, **fields)
    return found.value


# Names


@pytest.mark.parametrize(
    ("name", "models", "found"),
    [
        ("llama3", ["llama3"], Name("llama3", None, None)),
        ("llama3:8b", ["llama3:8b"], Name("llama3:8b", None, None)),
        ("llama3:8b:beam_search@16", ["llama3:8b"], Name("llama3:8b", "beam_search", 16)),
        ("llama3:8b:greedy", ["llama3", "llama3:8b"], Name("llama3:8b", "greedy", None)),
        ("llama3:best_of_n@4", ["llama3", "llama3:8b"], Name("llama3", "best_of_n", 4)),
        ("llama3:best_of_n@4", ["llama3:8b", "llama3"], Name("llama3", "best_of_n", 4)),
        ("someone/big-7b:policy", ["someone/big-7b"], Name("someone/big-7b", "policy", None)),
        ("a@b:single", ["a@b"], Name("a@b", "single", None)),
        ("small:none", ["small"], Name("small", "none", None)),
        ("small:best_of_n@007", ["small"], Name("small", "best_of_n", 7)),
        (
            "small:beam_search(n=8, width=2)",
            ["small"],
            Name("small", "beam_search", None, {"n": 8, "width": 2}),
        ),
    ],
)
def test_a_name_is_taken_apart_behind_the_longest_model(name: str, models: list[str], found: Name) -> None:
    assert read_name(name, models) == found


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("", "model_not_found"),
        ("other", "model_not_found"),
        ("smaller", "model_not_found"),
        ("SMALL", "model_not_found"),
        ("x" * 100_000, "model_not_found"),
        ("small:8b", "strategy_not_found"),
        ("small:beam", "strategy_not_found"),
        ("small:ratio_pool@8", "strategy_not_found"),
        ("small:" + "x" * 100_000, "strategy_not_found"),
        ("small:beam_search@", "invalid_value"),
        ("small:beam_search@0", "invalid_value"),
        ("small:beam_search@-4", "invalid_value"),
        ("small:beam_search@4.0", "invalid_value"),
        ("small:beam_search@\u0664", "invalid_value"),
        ("small:beam_search@\u00b2", "invalid_value"),
        ("small:beam_search@1000000", "invalid_value"),
        ("small:beam_search@" + "9" * 5000, "invalid_value"),
        ("small:beam_search@4@4", "invalid_value"),
        ("small:policy@8", "invalid_value"),
        ("small:none@8", "invalid_value"),
        ("small:none()", "invalid_value"),
        ("small:policy(n=8)", "invalid_value"),
        ("small:beam(n=8)", "strategy_not_found"),
        ("small:beam_search(8)", "invalid_value"),
        ("small:beam_search(n=8", "invalid_value"),
        ("small:beam_search(n=8)@8", "invalid_value"),
        ("small:" + "x" * 100_000 + "(n=8)", "invalid_value"),
        ("small:beam_search(" + "n" * 100_000 + "=8)", "invalid_value"),
    ],
)
def test_a_name_that_is_none_is_refused_in_a_few_words(name: str, code: str) -> None:
    with pytest.raises(ApiError) as found:
        read_name(name, ["small", "large"])
    assert (found.value.param, found.value.code) == ("model", code)
    assert len(found.value.message) < 500
    assert found.value.status == (400 if code == "invalid_value" else 404)


def test_allowed_models_are_named() -> None:
    assert "small, large" in refused("other").message


# Sizes


@pytest.mark.parametrize(
    ("name", "built"),
    [
        ("best_of_n@8", BestOfN(8)),
        ("beam_search@16", BeamSearch(16, 4)),
        ("beam_search@6", BeamSearch(6, 2)),
        ("beam_search@7", BeamSearch(7, 1)),
        ("dvts@8", DVTS(8, 4)),
        ("lookahead@8", Lookahead(8, 4)),
        ("rebase@12", Rebase(12)),
        ("particle_filter@5", ParticleFilter(5)),
        ("revisions@16", Revisions(4, 4)),
        ("revisions@6", Revisions(2, 3)),
        ("gated_revisions@8", GatedRevisions(4, 2)),
        ("step_revisions@4", StepRevisions(4, 1)),
        ("adaptive_branching@9", AdaptiveBranching(9)),
        ("single@1", Single()),
        ("single", Single()),
        ("greedy", Greedy()),
        ("best_of_n", BestOfN()),
        ("beam_search", BeamSearch()),
        ("beam_search(n=8, width=2)", BeamSearch(8, 2)),
        ("beam_search(n=8, width=2, keep_finished=1)", BeamSearch(8, 2, 1)),
        ("rebase(balance_temperature=0.5)", Rebase(balance_temperature=0.5)),
        ("single()", Single()),
    ],
)
def test_the_number_behind_a_strategy_becomes_its_settings(name: str, built: object) -> None:
    assert fixed(f"small:{name}").strategy == built
    assert fixed(computewise={"strategy": name}).strategy == built


def test_settings_that_are_named_go_before_those_of_the_number() -> None:
    assert fixed("small:beam_search@16", computewise={"width": 8}).strategy == BeamSearch(16, 8)
    assert fixed("small:revisions@16", computewise={"chains": 2, "chain_length": 3}).strategy == Revisions(3, 2)
    assert fixed(computewise={"strategy": "rebase", "n": 3, "balance_temperature": 0.5}).strategy == Rebase(3, 0.5)
    found = fixed(computewise={"strategy": "gated_revisions@8", "trust": 0.5}).strategy
    assert found == GatedRevisions(4, 2, 0.5)
    assert fixed("small:beam_search(n=8)", computewise={"width": 8}).strategy == BeamSearch(8, 8)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("beam_search(m=2)", "has no setting 'm'"),
        ("beam_search(n=2.5)", "takes a whole number"),
        ("beam_search(n=0)", "at least 1"),
        ("best_of_n(n=1000000)", "would sample 1000000 solutions"),
    ],
)
def test_settings_that_a_strategy_has_not_are_refused(name: str, said: str) -> None:
    assert said in refused(f"small:{name}").message


def test_a_setting_is_given_once() -> None:
    found = refused(computewise={"strategy": "best_of_n(n=4)", "n": 8})
    assert found.message == "computewise.n and the strategy's name both set n: leave one out"


@pytest.mark.parametrize(
    ("strategy", "cost"),
    [
        (Single(), 1),
        (Greedy(), 1),
        (BestOfN(8), 8),
        (BeamSearch(16, 4), 16),
        (Lookahead(4, 2, 3), 16),
        (Revisions(3, 5), 15),
        (AdaptiveBranching(7), 7),
    ],
)
def test_what_a_strategy_samples_at_most(strategy: Any, cost: int) -> None:
    assert generations(strategy) == cost


def test_the_answer_is_selected_as_the_strategy_wants_or_the_client() -> None:
    assert fixed("small:best_of_n@4").select is weighted
    for name in ("revisions", "gated_revisions", "step_revisions", "adaptive_branching"):
        assert fixed(f"small:{name}@4").select is hierarchical
    assert fixed("small:best_of_n@4", computewise={"select": "majority"}).select is majority
    assert fixed("small:revisions@4", computewise={"select": "best"}).select is best


# Policy and efforts


def test_the_policy_decides_where_nothing_else_is_said() -> None:
    assert priced() == ByController(0.1, 0.0, 4.0, target=8.0)
    assert priced(computewise={"strategy": "policy"}) == priced()
    assert chosen("small:policy", policy=POLICY) == priced()


def test_more_effort_is_a_lower_price_and_more_generations() -> None:
    found = [priced(reasoning_effort=effort) for effort in ("none", "minimal", "low", "medium", "high", "xhigh")]
    prices = [plan.price for plan in found]
    costs = [plan.generations for plan in found]
    assert prices == sorted(prices, reverse=True)
    assert costs == sorted(costs)
    assert prices[2:5] == [0.2, 0.1, 0.05]
    assert (found[0], found[1], found[5]) == (found[2], found[2], found[4])
    assert priced() == found[3]


def test_an_effort_below_the_least_there_is_is_the_least() -> None:
    plan = chosen(policy=fitted({}, prices=PRICES[1:]), reasoning_effort="low")
    assert isinstance(plan, ByController)
    assert (plan.price, plan.generations) == (0.1, 4.0)


def test_a_price_can_be_named_in_three_ways() -> None:
    assert priced(computewise={"price": 0.06}) == ByController(0.06, 0.0, 10.0)
    assert priced(computewise={"mean_cost": 11}).price == 0.05
    assert priced(computewise={"accuracy": 0.6}).price == 0.1
    assert priced(computewise={"price": 0}).generations == 40
    assert priced(computewise={"abstain_under": 0.7}).min_confidence == 0.7


@pytest.mark.parametrize(
    ("wishes", "param"),
    [
        ({"accuracy": 0.9}, "computewise.accuracy"),
        ({"mean_cost": 1.0}, "computewise.mean_cost"),
        ({"price": 0.1, "accuracy": 0.5}, "computewise.accuracy"),
        ({"price": 0.1, "mean_cost": 5}, "computewise.mean_cost"),
        ({"n": 4}, "computewise.n"),
        ({"width": 4}, "computewise.width"),
        ({"k": 1}, "computewise.k"),
        ({"chains": 4}, "computewise.chains"),
        ({"chain_length": 4}, "computewise.chain_length"),
        ({"trust": 0.4}, "computewise.trust"),
        ({"balance_temperature": 0.4}, "computewise.balance_temperature"),
        ({"select": "majority"}, "computewise.select"),
    ],
)
def test_what_a_policy_cannot_do_is_refused_by_name(wishes: dict[str, Any], param: str) -> None:
    found = refused(policy=POLICY, computewise=wishes)
    assert (found.status, found.param) == (400, param)


def test_without_a_policy_an_effort_is_best_of_n() -> None:
    for effort, draws in EFFORTS.items():
        plan = fixed(reasoning_effort=effort)
        assert (plan.strategy, plan.generations, plan.select) == (BestOfN(round(draws)), round(draws), weighted)


def test_efforts_are_the_operator_s() -> None:
    settings = ServerSettings(efforts={"low": 1.0, "medium": 3.0, "high": 5.0})
    assert fixed(reasoning_effort="high", settings=settings).strategy == BestOfN(5)
    assert fixed(reasoning_effort="none", settings=settings).strategy == BestOfN(1)


@pytest.mark.parametrize(
    ("wishes", "param"),
    [
        ({"strategy": "policy"}, "computewise.strategy"),
        ({"price": 0.1}, "computewise.price"),
        ({"mean_cost": 2}, "computewise.mean_cost"),
        ({"accuracy": 0.5}, "computewise.accuracy"),
        ({"abstain_under": 0.5}, "computewise.abstain_under"),
    ],
)
def test_without_a_policy_what_needs_one_is_refused_by_name(wishes: dict[str, Any], param: str) -> None:
    found = refused(computewise=wishes)
    assert (found.param, found.code) == (param, "no_policy")


def test_the_policy_is_for_the_first_model() -> None:
    assert "policy is for another" in passed("large", policy=POLICY).why
    assert passed("large").model == "large"
    assert fixed("large", passes=False).strategy == Single()
    assert fixed("large:best_of_n@2").strategy == BestOfN(2)


def test_the_policy_asked_for_by_the_name_of_another_model_is_refused() -> None:
    assert refused("large:policy", policy=POLICY).param == "model"
    assert refused("large", policy=POLICY, computewise={"strategy": "policy"}).param == "model"


# Passing through


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"tools": [{"type": "function"}]}, "tools"),
        ({"n": 3}, "n asks for several answers"),
        ({"logprobs": True}, "logprobs"),
        ({"stop": ["."]}, "stop"),
        ({"temperature": 0}, "temperature of 0"),
        ({"response_format": {"type": "json_object"}}, "given shape"),
        ({"answerable": False}, "does not look as if"),
        ({"computewise": {"strategy": "none"}}, "the client asks for it"),
        ({"computewise": {"strategy": "none"}, "temperature": "warm", "messages": 5}, "the client asks for it"),
        ({"best_of": 3}, "best_of"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"reasoning_effort": "default"}, "reasoning_effort"),
        ({"messages": []}, "messages"),
        ({"guided_choice": ["a", "b"]}, "given shape"),
    ],
)
def test_what_cannot_be_searched_is_passed_through_and_says_why(fields: dict[str, Any], why: str) -> None:
    for policy in (None, POLICY):
        plan = passed(policy=policy, **fields)
        assert plan.model == "small"
        assert why in plan.why


def test_where_nothing_can_be_passed_on_one_solution_is_sampled() -> None:
    for fields in ({"stop": ["."]}, {"response_format": {"type": "json_object"}}, {"answerable": False}):
        assert fixed(policy=POLICY, passes=False, **fields).strategy == Single()
    assert fixed(policy=POLICY, passes=False, temperature=0).strategy == Greedy()


def test_where_nothing_can_be_passed_on_what_takes_an_upstream_is_refused() -> None:
    needing: list[dict[str, Any]] = [{"tools": [{}]}, {"n": 2}, {"best_of": 2}]
    for fields in needing:
        found = refused(passes=False, **fields)
        assert (found.param, found.code) == (next(iter(fields)), "unsupported_field")
    found = refused(passes=False, temperature="warm")
    assert (found.param, found.code) == ("temperature", "invalid_value")
    found = refused("small:none", passes=False)
    assert found.param == "model"
    assert refused(passes=False, computewise={"strategy": "none"}).param == "computewise.strategy"


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"tools": [{}]}, "tools"),
        ({"stop": ["."]}, "stop"),
        ({"temperature": 0}, "temperature"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
    ],
)
def test_whoever_insists_on_the_policy_is_told_what_is_in_its_way(fields: dict[str, Any], param: str) -> None:
    assert refused("small:policy", policy=POLICY, **fields).param == param


def test_a_strategy_that_is_named_chooses_in_place_of_the_upstream() -> None:
    assert fixed("small:best_of_n@2", best_of=8).strategy == BestOfN(2)
    assert isinstance(chosen("small:policy", policy=POLICY, best_of=8), ByController)


def test_any_temperature_is_sampled_at() -> None:
    assert fixed("small:best_of_n@2", temperature=3).strategy == BestOfN(2)


def test_whoever_names_a_strategy_knows_that_answers_compare() -> None:
    assert fixed("small:best_of_n@2", answerable=False).strategy == BestOfN(2)
    assert isinstance(chosen("small:policy", policy=POLICY, answerable=False), ByController)
    shaped = fixed("small:best_of_n@2", response_format={"type": "json_object"})
    assert shaped.strategy == BestOfN(2)


# Refusals of a named strategy


@pytest.mark.parametrize(
    ("model", "fields", "param", "code"),
    [
        ("small:best_of_n@4", {"tools": [{}]}, "tools", "unsearchable"),
        ("small:best_of_n@4", {"n": 2}, "n", "unsearchable"),
        ("small:best_of_n@4", {"max_tokens": 0}, "max_tokens", "invalid_value"),
        ("small:best_of_n@4", {"temperature": "warm"}, "temperature", "invalid_value"),
        ("small:best_of_n@4", {"messages": []}, "messages", "invalid_value"),
        ("small:beam_search@4", {"stop": ["."]}, "stop", "unsearchable"),
        ("small:best_of_n@4", {"temperature": 0}, "temperature", "unsearchable"),
        ("small:best_of_n@257", {}, "model", "too_many_generations"),
        ("small:lookahead@250", {}, "model", "too_many_generations"),
        (
            "small",
            {"computewise": {"strategy": "revisions", "chains": 99, "chain_length": 99}},
            "computewise.strategy",
            "too_many_generations",
        ),
        ("small:single@2", {}, "model", "invalid_value"),
        ("small:greedy", {"computewise": {"n": 1}}, "model", "invalid_value"),
        ("small:best_of_n@4", {"computewise": {"width": 2}}, "model", "invalid_value"),
        ("small:beam_search@8", {"computewise": {"width": 3}}, "model", "invalid_value"),
        ("small:best_of_n@4", {"computewise": {"select": "loudest"}}, "computewise.select", "invalid_value"),
        ("small:best_of_n@4", {"computewise": {"price": 0.1}}, "computewise.price", "unusable_setting"),
        ("small:best_of_n@4", {"computewise": {"abstain_under": 0}}, "computewise.abstain_under", "unusable_setting"),
        ("small:dvts@4", {"strategies": {"dvts": "it is too hot"}}, "model", "strategy_unavailable"),
        (
            "small",
            {"computewise": {"strategy": "dvts"}, "strategies": {"dvts": "x"}},
            "computewise.strategy",
            "strategy_unavailable",
        ),
        ("small:best_of_n@4", {"computewise": {"strategy": "single"}}, "computewise.strategy", None),
        ("small", {"computewise": {"strategy": "beam"}}, "computewise.strategy", "strategy_not_found"),
        ("small", {"computewise": {"strategy": "beam_search@x"}}, "computewise.strategy", "invalid_value"),
        ("small", {"computewise": {"strategy": "policy@4"}}, "computewise.strategy", "invalid_value"),
    ],
)
def test_a_strategy_that_cannot_be_is_refused_by_the_field(
    model: str, fields: dict[str, Any], param: str, code: str | None
) -> None:
    found = refused(model, **fields)
    assert (found.status, found.param, found.code) == (400, param, code), found.message


def test_why_a_strategy_is_refused_is_said() -> None:
    assert "it is too hot" in refused("small:dvts@4", strategies={"dvts": "it is too hot"}).message


def test_stops_are_allowed_where_solutions_are_whole_and_no_temperature_where_one_is_drawn() -> None:
    assert fixed("small:best_of_n@4", stop=["."]).strategy == BestOfN(4)
    assert fixed("small:revisions@4", stop=".").generations == 4
    assert fixed("small:single", temperature=0).strategy == Single()
    assert fixed("small:greedy", temperature=0).strategy == Greedy()


def test_the_most_generations_are_the_operator_s() -> None:
    few = ServerSettings(most_generations=32)
    assert fixed("small:best_of_n@32", settings=few).generations == 32
    assert refused("small:best_of_n@33", settings=few).code == "too_many_generations"


@pytest.mark.parametrize("wishes", [{"n": 4}, {"select": "majority"}, {"trust": 0.5}])
def test_settings_without_a_strategy_are_refused_by_name(wishes: dict[str, Any]) -> None:
    (name,) = wishes
    assert refused(computewise=wishes).param == f"computewise.{name}"
