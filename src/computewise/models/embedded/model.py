"""The shipped generators, as models of the `Model` protocol."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from computewise.core import Attempt, Completion, FinishReason, Step, Usage
from computewise.errors import ProblemError, UsageError, WeightsError
from computewise.models.embedded.engine import Continuation, Decoder, EngineLoop
from computewise.models.embedded.network import END, TOKENS, WEIGHTS_DIRECTORY, Trunk, decode, encode, load_weights

NEWLINE = encode("\n")[0]


class EmbeddedModel:
    """A character-level language model of the package, run in this process."""

    def __init__(self, name: str, loop: EngineLoop, *, path: Path | None = None, rows: int = 64) -> None:
        weights = load_weights(path or WEIGHTS_DIRECTORY / f"{name}.safetensors")
        if weights.config.vocabulary != len(TOKENS):
            raise WeightsError(f"weights of {weights.config.vocabulary} tokens: the package uses {len(TOKENS)}")
        self.name = name
        self.parameters = weights.size
        self.revises = self.revises_steps = weights.config.attempts > 0
        self.steps = True
        self._trunk = Trunk(weights)
        self._decoder = Decoder(self._trunk, loop, rows=rows)

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
        """See `computewise.core.Model.sample`; with a prefix alone, it continues from an earlier call's cache.

        Of `attempts`, it shows as many of the last as the context holds beside `max_tokens` more tokens.
        """
        if stop not in (None, "\n"):
            raise UsageError(f"the embedded models stop at a line's end or at the solution's, not at {stop!r}")
        if attempts and not self.revises:
            raise UsageError(f"the model {self.name} was not trained to revise its attempts: use revision")
        shown = [_up_to_weakest_step(one) if self._trunk.config.verdicts else one.text for one in attempts]
        context = fitting_context(prompt, shown, self._trunk.config.context - max_tokens - len(prefix))
        tokens = context + tuple(encode(prefix))
        if len(tokens) >= self._trunk.config.context:
            raise ProblemError(f"the problem takes {len(tokens)} tokens: allowed are {self._trunk.config.context - 1}")
        if n == 0:
            return []
        continuations = await self._decoder.sample(
            tokens,
            list(seeds),
            stop=NEWLINE if stop else None,
            max_tokens=max_tokens,
            temperature=temperature,
        )
        first = len(tokens) if prefix and not attempts else 0
        goes_on = self._trunk.config.context - len(tokens) if stop else 0
        return [
            _completion(continuation, goes_on, len(tokens), first if index == 0 else len(tokens))
            for index, continuation in enumerate(continuations)
        ]


def prompt_tokens(prompt: str) -> tuple[int, ...]:
    """The tokens before the first token of a first solution."""
    return (END, *encode(prompt + "\n"))


def context_tokens(prompt: str, attempts: Sequence[str]) -> tuple[int, ...]:
    """The tokens before the first token of a revision: the prompt, then each attempt with its end token."""
    return prompt_tokens(prompt) + tuple(token for text in attempts for token in (*encode(text), END))


def fitting_context(prompt: str, attempts: Sequence[str], room: int) -> tuple[int, ...]:
    """The context with as many of the last attempts as fit `room` tokens."""
    first = 0
    while first < len(attempts) and len(context_tokens(prompt, attempts[first:])) > room:
        first += 1
    return context_tokens(prompt, attempts[first:])


def _up_to_weakest_step(attempt: Attempt) -> str:
    if attempt.likely_right or attempt.weakest_step is None:
        return attempt.text
    return "".join(attempt.steps[: attempt.weakest_step + 1])


def _completion(continuation: Continuation, goes_on: int, read: int, cached: int) -> Completion:
    """Cut into steps; a delimiter ends a completion that could go on: one of fewer than `goes_on` tokens."""
    steps: list[Step] = []
    start = 0
    tokens, logprobs = continuation.tokens, continuation.logprobs
    for index, token in enumerate(tokens):
        last = index == len(tokens) - 1
        if token != NEWLINE and not last:
            continue
        text, logprob = decode(tokens[start : index + 1]), sum(logprobs[start : index + 1])
        if text or not steps:
            steps.append(Step(text, index + 1 - start, logprob))
        else:  # The solution ended right behind a delimiter, where no further step begins.
            steps[-1] = Step(steps[-1].text, steps[-1].tokens + 1, steps[-1].logprob + logprob)
        start = index + 1
    reason: FinishReason = "length"
    if tokens[-1] == END:
        reason = "stop"
    elif tokens[-1] == NEWLINE and len(tokens) < goes_on:
        reason = "step"
    usage = Usage(samples=1, prompt_tokens=read, cached_prompt_tokens=cached, completion_tokens=len(tokens))
    return Completion(tuple(steps), reason, usage)
