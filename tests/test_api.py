"""`import computewise as cw`: what it names, what it loads, and the two halves, synchronous and not."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from servers import VLLM

import computewise as cw
from computewise import connection
from computewise.models.server import connect as opening
from computewise.simulated import SimulatedModel, SimulatedPRM, SimulatedTask, simulated_problem

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
        ({"strategy": "step_revisions", "verifier": None}, "needs a verifier"),
        ({"strategy": "beam_search", "model": SimulatedModel(steps=False)}, "needs a model that continues"),
        ({"strategy": "best_of_n", "task": "no such task"}, "no such task"),
        ({"strategy": "best_of_n", "budget": 0}, "budget"),
    ],
)
def test_a_mistake_is_named(settings: dict[str, Any], message: str) -> None:
    given: dict[str, Any] = {"model": SimulatedModel(), "verifier": SimulatedPRM(), "task": TASK, **settings}
    with pytest.raises(cw.UsageError, match=message):
        cw.solve(PROBLEM, **given)


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
