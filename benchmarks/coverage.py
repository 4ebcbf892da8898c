"""How often the 95 % intervals of a report hold the truth, on simulated problems whose accuracies are known.

    python benchmarks/coverage.py [REPEATS] [--json]

In each of four worlds, ten strategies of rising cost solve problems of different difficulty: with no true differences
but those of cost, with small, middling and large ones that depend on difficulty. In each repeat 60, 150 or 600 problems
are drawn, half of the strategies answer each once, the others sixteen times, and everything is computed as in a study:
the paper's table and the best fixed strategy chosen on four of five parts, and a controller that learns on the same
parts which of four strategies to use in which of eight ranges of a noisy feature, at one price.

The truth of what was chosen or fitted is its accuracy on the whole population, the mean over parts and partitions. The
truth of a ratio of costs is read off the true curves of what was fitted. Printed is the share of repeats whose interval
holds the truth, mean over the worlds; 1,000 repeats give it to within 0.014.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from computewise.controller.bin_policy import cross_validate, partitions
from computewise.controller.rule import FOLDS
from computewise.intervals import (
    Curve,
    Estimate,
    as_partitions,
    difference,
    proportion,
    rate,
    simultaneous,
    times_fewer,
)
from computewise.metrics import Floats, Ints
from computewise.study.analysis.controller import FITTED
from computewise.study.plan import StudyConfig

SIZES = (60, 150, 600)
POPULATION = 20_000
COSTS = np.array([1.0, 1, 2, 2, 4, 4, 8, 8, 16, 16])
ANSWERS = np.array([16, 1] * 5)
GAIN = 0.25
"""What twice the cost adds to the log-odds."""
SPREADS = (0.0, 0.15, 0.3, 0.8)
"""Of the strategies' log-odds in each world, and of how they depend on difficulty."""
BINS, LEAVES = 5, 8
USED = (0, 2, 4, 8)
"""The strategies that the controller may use; the first of each cost is uniform at that cost."""
BUDGETS = (2.0, 4.0, 8.0, 16.0)
CURVE = np.geomspace(1.0, 16.0, 24)
PRICES = np.concatenate([[np.inf], np.geomspace(1.0, 1e-4, 120), [0.0]])


@dataclass(frozen=True, slots=True)
class World:
    """A population: (problems, strategies) chances, bins from the easiest and ranges of the feature, and their means.

    `by_bin` and `by_leaf` are (groups, strategies) mean chances, `bin_share` and `leaf_share` the shares of problems.
    """

    chance: Floats
    bins: Ints
    leaves: Ints
    by_bin: Floats
    by_leaf: Floats
    leaf_share: Floats
    rises: bool
    """Whether dearer strategies are more accurate, on the whole."""

    @classmethod
    def of(cls, spread: float, rng: np.random.Generator) -> World:
        """A world whose strategies differ by `spread`."""
        ease = rng.normal(0.0, 1.8, POPULATION)
        offset = rng.normal(0, spread, len(COSTS))
        offset[list(USED)] = 0.0
        offset += GAIN * np.log2(COSTS) if spread else 0.0
        slope = rng.normal(0, spread, len(COSTS))
        odds = ease[:, None] * (1 + slope / 3) + offset + rng.normal(0, 0.6, (POPULATION, len(COSTS)))
        chance = 1 / (1 + np.exp(-odds))
        bins = BINS - 1 - _ranks(ease + rng.normal(0, 0.5, POPULATION), BINS)
        leaves = _ranks(ease + rng.normal(0, 1.0, POPULATION), LEAVES)
        by_leaf = _group_means(chance, leaves, LEAVES)
        share = np.bincount(leaves, minlength=LEAVES) / POPULATION
        return cls(chance, bins, leaves, _group_means(chance, bins, BINS), by_leaf, share, spread > 0)


def _ranks(values: Floats, groups: int) -> Ints:
    return np.searchsorted(np.quantile(values, np.arange(1, groups) / groups), values)


def _group_means(values: Floats, group: Ints, groups: int) -> Floats:
    return np.stack([values[group == one].mean(0) for one in range(groups)])


@dataclass(frozen=True, slots=True)
class Fitted:
    """A controller at a budget: (partitions, problems) accuracies, (problems,) costs, and the true means of both."""

    accuracy: Floats
    cost: Floats
    truth: float
    true_cost: float


def controllers(
    world: World, accuracy: Floats, leaves: Ints, parts: Ints, budgets: Floats, *, once: bool
) -> list[Fitted]:
    """One for each budget, at the lowest price that spends no more than it.

    `once`: fitted for the first partition, as trees are in a study, and for a few others to see how they differ.
    """
    used, costs = accuracy[:, USED], COSTS[list(USED)]
    outside = parts[:, None] != np.arange(FOLDS)[:, None]
    inside = np.eye(LEAVES)[leaves]
    counts = outside @ inside
    means = np.einsum("pkn,nl,na->pkla", outside, inside, used, optimize=True) / np.maximum(counts, 1)[..., None]
    means = np.where(counts[..., None] > 0, means, (outside @ used / outside.sum(2)[..., None])[:, :, None])
    finite = np.where(np.isinf(PRICES), 1e9, PRICES)
    action = (means - finite[:, None, None, None, None] * costs).argmax(-1)
    held = ~outside @ inside / len(accuracy)
    spent = (held * costs[action]).sum((-1, -2))
    places, problems = np.arange(len(parts)), np.arange(len(accuracy))
    found = []
    for budget in budgets:
        price = np.where(spent <= budget + 1e-9, np.arange(len(PRICES))[:, None], 0).max(0)
        rule = action[price, places]
        taken = rule[places[:, None], parts, leaves]
        truth = (world.by_leaf[:, USED][np.arange(LEAVES), rule] * world.leaf_share).sum(-1)
        true_cost = (costs[rule] * world.leaf_share).sum(-1)
        accuracies = used[problems, taken]
        if once:
            accuracies = as_partitions(accuracies[0], accuracies[:FITTED].mean(1), len(parts))
            truth, true_cost, taken = truth[:1], true_cost[:1], taken[:1]
        found.append(Fitted(accuracies, costs[taken].mean(0), float(truth.mean()), float(true_cost.mean())))
    return found


def repeat(world: World, problems: int, rng: np.random.Generator) -> Iterator[tuple[str, list[bool]]]:
    """Draw problems, compute everything, and yield for each difference whether its intervals hold their truths."""
    drawn = rng.integers(POPULATION, size=problems)
    accuracy = rng.binomial(ANSWERS, world.chance[drawn]) / ANSWERS
    bins, leaves = world.bins[drawn], world.leaves[drawn]
    parts = partitions(bins, StudyConfig().repeats, int(rng.integers(1 << 30)))
    means = world.chance.mean(0)
    alone = np.zeros(problems, np.int64)

    fixed = cross_validate(accuracy, alone, parts)
    table = cross_validate(accuracy, bins, parts)
    true_fixed = means[fixed.taken].mean()
    # What the table takes in each bin, on average over parts, at the population's shares of the bins, a fifth each.
    true_table = np.mean([world.by_bin[one, table.taken[:, bins == one]].mean() for one in range(BINS) if one in bins])
    yield (
        "table minus best fixed",
        [_holds(difference(table.average(accuracy) - fixed.average(accuracy)), float(true_table - true_fixed))],
    )
    yield "best fixed", [_holds(proportion(fixed.average(accuracy)), float(true_fixed))]
    yield "table", [_holds(proportion(table.average(accuracy)), float(true_table))]

    yield from controlled("controller", world, accuracy, leaves, parts[:FITTED], once=False)
    yield from controlled("controller fitted once", world, accuracy, leaves, parts, once=True)
    yield from in_bins(world, accuracy, bins)
    # Where accuracy does not rise with cost there is nothing to save.
    yield "times fewer", [fewer(world, accuracy, leaves, parts[:FITTED])] if world.rises else []


def controlled(
    name: str, world: World, accuracy: Floats, leaves: Ints, parts: Ints, *, once: bool
) -> Iterator[tuple[str, list[bool]]]:
    """A controller against the best fixed strategy that costs no more, and against uniform at the same cost."""
    problems, means = len(accuracy), world.chance.mean(0)
    fitted = controllers(world, accuracy, leaves, parts, np.array(BUDGETS), once=once)
    against, truths, uniform = [], [], []
    for budget, one in zip(BUDGETS, fitted, strict=True):
        within = np.flatnonzero(budget >= COSTS)
        rival = within[cross_validate(accuracy[:, within], np.zeros(problems, np.int64), parts).taken]
        against.append(one.accuracy - accuracy[np.arange(problems), rival])
        truths.append(one.truth - float(means[rival].mean()))
        same = int(np.flatnonzero(budget == COSTS)[0])
        uniform.append(_holds(difference(one.accuracy - accuracy[:, same]), one.truth - float(means[same])))
    pairs = list(zip(against, truths, strict=True))
    mean = difference(np.mean(against, axis=0))
    at_once = all(map(_holds, simultaneous(np.stack(against)), truths))
    yield f"{name} minus best fixed, one budget", [_holds(difference(paired), truth) for paired, truth in pairs]
    yield f"{name} minus best fixed, mean over budgets", [_holds(mean, float(np.mean(truths)))]
    yield f"{name} minus best fixed, all budgets at once", [at_once]
    yield f"{name} minus uniform, one budget", uniform
    yield name, [_holds(proportion(one.accuracy), one.truth) for one in fitted]


def in_bins(world: World, accuracy: Floats, bins: Ints) -> Iterator[tuple[str, list[bool]]]:
    """Strategies of one answer a problem in each bin, and of several."""
    kinds = {"one answer a problem": (1, 7), "several answers a problem": (0, 6)}
    for kind, (one, other) in kinds.items():
        single, paired = [], []
        for bin in np.unique(bins):
            values, true = accuracy[bins == bin], world.by_bin[bin]
            single.append(_holds(proportion(values[:, other]), float(true[other])))
            paired.append(_holds(difference(values[:, other] - values[:, one]), float(true[other] - true[one])))
        yield f"a bin, {kind}", single
        yield f"paired difference in a bin, {kind}", paired
    chances = np.full(len(accuracy), float(ANSWERS[0]))
    yield "rate", [_holds(rate(accuracy[:, 0] * ANSWERS[0], chances), float(world.chance[:, 0].mean()))]


def fewer(world: World, accuracy: Floats, leaves: Ints, parts: Ints) -> bool:
    """Whether the interval of the cost saved for the accuracy of uniform at half the largest cost holds its truth."""
    curve = controllers(world, accuracy, leaves, parts, CURVE, once=False)
    ours = Curve(np.stack([one.accuracy for one in curve], -1), np.stack([one.cost for one in curve], -1))
    same = list(USED[:-1])
    cost = np.broadcast_to(COSTS[same], (len(accuracy), len(same)))
    _, _, found = times_fewer(ours, Curve(accuracy[:, same], cost))
    needed = world.chance[:, same].mean(0)
    reached = [one.true_cost for one in curve[::-1] if one.truth >= needed[-1] - 1e-9]
    theirs = COSTS[same][np.minimum.accumulate(needed[::-1])[::-1] >= needed[-1]][0]
    return _holds(found, theirs / reached[-1] if reached else 0.0)


def _holds(found: Estimate, truth: float) -> bool:
    return bool(found.low - 1e-12 <= truth <= found.high + 1e-12)


def coverage(repeats: int) -> dict[str, dict[str, float]]:
    """For each difference, the coverage by number of problems."""
    worlds = [World.of(spread, np.random.default_rng((1, place))) for place, spread in enumerate(SPREADS)]
    found: dict[str, dict[str, float]] = defaultdict(dict)
    for problems in SIZES:
        held: dict[str, list[bool]] = defaultdict(list)
        for number in range(repeats):
            rng = np.random.default_rng((problems, number))
            for name, each in repeat(worlds[number % len(worlds)], problems, rng):
                held[name] += each
        for name, each in held.items():
            found[name][str(problems)] = round(float(np.mean(each)), 4)
        print(f"{problems} problems: {repeats} repeats done", file=sys.stderr, flush=True)
    return found


if __name__ == "__main__":
    numbers = [int(one) for one in sys.argv[1:] if one != "--json"]
    covered = coverage(numbers[0] if numbers else 1000)
    if "--json" in sys.argv:
        print(json.dumps(covered, indent=1))
    else:
        print(f"| coverage of 95 % intervals | {' | '.join(f'{size} problems' for size in SIZES)} |\n|---|---|---|---|")
        for name, by_size in covered.items():
            print(f"| {name} | {' | '.join(f'{by_size[str(size)]:.3f}' for size in SIZES)} |")
