"""The shipped process reward model behind the `Verifier` protocol."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path

from computewise.core import Candidate, Problem, Usage
from computewise.errors import WeightsError
from computewise.models.embedded import prompt_tokens
from computewise.models.loop import EngineLoop
from computewise.models.network import Trunk, VerifierHead
from computewise.models.vocabulary import END, encode
from computewise.models.weights import SHIPPED, load_weights
from computewise.session import together
from computewise.verifiers.scoring import Scorer


class EmbeddedPRM:
    """Scores every step by the chance that `small`, going on from it, ends right; the value is the last step's score.

    A step is read at its delimiter; the last step of a finished solution at the end token.
    """

    def __init__(self, loop: EngineLoop, *, name: str = "prm", path: Path | None = None) -> None:
        weights = load_weights(path or SHIPPED / f"{name}.safetensors")
        self.name = name
        self.parameters = weights.parameters
        self.context = weights.config.context
        self._scorer = Scorer(Trunk(weights), VerifierHead(weights), loop)
        if path is None:
            self._check()

    def _check(self) -> None:
        """Refuse a shipped file that cannot tell a right solution from a wrong one: a constant looks like any score."""
        question = prompt_tokens("3*(4+5)-6")
        right, wrong = (
            self._scorer.read_alone((*question, *encode(f"3*9-6\n27-6\n{answer}"), END)) for answer in ("21", "24")
        )
        if not right > wrong:
            raise WeightsError(f"the verifier {self.name} scores a right solution {right:.3f}, a wrong one {wrong:.3f}")

    async def score(self, problem: Problem, candidates: Sequence[Candidate]) -> tuple[list[tuple[float, ...]], Usage]:
        """See `computewise.core.Verifier.score`; the steps a candidate brings scores for are not read again.

        Every candidate is charged what it has beyond those, and the prompt once a call that starts from it.
        """
        contexts = [self._context(problem, candidate) for candidate in candidates]
        scored = await together(map(self._score_one, contexts, candidates))
        usage = sum((usage for _, usage in scored), Usage())
        fresh = Counter(context for context, c in zip(contexts, candidates, strict=True) if not self._known(c))
        again = sum(len(context) * (count - 1) for context, count in fresh.items())
        return [scores for scores, _ in scored], usage + Usage(cached_verifier_tokens=again)

    def _context(self, problem: Problem, candidate: Candidate) -> tuple[int, ...]:
        """The tokens read before the candidate's own."""
        return prompt_tokens(problem.prompt)

    def _shared(self, candidate: Candidate, context: tuple[int, ...]) -> tuple[int, ...]:
        """What of the context is worth keeping for other candidates."""
        return context

    def _known(self, candidate: Candidate) -> int:
        """How many steps need not be read again."""
        return len(candidate.scores)

    async def _score_one(self, prompt: tuple[int, ...], candidate: Candidate) -> tuple[tuple[float, ...], Usage]:
        known = self._known(candidate)
        if known == len(candidate.steps):
            return candidate.scores, Usage()
        pieces = [encode(step.text) for step in candidate.steps]
        if candidate.end == "stop":
            pieces[-1].append(END)
        ends = [len(prompt) + length for length in accumulate(map(len, pieces))]
        tokens = prompt + tuple(token for piece in pieces for token in piece)
        prefix = tokens[: ends[known - 1]] if known else self._shared(candidate, prompt)
        positions = await self._scorer.read(tokens, prefix, keep=not candidate.finished)
        scores = (*candidate.scores[:known], *(float(positions[end - 1]) for end in ends[known:]))
        # What is kept of a finished attempt is in no cache: it is read again, and charged.
        cached = len(prefix) if known and not candidate.revises else 0
        usage = Usage(verifier_tokens=len(tokens), cached_verifier_tokens=cached)
        return scores, usage

    def value(self, scores: Sequence[float]) -> float:
        """The last step's score (Snell et al. 2024, appendix E); 0 without one."""
        return scores[-1] if scores else 0.0
