"""Revisions inside the search: a chain goes on from the steps the verifier trusts, and revises what follows."""

from __future__ import annotations

from dataclasses import dataclass

from computewise.core import Candidate, Problem
from computewise.session import Session
from computewise.strategies.gating import TRUST, gated_chains
from computewise.strategies.validation import at_least_one, probability


@dataclass(frozen=True, slots=True)
class StepRevisions:
    """As `GatedRevisions`, but an attempt keeps the steps before the one that the verifier doubts most.

    What a chain gets right it keeps, and its tokens go where it fails: a process reward model says where that is.
    """

    chain_length: int = 4
    chains: int = 4
    trust: float = TRUST
    name = "step_revisions"

    def __post_init__(self) -> None:
        at_least_one(chain_length=self.chain_length, chains=self.chains)
        probability(trust=self.trust)

    @property
    def n(self) -> int:
        """Attempts at most."""
        return self.chain_length * self.chains

    async def __call__(self, problem: Problem, session: Session) -> list[Candidate]:
        """Cost: between `chains` and `chain_length` * `chains` generations, less what is kept."""
        return await gated_chains(session, self.chain_length, self.chains, self.trust, keep_trusted=True)
