"""Chains of revisions that end at an attempt the verifier trusts: what is right is not revised into something wrong."""

from __future__ import annotations

from dataclasses import dataclass

from computewise.core import Candidate, Problem
from computewise.session import Session
from computewise.strategies.gating import TRUST, gated_chains
from computewise.strategies.validation import at_least_one, probability


@dataclass(frozen=True, slots=True)
class GatedRevisions:
    """As `Revisions`, but a chain is revised only while the value of its last attempt is under `trust`.

    Without a verifier everything is trusted and nothing revised.
    """

    chain_length: int = 4
    chains: int = 4
    trust: float = TRUST
    name = "gated_revisions"

    def __post_init__(self) -> None:
        at_least_one(chain_length=self.chain_length, chains=self.chains)
        probability(trust=self.trust)

    @property
    def n(self) -> int:
        """Attempts at most."""
        return self.chain_length * self.chains

    async def __call__(self, problem: Problem, session: Session) -> list[Candidate]:
        """Cost: between `chains` and `chain_length` * `chains` generations."""
        return await gated_chains(session, self.chain_length, self.chains, self.trust, keep_trusted=False)
