"""A node as the viewer reads it."""

from __future__ import annotations

from typing import Literal

import msgspec

from computewise.viewer.diff import Change

State = Literal["chosen", "kept", "pruned", "open"]


class Step(msgspec.Struct, frozen=True):
    """One step as it was written; `score` is None where no verifier has read it."""

    text: str
    score: float | None
    tokens: int


class Node(msgspec.Struct, frozen=True):
    """What was sampled in one piece: a step of a search, a whole sample, a revision.

    `steps` are those that it adds to its parent's, all of them where it `revises` the parent; none where the model
    ended right behind the parent's last. `count` equal siblings are one node, `tokens` were sampled for all of them.
    """

    id: str
    parent: str | None
    arm: str | None
    count: int
    steps: tuple[Step, ...]
    value: float | None
    end: Literal["stop", "length", "failed"] | None
    answer: str | None
    tokens: int
    revises: bool
    diff: tuple[Change, ...] | None
    """Against the parent's text, where it revises."""
    state: State
    """On the path to the answer, to a final candidate, to neither, or not yet known."""
