"""Revisions inside the search: a chain goes on from the steps the verifier trusts, and revises what follows."""

from __future__ import annotations

from dataclasses import dataclass

from computewise.core import Candidate, Problem
from computewise.session import Session
from computewise.strategies.gated_revisions import GatedRevisions
from computewise.strategies.gating import gated_chains


@dataclass(frozen=True, slots=True)
class StepRevisions(GatedRevisions):
    """As `GatedRevisions`, but an attempt keeps the steps before the one that the verifier doubts most.

    What a chain gets right it keeps, and its tokens go where it fails: a process reward model says where that is.
    """

    name = "step_revisions"

    async def __call__(self, problem: Problem, session: Session) -> list[Candidate]:
        """Cost: between `chains` and `chain_length` * `chains` generations, less what is kept."""
        return await gated_chains(session, self.chain_length, self.chains, self.trust, keep_trusted=True)
