"""The embedded model behind the protocol: text in, steps and bills out."""

from __future__ import annotations

import asyncio
from pathlib import Path

import naive
import numpy as np
import pytest
from naive import TINY, random_weights

from computewise.core import Completion, Problem
from computewise.errors import ProblemError, UsageError
from computewise.models.embedded import NEWLINE, EmbeddedModel, prompt_tokens
from computewise.models.loop import EngineLoop
from computewise.models.vocabulary import TOKENS, decode, encode
from computewise.models.weights import Weights, save_weights
from computewise.session import Strategy
from computewise.solve import solve
from computewise.strategies import DVTS, STRATEGIES, BeamSearch, BestOfN, Greedy, Lookahead, Single
from computewise.tasks.embedded import find_task
from computewise.verifiers.prm import EmbeddedPRM


async def sample(
    model: EmbeddedModel,
    n: int = 1,
    *,
    prompt: str = "3+4",
    prefix: str = "",
    stop: str | None = None,
    max_tokens: int = 40,
    temperature: float = 1.0,
) -> list[Completion]:
    return await model.sample(
        prompt, prefix, n, stop=stop, max_tokens=max_tokens, temperature=temperature, seeds=range(n)
    )


@pytest.fixture
def model(tiny_path: Path) -> EmbeddedModel:
    return EmbeddedModel("tiny", EngineLoop(), path=tiny_path)


@pytest.fixture
def rambling(tmp_path: Path) -> EmbeddedModel:
    """A network that ends a line at every token: all embeddings point one way, the delimiter's furthest."""
    weights = random_weights(TINY)
    for name, tensor in weights.tensors.items():
        if name.endswith(("output.weight", "down.weight")):
            tensor[:] = 0
    weights["embedding.weight"][:] = 1
    weights["embedding.weight"][NEWLINE] = 3
    weights["norm.weight"][:] = 1
    save_weights(tmp_path / "rambling", weights)
    return EmbeddedModel("rambling", EngineLoop(), path=tmp_path / "rambling")


async def test_the_steps_are_the_text_cut_at_the_delimiters(model: EmbeddedModel) -> None:
    for one in await sample(model, 60):
        texts = [step.text for step in one.steps]
        assert all(text.endswith("\n") for text in texts[:-1])
        assert not any("\n" in text[:-1] for text in texts)
        assert all(texts)
        assert sum(step.tokens for step in one.steps) == one.usage.completion_tokens
        assert one.finish_reason == "stop" or one.usage.completion_tokens == 40


async def test_a_steps_log_probability_is_the_sum_over_its_tokens(model: EmbeddedModel, tiny: Weights) -> None:
    (one,) = await sample(model, temperature=0)
    drawn = naive.greedy(tiny, list(prompt_tokens("3+4")), 40)
    expected = naive.logprobs(tiny, list(prompt_tokens("3+4")), drawn)
    assert "".join(step.text for step in one.steps) == decode(drawn)
    assert sum(step.logprob for step in one.steps) == pytest.approx(expected.sum(), abs=1e-3)


async def test_a_step_ends_with_its_delimiter(model: EmbeddedModel) -> None:
    reasons = set()
    for one in await sample(model, 80, stop="\n"):
        reasons.add(one.finish_reason)
        assert len(one.steps) == 1
        assert (one.finish_reason == "step") == one.steps[0].text.endswith("\n")
    assert reasons == {"step", "stop", "length"}


async def test_only_the_first_sample_of_a_prompt_reads_it_and_none_a_prefix(model: EmbeddedModel) -> None:
    read = len(prompt_tokens("3+4"))
    fresh = await sample(model, 3)
    assert [one.usage.prompt_tokens for one in fresh] == [read] * 3
    assert [one.usage.cached_prompt_tokens for one in fresh] == [0, read, read]
    forked = await sample(model, 2, prefix="7\n", stop="\n")
    assert [one.usage.cached_prompt_tokens for one in forked] == [read + 2] * 2
    assert all(one.usage.samples == 1 for one in (*fresh, *forked))


async def test_a_delimiter_at_the_token_limit_of_a_whole_solution_is_no_step(rambling: EmbeddedModel) -> None:
    (one,) = await sample(rambling, temperature=0, max_tokens=7)
    assert [step.text for step in one.steps] == ["\n"] * 7
    assert one.finish_reason == "length"


async def test_a_delimiter_that_fills_the_context_ends_the_solution(rambling: EmbeddedModel) -> None:
    read = len(prompt_tokens("3+4"))
    (going,) = await sample(rambling, prefix="\n" * (TINY.context - read - 2), stop="\n", temperature=0)
    assert going.finish_reason == "step"
    (full,) = await sample(rambling, prefix="\n" * (TINY.context - read - 1), stop="\n", temperature=0)
    assert full.finish_reason == "length"


async def test_what_it_cannot_read_or_do_is_said_before_it_computes(model: EmbeddedModel) -> None:
    with pytest.raises(ProblemError, match=r"allowed are 159"):
        await sample(model, prompt="1+" * 90 + "1")
    with pytest.raises(ProblemError, match="position 2"):
        await sample(model, prompt="1=1")
    with pytest.raises(UsageError, match="line's end"):
        await sample(model, stop="\n\n")
    assert len(asyncio.all_tasks()) == 1


def test_every_token_reads_back_as_itself() -> None:
    for index, token in enumerate(TOKENS[1:], 1):
        assert encode(token) == [index]
    assert decode(encode("Ann has 12 apples. How many apples?")) == "Ann has 12 apples. How many apples?"


async def test_every_strategy_runs_on_an_untrained_network_whatever_it_says(
    model: EmbeddedModel, tiny_prm_path: Path
) -> None:
    """Solutions that end nowhere, within limits and budgets, beside one another: the engine's conformance."""
    loop = EngineLoop()
    verifier = EmbeddedPRM(loop, path=tiny_prm_path)
    task = find_task("expressions")
    problems = [Problem(prompt, prompt, "7") for prompt in ("3+4", "12*(3-4)+1", "9-2")]
    strategies: list[Strategy] = [Single(), Greedy(), BestOfN(3), BeamSearch(4, 2), Lookahead(4, 2, 1), DVTS(4, 2)]
    assert {strategy.name for strategy in strategies} == set(STRATEGIES)
    runs = [(one, strategy, budget) for one in problems for strategy in strategies for budget in (None, 90)]
    together = await asyncio.gather(
        *(solve(one, strategy, model, verifier, task, budget=budget) for one, strategy, budget in runs)
    )
    for (one, strategy, budget), result in zip(runs[::5], together[::5], strict=True):
        alone = await solve(one, strategy, model, verifier, task, budget=budget)
        assert [candidate.text for candidate in alone.explored] == [candidate.text for candidate in result.explored]
        assert alone.usage == result.usage
        for a, b in zip(alone.explored, result.explored, strict=True):
            assert np.allclose(a.scores, b.scores, atol=1e-5)
    assert all(
        result.usage.completion_tokens <= (budget or 10_000)
        for (_, _, budget), result in zip(runs, together, strict=True)
    )
