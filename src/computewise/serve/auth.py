"""Who may ask: bearer keys, compared in constant time; without keys, only those who call this machine by its name."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Collection, Sequence
from http import HTTPStatus
from urllib.parse import urlsplit

from starlette.types import Scope

from computewise.serve.refusals import Refused

_SCHEME = "bearer "


class Keys:
    """The keys that are taken. Only their digests are kept."""

    def __init__(self, keys: Sequence[str], hosts: Collection[str]) -> None:
        self._digests = [_digest(key.encode()) for key in keys]
        self._hosts = frozenset(hosts)

    def client(self, scope: Scope) -> str:
        """A name of the client, the same for all its requests; raises `Refused` where it may not ask."""
        headers = {name: value.decode("latin-1") for name, value in scope["headers"] if name in _LOOKED_AT}
        if not self._digests:
            self._check_host(headers.get(b"host", ""))
            self._check_origin(headers.get(b"origin", ""), headers.get(b"sec-fetch-site", ""))
            peer = scope.get("client")
            return str(peer[0]) if peer else "?"
        given = headers.get(b"authorization", "")
        shown = given[len(_SCHEME) :].strip(" \t") if given.lower().startswith(_SCHEME) else ""
        digest = _digest(shown.encode("latin-1"))
        # All of them, so that the time it takes says nothing of which one it was.
        if not sum(hmac.compare_digest(digest, one) for one in self._digests):
            raise Refused(
                "a key is needed that this server knows: Authorization: Bearer KEY",
                HTTPStatus.UNAUTHORIZED,
                type="authentication_error",
                code="invalid_api_key",
                headers={"www-authenticate": "Bearer"},
            )
        return digest.hex()[:16]

    def _check_origin(self, origin: str, site: str) -> None:
        """A page of somebody's may have a browser ask, too, and spend compute without reading what comes of it."""
        if self._hosts and (site == "cross-site" or (origin and urlsplit(origin).hostname not in self._hosts)):
            text = "another site's page asks: without keys this server answers its own machine's only"
            raise Refused(text, HTTPStatus.FORBIDDEN, type="authentication_error", code="unknown_origin")

    def _check_host(self, host: str) -> None:
        """A page of somebody's that a browser shows may have its own name point here: it is not let in."""
        name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host
        if self._hosts and name.strip("[]").lower() not in self._hosts:
            text = f"this server is not called {host[:100]!r}: without keys it answers under its own names only"
            raise Refused(text, HTTPStatus.FORBIDDEN, type="authentication_error", code="unknown_host")


_LOOKED_AT = (b"host", b"authorization", b"origin", b"sec-fetch-site")


def _digest(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()
