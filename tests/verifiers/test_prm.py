"""The embedded verifier: what is read in pieces, batches and from caches scores as if read alone and at once."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import naive
import numpy as np
import pytest
from naive import TINY_PRM, random_weights

from computewise.core import Candidate, Problem, Step
from computewise.errors import WeightsError
from computewise.models.embedded.engine import EngineLoop
from computewise.models.embedded.model import prompt_tokens
from computewise.models.embedded.network import END, Floats, Ints, Trunk, VerifierHead, Weights, encode, save_weights
from computewise.verifiers.embedded import EmbeddedPRM, Scorer

PROBLEM = Problem("3*(4+5)-6", "3*(4+5)-6", "21")
OTHER = Problem("1+2+3+4+5+6", "1+2+3+4+5+6", "21")
LINES = ("3*9-6\n", "27-6\n", "21")


def candidate(lines: Sequence[str] = LINES, *, scores: tuple[float, ...] = (), ended: bool = True) -> Candidate:
    steps = tuple(Step(line, len(line), -0.1) for line in lines)
    return Candidate("0", None, steps, scores, "stop" if ended else None)


def expected(weights: Weights, problem: Problem, one: Candidate) -> list[float]:
    """By the naive network: each step at its last token, the last of a finished solution at the end token."""
    tokens, ends = list(prompt_tokens(problem.prompt)), []
    for step in one.steps:
        tokens += encode(step.text)
        ends.append(len(tokens) - 1)
    if one.end == "stop":
        tokens.append(END)
        ends[-1] += 1
    return [float(naive.verifier_scores(weights, tokens)[end]) for end in ends]


@pytest.fixture
def prm(tiny_prm_path: Path) -> EmbeddedPRM:
    return EmbeddedPRM(EngineLoop(), path=tiny_prm_path)


async def scores_of(prm: EmbeddedPRM, one: Candidate, problem: Problem = PROBLEM) -> tuple[float, ...]:
    ((scores,), _) = await prm.score(problem, [one])
    return scores


async def test_scores_agree_with_the_naive_network(prm: EmbeddedPRM, tiny_prm: Weights) -> None:
    for one in (candidate(), candidate(LINES[:2], ended=False), candidate(["7"]), candidate(["9" * 60 + "\n", "3"])):
        assert await scores_of(prm, one) == pytest.approx(expected(tiny_prm, PROBLEM, one), abs=1e-4)
    spread = expected(tiny_prm, PROBLEM, candidate())
    assert max(spread) - min(spread) > 0.01


@pytest.mark.parametrize("cached", [True, False])
async def test_reading_step_by_step_gives_the_scores_of_reading_at_once(tiny_prm_path: Path, cached: bool) -> None:
    """With the prefix in the store, and with a verifier that never saw it."""
    prm = EmbeddedPRM(EngineLoop(), path=tiny_prm_path)
    known: tuple[float, ...] = ()
    for count in (1, 2, 3):
        if not cached:
            prm = EmbeddedPRM(EngineLoop(), path=tiny_prm_path)
        known = await scores_of(prm, candidate(LINES[:count], scores=known, ended=count == 3))
    at_once = await scores_of(EmbeddedPRM(EngineLoop(), path=tiny_prm_path), candidate())
    assert known == pytest.approx(at_once, abs=1e-5)


async def test_a_batch_of_many_problems_keeps_them_apart(prm: EmbeddedPRM, tiny_prm: Weights) -> None:
    ones = [candidate([f"{number}+{'1' * (number % 7)}\n", str(number)]) for number in range(25)]
    first, second = await asyncio.gather(prm.score(PROBLEM, ones), prm.score(OTHER, ones))
    for problem, (scores, _) in ((PROBLEM, first), (OTHER, second)):
        for one, found in zip(ones[::6], scores[::6], strict=True):
            assert found == pytest.approx(expected(tiny_prm, problem, one), abs=1e-4)


async def test_a_long_prefix_beside_a_long_text_fits_the_context(tiny_prm: Weights, tiny_prm_path: Path) -> None:
    """Padded to the longest new part, the row with the long prefix reaches behind the context's end."""
    prm = EmbeddedPRM(EngineLoop(), path=tiny_prm_path)
    room = TINY_PRM.context - len(prompt_tokens(PROBLEM.prompt))
    long = candidate(["1" * (room - 5) + "\n"], ended=False)
    known = await scores_of(prm, long)
    grown = replace(long, steps=(*long.steps, Step("2+2", 3, -0.1)), scores=known)
    fresh = candidate(["3" * (room - 2) + "\n"], ended=False)
    ((a,), _), ((b,), _) = await asyncio.gather(prm.score(PROBLEM, [grown]), prm.score(PROBLEM, [fresh]))
    assert a == pytest.approx(expected(tiny_prm, PROBLEM, grown), abs=1e-4)
    assert b == pytest.approx(expected(tiny_prm, PROBLEM, fresh), abs=1e-4)


async def test_what_is_known_is_neither_read_nor_charged(prm: EmbeddedPRM) -> None:
    prompt = len(prompt_tokens(PROBLEM.prompt))
    partial = candidate(LINES[:1], ended=False)
    ((known,), first) = await prm.score(PROBLEM, [partial])
    assert (first.verifier_tokens, first.cached_verifier_tokens) == (prompt + 6, 0)
    _, second = await prm.score(PROBLEM, [candidate(LINES[:2], scores=known, ended=False)])
    assert (second.verifier_tokens, second.cached_verifier_tokens) == (prompt + 11, prompt + 6)
    ((again,), third) = await prm.score(PROBLEM, [replace(partial, scores=known)])
    assert again == known
    assert third.verifier_tokens == third.cached_verifier_tokens
    _, twice = await prm.score(PROBLEM, [partial, candidate(["8\n"], ended=False)])
    assert twice.verifier_tokens - twice.cached_verifier_tokens == prompt + 6 + 2


async def test_cancelled_readings_leave_nothing_behind(prm: EmbeddedPRM) -> None:
    task = asyncio.ensure_future(scores_of(prm, candidate()))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert len(await scores_of(prm, candidate())) == 3
    for _ in range(20):
        await asyncio.sleep(0)
    assert asyncio.all_tasks() == {asyncio.current_task()}


class FailingTrunk(Trunk):
    """Fails once."""

    failed = False

    def states(self, tokens: Ints, cache: Floats, past: Ints) -> Floats:
        if not self.failed:
            self.failed = True
            raise MemoryError("no room")
        return super().states(tokens, cache, past)


async def test_an_error_reaches_everybody_who_waits_and_the_verifier_goes_on(tiny_prm: Weights) -> None:
    scorer = Scorer(FailingTrunk(tiny_prm), VerifierHead(tiny_prm), EngineLoop())
    texts = [(*prompt_tokens(PROBLEM.prompt), *encode(str(number))) for number in range(3)]
    failed = await asyncio.gather(*(scorer.read(text, text[:-1], keep=False) for text in texts), return_exceptions=True)
    assert all(isinstance(one, MemoryError) for one in failed)
    assert len(await scorer.read(texts[0], (), keep=False)) == len(texts[0])


async def test_a_confident_verifier_overflows_nothing(tmp_path: Path) -> None:
    weights = random_weights(TINY_PRM)
    weights["head.weight"][:] = 3000
    save_weights(tmp_path / "w", weights)
    scores = await scores_of(EmbeddedPRM(EngineLoop(), path=tmp_path / "w"), candidate())
    assert all(np.isfinite(score) and 0 <= score <= 1 for score in scores)


def test_a_constant_verifier_is_refused(tiny_prm: Weights, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A head of zeros scores everything .5, and nothing else would notice."""
    constant = {name: tensor * (0 if name.startswith("head.") else 1) for name, tensor in tiny_prm.tensors.items()}
    save_weights(tmp_path / "prm.safetensors", Weights(tiny_prm.config, constant))
    monkeypatch.setattr("computewise.verifiers.embedded.WEIGHTS_DIRECTORY", tmp_path)
    with pytest.raises(WeightsError, match=r"right solution 0\.500, a wrong one 0\.500"):
        EmbeddedPRM(EngineLoop())
