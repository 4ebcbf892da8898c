"""Chains of revisions that end at an attempt the verifier trusts."""

from __future__ import annotations

from computewise.core import Candidate
from computewise.session import Session

TRUST = 0.9
"""The verifier's value from which on an attempt is not revised; looked at on validation problems (see LOG.md)."""


def trusted(session: Session, attempt: Candidate, trust: float) -> bool:
    """Whether the attempt is left as it is: it came to an end, and is worth `trust` to the verifier."""
    return attempt.end == "stop" and session.value(attempt) >= trust


async def gated_chains(
    session: Session, chain_length: int, chains: int, trust: float, *, keep_trusted: bool
) -> list[Candidate]:
    """All attempts of `chains` chains of at most `chain_length`; see `Session.revise` for `keep_trusted`."""
    begun = [[first] for first in await session.score(await session.sample(chains))]
    for _ in range(chain_length - 1):
        doubted = [chain for chain in begun if not trusted(session, chain[-1], trust)]
        attempts = await session.score(await session.revise(doubted, keep_trusted=keep_trusted))
        for chain, attempt in zip(doubted, attempts, strict=True):
            chain.append(attempt)
    return [attempt for chain in begun for attempt in chain]
