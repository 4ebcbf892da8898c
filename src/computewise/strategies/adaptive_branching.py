"""Adaptive branching over whole attempts (AB-MCTS-A of Inoue et al. 2025, arXiv 2503.04412)."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from random import Random

from computewise.core import ROOT, Candidate, Problem
from computewise.errors import at_least_one, probability
from computewise.session import Session, Strategy
from computewise.strategies.revisions import TRUST, trusted


@dataclass(frozen=True, slots=True)
class AdaptiveBranching(Strategy):
    """At most `n` attempts, each new (wider) or a revision of an earlier one (deeper), until one is worth `trust`.

    A revision keeps the steps before the weakest one.

    Thompson sampling decides where the next attempt is made. From the root down, it chooses at every node between a new
    child and one of the node's children. Each choice has a chance drawn from Beta(1 + sum of values, 1 + sum of
    (1 - value)): a new child over the values of the node's children, the descent over the values of all that was made
    below them. The child to descend to is drawn in the same way, over its own value and all below it.

    Two things differ from the authors' library (SakanaAI/treequest). Its Beta prior is Jeffreys' Beta(.5, .5) by
    default, which follows the first values more closely; this one is uniform, Beta(1, 1). And the paper always makes
    `n` attempts: the stop at the first one worth `trust` is ours, and `trust` = 1 stops at a value of 1 alone.
    """

    n: int = 16
    trust: float = TRUST
    name = "adaptive_branching"
    needs_steps = True
    needs_verifier = True
    default_select = "hierarchical"

    def __post_init__(self) -> None:
        at_least_one(n=self.n)
        probability(trust=self.trust)

    async def __call__(self, problem: Problem, session: Session) -> list[Candidate]:
        """Cost: at most `n` generations, one after the other."""
        dice = session.random(self.name)
        tree = _Tree()
        for _ in range(self.n):
            chain = tree.descend(dice)
            drawn = await session.revise([chain], keep_prefix=True) if chain else await session.sample(1)
            (attempt,) = await session.score(drawn)
            tree.add(chain, attempt, session.value(attempt))
            if trusted(session, attempt, self.trust):
                break
        return tree.attempts


class _Tree:
    def __init__(self) -> None:
        self.attempts: list[Candidate] = []
        self._children: dict[str, list[Candidate]] = defaultdict(list)
        self._values: dict[str, list[float]] = defaultdict(list)
        """By node: its own value, then the values of its descendants in the order they were made."""

    def add(self, chain: list[Candidate], attempt: Candidate, value: float) -> None:
        self.attempts.append(attempt)
        self._children[chain[-1].id if chain else ROOT.id].append(attempt)
        for node in (*chain, attempt):
            self._values[node.id].append(value)

    def descend(self, dice: Random) -> list[Candidate]:
        """The attempts on the path from the root to the parent of the next one."""
        chain: list[Candidate] = []
        while children := self._children[chain[-1].id if chain else ROOT.id]:
            made = [self._values[child.id][0] for child in children]
            below = [value for child in children for value in self._values[child.id][1:]]
            if _draw(made, dice) >= _draw(below, dice):
                break
            chain.append(max(children, key=lambda child: _draw(self._values[child.id], dice)))
        return chain


def _draw(values: list[float], dice: Random) -> float:
    return dice.betavariate(1 + sum(values), 1 + len(values) - sum(values))
