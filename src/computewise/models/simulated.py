"""A model without a network, whose chance of success is known in closed form: for trials, examples and tests."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

from computewise.core import Attempt, Completion, FinishReason, Step, Usage
from computewise.errors import ModelError
from computewise.tasks.simulated import RIGHT, WRONG, all_right, read_prompt


@dataclass(frozen=True, slots=True)
class SimulatedModel:
    """Gets every step right with probability `skill`, so pass@1 of a problem is `skill` ** its depth.

    A wrong solution ends in one of `wrong_answers` answers, equally likely: with 1 all errors agree, and a majority
    vote is lost wherever pass@1 is under a half. Characters are tokens; to end a solution takes none.

    In view of earlier attempts it is right with probability `hold` where the last one is right, with `mend` where it is
    wrong: along a chain, being right is a Markov chain of two states. Steps kept of an attempt raise the chance.
    """

    skill: float = 0.8
    wrong_answers: int = 4
    hold: float = 0.8
    mend: float = 0.3
    name: str = "simulated"
    parameters: int = 1_000

    async def sample(
        self,
        prompt: str,
        prefix: str,
        n: int,
        *,
        stop: str | None,
        max_tokens: int,
        temperature: float,
        seeds: Sequence[int],
        attempts: Sequence[Attempt] = (),
    ) -> list[Completion]:
        """See `computewise.core.Model.sample`; temperature 0 takes the likelier step every time."""
        depth = read_prompt(prompt)[1]
        done = prefix.count("\n")
        if done >= depth or not (prefix == "" or prefix.endswith("\n")):
            raise ModelError(f"{self.name} cannot go on behind {prefix[-20:]!r}: only behind a step before the last")
        ahead = 1 if stop else depth - done
        skill = self._skill(attempts, depth)
        ended: FinishReason = "stop" if done + ahead == depth else "step"
        read = len(prompt) + sum(len(attempt.text) for attempt in attempts) + len(prefix)
        completions = []
        for index, seed in enumerate(seeds):
            whole = self._steps(random.Random(seed), skill, prompt, prefix, ahead, greedy=temperature == 0)
            steps = _cut(whole, max_tokens)
            usage = Usage(
                samples=1,
                prompt_tokens=read,
                cached_prompt_tokens=read if index or (prefix and not attempts) else 0,
                completion_tokens=sum(step.tokens for step in steps),
            )
            completions.append(Completion(steps, ended if steps == whole else "length", usage))
        return completions

    def _skill(self, attempts: Sequence[Attempt], depth: int) -> float:
        """The chance that a step is right: over all steps, that of the whole solution."""
        if not attempts:
            return self.skill
        return float((self.hold if all_right(attempts[-1].text) else self.mend) ** (1 / depth))

    def _steps(
        self, rng: random.Random, skill: float, prompt: str, prefix: str, ahead: int, *, greedy: bool
    ) -> tuple[Step, ...]:
        """The next `ahead` steps; the last of a solution states its answer instead of going on."""
        number, depth = read_prompt(prompt)
        flawless = all_right(prefix)
        steps = []
        for position in range(prefix.count("\n") + 1, prefix.count("\n") + ahead + 1):
            right = skill >= 0.5 if greedy else rng.random() < skill
            flawless = flawless and right
            error = 1 if greedy else rng.randint(1, self.wrong_answers)
            text = RIGHT if right else WRONG
            text += "\n" if position < depth else f" {number if flawless else number + error}"
            steps.append(Step(text, len(text), math.log(skill if right else 1 - skill)))
        return tuple(steps)


def _cut(steps: tuple[Step, ...], room: int) -> tuple[Step, ...]:
    """What of `steps` fits `room` tokens, a part of a step included."""
    kept: list[Step] = []
    for step in steps:
        fits = min(step.tokens, room)
        if fits:
            kept.append(replace(step, text=step.text[:fits], tokens=fits))
        room -= fits
    return tuple(kept)
