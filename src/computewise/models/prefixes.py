"""A bounded store of what a network has computed for a prefix, so that a beam's children do not read it again."""

from __future__ import annotations

from collections import OrderedDict
from typing import Generic, Protocol, TypeVar

Tokens = tuple[int, ...]


class Sized(Protocol):
    """Anything that knows how much memory it holds."""

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        ...


T = TypeVar("T", bound=Sized)


class PrefixStore(Generic[T]):
    """Least recently used out first, once `limit` bytes are held."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._held = 0
        self._entries: OrderedDict[Tokens, T] = OrderedDict()

    def get(self, tokens: Tokens) -> T | None:
        """What is stored for exactly these tokens."""
        entry = self._entries.get(tokens)
        if entry is not None:
            self._entries.move_to_end(tokens)
        return entry

    def put(self, tokens: Tokens, entry: T) -> None:
        """Store, and forget the oldest beyond the limit."""
        if tokens in self._entries:
            return
        self._entries[tokens] = entry
        self._held += entry.nbytes
        while self._held > self._limit and len(self._entries) > 1:
            _, oldest = self._entries.popitem(last=False)
            self._held -= oldest.nbytes
