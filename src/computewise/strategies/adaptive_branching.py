"""Wider or deeper, attempt by attempt: adaptive branching (AB-MCTS-A of Inoue et al. 2025) over whole attempts."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from random import Random

from computewise.core import ROOT, Candidate, Problem
from computewise.session import Session
from computewise.strategies.validation import at_least_one, probability


@dataclass(frozen=True, slots=True)
class AdaptiveBranching:
    """`n` attempts, each either new (wider) or the revision of an earlier one (deeper), until one is worth `trust`.

    A revision keeps the steps before the one that the verifier doubts most.

    Thompson sampling goes down from the root. At every node one arm makes a new child there, the others go on into a
    child; an arm's chance is drawn from Beta(1 + sum of values, 1 + sum of 1 - values), over the children made there
    for the first kind, over the child and all below it for the second. Values are the verifier's.
    """

    n: int = 16
    trust: float = 1.0
    name = "adaptive_branching"

    def __post_init__(self) -> None:
        at_least_one(n=self.n)
        probability(trust=self.trust)

    async def __call__(self, problem: Problem, session: Session) -> list[Candidate]:
        """Cost: at most `n` generations, one after the other."""
        dice = session.random(self.name)
        tree = _Tree()
        for _ in range(self.n):
            chain = tree.descend(dice)
            drawn = await session.revise([chain], keep_trusted=True) if chain else await session.sample(1)
            (attempt,) = await session.score(drawn)
            tree.add(chain, attempt, session.value(attempt))
            if session.value(attempt) >= self.trust:
                break
        return tree.attempts


class _Tree:
    def __init__(self) -> None:
        self.attempts: list[Candidate] = []
        self._children: dict[str, list[Candidate]] = defaultdict(list)
        self._made: dict[str, list[float]] = defaultdict(list)
        """Values of the children of a node."""
        self._below: dict[str, list[float]] = defaultdict(list)
        """Values of a node and of everything below it."""

    def add(self, chain: list[Candidate], attempt: Candidate, value: float) -> None:
        self.attempts.append(attempt)
        parent = chain[-1] if chain else ROOT
        self._children[parent.id].append(attempt)
        self._made[parent.id].append(value)
        for node in (*chain, attempt):
            self._below[node.id].append(value)

    def descend(self, dice: Random) -> list[Candidate]:
        """The attempts from the root down to where the next one is to be made."""
        chain: list[Candidate] = []
        while True:
            node = chain[-1] if chain else ROOT
            here = _draw(self._made[node.id], dice)
            further = [(_draw(self._below[child.id], dice), child) for child in self._children[node.id]]
            best = max(further, key=lambda arm: arm[0], default=(0.0, node))
            if here >= best[0]:
                return chain
            chain.append(best[1])


def _draw(values: list[float], dice: Random) -> float:
    return dice.betavariate(1 + sum(values), 1 + len(values) - sum(values))
