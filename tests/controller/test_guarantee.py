"""The promise of how much accuracy is lost at most: kept in simulated worlds, and no promise where there is none."""

from __future__ import annotations

import numpy as np
import pytest
from worlds import sampled, workload

from computewise.controller.formula import DOUBT_PER_DRAW, FormulaRule
from computewise.controller.frontier import StoppingPath
from computewise.controller.guarantee import evidence, needed, promise
from computewise.errors import UsageError

WORLDS = 150


def losses(rng: np.random.Generator, problems: int, lost: float, won: float) -> np.ndarray:
    dice = rng.uniform(size=problems)
    return np.where(dice < lost, 1.0, np.where(dice < lost + won, -1.0, 0.0))


@pytest.mark.parametrize(("lost", "won"), [(0.02, 0.0), (0.07, 0.05), (0.32, 0.3)])
@pytest.mark.parametrize("problems", [60, 300])
def test_a_mean_loss_at_the_limit_is_seldom_called_lower(lost: float, won: float, problems: int) -> None:
    """In at most a tenth of worlds, at 90 % confidence."""
    rng = np.random.default_rng(0)
    wrong = sum(evidence(losses(rng, problems, lost, won), 0.02, seed=world) >= 10 for world in range(WORLDS))
    assert wrong <= 0.1 * WORLDS


def test_no_loss_in_enough_problems_is_a_promise_and_in_fewer_none() -> None:
    enough = needed(0.02, 0.9)
    assert 100 < enough < 200
    assert evidence(np.zeros(enough), 0.02) >= 10 > evidence(np.zeros(enough // 2), 0.02)
    assert needed(0.05, 0.9) < enough < needed(0.02, 0.99)


def walks(problems: int, *, seed: int) -> StoppingPath:
    """Half of the problems need one sample, half need many."""
    rng = np.random.default_rng(seed)
    chances = np.where(np.arange(problems) % 2, 0.99, 0.55)
    rule = FormulaRule(arms=("small",), steps=(("small", 12),), powers=DOUBT_PER_DRAW, costs=(1.0,))
    held = workload(*({"small": sampled(rng, one, 12, gap=0.0, noise=0.01)} for one in chances))
    return rule.follow(held, repeats=4, seed=0)


def test_the_promised_price_is_cheaper_and_loses_no_more() -> None:
    found, others = promise(walks(600, seed=1), 0.05, 0.9), walks(2000, seed=2)
    assert found.price is not None
    assert found.mean_cost < 0.8 * found.most_cost
    right = others.at(found.price)[0].mean()
    assert others.right[:, -1].mean() - right <= 0.05
    stricter = promise(walks(600, seed=1), 0.02, 0.99)
    assert stricter.mean_cost >= found.mean_cost


def test_a_promise_that_few_problems_cannot_keep_is_not_made() -> None:
    found = promise(walks(20, seed=1), 0.02, 0.9)
    assert (found.price, found.mean_cost) == (None, found.most_cost)
    assert found.needed > found.problems == 20


@pytest.mark.parametrize("limits", [(0.0, 0.9), (1.0, 0.9), (0.02, 1.0), (0.02, 0.0), (float("nan"), 0.9)])
def test_limits_that_cannot_be_are_refused(limits: tuple[float, float]) -> None:
    with pytest.raises(UsageError, match="between 0 and 1"):
        promise(walks(20, seed=1), *limits)
