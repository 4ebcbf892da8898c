"""Any chat endpoint behind the `Model` protocol: whole solutions, revised by asking for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple, Protocol

from computewise.core import Attempt, Completion
from computewise.errors import UsageError


class Message(NamedTuple):
    """One turn of a conversation."""

    role: Literal["user", "assistant"]
    content: str


class Chat(Protocol):
    """A chat endpoint; steps of what it returns are cut by the task's delimiter."""

    @property
    def name(self) -> str:
        """What it is called in records."""
        ...

    @property
    def parameters(self) -> int:
        """How many numbers were learned: what FLOPs are counted from."""
        ...

    async def complete(
        self, messages: Sequence[Message], n: int, *, max_tokens: int, temperature: float, seeds: Sequence[int]
    ) -> list[Completion]:
        """`n` answers to the conversation."""
        ...


class ChatModel:
    """A model that was never trained to revise, made to by conversation (Madaan et al. 2023, Self-Refine).

    It goes on from no prefix, so searches by steps are refused.
    """

    def __init__(self, chat: Chat) -> None:
        self.name = chat.name
        self.parameters = chat.parameters
        self._chat = chat

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
        """See `computewise.core.Model.sample`."""
        if prefix or stop:
            raise UsageError(
                f"{self.name} is a chat endpoint and samples whole solutions: "
                "allowed are single, best_of_n, revisions, gated_revisions, ratio_pool"
            )
        return await self._chat.complete(
            conversation(prompt, attempts), n, max_tokens=max_tokens, temperature=temperature, seeds=seeds
        )


def conversation(prompt: str, attempts: Sequence[Attempt]) -> list[Message]:
    """The problem, then each attempt as the model's own turn with the verifier's complaint as the answer to it."""
    messages = [Message("user", prompt)]
    for attempt in attempts:
        messages += [Message("assistant", attempt.text), Message("user", complaint(attempt))]
    return messages


def complaint(attempt: Attempt) -> str:
    """What the verifier has against an attempt, and what is wanted; without scores, a second look."""
    task = "Write the whole solution again, in the same form, with the final answer at the end."
    if attempt.doubted is None:
        return f"Look for a mistake in this solution; where there is one, mend it. {task}"
    chance = f"A verifier gives this solution a chance of {attempt.scores[-1]:.0%} to be right."
    if attempt.likely_right:
        return f"{chance} Check every step once more; change only what is wrong. {task}"
    step = attempt.steps[attempt.doubted].strip()
    return f'{chance} It doubts step {attempt.doubted + 1} most: "{step}". Mend the mistake. {task}'
