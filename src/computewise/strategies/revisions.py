"""Chains of revisions: plain, gated by the verifier, and with steps kept; and trees of them.

The trees are adaptive branching over whole attempts (AB-MCTS-A of Inoue et al. 2025, arXiv 2503.04412).
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from random import Random

from computewise.core import ROOT, Candidate, Problem
from computewise.errors import at_least_one, probability
from computewise.session import Session, Strategy

TRUST = 0.9

"""An attempt of at least this value is not revised; chosen on validation problems (see LOG.md)."""


def trusted(session: Session, attempt: Candidate, trust: float) -> bool:
    """Whether the attempt is not revised: the model ended it, and its value is at least `trust`."""
    return attempt.end == "stop" and session.value(attempt) >= trust


async def gated_chains(
    session: Session, chain_length: int, chains: int, trust: float, *, keep_prefix: bool
) -> list[Candidate]:
    """All attempts of `chains` chains of at most `chain_length`; see `Session.revise` for `keep_prefix`."""
    begun = [[first] for first in await session.score(await session.sample(chains))]
    for _ in range(chain_length - 1):
        doubted = [chain for chain in begun if not trusted(session, chain[-1], trust)]
        attempts = await session.score(await session.revise(doubted, keep_prefix=keep_prefix))
        for chain, attempt in zip(doubted, attempts, strict=True):
            chain.append(attempt)
    return [attempt for chain in begun for attempt in chain]


@dataclass(frozen=True, slots=True)
class Revisions(Strategy):
    """`chains` independent first attempts, each revised until its chain is `chain_length` attempts long.

    An attempt sees the last four of its chain. The paper's N is `chain_length` * `chains`, its ratio of sequential to
    parallel compute `chain_length` / `chains`: 1 chain is all sequential, chains of 1 are best-of-N. Every attempt is a
    candidate: select with `hierarchical` or by majority, not simply the last. A model trained with verdicts reads the
    verifier's scores of its attempts, so it needs a verifier even where the majority selects.
    """

    chain_length: int = 4
    chains: int = 4
    name = "revisions"
    needs_history = True
    default_select = "hierarchical"

    def __post_init__(self) -> None:
        at_least_one(chain_length=self.chain_length, chains=self.chains)

    @property
    def n(self) -> int:
        """Attempts in all."""
        return self.chain_length * self.chains

    async def __call__(self, problem: Problem, session: Session) -> list[Candidate]:
        """Cost: `chain_length` * `chains` generations, and the reading of up to four attempts before each."""
        chains = [[first] for first in await session.score(await session.sample(self.chains))]
        for _ in range(self.chain_length - 1):
            attempts = await session.score(await session.revise(chains))
            for chain, attempt in zip(chains, attempts, strict=True):
                chain.append(attempt)
        return [attempt for chain in chains for attempt in chain]


@dataclass(frozen=True, slots=True)
class GatedRevisions(Strategy):
    """As `Revisions`, but a chain is revised only while the value of its last attempt is under `trust`.

    Without a verifier no attempt is revised.
    """

    chain_length: int = 4
    chains: int = 4
    trust: float = TRUST
    name = "gated_revisions"
    needs_history = True
    needs_verifier = True
    default_select = "hierarchical"

    def __post_init__(self) -> None:
        at_least_one(chain_length=self.chain_length, chains=self.chains)
        probability(trust=self.trust)

    @property
    def n(self) -> int:
        """Attempts at most."""
        return self.chain_length * self.chains

    async def __call__(self, problem: Problem, session: Session) -> list[Candidate]:
        """Cost: between `chains` and `chain_length` * `chains` generations."""
        return await gated_chains(session, self.chain_length, self.chains, self.trust, keep_prefix=False)


@dataclass(frozen=True, slots=True)
class StepRevisions(GatedRevisions):
    """As `GatedRevisions`, but a revision keeps the steps before the weakest one.

    The tokens are spent on the part that a process reward model finds wrong.
    """

    name = "step_revisions"
    needs_history = False
    needs_steps = True

    async def __call__(self, problem: Problem, session: Session) -> list[Candidate]:
        """Cost: between `chains` and `chain_length` * `chains` generations, less the steps that are kept."""
        return await gated_chains(session, self.chain_length, self.chains, self.trust, keep_prefix=True)


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
