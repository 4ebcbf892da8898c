"""A problem, and attempts at it, as a conversation: how a model that was never trained to revise is made to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

from computewise.core import Attempt


class Message(NamedTuple):
    """One turn of a conversation."""

    role: Literal["system", "user", "assistant"]
    content: str


def conversation(prompt: str, attempts: Sequence[Attempt], instruction: str = "") -> list[Message]:
    """The problem, then each attempt as the model's own turn with the verifier's complaint as the answer to it.

    After Self-Refine (Madaan et al. 2023). `instruction` is the system's message, where there is one.
    """
    messages = [Message("system", instruction)] if instruction else []
    messages.append(Message("user", prompt))
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
