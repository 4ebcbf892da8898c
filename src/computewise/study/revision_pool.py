"""One pool of chains of revisions, from which a study measures every ratio of sequential to parallel samples."""

from __future__ import annotations

from dataclasses import dataclass

from computewise.core import Candidate, Problem
from computewise.session import Session, Strategy
from computewise.strategies._common import at_least_one


@dataclass(frozen=True, slots=True)
class RevisionPool(Strategy):
    """Chains of falling length, so that there are C of at least `n` / C attempts for C = 1, 2, 4, .. and `n`.

    The beginning of a chain is a shorter chain: C of them, cut to L attempts, are what `Revisions(L, C)` draws, and cut
    at their first trusted attempt what `GatedRevisions(L, C)` draws. For seven ratios at `n` = 64, `Revisions` would
    draw 448 attempts; this draws 256, which hold every smaller budget too.
    """

    n: int = 16
    name = "revision_pool"
    needs_history = True
    default_select = "hierarchical"

    def __post_init__(self) -> None:
        at_least_one(n=self.n)

    async def __call__(self, problem: Problem, session: Session) -> list[Candidate]:
        """Cost: about `n` * (1 + log2(`n`) / 2) generations."""
        lengths = chain_lengths(self.n)
        chains = [[first] for first in await session.score(await session.sample(len(lengths)))]
        for round_ in range(1, lengths[0]):
            going = [chain for chain, length in zip(chains, lengths, strict=True) if length > round_]
            attempts = await session.score(await session.revise(going))
            for chain, attempt in zip(going, attempts, strict=True):
                chain.append(attempt)
        return [attempt for chain in chains for attempt in chain]


def chain_lengths(n: int) -> list[int]:
    """The lengths of the chains, falling; chain j is as long as the longest ratio of more than j chains needs."""
    return [n // next(width for width in parallel_widths(n) if width > chain) for chain in range(n)]


def parallel_widths(n: int) -> list[int]:
    """The numbers of chains worth drawing for up to `n` attempts: powers of two, and `n` itself."""
    return sorted({1 << power for power in range(n.bit_length())} | {n})
