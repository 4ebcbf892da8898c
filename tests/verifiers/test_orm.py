"""The outcome verifier for revisions: it judges an attempt in view of those before it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import naive
import pytest
from naive import TINY_ORM, random_weights

from computewise.core import Attempt, Candidate, Problem, Step
from computewise.models.embedded.engine import EngineLoop
from computewise.models.embedded.model import prompt_tokens
from computewise.models.embedded.network import END, Weights, encode, load_weights, save_weights
from computewise.verifiers.embedded import EmbeddedORM

PROBLEM = Problem("3*(4+5)-6", "3*(4+5)-6", "21")
LINES = ("3*9-6\n", "27-6\n", "21")
HISTORY = (("3*8-6\n", "18"), ("3*9-6\n", "28-6\n", "22"))
"""What a candidate revises, oldest first."""


@pytest.fixture(scope="module")
def orm_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "orm"
    save_weights(path, random_weights(TINY_ORM, seed=1))
    return path


@pytest.fixture
def orm(orm_path: Path) -> EmbeddedORM:
    return EmbeddedORM(EngineLoop(), path=orm_path)


@pytest.fixture
def weights(orm_path: Path) -> Weights:
    return load_weights(orm_path)


def candidate(
    lines: Sequence[str] = LINES,
    history: Sequence[tuple[str, ...]] = HISTORY,
    *,
    scores: tuple[float, ...] = (),
    ended: bool = True,
) -> Candidate:
    """A revision of the last of `history`."""
    attempts = tuple(Attempt("0" + ".0" * index, steps) for index, steps in enumerate(history))
    parent = attempts[-1].id if attempts else None
    steps = tuple(Step(line, len(line), -0.1) for line in lines)
    return Candidate(f"{parent}.0" if parent else "0", parent, steps, scores, "stop" if ended else None, attempts)


def context(history: Sequence[tuple[str, ...]]) -> list[int]:
    """Tokens before the candidate's own, by hand."""
    return [*prompt_tokens(PROBLEM.prompt), *(token for steps in history for token in (*encode("".join(steps)), END))]


def expected(weights: Weights, one: Candidate, shown: Sequence[tuple[str, ...]]) -> list[float]:
    """By the naive network, behind `shown`: each step at its last token, the last of a finished one at its end."""
    tokens, ends = context(shown), []
    for step in one.steps:
        tokens += encode(step.text)
        ends.append(len(tokens) - 1)
    if one.end == "stop":
        tokens.append(END)
        ends[-1] += 1
    scores = naive.verifier_scores(weights, tokens)
    return [float(scores[end]) for end in ends]


async def scores_of(orm: EmbeddedORM, one: Candidate) -> tuple[float, ...]:
    ((scores,), _) = await orm.score(PROBLEM, [one])
    return scores


async def read_for(orm: EmbeddedORM, *ones: Candidate) -> tuple[int, int]:
    _, usage = await orm.score(PROBLEM, ones)
    return usage.verifier_tokens, usage.cached_verifier_tokens


@pytest.mark.parametrize("history", [(), HISTORY[:1], HISTORY])
async def test_scores_agree_with_the_naive_network_behind_the_history(
    orm: EmbeddedORM, weights: Weights, history: Sequence[tuple[str, ...]]
) -> None:
    for one in (candidate(history=history), candidate(LINES[:2], history, ended=False), candidate(["7"], history)):
        assert await scores_of(orm, one) == pytest.approx(expected(weights, one, history), abs=1e-4)


async def test_another_history_is_another_opinion(orm: EmbeddedORM) -> None:
    """Of the same text, in the same batch."""
    histories = [(), HISTORY[:1], HISTORY[1:], HISTORY, HISTORY[::-1]]
    scored, _ = await orm.score(PROBLEM, [candidate(history=history) for history in histories])
    last = sorted(scores[-1] for scores in scored)
    assert all(after - before > 1e-3 for before, after in pairwise(last))


async def test_the_history_is_read_whole_whatever_a_verifier_doubts_in_it(orm: EmbeddedORM) -> None:
    one = candidate()
    doubted = tuple(replace(attempt, scores=(0.9, 0.01, 0.01)[: len(attempt.steps)]) for attempt in one.history)
    assert await scores_of(orm, replace(one, history=doubted)) == await scores_of(orm, one)


async def test_of_a_history_too_long_the_oldest_is_left_out(orm: EmbeddedORM, weights: Weights) -> None:
    """Exactly full, with the end token; one token more, and the first attempt has to go."""
    room = TINY_ORM.context - len("".join(LINES)) - 1
    padding = "1" * (room - len(context([("",), *HISTORY])))
    full = [(padding,), *HISTORY]
    assert len(context(full)) == room
    one = candidate(history=full)
    assert await scores_of(orm, one) == pytest.approx(expected(weights, one, full), abs=1e-4)
    more = candidate(history=[(padding + "1",), *HISTORY])
    assert await scores_of(orm, more) == pytest.approx(expected(weights, more, HISTORY), abs=1e-4)


async def test_steps_kept_are_judged_anew_in_view_of_the_new_history(orm: EmbeddedORM, weights: Weights) -> None:
    kept = candidate(scores=(0.123, 0.456))
    assert kept.revises
    assert await scores_of(orm, kept) == pytest.approx(expected(weights, kept, HISTORY), abs=1e-4)
    length = len(context(HISTORY)) + len("".join(LINES)) + 1
    assert await read_for(orm, kept) == (length, 0)


async def test_what_extends_a_revision_is_read_on_from_it(orm: EmbeddedORM, weights: Weights) -> None:
    start = candidate(LINES[:1], ended=False)
    known = await scores_of(orm, start)
    grown = replace(candidate(scores=known), id="0.0.0.0", parent="0.0.0")
    assert not grown.revises
    assert await scores_of(orm, grown) == pytest.approx(expected(weights, grown, HISTORY), abs=1e-4)
    marked = replace(grown, scores=(0.123,))
    assert (await scores_of(orm, marked))[0] == 0.123
    prefix = len(context(HISTORY)) + len(LINES[0])
    assert await read_for(orm, grown) == (prefix + len("".join(LINES[1:])) + 1, prefix)


async def test_equal_contexts_are_charged_once_and_others_each(orm: EmbeddedORM) -> None:
    shown = len(context(HISTORY))
    alone, cached = await read_for(orm, candidate())
    assert (alone, cached) == (shown + len("".join(LINES)) + 1, 0)
    thrice = await read_for(orm, candidate(), candidate(["8"]), candidate(["9"]))
    assert thrice == (alone + 2 * (shown + 2), 2 * shown)
    kept = candidate(scores=(0.5,))
    assert await read_for(orm, kept, replace(kept, scores=(0.5, 0.5))) == (2 * alone, shown)
    apart = await read_for(orm, candidate(), candidate(history=HISTORY[:1]), candidate(history=()))
    assert apart[1] == 0


def test_the_value_is_the_last_steps_score(orm: EmbeddedORM) -> None:
    assert (orm.name, orm.value((0.2, 0.7)), orm.value(())) == ("orm", 0.7, 0.0)
