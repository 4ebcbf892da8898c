"""What an attempt says of itself: which step the verifier doubts, and whether it thinks the whole is right."""

from __future__ import annotations

import pytest

from computewise.core import FLOOR, Attempt


def scored(*scores: float) -> Attempt:
    return Attempt("0", tuple(f"{score}\n" for score in scores), scores)


@pytest.mark.parametrize(
    ("scores", "doubted"),
    [
        ((0.9, 0.8, 0.1, 0.05), 2),  # .1 / .8 is the largest fall, .05 / .1 the lowest score
        ((0.3, 0.9, 0.9), 0),  # before the first step nothing is lost: 1
        ((0.05, 0.04, 0.03, 0.002), 0),  # a first step that loses nearly all
        ((0.9, 0.5, 0.25), 2),
        ((0.5, 0.25, 0.125), 0),  # equal halves: the nearer to 0, the less the floor lets a fall mean
        ((0.5, 0.5), 0),
        ((0.9, 0.95, 0.99), 0),
        ((0.4, 0.4, 0.4), 0),
        ((0.7,), 0),
    ],
)
def test_the_doubted_step_is_where_the_score_falls_most(scores: tuple[float, ...], doubted: int) -> None:
    assert scored(*scores).weakest_step == doubted


def test_on_a_hard_problem_a_low_score_is_no_doubt_but_a_fall_is() -> None:
    """The first step's own fall is the problem's hardness; where the mistake is made, more is lost."""
    assert scored(0.12, 0.12, 0.13, 0.001, 0.001).weakest_step == 3


def test_among_scores_near_0_a_fall_means_nothing() -> None:
    """Without the floor, the fall by a thousand of what is already lost would be the largest."""
    assert scored(0.9, 0.004, 0.000004).weakest_step == 1
    assert (0.000004 + FLOOR) / (0.004 + FLOOR) > (0.004 + FLOOR) / (0.9 + FLOOR)


def test_of_equal_falls_the_earlier_is_doubted() -> None:
    equal = 0.5 * (1 + FLOOR) - FLOOR
    assert scored(equal, 0.5 * (equal + FLOOR) - FLOOR).weakest_step == 0
    assert scored(1.0, equal, equal, 0.5 * (equal + FLOOR) - FLOOR).weakest_step == 1
    assert scored(1.0, 0.0, 0.0, 0.0).weakest_step == 1


def test_unscored_nothing_is_doubted_and_nothing_likely() -> None:
    attempt = Attempt("0", ("3*9-6\n", "21"))
    assert attempt.weakest_step is None
    assert not attempt.likely_right
    assert attempt.text == "3*9-6\n21"


def test_likely_right_is_what_the_last_step_says() -> None:
    assert scored(0.1, 0.5).likely_right
    assert not scored(0.9, 0.499).likely_right
