"""What is registered, or comes with an installed package, is found by its name like what is built in."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from doubles import TASK, problem

from computewise import registry
from computewise.core import Candidate, Problem, Usage, Verifier
from computewise.errors import ModelError, ProblemError, UsageError
from computewise.grading.graders import find_grader, grader
from computewise.models.server.capabilities import DIALECTS, Dialect
from computewise.registry import Registry, register
from computewise.session import Session, Strategy
from computewise.solver import solve
from computewise.strategies import (
    STRATEGIES,
    BestOfN,
    load_strategy,
    make_strategy,
    parse_strategy,
    strategy_from_dict,
    strategy_to_dict,
)
from computewise.tasks.load import TaskSpec, load_task
from computewise.testing import SimulatedModel, SimulatedPRM, SimulatedTask
from computewise.verifiers.base import VerifierSpec, as_verifier, verifier
from computewise.verifiers.load import added_verifier, open_verifier


@pytest.fixture(autouse=True)
def forgotten(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What a test registers does not outlive it."""
    monkeypatch.setattr(registry, "_REGISTERED", {})
    monkeypatch.setattr(registry, "_BUILT_IN", dict(registry._BUILT_IN))
    yield
    for known in (STRATEGIES, DIALECTS):
        for name in set(known._known) - set(known._built_in):
            del known._known[name]


@dataclass(frozen=True)
class PlainTwice:
    """A class that says nothing of itself but what it does."""

    n: int = 2

    async def __call__(self, problem: Problem, session: Session) -> list[Candidate]:
        return await session.score(await session.sample(2 * self.n))


async def test_a_registered_strategy_has_a_name_and_what_every_strategy_has() -> None:
    assert register(PlainTwice) is PlainTwice
    made = make_strategy("plain_twice", {"n": 3})
    assert isinstance(made, PlainTwice)
    assert made.n == 3
    assert strategy_from_dict(strategy_to_dict(made)) == made
    assert not made.needs_verifier
    assert made.default_select == "weighted"
    assert list(STRATEGIES)[-1] == "plain_twice"
    assert STRATEGIES.added == ["plain_twice"]
    result = await solve(problem(), made, SimulatedModel(), SimulatedPRM(), TASK)
    assert len(result.candidates) == 6


def test_a_strategy_may_derive_from_the_protocol() -> None:
    @register
    @dataclass(frozen=True)
    class Derived(Strategy):
        needs_verifier = True

        async def __call__(self, problem: Problem, session: Session) -> list[Candidate]:
            return await session.sample(1)

    assert make_strategy("derived", {}).name == "derived"
    assert STRATEGIES["derived"].needs_verifier
    assert not STRATEGIES["derived"].needs_steps


def test_a_name_belongs_to_one_item() -> None:
    register(PlainTwice)
    register(PlainTwice)
    other: Any = dataclass(frozen=True)(
        type("PlainTwice", (), {"__call__": lambda self: None, "__qualname__": "Other"})
    )
    for name in (None, "best_of_n"):
        with pytest.raises(UsageError, match="taken among the strategies"):
            register(other, name=name)
    for item in (42, lambda problem, steps: 0.5):
        with pytest.raises(UsageError, match=r"cannot be registered: allowed are a strategy.*computewise\.verifier"):
            register(item)
    with pytest.raises(UsageError, match="no dataclass"):
        register(type("Loose", (), {"__call__": lambda self: None}))


def test_a_built_in_name_is_taken_also_before_its_kind_is_loaded() -> None:
    script = (
        "import computewise as cw\n"
        "@cw.register\n"
        "class Mine:\n"
        "    name = 'best_of_n'\n"
        "    async def __call__(self, problem, session): ...\n"
    ).replace("class", "@__import__('dataclasses').dataclass(frozen=True)\nclass")
    found = subprocess.run([sys.executable, "-c", f"{script}cw.BestOfN"], capture_output=True, text=True, check=False)
    assert found.stderr.strip().endswith("UsageError: the name 'best_of_n' is taken among the strategies: give another")


async def test_a_registered_verifier_is_opened_by_its_name() -> None:
    register(SimulatedPRM(name="half", noise=0.5))
    assert await open_verifier(VerifierSpec("half")) == SimulatedPRM(name="half", noise=0.5)
    with pytest.raises(UsageError, match="takes no base_url"):
        VerifierSpec("half", base_url="http://localhost")


def test_a_registered_grader_and_task_are_found_by_their_names() -> None:
    @register
    @grader
    def same_length(answer: str, reference: str) -> bool:
        return len(answer) == len(reference)

    assert find_grader("same_length").correct("42", "17")
    with pytest.raises(UsageError, match="allowed are math, choice, exact, code, same_length or module:function"):
        find_grader("chess")

    @register
    @grader
    def evaluates(answer: str, reference: str) -> bool:
        return bool(eval(answer) == reference)

    with pytest.raises(UsageError, match=r"evaluates may run what the model writes as Python \(eval\)"):
        find_grader("evaluates")
    assert find_grader("evaluates", allow_code_execution=True).correct("1", "'1'")
    register(SimulatedTask(name="steps"))
    task = load_task(TaskSpec("steps"))
    assert (task.name, task.instruction, task.warnings) == ("steps", "", ())
    [one] = task.problems("test", 1, 0)
    assert task.correct(one, task.answer(f"right {one.answer}"))
    register(SimulatedTask(name="broken"))
    broken = load_task(TaskSpec("broken"))
    with pytest.raises(ProblemError, match="the task broken cannot grade an answer: AttributeError"):
        broken.correct(object(), "1")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="the task steps has no setting grader"):
        load_task(TaskSpec("steps", grader="math"))


def test_a_registered_server_is_a_dialect() -> None:
    register(Dialect("a new server", owned_by="somebody"))
    assert DIALECTS["a new server"].owned_by == "somebody"


def test_a_strategy_is_named_by_module_and_class(package: Path) -> None:
    made = load_strategy("tiny_plugin:Pairs(n=3)")
    assert strategy_to_dict(made) == {"name": "pairs", "n": 3}
    assert load_strategy("beam_search(n=4)") == make_strategy("beam_search", {"n": 4})
    for text, fault in (
        ("tiny_plugin:Pairs(k=3)", "strategy 'pairs' has no setting 'k': allowed are n"),
        ("tiny_plugin:Missing", "what may be a strategy there is Pairs$"),
        ("tiny_plugin:make", "the strategy make is no dataclass"),
        ("no_such_module:X", "the strategy no_such_module:X cannot be imported: ModuleNotFoundError"),
        ("beam_serch", "allowed are single, .*, or your own module:Class"),
    ):
        with pytest.raises(UsageError, match=fault):
            load_strategy(text)
    with pytest.raises(UsageError, match="unknown strategy"):
        parse_strategy("tiny_plugin:Pairs")  # a client's text imports nothing


@pytest.mark.parametrize(
    ("bases", "fields_of", "fault"),
    [
        ({"frozen": False}, {"n": int}, "can be changed"),
        ({"frozen": True}, {"n": int, "kind": str}, "not numbers: kind"),
        ({"frozen": True}, {"flag": bool, "sizes": list[int]}, "not numbers: flag, sizes"),
    ],
)
def test_a_strategy_is_a_frozen_dataclass_of_numbers(bases: Any, fields_of: dict[str, Any], fault: str) -> None:
    kind: Any = type("Mine", (), {"__annotations__": fields_of, "__call__": PlainTwice.__call__})
    with pytest.raises(UsageError, match=fault):
        register(dataclass(**bases)(kind))
    register(
        dataclass(frozen=True)(
            type("Other", (), {"__annotations__": {"n": int, "t": int | float}, "__call__": PlainTwice.__call__})
        )
    )


def test_an_entry_point_with_a_built_in_name_is_said_to_be_unused(
    package: Path, caplog: pytest.LogCaptureFixture
) -> None:
    known: Registry[type] = Registry("strategies", {"pairs": int}, registry.as_strategy)
    assert [known["pairs"] for _ in range(2)] == [int, int]
    assert caplog.messages == [
        "computewise: tiny_plugin:Pairs of an installed package is not used: "
        "the name pairs among the strategies is built in"
    ]


# A function as a verifier


@verifier
async def short(problem: str, steps: Sequence[str]) -> float:
    return 1 / len(steps)


@verifier
async def each(problem: str, steps: Sequence[str]) -> list[float]:
    return [0.1 * place for place in range(len(steps))]


async def test_one_number_is_the_score_of_all_new_steps_and_a_list_of_each() -> None:
    [sampled] = (
        await solve(problem(depth=3), make_strategy("best_of_n", {"n": 1}), SimulatedModel(), short, TASK)
    ).candidates
    assert sampled.scores == (1 / 3,) * 3
    assert (await short.score(problem(), [sampled]))[0] == [(1 / 3,) * 3]
    assert short.value(sampled.scores) == 1 / 3
    [found], usage = await each.score(problem(), [sampled])
    assert found == (0.0, 0.1, 0.2)
    assert usage.verifier_tokens == 0
    searched = await solve(
        problem(depth=3), make_strategy("beam_search", {"n": 2, "width": 2}), SimulatedModel(), short, TASK
    )
    assert all(c.scores == (1.0, 1 / 2, 1 / 3) for c in searched.candidates)


@pytest.mark.parametrize("returned", [2.0, -0.1, float("nan"), [0.5], "text", None])
async def test_what_is_no_score_fails_the_problem_by_name(returned: object) -> None:
    @verifier
    async def odd(problem: str, steps: Sequence[str]) -> float:
        return returned  # type: ignore[return-value]

    @verifier
    async def broken(problem: str, steps: Sequence[str]) -> float:
        raise ValueError("no tests\nhere")

    [sampled] = (await solve(problem(depth=3), BestOfN(1), SimulatedModel(), None, TASK)).candidates
    with pytest.raises(ModelError, match=r"the verifier odd returned .* for 3 steps"):
        await odd.score(problem(), [sampled])
    with pytest.raises(ModelError, match="the verifier broken failed: ValueError: no tests here"):
        await broken.score(problem(), [sampled])


def plain(problem: str, steps: Sequence[str]) -> float:
    return 1 / len(steps)


async def undecorated(problem: str, steps: Sequence[str]) -> float:
    return 1 / len(steps)


class Scorer:
    """An object that is called; `bound` is a method of such an object."""

    def __call__(self, problem: str, steps: Sequence[str]) -> float:
        return self.bound(problem, steps)

    def bound(self, problem: str, steps: Sequence[str]) -> float:
        return 1 / len(steps)


def with_more(problem: str, steps: Sequence[str], weight: float = 1.0) -> float:
    return weight / len(steps)


def made() -> Any:
    return plain


FUNCTIONS: list[Any] = [plain, undecorated, Scorer, Scorer(), Scorer().bound, with_more, made, short]
FUNCTIONS += [partial(with_more, weight=1.0), partial(undecorated)]
FUNCTIONS += [lambda problem, steps: np.float32(1 / len(steps)), lambda problem, steps: np.full(len(steps), 1 / 3)]


@pytest.mark.parametrize("function", FUNCTIONS)
async def test_any_function_of_two_arguments_is_a_verifier(function: Any) -> None:
    [sampled] = (await solve(problem(depth=3), BestOfN(1), SimulatedModel(), None, TASK)).candidates
    for found in (as_verifier("mine", function), *([verifier(function)] if function in (plain, undecorated) else [])):
        [scores], usage = await found.score(problem(), [sampled])
        assert scores == pytest.approx((1 / 3,) * 3)
        assert usage == Usage()
        assert found.name
        assert found.parameters == 0


async def test_a_plain_function_does_not_hold_up_the_event_loop() -> None:
    turn = threading.Event()

    def waiting(problem: str, steps: Sequence[str]) -> float:
        return float(turn.wait(30))

    [sampled] = (await solve(problem(depth=3), BestOfN(1), SimulatedModel(), None, TASK)).candidates
    scoring = asyncio.ensure_future(verifier(waiting).score(problem(), [sampled]))
    await asyncio.sleep(0)
    turn.set()
    assert (await scoring)[0] == [(1.0,) * 3]


async def test_a_plain_function_that_raises_fails_the_problem() -> None:
    def stops(problem: str, steps: Sequence[str]) -> float:
        return next(iter(()))

    [sampled] = (await solve(problem(depth=3), BestOfN(1), SimulatedModel(), None, TASK)).candidates
    with pytest.raises(ModelError, match="the verifier stops failed: RuntimeError: StopIteration"):
        await verifier(stops).score(problem(), [sampled])


class NeedsMore:
    def __init__(self, path: str) -> None: ...


def broken() -> object:
    raise ValueError("no\nfile")


async def nothing() -> object:
    return None


@pytest.mark.parametrize(
    ("item", "fault"),
    [
        (3, "it is not a verifier: a verifier is a function of the problem and the steps, or an object with name, "),
        (Dialect("x"), "it is not a verifier, it has no parameters, score, value: "),
        (lambda problem: 0.5, "it is not a verifier: "),
        (lambda problem, steps, more: 0.5, "it is not a verifier: "),
        (NeedsMore, "the class it needs arguments: name an object, or what makes one without arguments"),
        (Problem, "the class it needs arguments"),
        (object, "it is not a verifier: "),
        (broken, "it failed where it was called without arguments: ValueError: no file"),
        (nothing, "it is not a verifier: "),
        (lambda: 3, "it is not a verifier: "),
    ],
)
def test_what_is_no_verifier_is_named_in_one_line(item: Any, fault: str) -> None:
    with pytest.raises(UsageError) as refused:
        as_verifier("it", item)
    assert str(refused.value).startswith(fault)
    assert "\n" not in str(refused.value)


def test_the_decorator_refuses_what_takes_no_problem_and_steps() -> None:
    items: list[Any] = [lambda problem: 0.5, 3, "prm", NeedsMore, short]
    for item in items:
        with pytest.raises(UsageError, match="is no function of two arguments: a verifier takes the problem and the"):
            verifier(item)


# By module:object, and by entry points

MODULE = """
from dataclasses import dataclass
import computewise.verifiers.base as load

@load.verifier
async def always_half(problem, steps):
    return 0.5

def make():
    return always_half

def third(problem, steps):
    return 1 / 3

async def two_thirds(problem, steps):
    return 2 / 3

def of_one(text):
    return 0.5

nothing = 3

@dataclass(frozen=True)
class Pairs:
    n: int = 1
    async def __call__(self, problem, session):
        return await session.score(await session.sample(2 * self.n))
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package with entry points, as an installer leaves it."""
    (tmp_path / "tiny_plugin.py").write_text(MODULE)
    info = tmp_path / "tiny_plugin-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: tiny-plugin\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[computewise.strategies]\npairs = tiny_plugin:Pairs\nlost = tiny_plugin:Missing\n"
        "[computewise.verifiers]\nhalf = tiny_plugin:make\nthird = tiny_plugin:third\nodd = tiny_plugin:of_one\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "tiny_plugin", raising=False)
    return tmp_path


def test_a_verifier_is_named_by_module_and_object(package: Path) -> None:
    assert added_verifier("tiny_plugin:always_half").name == "always_half"
    assert added_verifier("tiny_plugin:make").name == "always_half"
    assert added_verifier("tiny_plugin:third").name == "third"
    assert added_verifier("tiny_plugin:two_thirds").name == "two_thirds"
    for name, fault in (
        ("tiny_plugin:nothing", "tiny_plugin:nothing is not a verifier: a verifier is a function of the problem and"),
        ("tiny_plugin:of_one", "tiny_plugin:of_one is not a verifier: "),
        (
            "tiny_plugin:missing",
            "tiny_plugin has no 'missing': what may be a verifier there is always_half, third, two_thirds$",
        ),
        ("no_such_module:x", "the verifier no_such_module:x cannot be imported: ModuleNotFoundError"),
    ):
        with pytest.raises(UsageError, match=fault):
            added_verifier(name)


def test_an_entry_point_is_imported_when_its_name_is_looked_up(package: Path) -> None:
    known: Registry[type] = Registry("strategies", {"single": int}, registry.as_strategy)
    assert known["single"] is int
    assert list(known) == ["single", "pairs", "lost"]
    assert len(known) == 3
    assert "pairs" in known
    assert "other" not in known
    assert "tiny_plugin" not in sys.modules
    assert known["pairs"].name == "pairs"  # type: ignore[attr-defined]
    assert "tiny_plugin" in sys.modules
    verifiers: Registry[Verifier] = Registry("verifiers", {}, as_verifier)
    assert verifiers["third"].name == "third"
    with pytest.raises(UsageError, match="odd is not a verifier"):
        verifiers["odd"]
    with pytest.raises(KeyError):
        known["other"]
    with pytest.raises(UsageError, match="lost, tiny_plugin:Missing of an installed package, cannot be imported"):
        known["lost"]
