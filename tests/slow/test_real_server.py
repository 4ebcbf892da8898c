"""Searches through HTTP on a real llama.cpp server are the searches of the in-process engine.

Their random numbers differ, so what is sampled is compared as distributions: by permuting which engine a run came from,
within each problem, which is exact whatever the counts. Beams share ancestors, so the unit is a run, not a beam.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from llama import LlamaServer, llama_server
from numpy.typing import NDArray

from computewise.core import Candidate, Model, Problem, Result
from computewise.export.weights import export_gguf
from computewise.http.client import HttpClient
from computewise.models.embedded.engine import EngineLoop
from computewise.models.embedded.model import EmbeddedModel, prompt_tokens
from computewise.models.embedded.network import END, WEIGHTS_DIRECTORY, Trunk, encode, load_weights, log_softmax
from computewise.models.server.connect import connect_model, probe_model
from computewise.models.server.model import ServerModel
from computewise.session import Strategy
from computewise.solver import solve
from computewise.strategies import BeamSearch, BestOfN, Greedy, StepRevisions
from computewise.tasks.arithmetic import TASKS
from computewise.verifiers.embedded import EmbeddedPRM

pytest.importorskip("gguf")
pytest.importorskip("xllamacpp")
pytestmark = pytest.mark.slow

TASK = TASKS["expressions"]
PROBLEMS = TASK.problems("test", 12, 7)
SEEDS = range(4)
ALPHA = 1e-3
LEVEL = 3.3
"""Standard errors of a mean that come to the same level."""
MARGIN = 0.15
"""By how much two accuracies may differ at most, the 95 % interval of their difference included."""
STRATEGIES = (BestOfN(16), BeamSearch(16, 4), StepRevisions(4, 4))


class Run(NamedTuple):
    """One search of one problem with one seed."""

    problem: Problem
    result: Result

    @property
    def answer(self) -> str:
        """What was chosen."""
        return str(self.result.answer)

    @property
    def right(self) -> bool:
        """Whether that is the answer."""
        return self.answer == self.problem.answer


class Both(NamedTuple):
    """The same searches by either engine, in the same order."""

    server: list[Run]
    embedded: list[Run]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LlamaServer]:
    """`small` on llama.cpp with 16 slots."""
    file = export_gguf("small", tmp_path_factory.mktemp("exported") / "small.gguf")
    with llama_server(file) as server:
        yield server


@pytest.fixture(scope="module")
def searched(served: LlamaServer) -> dict[str, Both]:
    """Every search of this module by the strategy's name."""

    async def all_of_them() -> dict[str, Both]:
        return {strategy.name: await both(served, strategy) for strategy in (*STRATEGIES, Greedy())}

    return asyncio.run(all_of_them())


async def both(served: LlamaServer, strategy: Strategy) -> Both:
    """All problems with all seeds, by the server and in process."""
    async with HttpClient(f"{served.url}/v1") as client:
        model = await opened(served, client)
        return Both(await runs(strategy, model), await runs(strategy, EmbeddedModel("small", EngineLoop())))


async def opened(served: LlamaServer, client: HttpClient) -> ServerModel:
    """The adapter, as a command opens it."""
    return await connect_model(await probe_model(client.base_url, None), client, delimiter=TASK.delimiter)


async def runs(strategy: Strategy, model: Model) -> list[Run]:
    """By `model` and the embedded process reward model."""
    verifier = EmbeddedPRM(EngineLoop())

    async def run(problem: Problem, seed: int) -> Run:
        return Run(problem, await solve(problem, strategy, model, verifier, TASK, seed=seed))

    return await asyncio.gather(*(run(problem, seed) for problem in PROBLEMS for seed in SEEDS))


def differ(ours: Sequence[Sequence[str]], theirs: Sequence[Sequence[str]]) -> float:
    """The permutation p-value of two samples' difference in distribution, both given problem by problem.

    The statistic is the sum over problems of the chi-square statistic of two samples of one size.
    """
    rng = np.random.default_rng(0)
    observed, permuted = 0.0, np.zeros(2000)
    for mine, other in zip(ours, theirs, strict=True):
        _, codes = np.unique([*mine, *other], return_inverse=True)
        orders = np.array([np.arange(len(codes)), *(rng.permutation(len(codes)) for _ in permuted)])
        total = np.bincount(codes)
        first = (codes[orders[:, : len(mine)]][..., None] == np.arange(len(total))).sum(1)
        statistics = ((first - total * len(mine) / len(codes)) ** 2 / total).sum(1)
        observed += statistics[0]
        permuted += statistics[1:]
    return float((1 + (permuted >= observed - 1e-9).sum()) / (1 + len(permuted)))


def by_problem(runs: Sequence[Run], values: Sequence[Sequence[str]]) -> list[list[str]]:
    """The values of each problem's runs together."""
    return [
        [value for run, held in zip(runs, values, strict=True) if run.problem is problem for value in held]
        for problem in PROBLEMS
    ]


def mean_and_error(differences: NDArray[np.float64]) -> tuple[float, float]:
    """Of runs paired by problem, so that what problems differ in cancels."""
    return float(differences.mean()), float(differences.std() / len(differences) ** 0.5)


def first_steps(run: Run) -> list[str]:
    """Of every child of the root: independent samples."""
    return [candidate.steps[0].text for candidate in run.result.tree if candidate.parent is None]


def test_the_comparison_tells_a_warmer_model() -> None:
    cold, warm = [["a"] * 60 + ["b"] * 4] * 12, [["a"] * 52 + ["b"] * 12] * 12
    assert differ(cold, cold) > 0.5
    assert differ(cold, warm) < ALPHA


def test_the_adapter_finds_what_the_server_can(served: LlamaServer) -> None:
    found = asyncio.run(probe_model(f"{served.url}/v1", None))
    assert (found.model, found.parameters) == ("small", 786_304)
    assert (found.capabilities.rung, found.capabilities.n, found.capabilities.context) == ("A", served.slots, 256)


def test_the_example_runs_on_a_real_server(served: LlamaServer) -> None:
    """Votes, since a model that knows arithmetic alone judges nothing."""
    example = Path(__file__).parents[2] / "examples" / "01_best_of_n.py"
    command = [sys.executable, str(example), served.url, "none", "3*(4+5)-6*7", "expressions"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("answer: ")
    assert int(done.stdout.rsplit("tokens: ", 1)[1]) > 0


def test_greedy_searches_are_identical(searched: dict[str, Both]) -> None:
    for server, embedded in zip(*searched["greedy"], strict=True):
        assert server.result.chosen is not None
        assert embedded.result.chosen is not None
        assert server.result.chosen.text == embedded.result.chosen.text
        assert server.result.usage == embedded.result.usage


@pytest.mark.parametrize("strategy", [strategy.name for strategy in STRATEGIES])
def test_every_token_is_counted(searched: dict[str, Both], strategy: str) -> None:
    def tokens(candidate: Candidate) -> list[int]:
        counts = [len(encode(step.text)) for step in candidate.steps]
        if candidate.end == "stop":
            counts[-1] += 1
        return counts

    for run in searched[strategy].server:
        assert all([step.tokens for step in one.steps] == tokens(one) for one in run.result.tree)
        costs = run.result.costs.values()
        assert run.result.usage.completion_tokens == sum(cost.completion_tokens for cost in costs)
        whole = [c for c in run.result.tree if c.parent is None]
        assert {run.result.costs[c.id].prompt_tokens for c in whole} == {len(prompt_tokens(run.problem.prompt))}


@pytest.mark.parametrize("strategy", [strategy.name for strategy in STRATEGIES])
def test_searches_choose_and_cost_alike(searched: dict[str, Both], strategy: str) -> None:
    server, embedded = searched[strategy]
    chosen = [by_problem(runs, [[run.answer] for run in runs]) for runs in (server, embedded)]
    assert differ(*chosen) > ALPHA
    depths = [
        by_problem(runs, [[str(len(run.result.chosen.steps)) if run.result.chosen else ""] for run in runs])
        for runs in (server, embedded)
    ]
    assert differ(*depths) > ALPHA
    tokens = np.array([[run.result.usage.completion_tokens for run in runs] for runs in (server, embedded)], float)
    mean, error = mean_and_error(tokens[0] - tokens[1])
    assert abs(mean) < LEVEL * error


def test_accuracies_are_equivalent(searched: dict[str, Both]) -> None:
    """Two one-sided tests: not merely undetected, a difference beyond the margin is excluded."""
    pairs = [pair for strategy in STRATEGIES for pair in zip(*searched[strategy.name], strict=True)]
    right = np.array([[server.right, embedded.right] for server, embedded in pairs], float)
    mean, error = mean_and_error(right[:, 0] - right[:, 1])
    assert abs(mean) + 1.96 * error < MARGIN


def test_solutions_are_sampled_alike(searched: dict[str, Both]) -> None:
    answers = [
        by_problem(runs, [[str(run.result.answers[one.id]) for one in run.result.candidates] for run in runs])
        for runs in searched["best_of_n"]
    ]
    assert differ(*answers) > ALPHA


def test_steps_are_sampled_alike(searched: dict[str, Both]) -> None:
    assert differ(*(by_problem(runs, [*map(first_steps, runs)]) for runs in searched["beam_search"])) > ALPHA


def test_solutions_are_as_likely(searched: dict[str, Both]) -> None:
    """What a temperature or a filter would change first: the mean log-probability of what is sampled."""
    likely = [
        np.array([[sum(step.logprob for step in one.steps) for one in run.result.candidates] for run in runs])
        for runs in searched["best_of_n"]
    ]
    mean, error = mean_and_error((likely[0] - likely[1]).mean(1))
    assert abs(mean) < LEVEL * error


def test_log_probabilities_are_the_models(searched: dict[str, Both]) -> None:
    trunk = Trunk(load_weights(WEIGHTS_DIRECTORY / "small.safetensors"))
    for run in searched["best_of_n"].server[:: len(SEEDS)]:
        one = run.result.candidates[0]
        prompt = prompt_tokens(run.problem.prompt)
        tokens = np.array([*prompt, *encode(one.text), END])
        cache = trunk.blocks.new_cache(1, len(tokens))
        states = trunk.states(tokens[None, :-1], cache, np.zeros(1, np.int64))
        ours = log_softmax(trunk.logits(states[0]))[np.arange(len(tokens) - 1), tokens[1:]][len(prompt) - 1 :]
        assert sum(step.logprob for step in one.steps) == pytest.approx(float(ours.sum()), abs=1e-3)
