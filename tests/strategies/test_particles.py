"""How REBASE and the particle filter share their width out: the arithmetic, and what it makes of a search."""

from __future__ import annotations

import math

import pytest
from doubles import ByText, Scripted, completion, problem
from hypothesis import given
from hypothesis import strategies as st

from computewise.core import ROOT, Completion
from computewise.session import Limits, Session, Strategy
from computewise.solver import solve
from computewise.strategies import ParticleFilter, Rebase
from computewise.strategies.beam_search import apportion, softmax
from computewise.strategies.particle_filter import effective_size, systematic
from computewise.tasks.arithmetic import find_task
from computewise.testing import Recording

EXPRESSIONS = find_task("expressions")
WEIGHTS = st.lists(st.floats(1e-6, 1e6), min_size=1, max_size=20)
OFFSETS = st.floats(0, 1, exclude_max=True)


@pytest.mark.parametrize(
    ("shares", "total", "counts"),
    [
        ([1.0], 5, [5]),
        ([0.5, 0.5], 4, [2, 2]),
        ([0.5, 0.3, 0.2], 3, [1, 1, 1]),
        ([0.65, 0.25, 0.1], 4, [3, 1, 0]),
        ([0.1, 0.3, 0.6], 3, [0, 1, 2]),
        ([0.5, 0.5], 3, [2, 1]),
        ([0.25] * 4, 6, [2, 2, 1, 1]),
        ([0.25] * 4, 1, [1, 0, 0, 0]),
        ([0.25, 0.75], 0, [0, 0]),
    ],
)
def test_apportionment_by_largest_remainder(shares: list[float], total: int, counts: list[int]) -> None:
    assert apportion(shares, total) == counts


@given(st.lists(st.floats(-50, 50), min_size=1, max_size=20), st.integers(0, 64))
def test_an_apportionment_sums_to_the_total_and_is_less_than_one_off(logits: list[float], total: int) -> None:
    shares = softmax(logits, 1.0)
    counts = apportion(shares, total)
    assert sum(counts) == total
    assert all(abs(count - share * total) < 1 + 1e-9 for count, share in zip(counts, shares, strict=True))
    assert all(count >= 0 for count in counts)


def test_softmax_by_hand_and_where_exponentials_overflow() -> None:
    assert softmax([math.log(1), math.log(3)], 1.0) == pytest.approx([0.25, 0.75])
    assert softmax([0.3], 1e-310) == [1.0]
    assert softmax([1e6, 1e6], 1.0) == [0.5, 0.5]
    assert softmax([1e6, 0.0], 1.0) == [1.0, 0.0]


def test_effective_size_by_hand() -> None:
    assert effective_size([0.3] * 7, [1] * 7) == pytest.approx(7)
    assert effective_size([2.0, 0.0, 0.0], [1, 1, 1]) == 1
    assert effective_size([1.0, 1.0, 0.0, 0.0], [1] * 4) == 2
    assert effective_size([3.0, 1.0], [1, 1]) == pytest.approx(16 / 10)
    assert effective_size([3.0, 1.0], [1, 3]) == effective_size([3.0, 1.0, 1.0, 1.0], [1] * 4)


ALMOST_ONE = 1 - 1e-9


@pytest.mark.parametrize(
    ("weights", "offset", "counts"),
    [
        ([1.0], 0.0, [1]),
        ([1.0, 1.0, 1.0, 1.0], 0.0, [1, 1, 1, 1]),
        ([1.0, 1.0, 1.0, 1.0], ALMOST_ONE, [1, 1, 1, 1]),
        ([3.0, 1.0], 0.0, [2, 0]),
        ([3.0, 1.0], 0.49, [2, 0]),
        ([3.0, 1.0], 0.5, [1, 1]),
        ([3.0, 1.0], ALMOST_ONE, [1, 1]),
        ([1.0, 3.0], 0.0, [1, 1]),
        ([1.0, 3.0], ALMOST_ONE, [0, 2]),
        ([0.0, 1.0, 0.0], 0.0, [0, 3, 0]),
        ([0.0, 1.0, 0.0], ALMOST_ONE, [0, 3, 0]),
    ],
)
def test_systematic_resampling_by_hand(weights: list[float], offset: float, counts: list[int]) -> None:
    assert systematic(weights, len(weights), offset) == counts


def test_fewer_particles_than_points_are_drawn_several_times() -> None:
    assert systematic([3.0, 1.0], 8, 0.5) == [6, 2]


def test_rounding_loses_no_draw() -> None:
    assert sum(systematic([1.0] * 4, 4, math.nextafter(1.0, 0.0))) == 4


@given(WEIGHTS, OFFSETS)
def test_systematic_resampling_draws_n_each_less_than_one_off_what_it_is_worth(
    weights: list[float], offset: float
) -> None:
    counts = systematic(weights, len(weights), offset)
    assert sum(counts) == len(weights)
    assert all(count >= 0 for count in counts)
    for count, weight in zip(counts, weights, strict=True):
        assert abs(count - len(weights) * weight / sum(weights)) < 1 + 1e-6


@given(st.lists(st.floats(1e-3, 1e3), min_size=1, max_size=8))
def test_systematic_resampling_is_unbiased(weights: list[float]) -> None:
    offsets = [step / 500 for step in range(500)]
    totals = [sum(one) for one in zip(*(systematic(weights, len(weights), offset) for offset in offsets), strict=True)]
    for total, weight in zip(totals, weights, strict=True):
        assert total / len(offsets) == pytest.approx(len(weights) * weight / sum(weights), abs=0.01)


def first_letters(prefix: str, index: int) -> Completion:
    """First steps a, b, c, d; then the same step for ever."""
    return completion("x\n" if prefix else f"{'abcd'[index]}\n", "step")


async def asked(strategy: Strategy, scores: dict[str, float], *, steps: int, seed: int = 0) -> list[dict[str, int]]:
    """The children asked for in each round: how many of each first letter."""
    model = Recording(Scripted(first_letters))
    verifier = ByText(lambda text: scores[text])
    await solve(problem(), strategy, model, verifier, EXPRESSIONS, seed=seed, limits=Limits(steps=steps))
    rounds: list[dict[str, int]] = [{} for _ in range(steps)]
    for call in model.calls:
        now = rounds[call.prefix.count("\n")]
        now[call.prefix[:1]] = now.get(call.prefix[:1], 0) + call.n
    return rounds


async def test_rebase_gives_children_by_softmax_of_value_over_temperature() -> None:
    scores = {"a\n": 0.9, "b\n": 0.7, "c\n": 0.5, "d\n": 0.1}
    for temperature, expected in ((0.2, {"a": 3, "b": 1}), (0.05, {"a": 4}), (50.0, dict.fromkeys("abcd", 1))):
        last = {text + "x\n": 0.5 for text in scores}
        rounds = await asked(Rebase(4, temperature), scores | last, steps=2)
        assert {letter: count for letter, count in rounds[1].items() if count} == expected


@pytest.mark.parametrize("strategy", [ParticleFilter(4), Rebase(4)])
async def test_equal_weights_give_each_one_child(strategy: Strategy) -> None:
    scores = {letter + "\n" + "x\n" * more: 0.3 for letter in "abcd" for more in range(6)}
    rounds = await asked(strategy, scores, steps=5)
    assert rounds == [{"": 4}, *[dict.fromkeys("abcd", 1)] * 4]


async def test_half_an_effective_size_is_enough_not_to_resample() -> None:
    """Odds of 1, 1, 0, 0 are worth just over two particles of four; of 1, 0, 0, 0 hardly more than one."""
    two = {"a\n": 0.5, "b\n": 0.5, "c\n": 0.0, "d\n": 0.0}
    one = {"a\n": 0.5, "b\n": 0.0, "c\n": 0.0, "d\n": 0.0}
    last = {text + "x\n": 0.5 for text in two}
    for seed in range(10):
        assert (await asked(ParticleFilter(4), two | last, steps=2, seed=seed))[1] == dict.fromkeys("abcd", 1)
        assert (await asked(ParticleFilter(4), one | last, steps=2, seed=seed))[1] == {"a": 4}


async def test_a_weight_is_what_the_odds_have_risen_by_since_the_last_resampling() -> None:
    """Three copies of a fall to a ninth of their odds, b keeps its own; by the odds alone, no one would stand out."""
    scores = {"a\n": 0.9, "b\n": 0.6, "c\n": 0.0, "d\n": 0.0, "a\nx\n": 0.5, "b\nx\n": 0.6}
    last = {"a\nx\nx\n": 0.5, "b\nx\nx\n": 0.5}
    seen = [await asked(ParticleFilter(4), scores | last, steps=3, seed=seed) for seed in range(12)]
    uneven = [rounds[2] for rounds in seen if rounds[1] == {"a": 3, "b": 1}]
    assert uneven
    assert all(counts == {"a": 1, "b": 3} for counts in uneven)
    assert all(rounds[1] in ({"a": 3, "b": 1}, {"a": 4}) for rounds in seen)


async def test_the_dice_of_resampling_are_the_seeds() -> None:
    scores = {"a\n": 0.9, "b\n": 0.6, "c\n": 0.0, "d\n": 0.0, "a\nx\n": 0.5, "b\nx\n": 0.5}
    twice = [[await asked(ParticleFilter(4), scores, steps=2, seed=seed) for seed in range(12)] for _ in range(2)]
    assert twice[0] == twice[1]
    assert len({str(rounds) for rounds in twice[0]}) == 2


def answers_first(prefix: str, index: int) -> Completion:
    """The first solution is over after a step, the others go on."""
    return completion("7", "stop") if index == 0 and not prefix else completion(f"{index}+1\n", "step")


async def test_a_finished_particle_stands_once_however_often_it_is_drawn() -> None:
    verifier = ByText(lambda text: 0.999 if text == "7" else 0.001)
    model = Recording(Scripted(answers_first))
    result = await solve(problem(), ParticleFilter(4), model, verifier, EXPRESSIONS)
    assert [candidate.text for candidate in result.candidates] == ["7"]
    assert [call.n for call in model.calls] == [4]


async def test_a_finished_particle_keeps_its_odds_and_is_neither_sampled_nor_scored_again() -> None:
    verifier = ByText(lambda text: 0.5)
    model = Recording(Scripted(answers_first))
    result = await solve(problem(), ParticleFilter(4), model, verifier, EXPRESSIONS, limits=Limits(steps=6))
    assert [candidate.text for candidate in result.candidates].count("7") == 1
    assert len(result.candidates) == 4
    assert verifier.read.count("7") == 1
    assert all("7" not in call.prefix for call in model.calls)
    assert len(model.calls) == 1 + 5 * 3


async def test_a_finished_particle_of_low_odds_is_resampled_away() -> None:
    def script(prefix: str, index: int) -> Completion:
        return completion("8", "stop") if prefix else answers_first(prefix, index)

    verifier = ByText(lambda text: 0.9 if text.startswith("1+1") else 0.001)
    result = await solve(problem(), ParticleFilter(4), Scripted(script), verifier, EXPRESSIONS)
    assert [candidate.text for candidate in result.candidates] == ["1+1\n8"] * 4


async def test_a_finished_particle_that_is_drawn_goes_along_to_the_end() -> None:
    """It stands for the three or four times it is drawn, beside what goes on from the other where that is drawn too."""

    def script(prefix: str, index: int) -> Completion:
        if prefix == "a\n":
            return completion("7", "stop") if index == 0 else completion(f"{index}\n", "step")
        return completion("x\n" if prefix else "a\n", "step")

    def score(text: str) -> float:
        return {"a\n": 0.5, "a\n7": 0.9}.get(text, 0.7 if text.startswith("a\n1\n") else 0.0)

    ends = set()
    for seed in range(24):
        result = await solve(
            problem(),
            ParticleFilter(4),
            Scripted(script),
            ByText(score),
            EXPRESSIONS,
            seed=seed,
            limits=Limits(steps=5),
        )
        ends.add(tuple(candidate.text for candidate in result.candidates))
    assert ends == {("a\n7",), ("a\n7", "a\n1\nx\nx\nx\n")}


async def test_expansion_by_counts() -> None:
    """None for a count of 0; a finished candidate stands once, whatever its count."""
    session = Session(problem(), Recording(Scripted(answers_first)), None, "\n")
    done, *going = await session.expand([ROOT], 4)
    children = await session.expand([going[0], done, going[1], going[2]], [2, 5, 0, 1])
    assert [child.id for child in children] == ["1.0", "1.1", "0", "3.0"]
    assert [child.parent for child in children] == ["1", "1", None, "3"]
    more = await session.expand([going[0]], [1])
    assert [child.id for child in more] == ["1.2"]
    with pytest.raises(ValueError, match="zip"):
        await session.expand(going, [1, 2])


async def test_the_budget_is_shared_by_children_and_not_by_parents() -> None:
    model = Recording(Scripted(answers_first))
    session = Session(problem(), model, None, "\n", budget=100)
    _, *going = await session.expand([ROOT], 4)
    left = 100 - sum(one.usage.completion_tokens for one in model.calls[0].completions)
    await session.expand(going, [1, 0, 7])
    assert [call.max_tokens for call in model.calls[1:]] == [left // 8] * 2


def test_a_session_has_dice_of_its_own_for_every_purpose() -> None:
    def dice(purpose: str = "a", seed: int = 0, number: int = 20_000, path: str = "") -> float:
        session = Session(problem(number=number), Scripted(answers_first), None, "\n", seed=seed, path=path)
        return session.random(purpose).random()

    assert dice() == dice()
    assert len({dice(), dice("b"), dice(seed=1), dice(number=20_001), dice(path="0:")}) == 5
