"""For tests of extensions: what every strategy, verifier and model must do, and simulated ones with known truth.

``check_strategy(MyStrategy(4))`` raises `AssertionError`, with a sentence that says what is wrong.
"""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Awaitable, Callable, Sequence

from computewise.core import Attempt, Candidate, Completion, Model, Problem, Result, Step, Verifier
from computewise.errors import ModelError, UsageError
from computewise.registry import as_strategy, name_of
from computewise.selection import SELECTIONS, Ballot
from computewise.session import MAX_ATTEMPTS_SHOWN, Limits, Strategy
from computewise.simulated import (
    Call,
    Failing,
    Hanging,
    Jittery,
    Recording,
    SimulatedModel,
    SimulatedPRM,
    SimulatedTask,
    simulated_problem,
)
from computewise.solver import solve
from computewise.strategies import strategy_to_dict
from computewise.verifiers.base import VerifierFunction, as_verifier

__all__ = [
    "STRATEGY_CHECKS",
    "Call",
    "Failing",
    "Hanging",
    "Jittery",
    "Recording",
    "SimulatedModel",
    "SimulatedPRM",
    "SimulatedTask",
    "StrategyCheck",
    "check_model",
    "check_strategy",
    "check_verifier",
    "simulated_problem",
]

TASK = SimulatedTask()
PROBLEM = simulated_problem(41734, 5)


async def _solved(
    strategy: Strategy,
    *,
    model: Model | None = None,
    of: Problem = PROBLEM,
    budget: int | None = None,
    seed: int = 0,
    limits: Limits | None = None,
) -> Result:
    verifier = SimulatedPRM(noise=0.2)
    return await solve(of, strategy, model or SimulatedModel(), verifier, TASK, budget=budget, seed=seed, limits=limits)


def _problems(count: int) -> list[Problem]:
    return [simulated_problem(20_000 + number, 1 + number % 6) for number in range(count)]


async def _is_plain_data(strategy: Strategy) -> None:
    """Its settings are numbers that survive JSON, so that records and commands can name it."""
    plain = strategy_to_dict(strategy)
    name = plain.pop("name")
    assert isinstance(name, str), f"the strategy's name {name!r} is no text"
    assert as_strategy(name, type(strategy)) is type(strategy)
    odd = [key for key, value in plain.items() if type(value) not in (int, float)]
    assert not odd, f"{name}: {odd[0]} = {plain[odd[0]]!r} is not a number: every setting is an int or a float"
    assert type(strategy)(**json.loads(json.dumps(plain))) == strategy, f"{name} is another after a round trip by JSON"


async def _repeats_with_a_seed(strategy: Strategy) -> None:
    """The same seed gives the same result: its own dice come from `session.random`."""
    once, again = [await _solved(strategy, seed=7) for _ in range(2)]
    assert once == again, f"{strategy.name} gave two results with one seed: draw random numbers from session.random"


async def _keeps_any_budget(strategy: Strategy) -> None:
    """No token is sampled beyond the budget, and what finished within it is answered from."""
    free = (await _solved(strategy)).usage.completion_tokens
    for budget in (*range(1, 16), *range(16, free + 40, 23), free - 1, free):
        if budget < 1:
            continue
        result = await _solved(strategy, budget=budget)
        spent = result.usage.completion_tokens
        assert spent <= budget, f"{strategy.name} sampled {spent} tokens on a budget of {budget}"
        finished = any(c.end == "stop" for c in result.tree)
        assert (result.chosen is not None) == finished, f"{strategy.name} lost a finished solution on {budget} tokens"
        if spent < free:
            assert result.exhausted, f"{strategy.name} hid that a budget of {budget} tokens ended it: let errors pass"


async def _ignores_an_ample_budget(strategy: Strategy) -> None:
    """A budget that suffices changes nothing."""
    free = await _solved(strategy)
    assert not free.exhausted, f"{strategy.name} says without a budget that the budget ended it"
    ample = await _solved(strategy, budget=100 * free.usage.completion_tokens)
    assert ample == free, f"{strategy.name} gives another result under a budget that suffices"


async def _returns_what_selections_need(strategy: Strategy) -> None:
    """Every selection, applied to the stored candidates, chooses again what it chose."""
    verifier = SimulatedPRM(noise=0.2)
    for name, select in SELECTIONS.items():
        result = await solve(PROBLEM, strategy, SimulatedModel(), verifier, TASK, select=select)
        ballots = [
            Ballot(TASK.answer(c.text) if c.end == "stop" else None, verifier.value(c.scores), c.chain)
            for c in result.candidates
        ]
        index = select(ballots)
        assert index is not None, f"{strategy.name} returned no answer to select by {name}"
        assert result.candidates[index] is result.chosen, f"{strategy.name}: {name} selects another candidate again"


async def _explores_a_tree(strategy: Strategy) -> None:
    """Candidates are nodes of the tree: a continuation begins with its parent, a revision was shown its parent."""
    for budget in (None, 60):
        result = await _solved(strategy, budget=budget)
        by_id = {candidate.id: candidate for candidate in result.tree}
        assert len(by_id) == len(result.tree), f"{strategy.name} explored two nodes with one id"
        for node in result.tree:
            _check_node(strategy.name, node, by_id)
        made_up = [c.id for c in result.candidates if by_id.get(c.id) != c]
        assert not made_up, f"{strategy.name} returned candidates that its session does not hold: {', '.join(made_up)}"


def _check_node(name: str, node: Candidate, by_id: dict[str, Candidate]) -> None:
    if node.parent is None:
        assert node.history == (), f"{name}: the root's child {node.id} has a history"
        return
    parent = by_id[node.parent]
    assert node.id.startswith(parent.id + "."), f"{name}: {node.id} does not continue the id of {parent.id}"
    assert node.chain == parent.chain, f"{name}: {node.id} and its parent are of different chains"
    if node.revises:
        assert parent.finished, f"{name} revised {parent.id}, which is not finished"
        assert node.history == _shown(parent, by_id), f"{name}: {node.id} was shown other attempts than its chain's"
    else:
        assert not parent.finished, f"{name} continued {parent.id}, which is finished"
        assert node.text.startswith(parent.text), f"{name}: {node.id} does not begin with the text of {parent.id}"
        assert node.history == parent.history, f"{name}: {node.id} has another history than its parent"


def _shown(last: Candidate, by_id: dict[str, Candidate]) -> tuple[Attempt, ...]:
    """The attempts from the chain's first to `last`, at most as many as a model is shown."""
    attempts: list[Attempt] = []
    node: Candidate | None = last
    while node is not None:
        attempts.append(Attempt(node.id, tuple(step.text for step in node.steps), node.scores))
        node = by_id[node.parent] if node.parent is not None else None
    return tuple(reversed(attempts[:MAX_ATTEMPTS_SHOWN]))


async def _scores_every_step(strategy: Strategy) -> None:
    """Candidates have a score for every step; other nodes have all, those of their parent, or none."""
    for budget in (None, 45, 150):
        result = await _solved(strategy, budget=budget)
        by_id = {candidate.id: candidate for candidate in result.tree}
        short = [c.id for c in result.candidates if len(c.scores) != len(c.steps)]
        assert not short, f"{strategy.name} returned candidates without all scores: {', '.join(short)}"
        for node in result.tree:
            extends = node.parent is not None and not node.revises
            inherited = len(by_id[node.parent or ""].scores) if extends else 0
            allowed = (len(node.steps), inherited, 0)
            assert len(node.scores) in allowed, f"{strategy.name}: {node.id} has {len(node.scores)} scores of {allowed}"


async def _is_charged_what_it_sampled(strategy: Strategy) -> None:
    """The usage is the sum of what the model returned, but that the problem's prompt is read once."""
    for budget in (None, 80):
        model = Recording()
        usage = (await _solved(strategy, model=model, budget=budget)).usage
        drawn = [c.usage for call in model.calls for c in call.completions]
        assert usage.completion_tokens == sum(one.completion_tokens for one in drawn) > 0, strategy.name
        assert usage.samples == len(drawn), strategy.name
        assert usage.prompt_tokens == sum(one.prompt_tokens for one in drawn), strategy.name
        bare = [c.usage for call in model.calls for c in call.completions if not call.prefix and not call.attempts]
        fresh = sum(one.prompt_tokens - one.cached_prompt_tokens for one in drawn if one not in bare)
        once = max((one.prompt_tokens for one in bare), default=0)
        assert usage.prompt_tokens - usage.cached_prompt_tokens <= fresh + once, strategy.name
        assert usage.cached_prompt_tokens >= sum(one.cached_prompt_tokens for one in drawn), strategy.name
        assert usage.verifier_tokens > 0 or budget, f"{strategy.name}: the verifier read nothing"


async def _samples_nothing_behind_an_end(strategy: Strategy) -> None:
    """A finished solution is not continued."""
    model = Recording()
    for seed in range(5):
        await _solved(strategy, model=model, seed=seed)
    assert all(TASK.answer(call.prefix) is None for call in model.calls), f"{strategy.name} continued a finished one"


async def _depends_on_its_problem_alone(strategy: Strategy) -> None:
    """A result is the same whatever runs beside it."""
    problems = _problems(12)
    alone = [await _solved(strategy, of=one) for one in problems]
    model = Jittery()
    together = await asyncio.gather(*(_solved(strategy, of=one, model=model) for one in problems))
    assert together == alone, f"{strategy.name} gives other results where other problems run beside: it shares state"


async def _ends_when_cancelled(strategy: Strategy) -> None:
    """Cancellation leaves no task behind."""
    model = Hanging()
    task = asyncio.ensure_future(_solved(strategy, model=model))
    await model.asked.wait()
    task.cancel()
    try:
        await task
    except asyncio.CancelledError:
        _no_task_is_left(strategy)
        return
    raise AssertionError(f"{strategy.name} swallowed its cancellation")


def _no_task_is_left(strategy: Strategy) -> None:
    left = asyncio.all_tasks() - {asyncio.current_task()}
    assert not left, f"{strategy.name} left {len(left)} tasks behind: await what is started"


async def _fails_alone(strategy: Strategy) -> None:
    """Where the model fails on one problem, that problem fails with its `ModelError`, and no other."""
    problems = [simulated_problem(20_000 + number, 5) for number in range(4)]
    calls = Recording()
    await _solved(strategy, model=calls, of=problems[1])
    alone = [await _solved(strategy, of=one) for one in problems]
    for at in range(1, min(len(calls.calls), 2) + 1):
        model = Failing(prompt=problems[1].prompt, at=at)
        results = await asyncio.gather(
            *(_solved(strategy, of=one, model=model) for one in problems), return_exceptions=True
        )
        assert isinstance(results[1], ModelError), f"{strategy.name} hid that the model failed: {results[1]!r:.100}"
        assert [results[i] for i in (0, 2, 3)] == [alone[i] for i in (0, 2, 3)], f"{strategy.name} failed others too"
        _no_task_is_left(strategy)


async def _keeps_the_token_limit(strategy: Strategy) -> None:
    """A solution that reaches the token limit ends without an answer; at 12 tokens, no third step is begun."""
    for tokens in (14, 12):
        model = Recording()
        result = await _solved(strategy, model=model, limits=Limits(tokens=tokens))
        name = f"{strategy.name}, under a limit of {tokens} tokens,"
        assert result.chosen is None, f"{name} answered with an unfinished solution"
        assert not result.exhausted, f"{name} says that the budget ended it"
        assert all(c.finished for c in result.candidates), f"{name} returned a candidate that can go on"
        assert all(c.tokens <= tokens for c in result.tree), f"{name} went beyond it"
        assert all(call.max_tokens > 0 for call in model.calls), f"{name} asked for no token"


async def _answers_without_a_verifier(strategy: Strategy) -> None:
    """Without a verifier there is an answer, and nothing is charged for one."""
    result = await solve(PROBLEM, strategy, SimulatedModel(), None, TASK)
    assert result.chosen is not None, f"{strategy.name} has no answer without a verifier"
    assert result.usage.verifier_tokens == 0, strategy.name


StrategyCheck = Callable[[Strategy], Awaitable[None]]

STRATEGY_CHECKS: tuple[StrategyCheck, ...] = (
    _is_plain_data,
    _repeats_with_a_seed,
    _keeps_any_budget,
    _ignores_an_ample_budget,
    _returns_what_selections_need,
    _explores_a_tree,
    _scores_every_step,
    _is_charged_what_it_sampled,
    _samples_nothing_behind_an_end,
    _depends_on_its_problem_alone,
    _ends_when_cancelled,
    _fails_alone,
    _keeps_the_token_limit,
    _answers_without_a_verifier,
)
"""What `check_strategy` checks, each a coroutine function of a strategy."""


def check_strategy(strategy: Strategy) -> None:
    """Run `STRATEGY_CHECKS` on a simulated model and verifier, some seconds; raises `AssertionError`."""
    kind = type(strategy)
    called = "an object of its class" if isinstance(strategy, type) else "a frozen dataclass with an async __call__"
    assert callable(strategy), f"{strategy!r:.80} is no strategy: give {called}"
    assert not isinstance(strategy, type), f"{strategy!r:.80} is no strategy: give {called}"

    async def run() -> None:
        for check in STRATEGY_CHECKS:
            await check(strategy)

    try:
        as_strategy(name_of(kind), kind)
        asyncio.run(run())
    except UsageError as error:
        raise AssertionError(str(error)) from error


QUESTION = Problem("check", "A box holds 12 pencils. How many pencils are in 7 boxes and 5 loose pencils together?")
STEPS = ("7 boxes hold 7 * 12 = 84 pencils.\n\n", "With the 5 loose ones that is 84 + 5 = 89. The answer is 89.")


def check_verifier(
    verifier: Verifier | VerifierFunction, problem: Problem = QUESTION, steps: Sequence[str] = STEPS
) -> None:
    """Check that a verifier, or a function of the problem and the steps, keeps the protocol.

    It scores a solution of that problem, of at least two steps, whole and cut behind the first. A step's score must not
    depend on the steps behind it, since a search scores the beginning of a solution and keeps those scores.

    Its model is called some ten times. Whether its scores are good is not checked; `AssertionError` says what is wrong.
    """
    try:
        checked = as_verifier("it", verifier)
    except UsageError as error:
        raise AssertionError(str(error)) from None
    asyncio.run(_check_verifier(checked, problem, [Step(text, max(1, len(text) // 4), -1.0) for text in steps]))


async def _check_verifier(verifier: Verifier, problem: Problem, steps: list[Step]) -> None:
    assert isinstance(verifier.name, str), "a verifier's name is text"
    assert verifier.name, "a verifier's name is not empty"
    name = verifier.name
    whole = Candidate("0", None, tuple(steps), end="stop")
    part = Candidate("1", None, tuple(steps[:1]))
    none, _ = await verifier.score(problem, [])
    assert none == [], f"{name} gave scores for no candidate"
    scores, usage = await verifier.score(problem, [whole, part])
    assert len(scores) == 2, f"{name} gave {len(scores)} lists of scores for 2 candidates"
    for candidate, found in zip((whole, part), scores, strict=True):
        assert isinstance(found, tuple), f"{name} gave a {type(found).__name__} of scores: give a tuple"
        expected = len(candidate.steps)
        assert len(found) == expected, f"{name} gave {len(found)} scores for a solution of {expected} steps"
        odd = [score for score in found if not (isinstance(score, (int, float)) and 0 <= score <= 1)]
        assert not odd, f"{name} gave the score {odd[0]!r}: a score is a number in [0, 1]"
        value = verifier.value(found)
        assert math.isfinite(value), f"{name} gives a solution the value {value}"
        assert 0 <= value <= 1, f"{name} gives a solution the value {value}: a value is in [0, 1]"
    assert math.isfinite(verifier.value(())), f"{name} gives no value to a solution without scores"
    assert usage.completion_tokens == 0 == usage.samples, f"{name} charges samples: charge verifier_tokens"
    assert 0 <= usage.cached_verifier_tokens <= usage.verifier_tokens, f"{name} charges more from the cache than in all"
    scored = Candidate("1.0", "1", whole.steps, scores[1])
    [later], _ = await verifier.score(problem, [scored])
    assert len(later) == len(steps), f"{name} gave {len(later)} scores where the first of {len(steps)} is known"
    assert later[:1] == scores[1], f"{name} gave another score to a step that has one"
    before = asyncio.all_tasks()
    together = await asyncio.gather(*(verifier.score(problem, [part]) for _ in range(4)))
    assert all(len(found) == 1 for found, _ in together), f"{name} mixes up calls that are made at the same time"
    assert asyncio.all_tasks() == before, f"{name} left tasks behind"


def check_model(model: Model, problem: Problem = QUESTION, delimiter: str = "\n\n") -> None:
    """Check that a model keeps the protocol on that problem, whose steps end with `delimiter`.

    It samples some ten solutions of at most 256 tokens. `AssertionError` says what is wrong.
    """
    asyncio.run(_check_model(model, problem, delimiter))


async def _check_model(model: Model, problem: Problem, delimiter: str) -> None:
    assert isinstance(model.name, str), "a model's name is text"
    assert model.name, "a model's name is not empty"
    name = model.name

    async def drawn(n: int, *, prefix: str = "", stop: str | None = None, most: int = 256) -> list[Completion]:
        return await model.sample(
            problem.prompt, prefix, n, stop=stop, max_tokens=most, temperature=1.0, seeds=list(range(n))
        )

    assert await drawn(0) == [], f"{name} returned samples where none were requested"
    for n, most in ((3, 256), (1, 4)):
        found = await drawn(n, most=most)
        assert len(found) == n, f"{name} returned {len(found)} samples of {n}"
        for one in found:
            _check_completion(name, one, most)
            assert one.finish_reason != "step", f"{name} ended a whole solution at a step"
        assert sum(one.usage.samples for one in found) == n, f"{name} charges for another number of samples than {n}"
    if not model.steps:
        return
    [first] = await drawn(1, stop=delimiter)
    _check_completion(name, first, 256)
    text = "".join(step.text for step in first.steps)
    assert delimiter not in text.removesuffix(delimiter), f"{name} went on behind the end of a step"
    if first.finish_reason == "step":
        assert text.endswith(delimiter), f"{name} ended a step without its delimiter {delimiter!r}: {text!r:.60}"
        for one in await drawn(2, prefix=text, stop=delimiter):
            _check_completion(name, one, 256)


def _check_completion(name: str, one: Completion, most: int) -> None:
    assert one.finish_reason in ("step", "stop", "length", "failed"), f"{name} ended by {one.finish_reason!r}"
    tokens = one.usage.completion_tokens
    assert tokens <= most, f"{name} sampled {tokens} tokens where {most} are allowed"
    steps = sum(step.tokens for step in one.steps)
    assert steps <= tokens, f"{name} has {steps} tokens in its steps, and is charged for {tokens}"
    assert 0 <= one.usage.cached_prompt_tokens <= one.usage.prompt_tokens, f"{name} charges more cached than read"
    assert not any(step.logprob > 0 for step in one.steps), f"{name} gives a log-probability above 0"
