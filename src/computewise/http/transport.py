"""Connections to servers, and what the body of a response says: its JSON, a refusal, or an error under status 200.

httpx's own transport takes twice the processor time a request, and scans every connection of its pool whenever a
request begins or ends: with 256 connections this takes most of a core (benchmarks/adapter.py, benchmarks/serve.py).
So its requests go through aiohttp's connections.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from io import BytesIO
from typing import Any, NamedTuple
from urllib.request import getproxies, proxy_bypass

import aiohttp
import httpx
import msgspec
import yarl

from computewise.http.concurrency import retry_after

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


_MESSAGES = ("error", "message", "detail", "msg", "status_msg", "errors")

_STATUSES = ("status_code", "http_status", "statusCode", "code", "status")

_NAMES = ("code", "type", "status")

_NAMED = (
    (re.compile(r"rate.?limit|too.?many|exhausted|throttl|quota"), 429),
    (re.compile(r"overload|unavailable|busy"), 503),
    (re.compile(r"time.?out|timed.?out|deadline"), 504),
    (re.compile(r"internal|server.?error|api_error|bad.?gateway"), 500),
    (re.compile(r"auth|api.?key"), 401),
    (re.compile(r"permission|forbidden"), 403),
    (re.compile(r"not.?found"), 404),
    (re.compile(r"invalid|unsupported|bad.?request"), 400),
)

"""The statuses that codes and types of errors stand for."""

_SAID = (
    (re.compile(r"rate.?limit|too many requests"), 429),
    (re.compile(r"overloaded|temporarily unavailable|try again"), 503),
)

"""The statuses that messages stand for, where an error has neither a status nor a known name."""

_PAYLOADS = ("choices", "data", "scores", "content", "response", "tokens")


class InnerError(NamedTuple):
    """An error in a body; `status` and `wait` (in seconds) are None where it names none."""

    text: str
    status: int | None
    wait: float | None


def parsed(held: bytes) -> Any:
    """The parsed JSON; raises `ValueError` for anything else.

    NaN, a byte order mark, bytes that are not UTF-8 and halves of surrogate pairs, which some servers write, are
    accepted; what is not a character becomes a replacement character.
    """
    try:
        return msgspec.json.decode(held)
    except (msgspec.DecodeError, RecursionError):
        try:
            found = json.loads(held.decode(json.detect_encoding(held), "replace"))
            return json.loads(json.dumps(found, ensure_ascii=False).encode(errors="replace"))
        except RecursionError:
            raise ValueError("the JSON is nested too deeply") from None


def reason(response: httpx.Response) -> str:
    """The message of a refusal, in OpenAI's envelope or another one that servers use."""
    try:
        held = parsed(response.content)
    except ValueError:
        return response.text if response.text.strip() else response.reason_phrase
    return _message(held)


def error_inside(held: Any) -> InnerError | None:
    """The error in the body of a response that has the status of a success; None where there is none."""
    if isinstance(held, list) and len(held) == 1:
        held = held[0]
    if not isinstance(held, dict) or (error := _error(held)) is None:
        return None
    places = [place for place in (error, held) if isinstance(place, dict)]
    text = _message(error)
    return InnerError(text, _status(places, text), next(_waits(places), None))


def _error(held: Mapping[str, Any]) -> Any:
    """The part of an answer that is an error, in the forms of OpenAI, Anthropic, OpenRouter, MiniMax and Cloudflare."""
    if held.get("error"):
        return held if held["error"] is True else held["error"]
    if held.get("object") == "error" or held.get("type") == "error" or held.get("success") is False:
        return held
    choices = held.get("choices")
    if isinstance(choices, list) and choices:
        errors = [choice.get("error") if isinstance(choice, dict) else None for choice in choices]
        return errors[0] if all(errors) else None
    if any(held.get(name) for name in _PAYLOADS):
        return None
    base = held.get("base_resp")
    if isinstance(base, dict) and base.get("status_code"):
        return base
    if isinstance(held.get("errors"), list) and held["errors"]:
        return held["errors"][0]
    said = any(isinstance(held.get(name), str) for name in _MESSAGES)
    return held if said and any(_code(held.get(name)) for name in _STATUSES) else None


def _message(held: Any) -> str:
    for name in _MESSAGES:
        if isinstance(held, dict) and held.get(name):
            held = held[name]
    return held if isinstance(held, str) else json.dumps(held, ensure_ascii=False)


def _status(places: list[dict[str, Any]], text: str) -> int | None:
    for place in places:
        for name in _STATUSES:
            if (code := _code(place.get(name))) is not None:
                return code
    names = [str(place[name]).lower() for place in places for name in _NAMES if isinstance(place.get(name), str)]
    for words, known in ((names, _NAMED), ([text.lower()], _SAID)):
        for pattern, status in known:
            if any(pattern.search(word) for word in words):
                return status
    return None


def _code(held: Any) -> int | None:
    """An HTTP status of a failure, as a number or in digits."""
    if isinstance(held, str) and held.isascii() and held.isdigit() and len(held) == 3:
        held = int(held)
    return held if isinstance(held, int) and not isinstance(held, bool) and 400 <= held < 600 else None


def _waits(places: list[dict[str, Any]]) -> Iterator[float]:
    """The waits that an error asks for, under the names of the headers, also where it repeats a provider's."""
    for place in places:
        metadata = place.get("metadata")
        inner = metadata.get("headers") if isinstance(metadata, dict) else None
        for held in (place, metadata, inner):
            if isinstance(held, dict):
                named = {str(name).lower().replace("_", "-"): str(value) for name, value in held.items()}
                if (wait := retry_after(named)) is not None:
                    yield wait
