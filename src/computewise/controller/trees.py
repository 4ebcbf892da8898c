"""Boosted regression trees with several outputs: what a controller predicts with.

Written here and not taken from a library because a policy must be fitted, kept in a readable file and evaluated in the
base install, for which the libraries that have them are too large.

`ForestRule` is the stopping rule that predicts with them what further draws gain, a blinkered value of computation (Hay
et al. 2012, "Selecting computations"). An option is a number of further draws by one arm. For each option the trees
predict by how much the chance of a right answer would rise; this gain is divided by the option's cost, and the largest
quotient counts.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from computewise.controller.frontier import join, price_list
from computewise.controller.replay import RecordedPool, Transitions, collect
from computewise.controller.rule import LOG_TOKENS, StoppingRule
from computewise.controller.state import FEATURES, Option, doubt
from computewise.errors import UsageError
from computewise.metrics import Bools, Floats, Ints

BINS = 32
SEEN = 12_000
"""Rows that a tree's splits are chosen by, drawn anew for each; its leaves are means of all."""
COUNTED = 64_000
"""Values counted at once, over several features: few calls where rows are few, in the cache where they are many."""

Bins = NDArray[np.uint8]
"""(features, rows): the number of each value's bin."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """How trees are grown. `share` is the least share of all rows in a leaf."""

    trees: int = 60
    depth: int = 4
    rate: float = 0.1
    share: float = 0.02


@dataclass(frozen=True, slots=True)
class Forest:
    """Complete binary trees of one depth: node i has the children 2i + 1 and 2i + 2; above `thresholds` goes right.

    `features` and `thresholds` are (trees, inner nodes), `leaves` (trees, leaves, outputs), `base` (outputs,). A node
    that was not worth splitting has an infinite threshold: everything goes left.
    """

    base: Floats
    features: Ints
    thresholds: Floats
    leaves: Floats

    def predict(self, rows: Floats) -> Floats:
        """(rows, features) -> (rows, outputs)."""
        at, trees = self._leaf(rows), np.arange(len(self.features))
        predicted = np.broadcast_to(self.base, (len(rows), len(self.base))).copy()
        if len(rows) == 1:
            return predicted + self.leaves[trees, at[0]].sum(0)
        for tree in trees:
            predicted += self.leaves[tree, at[:, tree]]
        return predicted

    def _leaf(self, rows: Floats) -> Ints:
        trees, nodes = np.arange(len(self.features)), self.features.shape[1]
        at = np.zeros((len(rows), len(trees)), np.int64)
        every = np.arange(len(rows))[:, None]
        while at.size and at[0, 0] < nodes:
            at = 2 * at + 1 + (rows[every, self.features[trees, at]] > self.thresholds[trees, at])
        return at - nodes

    def plain(self, names: list[str]) -> list[dict[str, Any]]:
        """Each tree as nested splits, for a file that a person can read."""
        return [self._node(tree, 0, names) for tree in range(len(self.features))]

    def _node(self, tree: int, node: int, names: list[str]) -> dict[str, Any]:
        inner = self.features.shape[1]
        if node >= inner:
            return {"add": self.leaves[tree, node - inner].tolist()}
        if np.isinf(self.thresholds[tree, node]):
            return self._node(tree, 2 * node + 1, names)
        return {
            "of": names[self.features[tree, node]],
            "split": float(self.thresholds[tree, node]),
            "under": self._node(tree, 2 * node + 1, names),
            "over": self._node(tree, 2 * node + 2, names),
        }

    @classmethod
    def read(cls, base: list[float], plain: list[dict[str, Any]], names: list[str]) -> Forest:
        """The inverse of `plain`."""
        depth = max(map(_depth, plain), default=0)
        nodes = 2**depth - 1
        features = np.zeros((len(plain), nodes), np.int64)
        thresholds = np.full((len(plain), nodes), np.inf)
        leaves = np.zeros((len(plain), nodes + 1, len(base)))

        def place(tree: int, node: int, part: dict[str, Any]) -> None:
            if node >= nodes:
                if len(part["add"]) != len(base):
                    raise ValueError(f"a leaf adds {len(part['add'])} numbers, not {len(base)}")
                leaves[tree, node - nodes] = part["add"]
            elif "add" in part:
                place(tree, 2 * node + 1, part)
            else:
                features[tree, node], thresholds[tree, node] = names.index(part["of"]), part["split"]
                place(tree, 2 * node + 1, part["under"])
                place(tree, 2 * node + 2, part["over"])

        for tree, part in enumerate(plain):
            place(tree, 0, part)
        return cls(np.array(base), features, thresholds, leaves)


def _depth(part: dict[str, Any]) -> int:
    return 0 if "add" in part else 1 + max(_depth(part["under"]), _depth(part["over"]))


def grow(rows: Floats, targets: Floats, recipe: Recipe) -> Forest:
    """Least-squares boosting (Friedman 2001): (rows, features) and (rows, outputs).

    A tree's splits serve all outputs: they are chosen on a random combination of the residuals, each in units of its
    spread, another for every tree (Joly et al. 2014, "Random forests with random projections of the output space").
    """
    rng = np.random.default_rng(0)
    edges = [np.unique(np.quantile(column, np.linspace(0, 1, BINS + 1)[1:-1])) for column in rows.T]
    # uint8: the bins of all rows are read again for every tree.
    binned = np.stack([np.searchsorted(edge, column) for edge, column in zip(edges, rows.T, strict=True)]).astype(
        np.uint8
    )
    base = targets.mean(0)
    residual = (targets - base).astype(np.float32)
    spread = np.maximum(residual.std(0), 1e-9)
    grown = []
    for _ in range(recipe.trees):
        seen = rng.permutation(len(rows))[:SEEN] if len(rows) > SEEN else np.arange(len(rows))
        target = residual[seen] @ (rng.standard_normal(len(base)) / spread).astype(np.float32)
        least = max(1, round(recipe.share * len(seen)))
        features, cuts = _grow(binned[:, seen], target, recipe.depth, least)
        at = _leaf(binned, features, cuts, recipe.depth)
        leaves = _means(residual, at, 2**recipe.depth) * recipe.rate
        residual -= leaves.astype(np.float32)[at]
        grown.append((features, cuts, leaves))
    features = np.stack([features for features, _, _ in grown])
    cuts = np.stack([cuts for _, cuts, _ in grown])
    thresholds = np.full(features.shape, np.inf)
    for place in zip(*np.nonzero(cuts >= 0), strict=True):
        thresholds[place] = edges[features[place]][cuts[place]]
    return Forest(base, features, thresholds, np.stack([leaves for _, _, leaves in grown]))


def _grow(binned: Bins, target: Floats, depth: int, least: int) -> tuple[Ints, Ints]:
    """One tree by levels: features and cuts of the inner nodes, -1 where none."""
    features, cuts = np.zeros(2**depth - 1, np.int64), np.full(2**depth - 1, -1)
    block = max(1, COUNTED // len(target))
    weights = np.tile(target.astype(np.float64), min(block, len(binned)))
    at = np.zeros(len(target), np.int64)
    for level in range(depth):
        width, first = 2**level, 2**level - 1
        shape = (len(binned), width, BINS)
        counts, totals = np.zeros(shape), np.zeros(shape)
        for start in range(0, len(binned), block):
            columns = binned[start : start + block]
            # The slot of each value: its feature's number in the block, its row's node, its bin.
            slots = (columns + (np.arange(len(columns))[:, None] * width + at) * BINS).ravel()
            part = (len(columns), width, BINS)
            counts[start : start + block] = np.bincount(slots, minlength=prod(part)).reshape(part)
            totals[start : start + block] = np.bincount(slots, weights[: len(slots)], prod(part)).reshape(part)
        gain = _gain(counts.cumsum(2), totals.cumsum(2), least).transpose(1, 0, 2).reshape(width, -1)
        place = gain.argmax(1)
        better = gain[np.arange(width), place] > 0
        features[first : first + width] = np.where(better, place // BINS, 0)
        cuts[first : first + width] = np.where(better, place % BINS, -1)
        at = 2 * at + _right(binned, features, cuts, level, at)
    return features, cuts


def _gain(counts: Floats, totals: Floats, least: int) -> Floats:
    """(features, nodes, bins): what a split after each bin takes off the squared error; 0 where a side is too small.

    `counts` and `totals` are the rows and the sum of their targets up to each bin.
    """
    n, s = counts[..., -1:], totals[..., -1:]
    with np.errstate(divide="ignore", invalid="ignore"):
        gain = totals**2 / counts + (s - totals) ** 2 / (n - counts) - s**2 / n
    gain[(counts < least) | (n - counts < least)] = 0.0
    return np.asarray(gain)


def _leaf(binned: Bins, features: Ints, cuts: Ints, depth: int) -> Ints:
    """(rows,): the leaf each row comes to."""
    at = np.zeros(binned.shape[1], np.uint8)
    for level in range(depth):
        at = 2 * at + _right(binned, features, cuts, level, at)
    return at.astype(np.int64)


def _right(binned: Bins, features: Ints, cuts: Ints, level: int, at: Ints | Bins) -> Bools:
    """(rows,): which rows go right from their node of a level; what is not split goes left.

    Node by node over all rows: comparing a feature's bins in order is faster than fetching each row's own feature.
    """
    right = np.zeros(binned.shape[1], np.bool_)
    for node in range(2**level):
        of, cut = features[2**level - 1 + node], cuts[2**level - 1 + node]
        if cut >= 0:
            right |= (binned[of] > cut) & (at == node)
    return right


def _means(values: NDArray[np.float32], groups: Ints, count: int) -> Floats:
    """(groups, outputs)."""
    member = np.zeros((count, len(groups)), np.float32)
    member[groups, np.arange(len(groups))] = 1.0
    return np.asarray(member @ values / np.maximum(member.sum(1, keepdims=True), 1.0), np.float64)


LISTED = 128
"""The list of prices is measured up to this many draws a problem, all arms together."""

DOUBT = 0.3
"""How much of the doubt of the vote, divided by the draws, is added to the predicted gain.

A few hundred problems bound what trees can learn, and this rule of one line has most of what there is to learn. With it
the trees' errors do not decide where they predict next to nothing.
"""

DRAWS = FEATURES.index("draws")


@dataclass(frozen=True, slots=True, kw_only=True)
class ForestRule(StoppingRule):
    """The gains that trees predict, shrunk towards the doubt of the vote divided by the draws."""

    options: tuple[Option, ...]
    forest: Forest
    """Features to (the leader is right, and by how much more so after each option)."""

    def __str__(self) -> str:
        return f"{len(self.forest.features)} trees"

    @property
    def first(self) -> str:
        """The probe."""
        return self.arms[0]

    def worth(self, features: Floats, left: Ints) -> tuple[Floats, Ints, Floats]:
        """As `StoppingRule.worth`: of the best option."""
        predicted = self.forest.predict(features)
        costs = np.array([option.costs for option in self.options])
        arm = np.array([self.arms.index(option.arm) for option in self.options])
        quotients = np.where(left[:, arm] > 0, predicted[:, 1:] / costs, -np.inf)
        best = quotients.argmax(1)
        quotient = quotients[np.arange(len(best)), best]
        gain = (np.maximum(quotient, 0.0) + DOUBT * doubt(features) / features[:, DRAWS]) / self.longer(features)
        worth = np.where(np.isfinite(quotient), gain, quotient)
        return worth, np.where(np.isfinite(worth), arm[best], -1), np.clip(predicted[:, 0], 0.0, 1.0)

    def repriced(self, before: RecordedPool, after: RecordedPool) -> ForestRule:
        """The same rule with the costs of draws in `after` in place of those in `before`; without a list of prices."""
        ratio = {
            arm.name: new.mean_cost / after.arms[0].mean_cost / (arm.mean_cost / before.arms[0].mean_cost)
            for arm, new in zip(before.arms, after.arms, strict=True)
        }
        options = tuple(replace(option, costs=option.costs * ratio[option.arm]) for option in self.options)
        return replace(self, options=options, prices=())


@dataclass(slots=True)
class ForestFitter:
    """Fits a `ForestRule` to recorded draws.

    Each problem's draws are replayed in up to 20 random orders, as many as give about `numbers` numbers to learn from.
    The list of prices is cross-validated: each of `folds` parts of the problems is predicted by a fit of the others.
    """

    larger: tuple[str, ...] = ()
    by_length: bool = False
    """Whether a draw costs its tokens."""
    numbers: int = 3_000_000
    folds: int = 3
    recipe: Recipe = field(default_factory=Recipe)
    seed: int = 0

    def fit(self, workload: RecordedPool, only: Ints | None = None) -> ForestRule:
        """A rule fitted to the problems `only`, or to all, with a cross-validated list of prices."""
        problems = np.arange(len(workload)) if only is None else only
        number = workload.numbers(problems)
        if (count := int(number.max(initial=-1)) + 1) < self.folds:
            raise UsageError(f"{count} problems are too few to fit on: at least {self.folds}")
        walked = self.collect(workload, problems)
        fold = (np.random.default_rng(self.seed).permutation(count) % self.folds)[number]
        paths = []
        for held in range(self.folds):
            part = self.fit_unpriced(workload, problems[fold != held], walked)
            held_out = problems[fold == held]
            paths.append(part.follow(workload, repeats=2, seed=self.seed, only=held_out, most=LISTED))
        return replace(self._fit(workload, walked), prices=price_list(join(paths), float(walked.units.mean())))

    def collect(self, pool: RecordedPool, problems: Ints) -> Transitions:
        """What can be learned from these problems."""
        return collect(pool, problems, self.numbers, self.seed)

    def fit_unpriced(self, pool: RecordedPool, only: Ints, walked: Transitions | None = None) -> ForestRule:
        """As `fit`, without the list of prices. `walked` are transitions of these and other problems."""
        if walked is None:
            return self._fit(pool, self.collect(pool, only))
        share = len(only) / len(np.unique(walked.problems))
        return self._fit(pool, walked.of(only, max(1, round(len(walked.problems) * share))))

    def _fit(self, workload: RecordedPool, walked: Transitions) -> ForestRule:
        options = _options(workload, walked)
        forest = grow(walked.features, np.column_stack([walked.right, walked.gains]), self.recipe)
        usual = float(np.log(np.exp(walked.features[:, LOG_TOKENS]).mean())) if self.by_length else None
        return ForestRule(
            arms=tuple(workload.names),
            larger=self.larger,
            options=options,
            forest=forest,
            log_tokens=usual,
            rung="forest",
        )


def _options(workload: RecordedPool, walked: Transitions) -> tuple[Option, ...]:
    """All options with their mean costs, in draws of the probe arm for the same problem."""
    return tuple(
        Option(workload.names[arm], amount, float(walked.costs[:, column].mean() / walked.units.mean()))
        for column, (arm, amount) in enumerate(walked.options)
    )
