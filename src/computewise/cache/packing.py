"""Answers as the store's bytes. MessagePack, since JSON has no NaN: the log-probability of a server that gives none."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

import msgspec

from computewise.errors import RunError

T = TypeVar("T")


class Packing(Generic[T]):
    """Both ways for one type; raises `RunError` for bytes of another."""

    def __init__(self, type: type[T]) -> None:
        self._encoder, self._decoder = msgspec.msgpack.Encoder(), msgspec.msgpack.Decoder(type)

    def pack(self, answer: T) -> bytes:
        """As bytes."""
        return self._encoder.encode(answer)

    def unpack(self, data: Any) -> T:
        """As it was."""
        try:
            return self._decoder.decode(data)
        except (msgspec.MsgspecError, TypeError) as error:
            raise RunError(f"the cache holds what is no answer ({error}): name another file for the cache") from None
