"""Keys come from the environment and go to the server they are for; nothing else holds them."""

from __future__ import annotations

import os

KEYS = {
    "small": "COMPUTEWISE_API_KEY",
    "large": "COMPUTEWISE_LARGE_API_KEY",
    "prm": "COMPUTEWISE_VERIFIER_API_KEY",
}
"""The environment's variables, by the role of what a server is asked for."""


def key_of(role: str) -> str | None:
    """The key for the server of a role; None where there is none."""
    return os.environ.get(KEYS[role]) or None
