"""Exported to GGUF, a model is the same in llama.cpp: every token id, every greedy solution, every log-probability."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from llama import llama_server

from computewise.core import Problem
from computewise.export.weights import export_gguf
from computewise.models.embedded.engine import EngineLoop
from computewise.models.embedded.model import EmbeddedModel, prompt_tokens
from computewise.models.embedded.network import END, encode
from computewise.tasks.arithmetic import TASKS

pytest.importorskip("gguf")
pytest.importorskip("xllamacpp")
pytestmark = pytest.mark.slow

PROBLEMS = [problem for task in TASKS.values() for problem in task.problems("test", 100, 0)]


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """Of a server of `small`."""
    file = export_gguf("small", tmp_path_factory.mktemp("exported") / "small.gguf")
    with llama_server(file) as server, httpx.Client(base_url=server.url, timeout=60) as client:
        yield client


def ask(client: httpx.Client, path: str, **body: Any) -> Any:
    """The parsed answer."""
    return client.post(path, json=body).raise_for_status().json()


def test_every_prompt_is_read_as_we_read_it(client: httpx.Client) -> None:
    for problem in PROBLEMS:
        held = ask(client, "/tokenize", content=problem.prompt + "\n", add_special=True)
        assert tuple(held["tokens"]) == prompt_tokens(problem.prompt)
        prompt = ask(client, "/detokenize", tokens=held["tokens"][1:])
        assert prompt["content"] == problem.prompt + "\n"


async def test_every_greedy_solution_is_ours(client: httpx.Client) -> None:
    model = EmbeddedModel("small", EngineLoop())

    async def greedy(problem: Problem) -> str:
        (one,) = await model.sample(problem.prompt, "", 1, stop=None, max_tokens=150, temperature=0, seeds=[0])
        return "".join(step.text for step in one.steps)

    solutions = await asyncio.gather(*map(greedy, PROBLEMS))
    for problem, solution in zip(PROBLEMS, solutions, strict=True):
        prompt = list(prompt_tokens(problem.prompt))
        held = ask(client, "/completion", prompt=prompt, n_predict=150, temperature=0, return_tokens=True)
        assert held["tokens"] == [*encode(solution), END]
        assert held["content"] == solution


async def test_log_probabilities_are_ours(client: httpx.Client) -> None:
    model = EmbeddedModel("small", EngineLoop())
    for problem in PROBLEMS[::20]:
        (one,) = await model.sample(problem.prompt, "", 1, stop=None, max_tokens=150, temperature=0, seeds=[0])
        held = ask(client, "/completion", prompt=problem.prompt + "\n", n_predict=150, temperature=0, n_probs=1)
        theirs = sum(token["logprob"] for token in held["completion_probabilities"])
        assert sum(step.logprob for step in one.steps) == pytest.approx(theirs, abs=1e-4)


def test_a_conversation_is_the_prompt(client: httpx.Client) -> None:
    messages = [{"role": "user", "content": "3*(4+5)-6"}, {"role": "assistant", "content": "3*9-6\n"}]
    assert ask(client, "/apply-template", messages=messages)["prompt"] == "3*(4+5)-6\n3*9-6\n"
    held = ask(client, "/v1/chat/completions", messages=messages[:1], max_tokens=4)
    assert held["usage"]["prompt_tokens"] == len(prompt_tokens("3*(4+5)-6"))


def test_an_unreadable_character_is_refused_and_the_server_lives(client: httpx.Client) -> None:
    assert client.post("/completion", json={"prompt": "1/2\n", "n_predict": 1}).status_code == 400
    assert client.get("/health").status_code == 200
