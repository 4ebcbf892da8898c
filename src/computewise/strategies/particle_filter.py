"""Particle filtering: search as inference about right solutions (Puri et al. 2025), resampled only where needed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from computewise.core import ROOT, Candidate, Problem
from computewise.errors import at_least_one
from computewise.session import Session, Strategy

_CERTAIN = 1e-4
"""Values are kept this far from 0 and 1, whose odds are 0 and infinite."""


@dataclass(frozen=True, slots=True)
class ParticleFilter(Strategy):
    """`n` particles, each a partial solution; their weights are the odds that the verifier gives them.

    A particle's weight is the factor by which its odds have risen since it was last resampled. Systematic resampling
    takes place only where the effective sample size falls below half of `n`: with resampling at every step, all
    particles would soon be copies of one. A finished particle keeps its odds and is not scored again. However often it
    is drawn, it is one candidate with the weight of all its copies.

    That weight decides what is drawn, and not the answer: the candidates that are returned are different ones, and a
    vote counts each once, with its value. So a particle that stands for seven copies votes once. (The authors' library,
    its_hub, does not vote: it answers with the one particle of the highest weight, as the selection "best" does here.)
    Fewer than `n` candidates may be left, a single one where it took all places.
    """

    n: int = 16
    name = "particle_filter"
    needs_steps = True
    needs_verifier = True

    def __post_init__(self) -> None:
        at_least_one(n=self.n)

    async def __call__(self, problem: Problem, session: Session) -> list[Candidate]:
        """Cost: about `n` generations; finished particles are not sampled again."""
        dice = session.random(self.name)
        particles = await session.score(await session.expand([ROOT], self.n))
        copies = dict.fromkeys((particle.id for particle in particles), 1)
        since = dict.fromkeys(copies, 0.0)
        while not all(particle.finished for particle in particles):
            log_odds = [_log_odds(session.value(particle)) for particle in particles]
            weights = [math.exp(now - since[p.id]) for p, now in zip(particles, log_odds, strict=True)]
            counts = [copies[particle.id] for particle in particles]
            if effective_size(weights, counts) < self.n / 2:
                counts = systematic(
                    [w * count for w, count in zip(weights, counts, strict=True)], self.n, dice.random()
                )
                since = {p.id: now for p, now in zip(particles, log_odds, strict=True)}
            drawn = [(particle, count) for particle, count in zip(particles, counts, strict=True) if count]
            copies = {particle.id: count for particle, count in drawn if particle.finished}
            particles = await session.expand([p for p, _ in drawn], [count for _, count in drawn])
            copies = {particle.id: copies.get(particle.id, 1) for particle in particles}
            since |= {p.id: since[p.parent] for p in particles if p.id not in since and p.parent is not None}
            particles = await session.score(particles)
        return particles


def _log_odds(value: float) -> float:
    held = min(max(value, _CERTAIN), 1 - _CERTAIN)
    return math.log(held / (1 - held))


def effective_size(weights: Sequence[float], copies: Sequence[int]) -> float:
    """(sum w)^2 / sum w^2 over all copies: the number of equally weighted particles they equal (Kong et al. 1994)."""
    total = sum(w * count for w, count in zip(weights, copies, strict=True))
    return total**2 / sum(w**2 * count for w, count in zip(weights, copies, strict=True))


def systematic(weights: Sequence[float], n: int, offset: float) -> list[int]:
    """How often each particle is drawn, by `n` evenly spaced points, `offset` in [0, 1)."""
    total = sum(weights)
    # Points below an edge: those at (i + offset) / n of the total, i = 0, 1, ...
    below = [min(n, max(0, math.ceil(n * edge / total - offset))) for edge in accumulate(weights)]
    below[-1] = n
    return [after - before for before, after in zip([0, *below], below, strict=False)]
