"""Choose the strategy, or the price for the controller, that a request is solved with."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields
from http import HTTPStatus
from types import MappingProxyType
from typing import NamedTuple

from computewise.controller.controller import Controller
from computewise.controller.rule import StoppingRule
from computewise.errors import UsageError
from computewise.selection import Select, find_selection
from computewise.serve.admission import DEFAULT_EFFORT, EXTREMES, ServerSettings
from computewise.serve.errors import ApiError
from computewise.serve.schemas import ChatRequest, ComputewiseOptions
from computewise.serve.turns import Unsearchable
from computewise.session import Strategy
from computewise.strategies import STRATEGIES, make_strategy, parse_settings, strategy_to_dict

_QUANTITY = re.compile(
    r"\d|\\[a-z]+\b|\$|\b(?:how (?:many|much|often|long|far|old|tall|large)|calculate|compute|evaluate|solve|simplify|"
    r"factor|differentiate|integrate|integral|derivative|probability|percent|equation|sum|product|ratio|root|area|"
    r"volume|number of|what is the (?:value|number|total|least|greatest|smallest|largest|remainder))\b",
    re.IGNORECASE,
)

_FIRST, _SECOND = (re.compile(rf"(?:^|\s)\(?{letter}[).:]\s") for letter in "AB")


_LOOKED_AT = 4000

"""Characters at each end of a long prompt that are searched."""


def looks_gradable(prompt: str, grader: str) -> bool:
    """Whether the prompt looks as if its answer can be compared; always so for a grader of one's own.

    This is a heuristic: where it errs, a client names a strategy, or a search ends after its first samples.
    """
    if len(prompt) > 2 * _LOOKED_AT:  # all of a long one would take seconds, in which nobody else's turn comes
        prompt = f"{prompt[:_LOOKED_AT]}\n{prompt[-_LOOKED_AT:]}"
    match grader:
        case "math":
            return _QUANTITY.search(prompt) is not None
        case "choice":
            first = _FIRST.search(prompt)
            return first is not None and _SECOND.search(prompt, first.end()) is not None
        case _:
            return True


POLICY, NONE = "policy", "none"

OFFERED = tuple(STRATEGIES)

_WIDTH = _CHAIN = 4

_SETTINGS = ("n", "width", "k", "chains", "chain_length", "trust", "balance_temperature")

_OF_A_POLICY = ("price", "mean_cost", "accuracy", "abstain_under")


@dataclass(frozen=True, slots=True)
class PassThrough:
    """Pass the request to the model of that name, unchanged; `why` is the reason."""

    model: str
    why: str


@dataclass(frozen=True, slots=True)
class FixedStrategy:
    """Solve by one strategy, which samples about `generations` solutions."""

    strategy: Strategy
    select: Select
    generations: int


@dataclass(frozen=True, slots=True)
class ByController:
    """Let the controller decide, at a price in accuracy; that takes `generations` samples on average."""

    price: float
    min_confidence: float
    generations: float
    target: float | None = None
    """The mean cost that was asked for, which a running price is to come to; None for a price that holds as it is."""
    group: int = 0
    """Of the requests that began at the same running price."""


Plan = PassThrough | FixedStrategy | ByController


class Name(NamedTuple):
    """The parts of a name such as `small:beam_search@16` or `small:beam_search(n=16, width=4)`."""

    model: str
    strategy: str | None = None
    n: int | None = None
    settings: Mapping[str, int | float] = MappingProxyType({})


def read_name(name: str, models: Collection[str]) -> Name:
    """Split after the longest model name that fits, as some names hold colons.

    Raises `ApiError` for an unknown model or strategy.
    """
    fitting = [one for one in models if name == one or name.startswith(f"{one}:")]
    if not fitting:
        text = f"there is no model {name[:200]!r}: allowed are {', '.join(models)}, or one with :STRATEGY"
        raise ApiError(text, HTTPStatus.NOT_FOUND, param="model", code="model_not_found")
    model = max(fitting, key=len)
    rest = name[len(model) + 1 :]
    return Name(model) if name == model else _strategy(model, rest, "model", HTTPStatus.NOT_FOUND)


def plan_request(
    asked: ChatRequest,
    models: Collection[str],
    *,
    fitted: Controller | None,
    strategies: Mapping[str, str | None],
    settings: ServerSettings,
    answerable: bool,
    passes: bool,
) -> Plan:
    """The plan for one request; raises `ApiError`, with the field, for a request that cannot be followed.

    `models` begins with the one that the controller is for. `strategies` are those of the requested model, each with
    the reason why it is refused or None. `answerable` says whether the problem looks gradable, `passes` whether there
    is an upstream to pass the request to.
    """
    name, wishes = read_name(asked.model, models), asked.options
    name = _wanted(name, wishes)
    strategy = name.strategy
    if strategy == NONE:
        if not passes:
            raise ApiError("there is no upstream to pass through to: name another strategy", param=_where(wishes))
        return PassThrough(name.model, "the client asks for it")
    if strategy is None or strategy == POLICY:
        _refuse(wishes, (*_SETTINGS, "select"), "is of a strategy: name one")
        unsearchable = _unsearchable(asked, strategy, answerable, alone=name.model != next(iter(models)))
        if unsearchable is not None:
            if strategy == POLICY:
                raise _unsearchable_error(unsearchable, unsearchable.why)
            return _passing(name.model, unsearchable, passes, asked)
        return _by_effort(asked, fitted, settings, must=strategy == POLICY)
    return _fixed(asked, strategy, name, strategies, settings)


def generations(strategy: Strategy) -> int:
    """About how many solutions the strategy samples at most."""
    held = {name: int(value) for name, value in strategy_to_dict(strategy).items() if isinstance(value, int)}
    if "chain_length" in held:
        return held["chain_length"] * held["chains"]
    return held.get("n", 1) * (held.get("k", 0) + 1)


def _wanted(name: Name, wishes: ComputewiseOptions) -> Name:
    """The name, with the strategy that the options add to it."""
    if wishes.strategy is None:
        return name
    if name.strategy is not None:
        raise ApiError("the model's name and computewise.strategy both name a strategy: name one", param=_where(wishes))
    return _strategy(name.model, wishes.strategy, "computewise.strategy", HTTPStatus.BAD_REQUEST)


def _strategy(model: str, text: str, param: str, status: HTTPStatus) -> Name:
    strategy, _, size = text.partition("@")
    listed: Mapping[str, int | float] = {}
    if "(" in text:
        try:
            strategy, listed = parse_settings(text)
        except UsageError as error:
            raise ApiError(str(error), param=param, code="invalid_value") from None
    if strategy not in (*OFFERED, POLICY, NONE):
        allowed = ", ".join((*OFFERED, POLICY, NONE))
        raise ApiError(
            f"there is no strategy {strategy[:100]!r}: allowed are {allowed}",
            status,
            param=param,
            code="strategy_not_found",
        )
    if strategy in (POLICY, NONE) and text != strategy:
        raise ApiError(f"{text[:100]!r}: {strategy} takes no number", param=param, code="invalid_value")
    if "(" in text or "@" not in text:
        return Name(model, strategy, None, listed)
    if not (size.isascii() and size.isdigit() and 0 < len(size) < 7 and int(size)):
        raise ApiError(f"{text[:100]!r}: give a whole number from 1 up behind @", param=param, code="invalid_value")
    return Name(model, strategy, int(size))


def _unsearchable(asked: ChatRequest, strategy: str | None, answerable: bool, *, alone: bool) -> Unsearchable | None:
    """A field, and why it prevents a search unless the client names a strategy; None if no field does."""
    if asked.unsearchable is not None:
        return asked.unsearchable
    if asked.best_of and strategy is None:
        return Unsearchable("best_of", "best_of has the upstream choose: to choose here, name a strategy")
    if alone:
        return Unsearchable("model", "no strategy is named for this model, and the policy is for another")
    if (name := asked.shaped) is not None:
        return Unsearchable(name, "a text of a given shape has no answer that could be compared")
    if asked.stop:
        return Unsearchable("stop", "stop ends solutions where steps may end")
    if asked.temperature == 0:
        return Unsearchable("temperature", "a temperature of 0 leaves nothing to choose from")
    if not answerable and strategy is None:
        return Unsearchable("messages", "its answer does not look as if it could be compared with others")
    return None


def _unsearchable_error(found: Unsearchable, text: str) -> ApiError:
    return ApiError(text, param=found.param or None, code="invalid_value" if found.wrong else "unsearchable")


def _passing(model: str, unsearchable: Unsearchable, passes: bool, asked: ChatRequest) -> Plan:
    param, why, wrong = unsearchable
    if passes:
        return PassThrough(model, why)
    if wrong:
        raise _unsearchable_error(unsearchable, why)
    if asked.unsearchable is not None or asked.best_of:
        raise ApiError(f"{why}, and there is no upstream to do that", param=param, code="unsupported_field")
    return FixedStrategy(
        make_strategy("greedy" if asked.temperature == 0 else "single", {}), find_selection("weighted"), 1
    )


def _by_effort(asked: ChatRequest, fitted: Controller | None, settings: ServerSettings, *, must: bool) -> Plan:
    """Plan by the controller; without one, best-of-N where N is the number of samples for the effort."""
    effort = EXTREMES.get(asked.effort or DEFAULT_EFFORT, asked.effort or DEFAULT_EFFORT)
    draws, wishes = settings.efforts[effort], asked.options
    if fitted is None:
        named = next((one for one in _OF_A_POLICY if getattr(wishes, one) is not None), None)
        if must or named is not None:
            param = f"computewise.{named or 'strategy'}"
            raise ApiError("there is no policy here: name a strategy", param=param, code="no_policy")
        return FixedStrategy(make_strategy("best_of_n", {"n": round(draws)}), find_selection("weighted"), round(draws))
    least = wishes.abstain_under or 0.0
    given = [one for one in ("price", "mean_cost", "accuracy") if getattr(wishes, one) is not None]
    if len(given) > 1:
        raise ApiError(f"{' and '.join(given)} both stand for a price: name one", param=f"computewise.{given[1]}")
    if given:
        _refuse_effort(asked, given[0])
    price = _price(fitted, draws, wishes)
    # A seed asks for the same answer again, so its price depends on nothing that came before.
    settled = asked.seed is not None or wishes.price is not None or wishes.accuracy is not None
    target = None if settled else wishes.mean_cost or draws
    return ByController(price, least, _mean_cost(fitted.rule, price), target)


def _price(fitted: Controller, draws: float, wishes: ComputewiseOptions) -> float:
    try:
        return fitted.resolve_price(
            price=wishes.price, mean_cost=wishes.mean_cost, accuracy=wishes.accuracy, default=draws
        )
    except UsageError as error:
        param = "accuracy" if wishes.accuracy is not None else "mean_cost"
        raise ApiError(str(error), param=f"computewise.{param}", code="invalid_value") from None


def _mean_cost(policy: StoppingRule, price: float) -> float:
    """The mean cost of the nearest price in the controller's list."""
    return min(policy.prices, key=lambda priced: abs(priced.price - price)).mean_cost


def _fixed(
    asked: ChatRequest, strategy: str, name: Name, strategies: Mapping[str, str | None], settings: ServerSettings
) -> FixedStrategy:
    if (found := asked.unsearchable) is not None:
        raise _unsearchable_error(found, found.why if found.wrong else f"{found.why}: leave out the strategy")
    if strategies.get(strategy) is not None:
        raise ApiError(f"{strategy}: {strategies[strategy]}", param=_where(asked.options), code="strategy_unavailable")
    if asked.stop and STRATEGIES[strategy].needs_steps:
        text = f"{strategy} ends steps by a stop of its own: leave out stop, or name a strategy of whole solutions"
        raise ApiError(text, param="stop", code="unsearchable")
    _refuse(asked.options, _OF_A_POLICY, "is of the policy, and here a strategy is named")
    _refuse_effort(asked, "a strategy")
    try:
        built = make_strategy(strategy, _sized(strategy, name, asked.options))
    except UsageError as error:
        raise ApiError(str(error), param=_where(asked.options), code="invalid_value") from None
    try:
        select = find_selection(asked.options.select or built.default_select)
    except UsageError as error:
        raise ApiError(str(error), param="computewise.select", code="invalid_value") from None
    cost = generations(built)
    if cost > settings.most_generations:
        text = f"{strategy} would sample {cost} solutions: allowed are {settings.most_generations}"
        raise ApiError(text, param=_where(asked.options), code="too_many_generations")
    if asked.temperature == 0 and cost > 1:
        text = f"a temperature of 0 leaves {strategy} nothing to choose from: raise it, or name greedy"
        raise ApiError(text, param="temperature", code="unsearchable")
    return FixedStrategy(built, select, cost)


def _sized(strategy: str, name: Name, wishes: ComputewiseOptions) -> dict[str, int | float]:
    """The settings that a client named, and those that follow from the number behind @."""
    held = {one: getattr(wishes, one) for one in _SETTINGS if getattr(wishes, one) is not None}
    if twice := next((one for one in held if one in name.settings), None):
        raise UsageError(f"computewise.{twice} and the strategy's name both set {twice}: leave one out")
    held, n = {**name.settings, **held}, name.n
    if n is None:
        return held
    allowed = [one.name for one in fields(STRATEGIES[strategy])]
    if "chain_length" in allowed:
        length = math.gcd(n, _CHAIN)
        return {"chain_length": length, "chains": n // length} | held
    if "n" not in allowed:
        if n != 1:
            raise UsageError(f"strategy {strategy!r} samples one solution, not {n}")
        return held
    return {"n": n} | ({"width": math.gcd(n, _WIDTH)} if "width" in allowed else {}) | held


def _refuse(wishes: ComputewiseOptions, names: Collection[str], why: str) -> None:
    for name in names:
        if getattr(wishes, name) is not None:
            raise ApiError(f"computewise.{name} {why}", param=f"computewise.{name}", code="unusable_setting")


def _refuse_effort(asked: ChatRequest, beside: str) -> None:
    if asked.effort is not None:
        text = f"reasoning_effort and {beside} both say what is spent: leave one out"
        raise ApiError(text, param="reasoning_effort", code="unusable_setting")


def _where(wishes: ComputewiseOptions) -> str:
    return "model" if wishes.strategy is None else "computewise.strategy"
