"""Many small connection pools in place of a large one."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from urllib.request import getproxies, proxy_bypass

import httpx

EACH = 2


class SpreadTransport(httpx.AsyncBaseTransport):
    """Hands each request to the first pool that has fewer than `EACH` under way.

    A pool of httpcore looks at every one of its connections, asking the system about the idle ones, whenever a request
    begins or ends: with 256 of them that takes most of a core (benchmarks/adapter.py). Over HTTP/2 a pool is one
    connection of `EACH` streams.
    """

    def __init__(self, keepalive: float, proxy: str | None) -> None:
        self._proxy = proxy
        self._limits = httpx.Limits(max_connections=None, max_keepalive_connections=EACH, keepalive_expiry=keepalive)
        self._context = httpx.create_ssl_context()
        self._pools: list[httpx.AsyncHTTPTransport] = []
        self._under_way: list[int] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """See `httpx.AsyncBaseTransport`; a pool counts as under way until the response's body is read or closed."""
        index = next((i for i, count in enumerate(self._under_way) if count < EACH), len(self._pools))
        if index == len(self._pools):
            pool = httpx.AsyncHTTPTransport(http2=True, limits=self._limits, verify=self._context, proxy=self._proxy)
            self._pools.append(pool)
            self._under_way.append(0)
        self._under_way[index] += 1
        try:
            response = await self._pools[index].handle_async_request(request)
        except BaseException:
            self._under_way[index] -= 1
            raise
        assert isinstance(response.stream, httpx.AsyncByteStream)
        response.stream = _Counted(response.stream, lambda: self._free(index))
        return response

    def _free(self, index: int) -> None:
        self._under_way[index] -= 1

    async def aclose(self) -> None:
        """Close every connection."""
        for pool in self._pools:
            await pool.aclose()


class _Counted(httpx.AsyncByteStream):
    """A body that says, once, when it is over."""

    def __init__(self, stream: httpx.AsyncByteStream, over: Callable[[], None]) -> None:
        self._stream = stream
        self._over: Callable[[], None] | None = over

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for part in self._stream:
            yield part

    async def aclose(self) -> None:
        """Close it, read or not."""
        try:
            await self._stream.aclose()
        finally:
            if self._over is not None:
                self._over()
                self._over = None


def proxy_for(url: httpx.URL) -> str | None:
    """The environment's proxy (HTTPS_PROXY, NO_PROXY) for a server; None for this machine."""
    if url.host in ("localhost", "127.0.0.1", "::1") or proxy_bypass(url.host):
        return None
    proxies = getproxies()
    return proxies.get(url.scheme) or proxies.get("all")
