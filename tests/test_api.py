"""`import computewise as cw`: what it names, what it loads, and the two halves, synchronous and not."""

from __future__ import annotations

import asyncio
import multiprocessing
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from doubles import CountingTask
from servers import VLLM

import computewise as cw
from computewise import api, connection
from computewise.costs import known_flops
from computewise.models.server import connect as opening
from computewise.simulated import SimulatedModel, SimulatedPRM, SimulatedTask, simulated_problem
from computewise.study.executors import WorkerError
from computewise.testing import check_strategy

TASK = SimulatedTask()
PROBLEM = simulated_problem(41734, 3)
HEAVY = ("numpy", "httpx", "aiohttp", "jinja2", "matplotlib", "msgspec", "importlib.metadata")


def python(script: str) -> str:
    return subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout.strip()


def test_the_import_loads_nothing_heavy() -> None:
    assert python(f"import sys, computewise; print([one for one in {HEAVY} if one in sys.modules])") == "[]"


def test_every_name_is_there_and_listed() -> None:
    script = "import computewise as cw; print(all(getattr(cw, name) is not None for name in cw.__all__))"
    assert python(script) == "True"
    assert set(cw.__all__) <= set(dir(cw))
    with pytest.raises(AttributeError, match="no attribute 'sovle'"):
        _ = cw.sovle


def test_names_do_not_depend_on_which_modules_were_loaded_before() -> None:
    before = "import computewise.serve.app, computewise.study.run, computewise as cw"
    script = f"{before}; print(callable(cw.solve), cw.BestOfN(3))"
    assert python(script) == "True BestOfN(n=3)"


def test_both_halves_give_the_same_result() -> None:
    settings: dict[str, Any] = {"model": SimulatedModel(), "verifier": SimulatedPRM(), "task": TASK, "seed": 3}
    alone = cw.solve(PROBLEM, cw.BestOfN(4), **settings)
    again = asyncio.run(cw.asolve(PROBLEM, "best_of_n(n=4)", **settings))
    assert alone == again
    assert alone.answer == alone.answers[alone.chosen.id] if alone.chosen else alone.answer is None
    assert len(alone.candidates) == 4


async def test_the_synchronous_half_works_where_a_loop_runs() -> None:
    """As in a notebook."""
    result = cw.solve(PROBLEM, model=SimulatedModel(), verifier=SimulatedPRM(), task=TASK)
    assert result.usage.samples > 1


def test_on_step_is_called_for_every_node() -> None:
    seen: list[cw.Candidate] = []
    result = cw.solve(
        PROBLEM, cw.BeamSearch(4, 2), model=SimulatedModel(), verifier=SimulatedPRM(), task=TASK, on_step=seen.append
    )
    assert {node.id for node in seen} == {node.id for node in result.tree}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"strategy": "beam_serch"}, "unknown strategy 'beam_serch'"),
        ({"strategy": "best_of_n(k=3)"}, "no setting 'k'"),
        ({"strategy": "best_of_n", "price": 0.1}, "are a controller's"),
        ({"strategy": "best_of_n", "select": "loudest"}, "loudest"),
        *(
            ({"strategy": name, "verifier": None}, f"the strategy {name} needs a verifier")
            for name in ("step_revisions", "beam_search", "dvts", "lookahead", "rebase", "particle_filter")
        ),
        ({"strategy": "beam_search", "model": SimulatedModel(steps=False)}, "needs a model that continues"),
        ({"strategy": "best_of_n", "task": "no such task"}, "no such task"),
        ({"strategy": "best_of_n", "budget": 0}, "budget"),
    ],
)
def test_a_mistake_is_named(settings: dict[str, Any], message: str) -> None:
    given: dict[str, Any] = {"model": SimulatedModel(), "verifier": SimulatedPRM(), "task": TASK, **settings}
    with pytest.raises(cw.UsageError, match=message):
        cw.solve(PROBLEM, **given)


CONTROLLER = cw.Controller.load("expressions")
WRONG: list[tuple[dict[str, Any], str]] = [
    ({"model": "smal"}, "unknown model 'smal': allowed are small, large, revision, revision_paper"),
    ({"model": None}, "None is not a model: allowed is what load_model and connect return"),
    ({"model": []}, "no model is given"),
    ({"model": SimulatedModel}, "is not a model"),
    ({"model": SimulatedPRM()}, "is not a model, it has no revises, revises_steps, steps, sample"),
    ({"verifier": "prn"}, "unknown verifier 'prn': allowed are prm, orm, logprob, .*module:object"),
    ({"verifier": "judge"}, "the verifier judge needs a server: model=CONNECTION, an open one, or base_url=URL$"),
    ({"verifier": 3}, "is not a verifier"),
    ({"verifier": lambda problem: 0.5}, "is not a verifier"),
    ({"verifier": SimulatedPRM.score}, "is not a verifier"),
    ({"task": 3}, "3 is not a task: allowed is a name such as 'expressions'"),
    ({"task": SimulatedTask}, "is not a task"),
    ({"task": "nope"}, "unknown task 'nope'"),
    ({"strategy": cw.BestOfN}, r"BestOfN is a class: give an object, BestOfN\(...\)"),
    ({"strategy": 8}, "8 is not a strategy"),
    ({"strategy": None}, "None is not a strategy"),
    ({"strategy": print}, "is no dataclass"),
    ({"problem": 12}, "12 is not a problem"),
    ({"problem": cw.Problem("1", 12)}, "is not a problem"),  # type: ignore[arg-type]
    ({"budget": "10"}, "budget = '10' is not allowed: a whole number, at least 1"),
    ({"budget": 2.5}, "budget = 2.5"),
    ({"budget": True}, "budget = True"),
    ({"limits": 10}, "limits = 10 is not allowed: give Limits"),
    ({"temperature": "x"}, "temperature = 'x' is not allowed: a number of at least 0"),
    ({"temperature": -1}, "temperature = -1"),
    ({"temperature": float("nan")}, "temperature = nan"),
    ({"seed": "x"}, "seed = 'x' is not allowed: a whole number"),
    ({"seed": None}, "seed = None"),
    ({"on_step": 3}, "on_step = 3 is not allowed: a function"),
    ({"select": 3}, "3 is not a selection"),
    ({"strategy": CONTROLLER, "model": ["small", "large"], "verifier": "prm", "price": -1}, "price = -1"),
    ({"strategy": CONTROLLER, "model": ["small", "large"], "verifier": "prm", "price": "x"}, "price = 'x'"),
    ({"strategy": CONTROLLER, "model": ["small", "large"], "verifier": "prm", "mean_cost": 0}, "mean_cost = 0"),
]


@pytest.mark.parametrize(("settings", "message"), WRONG)
def test_what_is_of_the_wrong_kind_is_one_line(settings: dict[str, Any], message: str) -> None:
    given: dict[str, Any] = {"problem": PROBLEM, "model": SimulatedModel(), "verifier": None, "task": TASK, **settings}
    with pytest.raises(cw.UsageError, match=message) as refused:
        cw.solve(**given)
    assert "\n" not in str(refused.value)


def test_other_functions_refuse_the_wrong_kind_in_one_line() -> None:
    wrong: list[tuple[Any, str]] = [
        (lambda: cw.connect(None), "base_url = None is not allowed: a text such as 'http"),  # type: ignore[arg-type]
        (lambda: cw.connect(""), "base_url = ''"),
        (lambda: cw.connect("http://x/v1", concurrency=0), "concurrency = 0"),
        (lambda: cw.connect("http://x/v1", parameters=-1), "parameters = -1"),
        (lambda: cw.grader("x"), "'x' is no function of two arguments: a grader takes an answer"),  # type: ignore[arg-type]
        (lambda: cw.grader(len), "is no function of two arguments"),  # type: ignore[arg-type]
        (lambda: cw.Limits(0, 0), "a limit of steps = 0 is not allowed"),
        (lambda: cw.Limits(tokens=2.5), "a limit of tokens = 2.5"),  # type: ignore[arg-type]
        (lambda: cw.load_model("smal"), "unknown model 'smal': allowed are small, large, revision, revision_paper; a"),
        (lambda: cw.load_model(3), "unknown model 3"),  # type: ignore[arg-type]
        (lambda: cw.load_verifier("prn"), "allowed are prm, orm, logprob, module:object, .*judge"),
        (lambda: cw.load_verifier("qwen2.5-math-7b"), "needs a server: .*, or path=DIRECTORY"),
        (lambda: cw.load_verifier(None), "name = None"),  # type: ignore[arg-type]
        (lambda: cw.load_task(3), "name = 3"),  # type: ignore[arg-type]
        (lambda: cw.run_study(problems="x"), "problems = 'x'"),  # type: ignore[arg-type]
        (lambda: cw.run_study(budgets=4), "budgets = 4"),  # type: ignore[arg-type]
        (lambda: cw.run_study(setup="small"), "'small' is not a setup"),  # type: ignore[arg-type]
    ]
    for call, message in wrong:
        with pytest.raises(cw.UsageError, match=message) as refused:
            call()
        assert "\n" not in str(refused.value)


def test_names_stand_for_models_and_verifiers_and_expressions_are_the_embedded_models_task() -> None:
    named = cw.solve("3*(4+5)-6", "best_of_n(n=4)", model="small", verifier="prm")
    passed = cw.solve(
        "3*(4+5)-6",
        cw.BestOfN(4),
        model=cw.load_model("small"),
        verifier=cw.load_verifier("prm"),
        task=cw.load_task("expressions"),
    )
    assert named == passed
    assert named.answer == "21"
    assert cw.solve("3*(4+5)", "best_of_n(n=4)", model="small", verifier="none", task=None).answer == "27"
    with pytest.raises(cw.ProblemError, match="a story needs task='stories', any other question a server's model"):
        cw.solve("Ann has 3 apples. How many?", model="small")
    with pytest.raises(cw.ProblemError, match=r"brackets, 1 to 7 operations$"):
        cw.solve("Ann has 3 apples. How many?", model="small", task="expressions")


def test_a_plain_function_is_a_verifier_as_it_is() -> None:
    def by_length(problem: str, steps: Any) -> float:
        return 1 / len(steps)

    result = cw.solve(PROBLEM, cw.BeamSearch(4, 2), model=SimulatedModel(), verifier=by_length, task=TASK)
    assert {c.scores[-1] for c in result.candidates} == {1 / len(c.steps) for c in result.candidates}


def test_a_result_tells_itself_in_a_line_and_its_floating_point_operations() -> None:
    result = cw.solve("3*(4+5)-6", "best_of_n(n=4)", model="small", verifier="prm")
    assert repr(result).startswith("Result(answer='21', confidence=")
    assert repr(result).endswith("exhausted=False)")
    assert len(repr(result)) < 160
    small, prm = cw.load_model("small"), cw.load_verifier("prm")
    assert small.parameters
    assert prm.parameters
    expected = known_flops(result.usage, small.parameters, prm.parameters)
    assert expected is not None
    assert result.flops == expected.total > 0
    unknown = SimulatedModel(parameters=None)  # type: ignore[arg-type]
    assert cw.solve(PROBLEM, model=unknown, task=TASK).flops is None
    assert all(name in (cw.Result.__doc__ or "") for name in cw.Result.__dataclass_fields__)


def test_a_controllers_result_counts_the_operations_of_every_model() -> None:
    models, prm = [cw.load_model("small"), cw.load_model("large")], cw.load_verifier("prm")
    result = cw.solve("3*(4+5)-67*(13-6)", CONTROLLER, model=models, verifier=prm, mean_cost=8)
    sizes = {model.name: model.parameters for model in models}
    each = [known_flops(usage, sizes[name], prm.parameters) for name, usage in result.usages.items()]
    # The attention of each draw is counted for itself; that of all together is counted at their mean lengths.
    assert result.flops == pytest.approx(sum(one.total for one in each if one), rel=0.01)


@dataclass(frozen=True)
class UntilTwoAgree(cw.Strategy):
    """One solution after another, until two have the same answer."""

    n: int = 16
    name = "until_two_agree"

    async def __call__(self, problem: cw.Problem, session: cw.Session) -> list[cw.Candidate]:
        found: list[cw.Candidate] = []
        answers: list[str] = []
        while len(found) < self.n and len(answers) == len(set(answers)):
            found += await session.score(await session.sample(1))
            answer = await session.answer(found[-1])
            answers += [] if answer is None else [answer]
        return found


def test_a_strategy_sees_the_answers_of_its_candidates() -> None:
    for seed in range(8):
        task = CountingTask()
        result = cw.solve(PROBLEM, UntilTwoAgree(), model=SimulatedModel(skill=0.6), task=task, seed=seed)
        given = [result.answers[c.id] for c in result.candidates if result.answers[c.id] is not None]
        assert len(given) == len(set(given)) + 1
        assert sum(task.asked.values()) == len(result.candidates)  # no answer is read twice
    check_strategy(UntilTwoAgree())


async def test_an_answer_needs_a_task_and_a_solution_that_ended() -> None:
    session = cw.Session(PROBLEM, SimulatedModel(), None, "\n")
    [whole] = await session.sample(1)
    assert await session.answer(replace(whole, end=None)) is None
    assert await session.answer(replace(whole, end="length")) is None
    with pytest.raises(cw.UsageError, match="opened without read_answer"):
        await session.answer(whole)


def test_a_controller_solves_and_is_refused_for_other_models() -> None:
    controller = cw.Controller.load("expressions")
    models = [cw.load_model("small"), cw.load_model("large")]
    verifier = cw.load_verifier("prm")
    result = cw.solve("3*(4+5)-6", controller, model=models, verifier=verifier, task="expressions", mean_cost=2)
    assert result.answer == "21"
    assert result.decisions[-1].action.kind == "stop"
    with pytest.raises(cw.RunError, match="not for simulated"):
        cw.solve(PROBLEM, controller, model=SimulatedModel(), verifier=verifier, task=TASK)


def test_a_study_of_the_smallest_size(tmp_path: Path) -> None:
    with pytest.raises(cw.UsageError, match="problems"):
        cw.run_study(out=tmp_path / "run", problems=1)


def test_a_study_outside_of_the_main_guard_names_it(tmp_path: Path) -> None:
    guard = 'call run_study under if __name__ == "__main__":'
    process: Any = multiprocessing.current_process()
    with patch.object(process, "_inheriting", True, create=True), pytest.raises(cw.UsageError, match=guard):
        cw.run_study(out=tmp_path / "run")
    died = WorkerError("a worker process died")
    with patch.object(api, "run_study_of", side_effect=died), pytest.raises(cw.RunError, match=guard):
        cw.run_study(out=tmp_path / "run")
    with pytest.raises(cw.RunError, match="nothing to resume in"):
        cw.run_study(out=tmp_path / "run", resume=True)
    assert not list(tmp_path.iterdir())


@pytest.fixture
def server() -> Iterator[VLLM]:
    """A vLLM server in this process, which every client of a connection talks to."""
    found = VLLM()
    with (
        patch.object(opening, "HttpClient", lambda *_, **__: found.client()),
        patch.object(connection, "HttpClient", lambda *_, **__: found.client()),
    ):
        yield found


def test_a_connection_is_a_model_while_it_is_open(server: VLLM) -> None:
    with cw.connect("http://test/v1", parameters=1e9) as model:
        result = cw.solve(PROBLEM, cw.BestOfN(4), model=model, verifier=SimulatedPRM(), task=TASK)
        assert len(result.candidates) == 4
        assert model.parameters == 1_000_000_000
    with pytest.raises(cw.UsageError, match="the connection is closed"):
        cw.solve(PROBLEM, cw.BestOfN(4), model=model, task=TASK)


async def test_a_connection_serves_any_loop(server: VLLM) -> None:
    async with cw.connect("http://test/v1") as model:
        result = await cw.asolve(PROBLEM, cw.BeamSearch(4, 2), model=model, verifier=SimulatedPRM(), task=TASK)
        assert result.tree
        again = cw.solve(PROBLEM, cw.BeamSearch(4, 2), model=model, verifier=SimulatedPRM(), task=TASK)
    assert again.answers == result.answers
