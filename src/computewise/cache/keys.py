"""What a paid answer is found by."""

from __future__ import annotations

import hashlib
import json

Plain = str | int | float | bool | None
Key = bytes


def key_of(request: object) -> Key:
    """A hash of plain data that decides an answer; the order of a mapping's names does not matter."""
    text = json.dumps(request, sort_keys=True, separators=(",", ":"))
    return hashlib.blake2b(text.encode(), digest_size=20).digest()
