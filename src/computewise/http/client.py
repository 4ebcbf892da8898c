"""One client for a server: keys, limits, retries and errors."""

from __future__ import annotations

import asyncio
import os
import random
import re
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from importlib.metadata import version
from types import TracebackType
from typing import Any

import httpx
import msgspec

from computewise.core import Role
from computewise.errors import ModelError, ServerError, UsageError
from computewise.http.accepted import Accepted
from computewise.http.concurrency import OVERLOADED, Limiter, Retry, retry_after, worth_retrying
from computewise.http.transport import AiohttpTransport, error_inside, parsed, proxy_for, reason

KEYS: dict[Role, str] = {
    "model": "COMPUTEWISE_API_KEY",
    "large": "COMPUTEWISE_LARGE_API_KEY",
    "verifier": "COMPUTEWISE_VERIFIER_API_KEY",
}

"""The environment variable with the key of a server, by the server's role."""


def api_key_for(role: Role) -> str | None:
    """The key for the server of a role; None where there is none."""
    return os.environ.get(KEYS[role]) or None


CONCURRENCY = 256

TIMEOUT = 600.0

"""Seconds that one answer may take; a long solution on a busy server needs many."""

CONNECT = 10.0

KEPT = 30.0

"""Seconds that an idle connection is kept."""

_EXCERPT = 300

_MOST_BODY = 10_000

VERSION = re.compile(r"/v\d+\w*(?:/|$)")

"""A part of an address such as /v1, which most servers have."""

_ROUTES = re.compile(r"/(?:chat/completions|completions|models)$")

_NO_KEY = "[key]"

_ENCODER = msgspec.json.Encoder()


class HttpClient:
    """Posts JSON to one server and returns the JSON it answers.

    `base_url` usually ends in /v1; a path with a leading slash starts at the server's root. The key is sent in the
    Authorization header, to this server only (redirects are not followed), and never appears in an error's text.
    """

    def __init__(
        self,
        base_url: str,
        *,
        api_key: str | None = None,
        retry: Retry | None = None,
        concurrency: int = CONCURRENCY,
        timeout: float = TIMEOUT,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self.base_url, self._root = _checked(base_url)
        self.retries = 0
        self.limiter = Limiter(concurrency)
        self._accepted: dict[tuple[str, str], Accepted] = {}
        self._retry = retry or Retry()
        self._random = random.Random()
        self._key = _checked_key(api_key)
        self._headers = {
            "content-type": "application/json",
            "accept": "application/json",
            "user-agent": f"computewise/{version('computewise')}",
        }
        if self._key:
            self._headers["authorization"] = f"Bearer {self._key}"
        self._extensions = {"timeout": httpx.Timeout(timeout, connect=CONNECT, pool=None).as_dict()}
        self._urls: dict[str, httpx.URL] = {}
        # httpx.AsyncClient adds cookies, redirects and authentication, which are not needed here and take a third of a
        # request's time; so the transport is called directly.
        self._transport = transport or AiohttpTransport(KEPT, proxy_for(httpx.URL(self.base_url)))

    async def __aenter__(self) -> HttpClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close every connection."""
        await self._transport.aclose()

    def accepted(self, model: str, path: str) -> Accepted:
        """What the server is known to accept for a model on a path."""
        return self._accepted.setdefault((model, path), Accepted())

    async def post(self, path: str, body: Mapping[str, Any]) -> Any:
        """The server's answer to `body`; raises `ServerError` after the last try."""
        try:
            content = _ENCODER.encode(body)
        except UnicodeEncodeError:
            raise ModelError("the request holds text that is not Unicode: half of a surrogate pair") from None
        return await self._ask("POST", path, content)

    async def get(self, path: str) -> Any:
        """The server's answer."""
        return await self._ask("GET", path, None)

    @asynccontextmanager
    async def forward(self, path: str, content: bytes, headers: Mapping[str, str]) -> AsyncIterator[httpx.Response]:
        """The unmodified response to a request of somebody else: one try, any status, the body not yet read.

        `headers` are sent along, with this client's own key. Raises `ServerError` where there is no response.
        """
        request = self._request("POST", self._url(path), {**self._headers, **headers}, content)
        async with self.limiter:
            epoch = self.limiter.epoch
            try:
                response = await self._transport.handle_async_request(request)
            except httpx.TransportError as error:
                raise self._unanswered(request.url, error) from None
            if response.status_code in OVERLOADED:
                self.limiter.overloaded(epoch)
            else:
                self.limiter.answered()
            response.request = request
            try:
                yield response
            finally:
                await response.aclose()

    def redact(self, content: bytes) -> bytes:
        """A server's text, with the key replaced."""
        return content.replace(self._key.encode(), _NO_KEY.encode()) if self._key else content

    async def raw(self, response: httpx.Response) -> AsyncIterator[bytes]:
        """The body of a response of `forward`, as it arrives."""
        try:
            async for part in response.aiter_raw():
                yield part
        except httpx.TransportError as error:
            raise self._unanswered(response.request.url, error) from None

    async def _ask(self, method: str, path: str, content: bytes | None) -> Any:
        url = self._url(path)
        spent, failures = 0.0, 0
        while True:
            async with self.limiter:
                epoch, began = self.limiter.epoch, time.monotonic()
                answer, failure, least = await self._try(method, url, content)
                if failure is None:
                    self.limiter.answered()
                    return answer
                if failure.status is None or failure.status in OVERLOADED:
                    self.limiter.overloaded(epoch)
            failures += 1
            wait = self._retry.wait(failures, least, self._random)
            spent += time.monotonic() - began + wait
            final = failure.status is not None and not worth_retrying(failure.status)
            if final or failures >= self._retry.tries or spent > self._retry.seconds:
                if failures == 1:
                    raise failure
                raise ServerError(f"{failure} ({failures} tries)", failure.status, least, failure.body)
            self.retries += 1
            await asyncio.sleep(wait)

    async def _try(
        self, method: str, url: httpx.URL, content: bytes | None
    ) -> tuple[Any, ServerError | None, float | None]:
        """The answer, or a failure and the seconds that the server asks to wait."""
        request = self._request(method, url, self._headers, content or b"")
        try:
            response = await self._transport.handle_async_request(request)
            try:
                held = await response.aread()
            finally:
                await response.aclose()
        except (httpx.TransportError, httpx.DecodingError) as error:
            return None, self._unanswered(url, error), None
        least = retry_after(response.headers)
        if response.is_success:
            return self._answer(url, response, held, least)
        text = f"{url} answered {response.status_code}: {self._shown(reason(response))}{self._advice(url, response)}"
        return None, self._failure(text, response.status_code, least, held), least

    def _answer(
        self, url: httpx.URL, response: httpx.Response, held: bytes, least: float | None
    ) -> tuple[Any, ServerError | None, float | None]:
        """The answer, or the failure that a gateway reports under the status of a success.

        A failure without a status of its own keeps the response's, and is final.
        """
        try:
            answer = parsed(held)
        except ValueError:
            text = f"{url} answered {response.status_code}, but not with JSON: "
            raise ServerError(text + self._shown(response.text), response.status_code) from None
        error = error_inside(answer)
        if error is None:
            return answer, None, None
        least = error.wait if least is None else least
        status = error.status or response.status_code
        named = "an error" if error.status is None else f"an error {error.status}"
        text = f"{url} answered {response.status_code} with {named}: {self._shown(error.text)}"
        return None, self._failure(text, status, least, held), least

    def _failure(self, text: str, status: int, least: float | None, held: bytes) -> ServerError:
        text = text if least is None else f"{text} (asks to wait {least:.3g} s)"
        return ServerError(text, status, least, self.redact(held[:_MOST_BODY]).decode(errors="replace"))

    def _request(self, method: str, url: httpx.URL, headers: Mapping[str, str], content: bytes) -> httpx.Request:
        """The content as a stream; for bytes httpx prepares headers that the transport sets, a tenth of the time."""
        body = httpx.ByteStream(content)
        request = httpx.Request(method, url, headers=headers, stream=body, extensions=self._extensions)
        request.read()
        return request

    def _unanswered(self, url: httpx.URL, error: Exception) -> ServerError:
        if isinstance(error, httpx.ConnectTimeout | httpx.ReadTimeout):
            waited = self._extensions["timeout"]["connect" if isinstance(error, httpx.ConnectTimeout) else "read"]
            return ServerError(
                f"no answer from {url} within {waited:g} s: does a server listen there, and is it ready?"
            )
        return ServerError(f"no answer from {url}: {self._shown(str(error) or type(error).__name__)}")

    def _advice(self, url: httpx.URL, response: httpx.Response) -> str:
        """What a refused address should have been."""
        if response.is_redirect:
            return f": it has moved to {self._shown(response.headers.get('location', 'another address'))}: give that"
        if (
            response.status_code in (404, 405)
            and str(url).startswith(self.base_url)
            and not VERSION.search(self.base_url)
        ):
            return f": should the address be {self.base_url}/v1?"
        return ""

    def _url(self, path: str) -> httpx.URL:
        """The parsed URL of a path; parsing takes as long as building a request, so each is parsed once."""
        if path not in self._urls:
            self._urls[path] = httpx.URL(f"{self._root}{path}" if path.startswith("/") else f"{self.base_url}/{path}")
        return self._urls[path]

    def _shown(self, text: str) -> str:
        """The text as one line, shortened, without the key: servers repeat a wrong key in their errors."""
        text = " ".join((text.replace(self._key, _NO_KEY) if self._key else text).split())
        return text if len(text) <= _EXCERPT else text[:_EXCERPT] + "..."


def _checked_key(key: str | None) -> str | None:
    """The key without white space at the ends, such as a file's last line end; errors never hold its text."""
    key = (key or "").strip()
    if not (key.isascii() and key.isprintable()):
        raise UsageError("the API key holds characters that an HTTP header cannot hold: check how it was copied")
    return key or None


def _checked(base_url: str) -> tuple[str, str]:
    """The URL without a trailing slash and without a route behind it, and the server's root."""
    try:
        url = httpx.URL(base_url)
        url.host.encode("idna")  # as the address lookup does
    except (httpx.InvalidURL, UnicodeError):
        raise UsageError(f"{base_url!r} is not a URL: give one such as http://localhost:8000/v1") from None
    if url.scheme not in ("http", "https") or not url.host or not (url.port is None or 0 < url.port < 1 << 16):
        raise UsageError(f"{base_url!r} is not the URL of a server: give one such as http://localhost:8000/v1")
    if url.userinfo or url.query:
        raise UsageError(f"the URL of {url.host} holds a user name or a query: keys are taken from the environment")
    base = _ROUTES.sub("", str(url).split("#")[0].rstrip("/")).rstrip("/")
    return base, base.removesuffix("/v1")
