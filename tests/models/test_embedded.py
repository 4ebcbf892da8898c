"""The embedded model behind the protocol: text in, steps and bills out."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import naive
import numpy as np
import pytest
from naive import TINY, TINY_REVISION, random_weights

from computewise.core import Attempt, Completion, Problem
from computewise.errors import ProblemError, UsageError
from computewise.models.embedded.engine import EngineLoop
from computewise.models.embedded.model import NEWLINE, EmbeddedModel, context_tokens, fitting_context, prompt_tokens
from computewise.models.embedded.network import END, TOKENS, Weights, decode, encode, load_weights, save_weights
from computewise.session import Strategy
from computewise.solver import solve
from computewise.strategies import (
    DVTS,
    STRATEGIES,
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
from computewise.study.plan import RevisionPool
from computewise.tasks.arithmetic import find_task
from computewise.verifiers.embedded import EmbeddedPRM


async def sample(
    model: EmbeddedModel,
    n: int = 1,
    *,
    prompt: str = "3+4",
    prefix: str = "",
    stop: str | None = None,
    max_tokens: int = 40,
    temperature: float = 1.0,
    attempts: Sequence[Attempt] = (),
) -> list[Completion]:
    return await model.sample(
        prompt,
        prefix,
        n,
        stop=stop,
        max_tokens=max_tokens,
        temperature=temperature,
        seeds=range(n),
        attempts=attempts,
    )


@pytest.fixture
def model(tiny_path: Path) -> EmbeddedModel:
    return EmbeddedModel("tiny", EngineLoop(), path=tiny_path)


@pytest.fixture(scope="module")
def revision_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The weights of `tiny`, in a file that says they were trained to revise."""
    path = tmp_path_factory.mktemp("weights") / "revision"
    save_weights(path, random_weights(TINY_REVISION))
    return path


@pytest.fixture
def reviser(revision_path: Path) -> EmbeddedModel:
    return EmbeddedModel("tiny revision", EngineLoop(), path=revision_path)


@pytest.fixture
def judged(tmp_path: Path) -> EmbeddedModel:
    """The same, trained on attempts that a verifier had cut."""
    save_weights(tmp_path / "judged", random_weights(replace(TINY_REVISION, verdicts=True)))
    return EmbeddedModel("tiny judged", EngineLoop(), path=tmp_path / "judged")


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


def attempt(*steps: str, scores: tuple[float, ...] = ()) -> Attempt:
    return Attempt("0", steps, scores)


SHOWN = (attempt("3+3\n", "6"), attempt("8"))
BEHIND_SHOWN = [END, *encode("3+4\n3+3\n6"), END, *encode("8"), END]


def by_hand(weights: Weights, tokens: list[int], count: int) -> str:
    return decode(naive.greedy(weights, tokens, count))


async def said(model: EmbeddedModel, attempts: Sequence[Attempt], *, prefix: str = "", max_tokens: int = 40) -> str:
    (one,) = await sample(model, prefix=prefix, temperature=0, max_tokens=max_tokens, attempts=attempts)
    return "".join(step.text for step in one.steps)


async def test_a_revision_is_what_follows_the_attempts_and_their_ends(
    reviser: EmbeddedModel, revision_path: Path
) -> None:
    weights = load_weights(revision_path)
    assert list(context_tokens("3+4", [one.text for one in SHOWN])) == BEHIND_SHOWN
    assert await said(reviser, SHOWN) == by_hand(weights, BEHIND_SHOWN, 40)
    assert await said(reviser, SHOWN, prefix="3+\n") == by_hand(weights, [*BEHIND_SHOWN, *encode("3+\n")], 40)
    assert await said(reviser, SHOWN) != await said(reviser, ()) == by_hand(weights, list(prompt_tokens("3+4")), 40)


async def test_the_oldest_attempts_are_dropped_where_the_context_cannot_hold_them(
    reviser: EmbeddedModel, revision_path: Path
) -> None:
    """A context of 160, less 40 to come and 3 of the prefix: the last two of three fit, exactly."""
    room = TINY_REVISION.context - 40 - 3
    long = attempt("1" * (room - len(BEHIND_SHOWN) + 1))
    rest = [END, *encode("3+4\n8"), END, *encode(long.text), END]
    assert len(rest) == room - 4
    last = attempt("777")
    kept = [*rest, *encode("777"), END]
    assert len(kept) == room
    shown = [SHOWN[0], SHOWN[1], long, last]
    (one,) = await sample(reviser, prefix="3+\n", max_tokens=40, attempts=shown)
    assert one.usage.prompt_tokens == room + 3
    assert await said(reviser, shown, prefix="3+\n") == by_hand(
        load_weights(revision_path), [*kept, *encode("3+\n")], 40
    )
    (one,) = await sample(reviser, prefix="3+\n", max_tokens=41, attempts=shown)
    assert one.usage.prompt_tokens == room + 3 - len("8 ")


def test_what_fits_is_the_last_attempts_however_long_the_others() -> None:
    texts = ["1" * 50, "22", "3"]
    assert fitting_context("3+4", texts, 200) == context_tokens("3+4", texts)
    for kept in (texts, texts[1:], texts[2:], []):
        length = len(context_tokens("3+4", kept))
        assert fitting_context("3+4", texts, length) == context_tokens("3+4", kept)
        assert fitting_context("3+4", texts, length - 1) == context_tokens("3+4", kept[1:])
    assert fitting_context("3+4", ["1", "2" * 50], 30) == prompt_tokens("3+4")


async def test_a_model_not_trained_to_revise_says_which_one_is(model: EmbeddedModel, reviser: EmbeddedModel) -> None:
    assert (model.revises, reviser.revises) == (False, True)
    with pytest.raises(UsageError, match="not trained to revise its attempts: use revision"):
        await sample(model, attempts=SHOWN)
    assert len(asyncio.all_tasks()) == 1


async def test_attempts_are_read_once_and_never_from_a_cache(reviser: EmbeddedModel) -> None:
    """No earlier call has put this context before a prefix, kept steps or none."""
    read = len(BEHIND_SHOWN)
    for prefix, length in (("", read), ("7\n", read + 2)):
        drawn = await sample(reviser, 3, prefix=prefix, attempts=SHOWN)
        assert [one.usage.prompt_tokens for one in drawn] == [length] * 3
        assert [one.usage.cached_prompt_tokens for one in drawn] == [0, length, length]


async def test_a_verdict_cuts_what_is_doubted_at_its_most_doubted_step(judged: EmbeddedModel) -> None:
    steps = ("3+3\n", "9\n", "6")

    async def read(scores: tuple[float, ...], model: EmbeddedModel = judged) -> int:
        (one,) = await sample(model, attempts=[attempt(*steps, scores=scores)])
        return one.usage.prompt_tokens - len(prompt_tokens("3+4")) - 1

    assert await read((0.9, 0.1, 0.1)) == len("3+3\n9\n")
    assert await read((0.1, 0.1, 0.1)) == len("3+3\n")
    assert await read((0.9, 0.9, 0.1)) == len("3+3\n9\n6")
    assert await read((0.9, 0.1, 0.6)) == len("3+3\n9\n6")
    assert await read(()) == len("3+3\n9\n6")


async def test_only_what_a_verdict_leaves_is_seen(
    judged: EmbeddedModel, reviser: EmbeddedModel, revision_path: Path
) -> None:
    doubted = [attempt("3+3\n", "9\n", "6", scores=(0.9, 0.1, 0.1))]
    cut = by_hand(load_weights(revision_path), [END, *encode("3+4\n3+3\n9\n"), END], 40)
    whole = by_hand(load_weights(revision_path), [END, *encode("3+4\n3+3\n9\n6"), END], 40)
    assert cut != whole
    assert await said(judged, doubted) == cut
    assert await said(reviser, doubted) == whole


async def test_every_strategy_runs_on_an_untrained_network_whatever_it_says(
    reviser: EmbeddedModel, tiny_prm_path: Path
) -> None:
    """Solutions that end nowhere, within limits and budgets, beside one another: the engine's conformance."""
    loop = EngineLoop()
    verifier = EmbeddedPRM(loop, path=tiny_prm_path)
    task = find_task("expressions")
    problems = [Problem(prompt, prompt, "7") for prompt in ("3+4", "12*(3-4)+1", "9-2")]
    strategies: list[Strategy] = [
        Single(),
        Greedy(),
        BestOfN(3),
        BeamSearch(4, 2),
        Lookahead(4, 2, 1),
        DVTS(4, 2),
        Rebase(4),
        ParticleFilter(4),
        Revisions(3, 2),
        GatedRevisions(3, 2),
        StepRevisions(3, 2),
        AdaptiveBranching(4),
        RevisionPool(4),
    ]
    assert {strategy.name for strategy in strategies} == {*STRATEGIES, RevisionPool.name}
    runs = [(one, strategy, budget) for one in problems for strategy in strategies for budget in (None, 90)]
    together = await asyncio.gather(
        *(solve(one, strategy, reviser, verifier, task, budget=budget) for one, strategy, budget in runs)
    )
    for (one, strategy, budget), result in zip(runs[::5], together[::5], strict=True):
        alone = await solve(one, strategy, reviser, verifier, task, budget=budget)
        assert [candidate.text for candidate in alone.tree] == [candidate.text for candidate in result.tree]
        assert alone.usage == result.usage
        for a, b in zip(alone.tree, result.tree, strict=True):
            assert np.allclose(a.scores, b.scores, atol=1e-5)
    assert all(
        result.usage.completion_tokens <= (budget or 10_000)
        for (_, _, budget), result in zip(runs, together, strict=True)
    )
