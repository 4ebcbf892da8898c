"""Estimates of difficulty: what they compute, how good they are where the truth is known, and how that is measured."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from computewise.difficulty import (
    Beta,
    Cost,
    Estimator,
    OracleDifficulty,
    PredictedDifficulty,
    ProbeDifficulty,
    PromptDifficulty,
    StateDifficulty,
    cross_predict,
    quality,
    rank_bins,
    spearman,
    splits,
)
from computewise.difficulty.learned import concentration, effective, fit_logistic, maximise
from computewise.errors import UsageError
from computewise.metrics import UNANSWERED, Floats
from computewise.samples import SampleArrays

RIGHT = 0
LEVELS = (0.025, 0.975)
SHARED = Path(os.environ.get("COMPUTEWISE_SHARED_DATA", "")) / "math500_llama3.1-8b-awq.dev.jsonl.gz"
"""The variable names a directory of recorded completions."""
shares = st.floats(0, 1, width=16)


def drawn(values: Sequence[float], answers: Sequence[int], tokens: float | Floats = 10.0) -> SampleArrays:
    """Draws whose answer 0 is right."""
    number = len(values)
    numbered, scores = np.array(answers, np.int64), np.array(values, np.float64)
    places, lengths = np.arange(number), np.full(number, tokens)
    return SampleArrays(
        answers=numbered,
        values=scores,
        correct=numbered == RIGHT,
        means=scores,
        lows=scores,
        logprobs=np.zeros(number),
        tokens=lengths,
        costs=2 * lengths,
        blocks=places,
        chains=places,
    )


class World(NamedTuple):
    """Problems whose pass@1 is known, and what was drawn for them."""

    truth: Floats
    draws: list[SampleArrays]

    @property
    def ease(self) -> Floats:
        return OracleDifficulty().predict(self.draws)

    @property
    def prompts(self) -> list[str]:
        """Harder, more products."""
        return ["+".join(["3*4"] * (1 + round(9 * (1 - one))) + ["5"]) for one in self.truth]

    @property
    def states(self) -> list[Floats]:
        """Wider than there are problems; one direction tells."""
        noise = np.random.default_rng(1).normal(size=(len(self.truth), 2 * len(self.truth)))
        noise[:, 0] = 30 * self.truth
        return list(noise)


def world(problems: int = 200, draws: int = 20, seed: int = 0) -> World:
    """A verifier that is sure of too much and mistaken about whole problems; wrong answers differ, and are longer."""
    rng = np.random.default_rng(seed)
    truth = rng.beta(0.6, 0.7, problems)
    right = rng.random((problems, draws)) < truth[:, None]
    log_odds = 1.5 + np.where(right, 1.0, -1.0) + 1.2 * rng.normal(size=(problems, 1)) + rng.normal(size=right.shape)
    answers = np.where(right, RIGHT, rng.integers(UNANSWERED, 6, right.shape))
    answers[~right & (answers == RIGHT)] = 6
    values = 1 / (1 + np.exp(-log_odds))
    lengths = 100 * np.exp(0.3 * ~right + 0.3 * rng.normal(size=right.shape))
    return World(truth, [drawn(*row) for row in zip(values, answers, lengths, strict=True)])


WORLD = world()


# Bins


@given(st.lists(shares, min_size=1, max_size=40), st.integers(1, 12))
def test_bins_are_by_rank_alone(ease: list[float], bins: int) -> None:
    ids = [f"p{index}" for index in range(len(ease))]
    assigned = rank_bins(ease, ids, bins)
    assert assigned.tolist() == rank_bins([one**0.5 for one in ease], ids, bins).tolist()
    sizes = np.bincount(assigned, minlength=bins)
    assert len(sizes) == bins
    assert sizes.max() - sizes.min() <= 1
    easiest_first = np.array(ease)[np.argsort(assigned, kind="stable")]
    for edge in np.cumsum(sizes)[:-1]:
        assert min(easiest_first[:edge], default=1) >= max(easiest_first[edge:], default=0)


# All estimators

Case = tuple[Callable[[], Estimator[Any]], Callable[[World], Sequence[Any]]]
CASES: dict[str, Case] = {
    "oracle": (OracleDifficulty, lambda world: world.draws),
    "predicted": (PredictedDifficulty, lambda world: world.draws),
    "probe 2": (lambda: ProbeDifficulty(2), lambda world: world.draws),
    "probe 8": (lambda: ProbeDifficulty(8), lambda world: world.draws),
    "prompt": (PromptDifficulty, lambda world: world.prompts),
    "states": (StateDifficulty, lambda world: world.states),
}
every_estimator = pytest.mark.parametrize(("make", "inputs_of"), CASES.values(), ids=CASES.keys())


@every_estimator
def test_what_every_estimator_keeps(
    make: Callable[[], Estimator[Any]], inputs_of: Callable[[World], Sequence[Any]]
) -> None:
    some = World(WORLD.truth[:60], WORLD.draws[:60])
    inputs, ease = inputs_of(some), some.ease
    estimator = make()
    assert estimator.fit(inputs, ease) is estimator
    predicted = estimator.predict(inputs)
    assert predicted.shape == (60,)
    assert predicted.dtype == np.float64
    assert predicted.min() >= 0
    assert predicted.max() <= 1
    assert spearman(predicted, some.truth) > 0.5
    assert make().fit(inputs, ease).predict(inputs).tolist() == predicted.tolist()
    assert estimator.fit(inputs, ease).predict(inputs).tolist() == predicted.tolist()

    order = np.random.default_rng(0).permutation(60)
    shuffled = [inputs[index] for index in order]
    assert estimator.predict(shuffled) == pytest.approx(predicted[order], abs=1e-12)
    assert make().fit(shuffled, ease[order]).predict(inputs) == pytest.approx(predicted, abs=1e-6)
    assert estimator.predict(inputs[:1]) == pytest.approx(predicted[:1], abs=1e-12)


@every_estimator
@pytest.mark.parametrize("share", [0.0, 1.0])
def test_problems_that_are_all_alike_can_be_learned_from(
    make: Callable[[], Estimator[Any]], inputs_of: Callable[[World], Sequence[Any]], share: float
) -> None:
    alike = [replace(draws, correct=np.full(20, share == 1)) for draws in WORLD.draws[:30]]
    inputs = inputs_of(World(WORLD.truth[:30], alike))
    predicted = make().fit(inputs, np.full(30, share)).predict(inputs)
    assert ((predicted >= 0) & (predicted <= 1)).all()
    if not isinstance(make(), PredictedDifficulty):
        assert np.abs(predicted - share).max() < 0.02


@pytest.mark.parametrize("name", ["probe 2", "prompt", "states"])
def test_who_has_not_learned_cannot_predict(name: str) -> None:
    make, inputs_of = CASES[name]
    with pytest.raises(UsageError, match="is not fitted: call fit first"):
        make().predict(inputs_of(WORLD))


def test_an_estimate_costs_the_draws_it_sees() -> None:
    draws = [drawn([0.5] * 4, [0] * 4, tokens=10), drawn([0.5] * 6, [0] * 6, tokens=30)]
    assert OracleDifficulty().cost(draws) == PredictedDifficulty().cost(draws) == Cost(5, 110, 220)
    assert ProbeDifficulty(2).cost(draws) == Cost(2, 40, 80)
    assert PromptDifficulty().cost(["2+2"]) == StateDifficulty().cost([np.zeros(3)]) == Cost(0, 0, 0)


# Each of them


def test_the_oracle_counts_what_is_right_and_the_prediction_averages_values() -> None:
    draws = [drawn([0.2, 0.4, 0.9], [0, 1, 0]), drawn([0.1], [UNANSWERED])]
    assert OracleDifficulty().predict(draws) == pytest.approx([2 / 3, 0])
    assert PredictedDifficulty().predict(draws) == pytest.approx([0.5, 0.1])


def test_nothing_is_estimated_from_no_draws() -> None:
    for estimator in (OracleDifficulty(), PredictedDifficulty()):
        with pytest.raises(UsageError, match="0 draws of a problem are too few: at least 1"):
            estimator.predict([drawn([], [])])


def test_a_probe_sees_its_own_draws_without_their_grades_and_no_others() -> None:
    probe = ProbeDifficulty(4).fit(WORLD.draws, WORLD.ease)
    others = world(seed=5).draws
    mixed = [
        replace(
            draws,
            answers=np.concatenate([draws.answers[:4], other.answers[4:]]),
            values=np.concatenate([draws.values[:4], other.values[4:]]),
            correct=other.correct,
        )
        for draws, other in zip(WORLD.draws, others, strict=True)
    ]
    assert probe.predict(mixed).tolist() == probe.predict(WORLD.draws).tolist()


def test_answers_are_told_apart_and_not_ordered() -> None:
    probe = ProbeDifficulty(4).fit(WORLD.draws, WORLD.ease)
    renamed = [replace(draws, answers=np.where(draws.answers < 0, -1, 6 - draws.answers)) for draws in WORLD.draws]
    assert probe.predict(renamed) == pytest.approx(probe.predict(WORLD.draws))


@pytest.mark.parametrize("probe", [2, 4, 8])
def test_a_probe_orders_problems_better_than_the_mean_value_of_its_draws_and_is_calibrated(probe: int) -> None:
    ids = [str(index) for index in range(len(WORLD.draws))]
    seen = [draws.take(np.arange(probe)) for draws in WORLD.draws]
    mean_value = quality(PredictedDifficulty().predict(seen), WORLD.truth, ids)
    probed = quality(cross_predict(lambda: ProbeDifficulty(probe), WORLD.draws, WORLD.ease, 5, 0), WORLD.truth, ids)
    assert probed.spearman.value > mean_value.spearman.value + 0.1
    assert probed.exact.value > mean_value.exact.value
    assert probed.brier.value < mean_value.brier.value - 0.05
    assert probed.calibration_error < 0.05
    assert mean_value.calibration_error > 0.1


@pytest.mark.parametrize(("probe", "draws", "problems"), [(2, 20, 300), (4, 20, 300), (8, 20, 300), (4, 6, 1200)])
def test_19_in_20_intervals_hold_the_truth_of_unseen_problems(probe: int, draws: int, problems: int) -> None:
    """Also where most of the draws learned from are the probe's own; two a problem that are not want more problems."""
    learned, unseen = world(problems, draws, seed=1), world(1000, draws, seed=2)
    posterior = ProbeDifficulty(probe).fit(learned.draws, learned.ease).posterior(unseen.draws)
    low, high = posterior.quantiles(LEVELS).T
    assert 0.9 < np.mean((low <= unseen.truth) & (unseen.truth <= high)) < 0.99
    assert np.abs(posterior.mean - unseen.truth).mean() < 0.8 * np.abs(learned.ease.mean() - unseen.truth).mean()


def test_few_problems_do_not_flatter_themselves() -> None:
    """30 of them to 7 features: a concentration from the problems fitted to covers .85."""
    unseen = world(500, 10, seed=99)
    held = []
    for seed in range(20):
        learned = world(30, 20, seed)
        low, high = ProbeDifficulty(8).fit(learned.draws, learned.ease).posterior(unseen.draws).quantiles(LEVELS).T
        held.append(np.mean((low <= unseen.truth) & (unseen.truth <= high)))
    assert np.mean(held) > 0.89


def test_a_longer_probe_is_surer() -> None:
    probes = [ProbeDifficulty(probe).fit(WORLD.draws, WORLD.ease) for probe in (2, 4, 8)]
    widths = [float(np.diff(probe.posterior(WORLD.draws).quantiles(LEVELS)).mean()) for probe in probes]
    assert widths[0] > widths[1] + 0.05 > widths[2] + 0.1


def test_a_probe_refuses_what_it_cannot_learn_from() -> None:
    with pytest.raises(UsageError, match="probe = 1 is not allowed: at least 2"):
        ProbeDifficulty(1).fit(WORLD.draws, WORLD.ease)
    with pytest.raises(UsageError, match="20 draws of a problem are too few: at least 21"):
        ProbeDifficulty(21).fit(WORLD.draws, WORLD.ease)
    with pytest.raises(UsageError, match="no draws are left to fit to besides the probe's 20"):
        ProbeDifficulty(20).fit(WORLD.draws, WORLD.ease)
    with pytest.raises(UsageError, match="ease is not pass@1 over all given draws"):
        ProbeDifficulty(4).fit(WORLD.draws, WORLD.ease[::-1])


@given(st.lists(st.text(max_size=30), min_size=1, max_size=5))
@settings(max_examples=50)
def test_any_text_is_a_prompt(prompts: list[str]) -> None:
    prompts += ["", ")))((", "9" * 400, r"\frac{\sqrt{x}}{2}$"]
    predicted = PromptDifficulty().fit(WORLD.prompts[:20], WORLD.ease[:20]).predict(prompts)
    assert ((predicted >= 0) & (predicted <= 1)).all()


def test_word_problems_are_told_apart_by_what_is_in_them() -> None:
    easy = [f"What is ${number}+1$?" for number in range(20)]
    hard = [rf"Find the sum of all $x$ such that $\sqrt{{x^{number}}} = \frac{{x}}{{7}}$." for number in range(20)]
    predictor = PromptDifficulty().fit(easy + hard, np.repeat([0.9, 0.1], 20))
    assert predictor.predict(["What is $71+1$?"])[0] > 0.8
    assert predictor.predict([r"Find all $y$ such that $\frac{y^{44}}{3} = \sqrt{y}$."])[0] < 0.3


# Regression and distributions


def test_what_is_left_out_is_predicted_as_if_it_had_been() -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(60, 3))
    counts = rng.integers(1, 20, 60).astype(float)
    observed = rng.binomial(counts.astype(int), 1 / (1 + np.exp(-2 * features[:, 0]))) / counts
    fit = fit_logistic(features, observed, counts)
    refitted = [
        fit_logistic(*(np.delete(array, row, 0) for array in (features, observed, counts))).predict(features[[row]])[0]
        for row in range(60)
    ]
    flattered = fit.predict(features)
    assert np.abs(fit.left_out - refitted).max() < 0.25 * np.abs(flattered - refitted).max()


def test_the_fit_is_the_maximum_of_the_penalised_likelihood() -> None:
    """One feature of mean 0 and deviation 1, so that it is standardised already: the gradient is 0 by hand."""
    features = np.array([[-1.0], [1.0], [-1.0], [1.0]])
    observed, counts = np.array([0.1, 0.7, 0.2, 0.9]), np.array([10.0, 20.0, 30.0, 40.0])
    fit = fit_logistic(features, observed, counts)
    excess = counts * (observed - fit.predict(features))
    assert excess @ features[:, 0] == pytest.approx(fit.penalty * fit.weights[0], abs=1e-6)
    assert excess.sum() == pytest.approx(0.01 * fit.intercept, abs=1e-6)


def test_the_maximum_is_found_where_newtons_steps_run_away_from_it() -> None:
    feature = np.array([110.0, 90.0, 110.0, 110.0, 10.0, 90.0])
    design = np.column_stack([np.ones(6), (feature - feature.mean()) / feature.std()])
    observed, counts = np.array([1.0, 1, 0, 0, 1, 1]), np.array([1.0, 1000, 1, 10, 1000, 1000])
    precision = np.array([0.01, 0.1])
    coefficients = maximise(design, observed, counts, precision)
    excess = counts * (observed - 1 / (1 + np.exp(-design @ coefficients)))
    assert excess @ design == pytest.approx(precision * coefficients, abs=1e-6)


def test_more_features_than_rows_are_as_good_as_fewer() -> None:
    rng = np.random.default_rng(3)
    features, observed, counts = rng.normal(size=(30, 4)), rng.random(30), np.full(30, 9.0)
    padded = np.hstack([features, np.zeros((30, 60))])
    expected = fit_logistic(features, observed, counts).predict(features)
    assert fit_logistic(padded, observed, counts).predict(padded) == pytest.approx(expected, abs=1e-6)


def test_noise_is_penalised_to_nothing() -> None:
    rng = np.random.default_rng(4)
    features, observed = rng.normal(size=(100, 150)), rng.random(100)
    assert fit_logistic(features, observed, np.ones(100)).predict(features) == pytest.approx(observed.mean(), abs=0.1)


@pytest.mark.parametrize("a", [0.01, 0.1, 0.5, 1, 3, 40, 2000])
def test_quantiles_of_distributions_that_have_a_closed_form(a: float) -> None:
    levels = np.array(spread := [0.005, 0.025, 0.5, 0.975, 0.995])
    power, mirrored = Beta(np.array([a, 1.0]), np.array([1.0, a])).quantiles(spread)
    assert power == pytest.approx(levels ** (1 / a), abs=1e-4)
    assert mirrored == pytest.approx(1 - (1 - levels) ** (1 / a), abs=1e-4)
    (arcsine,) = Beta(np.array([0.5]), np.array([0.5])).quantiles(spread)
    assert arcsine == pytest.approx(np.sin(np.pi * levels / 2) ** 2, abs=1e-4)


@given(st.floats(1e-9, 1e5), st.floats(1e-9, 1e5))
def test_quantiles_rise_and_stay_between_0_and_1(alpha: float, beta: float) -> None:
    (found,) = Beta(np.array([alpha]), np.array([beta])).quantiles((0.0, 0.025, 0.3, 0.5, 0.7, 0.975, 1.0))
    assert (np.diff(found) >= 0).all()
    assert found[0] >= 0
    assert found[-1] <= 1


@pytest.mark.parametrize("true", [0.5, 3.0, 30.0])
def test_the_concentration_is_found(true: float) -> None:
    rng = np.random.default_rng(0)
    mean, counts = rng.uniform(0.1, 0.9, 2000), rng.integers(2, 40, 2000)
    right = rng.binomial(counts, rng.beta(mean * true, (1 - mean) * true))
    assert concentration(mean, right / counts, counts.astype(float)) == pytest.approx(true, rel=0.25)


def test_single_draws_tell_nothing_of_the_concentration() -> None:
    assert concentration(np.full(9, 0.3), np.array([1.0] * 3 + [0.0] * 6), np.ones(9)) == pytest.approx(1)


def test_many_draws_of_one_problem_are_worth_few_problems() -> None:
    """By hand, correlation 1 / (1 + 1): 10 / (1 + 9 / 2)."""
    assert effective(np.array([0.0, 1.0, 10.0]), 1.0) == pytest.approx([0, 1, 20 / 11])


# Quality


def test_quality_by_hand() -> None:
    predicted, truth = np.array([0.9, 0.7, 0.5, 0.3, 0.1]), np.array([1.0, 0.5, 0.6, 0.2, 0.0])
    found = quality(predicted, truth, list("abcde"))
    assert found.spearman.value == pytest.approx(1 - 6 * 2 / (5 * 24))
    assert found.exact.value == pytest.approx(3 / 5)
    assert found.within_one.value == 1
    assert found.brier.value == pytest.approx((0.01 + 0.29 + 0.25 + 0.17 + 0.01) / 5)
    assert found.calibration_error == pytest.approx(0.6 / 5)
    assert [(one.predicted, one.true, one.problems) for one in found.reliability] == [
        (0.1, 0.0, 1),
        (0.3, 0.2, 1),
        (0.5, 0.6, 1),
        (0.7, 0.5, 1),
        (0.9, 1.0, 1),
    ]
    for estimate in (found.spearman, found.exact, found.within_one, found.brier):
        assert estimate.interval.low <= estimate.value <= estimate.interval.high


def test_bins_two_apart_are_not_within_one() -> None:
    """Reversed, five problems are 4, 2, 0, 2 and 4 bins apart."""
    truth = np.array([1.0, 0.5, 0.4, 0.2, 0.0])
    found = quality(1 - truth, truth, list("abcde"))
    assert found.spearman.value == pytest.approx(-1)
    assert found.exact.value == found.within_one.value == pytest.approx(1 / 5)


def test_the_truth_is_the_best_prediction_of_itself() -> None:
    ids = [str(index) for index in range(len(WORLD.truth))]
    found = quality(WORLD.truth, WORLD.truth, ids)
    assert found.spearman.value == pytest.approx(1)
    assert found.spearman.interval == pytest.approx((1, 1))
    assert found.exact.value == found.within_one.value == 1
    assert found.calibration_error == pytest.approx(0)
    assert found.brier.value == pytest.approx((WORLD.truth * (1 - WORLD.truth)).mean())
    assert [one.problems for one in found.reliability] == [20] * 10


def test_the_intervals_of_an_order_hold_the_order_of_many_problems() -> None:
    """A prediction with noise: 19 in 20 intervals of 60 problems hold what 20,000 problems show."""
    rng = np.random.default_rng(0)
    truth = rng.random(20_000)
    predicted = truth + rng.normal(size=20_000) / 3
    expected = spearman(predicted, truth)
    intervals = [
        quality(predicted[one], truth[one], [str(index) for index in one]).spearman.interval
        for one in np.arange(40 * 60).reshape(40, 60)
    ]
    assert 0.85 <= np.mean([low <= expected <= high for low, high in intervals]) <= 1


@given(st.lists(st.tuples(st.sampled_from([0, 1, 2, 5]), st.sampled_from([0, 1, 3])), min_size=2, max_size=12))
def test_rank_correlation_is_that_of_mean_ranks(pairs: list[tuple[int, int]]) -> None:
    columns = [np.array(column, float) for column in zip(*pairs, strict=True)]
    ranks = [[(column < one).sum() + ((column == one).sum() + 1) / 2 for one in column] for column in columns]
    if all(len(set(column)) > 1 for column in columns):
        assert spearman(*columns) == pytest.approx(np.corrcoef(ranks)[0, 1])
        assert spearman(-columns[0], columns[1]) == pytest.approx(-spearman(*columns))
    else:
        assert np.isnan(spearman(*columns))


class Copying:
    """Predicts the ease it was shown for an input; fails for one it was not shown to hold out."""

    def fit(self, inputs: Sequence[int], ease: Floats) -> Copying:
        self.shown = dict(zip(inputs, ease, strict=True))
        return self

    def predict(self, inputs: Sequence[int]) -> Floats:
        assert not self.shown.keys() & set(inputs)
        return np.array([len(self.shown) + one / 100 for one in inputs])

    def cost(self, inputs: Sequence[int]) -> Cost:
        return Cost(0, 0, 0)


def test_every_problem_is_predicted_without_its_fold() -> None:
    predicted = cross_predict(Copying, range(10), np.linspace(0, 1, 10), 5, 0)
    assert predicted == pytest.approx(8 + np.arange(10) / 100)


@given(st.integers(2, 30), st.integers(0, 5), st.data())
def test_folds_are_a_partition(problems: int, seed: int, data: st.DataObject) -> None:
    folds = data.draw(st.integers(2, problems))
    found = list(splits(problems, folds, seed))
    assert sorted(np.concatenate([held_out for _, held_out in found]).tolist()) == list(range(problems))
    assert all(sorted([*fit_on, *held_out]) == list(range(problems)) for fit_on, held_out in found)
    sizes = [len(held_out) for _, held_out in found]
    assert len(sizes) == folds
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize("folds", [1, 11])
def test_folds_that_cannot_be_are_refused(folds: int) -> None:
    with pytest.raises(UsageError, match="2 to 10, the number of problems"):
        list(splits(10, folds, 0))


# Recorded completions of a real model


def recorded() -> list[SampleArrays]:
    with gzip.open(SHARED, "rt", encoding="utf-8") as file:
        rows = [json.loads(line)["samples"] for line in file]
    return [
        replace(
            drawn(
                [sample["step_scores"][-1] for sample in samples],
                [UNANSWERED if sample["answer_class"] is None else sample["answer_class"] for sample in samples],
            ),
            correct=np.array([sample["correct"] for sample in samples]),
            means=np.array([np.mean(sample["step_scores"]) for sample in samples]),
            tokens=np.array([float(len(sample["text"])) for sample in samples]),
        )
        for samples in rows
    ]


@pytest.mark.skipif(not SHARED.is_file(), reason=f"COMPUTEWISE_SHARED_DATA names no directory that has {SHARED.name}")
@pytest.mark.parametrize("probe", [2, 4, 8])
def test_a_probe_of_a_real_model_beats_the_mean_value_and_is_as_sure_as_it_may_be(probe: int) -> None:
    """Judged by draws that it does not see: what it believes of pass@1, and so of how many of those are right."""
    draws = recorded()
    rng, ease = np.random.default_rng(0), OracleDifficulty().predict(draws)
    rest = OracleDifficulty().predict([one.take(np.arange(probe, len(one))) for one in draws])
    seen = [one.take(np.arange(probe)) for one in draws]
    predicted, held = np.empty(len(draws)), np.empty(len(draws))
    for fit_on, held_out in splits(len(draws), 5, 0):
        estimator = ProbeDifficulty(probe).fit([draws[index] for index in fit_on], ease[fit_on])
        posterior = estimator.posterior([draws[index] for index in held_out])
        predicted[held_out] = posterior.mean
        for index, alpha, beta in zip(held_out, *posterior, strict=True):
            left = len(draws[index]) - probe
            right = rng.binomial(left, rng.beta(alpha, beta, 2000)) / left
            low, high = np.quantile(right, LEVELS)
            held[index] = low <= rest[index] <= high
    assert spearman(predicted, rest) > spearman(PredictedDifficulty().predict(seen), rest) + 0.08
    assert 0.9 < held.mean() < 0.99
