"""Chains of revisions (Snell et al. 2024, section 6): the sequential half of test-time compute."""

from __future__ import annotations

from dataclasses import dataclass

from computewise.core import Candidate, Problem
from computewise.session import Session
from computewise.strategies.validation import at_least_one


@dataclass(frozen=True, slots=True)
class Revisions:
    """`chains` independent first attempts, each revised until its chain is `chain_length` attempts long.

    An attempt sees the last four of its chain. The paper's N is `chain_length` * `chains`, its ratio of sequential to
    parallel compute `chain_length` / `chains`: 1 chain is all sequential, chains of 1 are best-of-N. Every attempt is a
    candidate: select with `hierarchical`, or by majority, never the last. A model trained with verdicts sees attempts
    as the verifier scored them, so it asks for one even where the majority selects.
    """

    chain_length: int = 4
    chains: int = 4
    name = "revisions"

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
