"""Seeds that name what they are for."""

from __future__ import annotations

import hashlib


def derive_seed(*parts: object) -> int:
    """A 64-bit seed from anything that names a draw: (seed, problem id, path)."""
    return int.from_bytes(hashlib.blake2b(repr(parts).encode(), digest_size=8).digest())
