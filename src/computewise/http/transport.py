"""A transport for httpx that uses aiohttp's connections.

httpx's own transport takes twice the processor time a request, and scans every connection of its pool whenever a
request begins or ends: with 256 connections this takes most of a core (benchmarks/adapter.py, benchmarks/serve.py).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from io import BytesIO
from urllib.request import getproxies, proxy_bypass

import aiohttp
import httpx
import yarl

_LARGE = 1 << 20


class AiohttpTransport(httpx.AsyncBaseTransport):
    """Opens as many connections as there are requests in flight; idle ones are kept `keepalive` seconds."""

    def __init__(self, keepalive: float, proxy: str | None) -> None:
        self._keepalive, self._proxy = keepalive, proxy
        self._session: aiohttp.ClientSession | None = None
        self._urls: dict[str, yarl.URL] = {}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """See `httpx.AsyncBaseTransport`. Does not decode bodies or follow redirects. Raises `httpx.TransportError`."""
        session = self._session or self._opened(request.url.scheme)
        timeout = request.extensions["timeout"]
        with _httpx_errors():
            response = await session.request(
                request.method,
                self._url(str(request.url)),
                headers=request.headers,
                data=_sent(request.content),
                allow_redirects=False,
                proxy=self._proxy,
                timeout=aiohttp.ClientTimeout(sock_connect=timeout["connect"], sock_read=timeout["read"]),
            )
        return httpx.Response(response.status, headers=response.raw_headers, stream=_Body(response))

    async def aclose(self) -> None:
        """Close every connection."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _opened(self, scheme: str) -> aiohttp.ClientSession:
        """Open the session at the first request, so that it belongs to the event loop of that request."""
        ssl = httpx.create_ssl_context() if scheme == "https" else True
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=self._keepalive, ssl=ssl),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            skip_auto_headers=("accept", "accept-encoding", "content-type", "user-agent"),
        )
        return self._session

    def _url(self, text: str) -> yarl.URL:
        """The parsed URL; a client uses few URLs, so each is parsed once."""
        if text not in self._urls:
            self._urls[text] = yarl.URL(text, encoded=True)
        return self._urls[text]


def _sent(content: bytes) -> bytes | BytesIO | None:
    """The body; a large one is sent in parts, so that it does not block other requests."""
    return BytesIO(content) if len(content) > _LARGE else content or None


class _Body(httpx.AsyncByteStream):
    """The body of a response, as it arrives; if it is closed before its end, the connection is closed too."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response

    async def __aiter__(self) -> AsyncIterator[bytes]:
        with _httpx_errors():
            async for part in self._response.content.iter_any():
                yield part

    async def aclose(self) -> None:
        self._response.close()  # after the end of the body the connection is back in the pool, and this does nothing


@contextmanager
def _httpx_errors() -> Iterator[None]:
    try:
        yield
    except aiohttp.ConnectionTimeoutError:
        raise httpx.ConnectTimeout("") from None
    except TimeoutError:
        raise httpx.ReadTimeout("") from None
    except aiohttp.ClientConnectorCertificateError as error:
        raise httpx.ConnectError(str(error.certificate_error)) from None
    except aiohttp.ClientConnectorError as error:
        raise httpx.ConnectError(error.os_error.strerror or str(error)) from None
    except aiohttp.ClientConnectionError as error:
        raise httpx.ReadError(str(error)) from None
    except aiohttp.ClientError as error:
        raise httpx.RemoteProtocolError(str(error)) from None


def proxy_for(url: httpx.URL) -> str | None:
    """The environment's proxy (HTTPS_PROXY, NO_PROXY) for a server; None for a server on this machine."""
    if url.host in ("localhost", "127.0.0.1", "::1") or proxy_bypass(url.host):
        return None
    proxies = getproxies()
    return proxies.get(url.scheme) or proxies.get("all")
