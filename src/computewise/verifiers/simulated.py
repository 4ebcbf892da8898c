"""A process reward model that knows the truth about a simulated model, but for as much noise as it is told to have."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from computewise.core import Candidate, Problem, Usage
from computewise.seeds import derive_seed
from computewise.tasks.simulated import all_right, read_prompt


@dataclass(frozen=True, slots=True)
class SimulatedPRM:
    """Scores a step by the chance that a model of `skill`, going on from it, ends right: `skill` ** steps left, or 0.

    `noise` moves a score by up to that much either way, within [0, 1]. It is a function of the text, as a learned
    verifier's error is: asking again does not average it away, and a search can come to exploit it.
    """

    skill: float = 0.8
    noise: float = 0.0
    seed: int = 0
    name: str = "simulated_prm"
    parameters: int = 1_000

    async def score(self, problem: Problem, candidates: Sequence[Candidate]) -> tuple[list[tuple[float, ...]], Usage]:
        """See `computewise.core.Verifier.score`; the steps a candidate brings scores for are not read again."""
        usage = Usage()
        prompt_is_cached = False
        for candidate in candidates:
            known = "".join(step.text for step in candidate.steps[: len(candidate.scores)])
            read = len(problem.prompt) + len(candidate.text)
            cached = len(problem.prompt) + len(known) if known or prompt_is_cached else 0
            prompt_is_cached = prompt_is_cached or not known
            usage += Usage(verifier_tokens=read, cached_verifier_tokens=cached)
        return [self._scores(problem, candidate) for candidate in candidates], usage

    def value(self, scores: Sequence[float]) -> float:
        """The last step's score; 0 without one."""
        return scores[-1] if scores else 0.0

    def _scores(self, problem: Problem, candidate: Candidate) -> tuple[float, ...]:
        depth = read_prompt(problem.prompt)[1]
        texts = accumulate(step.text for step in candidate.steps)
        return tuple(
            self._blurred(self.skill ** (depth - done) if all_right(text) else 0.0, problem.id, text)
            for done, text in enumerate(texts, 1)
        )

    def _blurred(self, score: float, problem: str, text: str) -> float:
        error = random.Random(derive_seed(self.seed, problem, text)).uniform(-self.noise, self.noise)
        return min(max(score + error, 0.0), 1.0)
