"""The simulated family against its own closed form: what the tests of quality stand on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from doubles import TASK, problem

from computewise.core import Attempt, Candidate, Completion, Step
from computewise.errors import ModelError, ProblemError
from computewise.simulated import UnequalModel, UnequalPRM, last_right
from computewise.testing import SimulatedModel, SimulatedPRM, simulated_problem


async def draw(
    model: SimulatedModel,
    n: int = 1,
    *,
    depth: int = 4,
    prefix: str = "",
    stop: str | None = None,
    max_tokens: int = 240,
    temperature: float = 1.0,
    attempts: Sequence[Attempt] = (),
) -> list[Completion]:
    return await model.sample(
        problem(depth).prompt,
        prefix,
        n,
        stop=stop,
        max_tokens=max_tokens,
        temperature=temperature,
        seeds=range(n),
        attempts=attempts,
    )


def text(completion: Completion) -> str:
    return "".join(step.text for step in completion.steps)


@pytest.mark.parametrize(("skill", "depth"), [(0.8, 1), (0.8, 4), (0.5, 3)])
async def test_pass_at_1_is_skill_to_the_depth(skill: float, depth: int) -> None:
    drawn = await draw(SimulatedModel(skill), 4000, depth=depth)
    correct = np.mean([TASK.correct(problem(depth), TASK.answer(text(one))) for one in drawn])
    assert correct == pytest.approx(skill**depth, abs=0.03)


async def test_wrong_answers_collide_as_often_as_they_are_told_to() -> None:
    for wrong_answers in (1, 3):
        drawn = await draw(SimulatedModel(0.3, wrong_answers), 300)
        answers = {TASK.answer(text(one)) for one in drawn} - {problem().answer}
        assert len(answers) == wrong_answers


async def test_an_error_is_carried_on() -> None:
    (carried,) = await draw(SimulatedModel(1.0, wrong_answers=1), prefix="right\nwrong\n")
    assert text(carried) == "right\nright 41735"


async def test_temperature_0_takes_the_likelier_step() -> None:
    (good,), (bad,) = await draw(SimulatedModel(0.6), temperature=0), await draw(SimulatedModel(0.4), temperature=0)
    assert text(good) == "right\n" * 3 + "right 41734"
    assert text(bad) == "wrong\n" * 3 + "wrong 41735"


async def test_a_completion_ends_at_the_delimiter_or_the_solutions_end_or_the_token_limit() -> None:
    model = SimulatedModel(1.0)
    for settings, ends_with, reason in (
        ({"stop": "\n"}, "right\n", "step"),
        ({"stop": "\n", "prefix": "right\n" * 3}, "right 41734", "stop"),
        ({}, "right\nright 41734", "stop"),
        ({"max_tokens": 8}, "right\nri", "length"),
        ({"max_tokens": 29}, "right 41734", "stop"),
        ({"stop": "\n", "max_tokens": 6}, "right\n", "step"),
        ({"stop": "\n", "max_tokens": 5}, "right", "length"),
    ):
        (one,) = await draw(model, **settings)
        assert text(one).endswith(ends_with)
        assert one.finish_reason == reason
        assert one.usage.completion_tokens == len(text(one)) == sum(step.tokens for step in one.steps)


async def test_the_prompt_is_cached_for_all_samples_but_the_first_and_a_prefix_for_all() -> None:
    fresh = await draw(SimulatedModel(), 3)
    assert [one.usage.cached_prompt_tokens for one in fresh] == [0, 24, 24]
    forked = await draw(SimulatedModel(), 2, prefix="right\n")
    assert [(one.usage.prompt_tokens, one.usage.cached_prompt_tokens) for one in forked] == [(30, 30), (30, 30)]


async def test_nothing_follows_half_a_step_or_the_last() -> None:
    for prefix in ("righ", "right\n" * 3 + "right 41734", "right\n" * 4):
        with pytest.raises(ModelError, match="cannot go on"):
            await draw(SimulatedModel(), prefix=prefix)
    with pytest.raises(ProblemError, match="not a simulated problem"):
        await SimulatedModel().sample("3+4", "", 1, stop=None, max_tokens=9, temperature=1, seeds=[1])


RIGHT = Attempt("0", ("right\n", "right\n", "right\n", "right 41734"))
WRONG = Attempt("1", ("right\n", "wrong\n", "right\n", "right 41736"))


async def pass_at_1(model: SimulatedModel, attempts: Sequence[Attempt], prefix: str = "") -> float:
    drawn = await draw(model, 3000, attempts=attempts, prefix=prefix)
    return float(np.mean([TASK.correct(problem(4), TASK.answer(prefix + text(one))) for one in drawn]))


@pytest.mark.parametrize(
    ("attempts", "expected"),
    [([], 0.8**4), ([RIGHT], 0.7), ([WRONG], 0.2), ([WRONG, RIGHT], 0.7), ([RIGHT, RIGHT, WRONG], 0.2)],
)
async def test_an_attempt_is_as_good_as_the_last_one_before_it_says(attempts: list[Attempt], expected: float) -> None:
    assert await pass_at_1(SimulatedModel(hold=0.7, mend=0.2), attempts) == pytest.approx(expected, abs=0.03)


async def test_what_always_holds_and_never_mends() -> None:
    model = SimulatedModel(hold=1.0, mend=0.0)
    assert await pass_at_1(model, [RIGHT]) == 1
    assert await pass_at_1(model, [WRONG]) == 0


async def test_steps_kept_of_an_attempt_need_not_be_got_right_again() -> None:
    model = SimulatedModel(mend=0.2)
    assert await pass_at_1(model, [WRONG], "right\n" * 3) == pytest.approx(0.2 ** (1 / 4), abs=0.03)
    assert await pass_at_1(model, [WRONG], "right\nwrong\n") == 0


async def test_attempts_are_read_with_the_prompt_and_cached_for_all_samples_but_the_first() -> None:
    read = 24 + len(RIGHT.text) + len(WRONG.text)
    drawn = await draw(SimulatedModel(), 2, attempts=[RIGHT, WRONG])
    assert [(one.usage.prompt_tokens, one.usage.cached_prompt_tokens) for one in drawn] == [(read, 0), (read, read)]
    kept = await draw(SimulatedModel(), 2, attempts=[RIGHT, WRONG], prefix="right\n")
    assert [(one.usage.prompt_tokens, one.usage.cached_prompt_tokens) for one in kept] == [
        (read + 6, 0),
        (read + 6, read + 6),
    ]


@pytest.mark.parametrize("noise", [0.0, 0.1])
async def test_the_exact_verifier_is_the_reward_to_go(noise: float) -> None:
    """Its score of a prefix is the pass rate of what the model makes of the prefix, within the noise."""
    model, one = SimulatedModel(0.7), problem(depth=4)
    for prefix in ("right\n", "right\nright\n", "right\nwrong\n"):
        rollouts = await draw(model, 2000, prefix=prefix)
        rate = np.mean([TASK.correct(one, TASK.answer(prefix + text(rollout))) for rollout in rollouts])
        steps = tuple(Step(line, len(line), -0.5) for line in prefix.splitlines(keepends=True))
        scores, _ = await SimulatedPRM(0.7, noise).score(one, [Candidate("0", None, steps)])
        assert scores[0][-1] == pytest.approx(rate, abs=noise + 0.04)


async def test_noise_is_a_function_of_the_text() -> None:
    steps = (await draw(SimulatedModel()))[0].steps
    verifier, other = SimulatedPRM(noise=0.3), SimulatedPRM(noise=0.3, seed=1)
    twins = [Candidate("0", None, steps), Candidate("1", None, steps)]
    scores, _ = await verifier.score(problem(4), twins)
    assert scores[0] == scores[1]
    assert scores != (await other.score(problem(4), twins))[0]
    assert all(0 <= score <= 1 for score in scores[0])


def test_problems_are_distinct_and_the_same_again() -> None:
    for split in ("train", "validation", "test"):
        found = TASK.problems(split, 50, seed=3)
        assert found == TASK.problems(split, 50, seed=3)
        assert found != TASK.problems(split, 50, seed=4)
        assert len({one.prompt for one in found}) == 50
    assert simulated_problem(41734, 3).answer == "41734"


UNEQUAL = UnequalModel(skill=0.3, longest=6)


async def _unequal(count: int, prefix: str = "") -> list[Candidate]:
    drawn = await UNEQUAL.sample(
        problem(1).prompt, prefix, count, stop=None, max_tokens=240, temperature=1, seeds=range(count)
    )
    return [Candidate(str(index), None, one.steps, (), "stop") for index, one in enumerate(drawn)]


async def test_unequal_solutions_are_right_as_often_at_every_length() -> None:
    found = await _unequal(12_000)
    lengths = np.array([len(one.steps) for one in found])
    right = np.array([TASK.correct(problem(1), TASK.answer(one.text)) for one in found])
    for length in range(2, 7):
        assert np.mean(lengths == length) == pytest.approx(1 / 5, abs=0.02)
        assert right[lengths == length].mean() == pytest.approx(0.3, abs=0.05)


@pytest.mark.parametrize("prefix", ["right\n", "wrong\nright\n", "right\nright\nright\nwrong\n"])
async def test_the_chance_of_an_unequal_prefix_is_what_its_continuations_show(prefix: str) -> None:
    found = await _unequal(6000, prefix)
    right = np.mean([TASK.correct(problem(1), TASK.answer(one.text)) for one in found])
    assert UNEQUAL.chance(last_right(prefix), prefix.count("\n")) == pytest.approx(right, abs=0.02)


async def test_scores_of_unequal_solutions_are_drawn_once_a_candidate_and_unbiased() -> None:
    verifier = UnequalPRM(UNEQUAL, precision=8.0)
    found = await _unequal(3000)
    (scores, _), (again, _) = await verifier.score(problem(1), found), await verifier.score(problem(1), found)
    assert scores == again
    ends = np.array([one[-1] for one in scores])
    right = np.array([last_right(one.text) for one in found])
    assert ends[right].mean() == pytest.approx(0.7, abs=0.02)
    assert ends[~right].mean() == pytest.approx(0.3, abs=0.02)
    assert len(set(ends)) == len(ends)
    surer, _ = await UnequalPRM(UNEQUAL, precision=8.0, drift=0.9).score(problem(1), found)
    longest = np.array([len(one.steps) == UNEQUAL.longest for one in found])
    assert np.array([one[-1] for one in surer])[longest].mean() > 0.93


async def test_a_score_that_a_candidate_brings_is_left_as_it_is() -> None:
    (candidate,) = await _unequal(1)
    (scores,), _ = await UnequalPRM(UNEQUAL).score(problem(1), [replace(candidate, scores=(0.125,))])
    assert scores[0] == 0.125
    assert len(scores) == len(candidate.steps)
