"""Which texts a model may be trained on: decided by the content, so that no seed can move a problem between splits."""

from __future__ import annotations

import hashlib
from typing import Literal

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")


def split_of(text: str) -> Split:
    """The split a text belongs to: 5 % test, 5 % validation, the rest train."""
    bucket = int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest()) % 20
    return "test" if bucket == 0 else "validation" if bucket == 1 else "train"
