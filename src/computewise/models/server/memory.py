"""The token ids of prompts that a search will go on from."""

from __future__ import annotations

import hashlib
from array import array
from collections import OrderedDict
from collections.abc import Sequence

MOST = 1 << 23
"""Ids kept in all: 32 MB."""


class Memory:
    """Ids by the text they spell; where there are more than `most`, the oldest are forgotten."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._kept = 0
        self._ids: OrderedDict[bytes, array[int]] = OrderedDict()

    def keep(self, text: str, ids: Sequence[int]) -> None:
        """Remember."""
        key = _digest(text)
        self._kept += len(ids) - len(self._ids.pop(key, ()))
        self._ids[key] = array("i", ids)
        while self._kept > self._most:
            self._kept -= len(self._ids.popitem(last=False)[1])

    def find(self, text: str) -> tuple[int, ...] | None:
        """Those of exactly this text; None where they are not known."""
        held = self._ids.get(_digest(text))
        return None if held is None else tuple(held)


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=16).digest()
