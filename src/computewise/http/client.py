"""One server: one pooled client, bounded retries, adaptive concurrency, errors of one line."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Mapping
from types import TracebackType
from typing import Any

import httpx

from computewise.errors import ServerError, UsageError
from computewise.http.limiter import Limiter
from computewise.http.retry import OVERLOADED, Retry, asked_to_wait, worth_retrying
from computewise.http.spread import SpreadTransport

CONCURRENCY = 256
TIMEOUT = 600.0
"""Seconds that one answer may take: a long solution on a busy server."""
CONNECT = 10.0
KEPT = 30.0
"""Seconds that an idle connection is kept."""
_EXCERPT = 300


class HttpClient:
    """Posts JSON to one server and returns the JSON it answers.

    `base_url` ends in /v1 as a rule; a path with a leading slash is taken from the server's root. The key goes into the
    Authorization header, to this server only (redirects are not followed), and never into an error's text.
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
        self._retry = retry or Retry()
        self._random = random.Random()
        self._key = api_key
        headers = {"content-type": "application/json", "accept": "application/json"}
        if api_key:
            headers["authorization"] = f"Bearer {api_key}"
        self._client = httpx.AsyncClient(
            headers=headers,
            timeout=httpx.Timeout(timeout, connect=CONNECT, pool=None),
            transport=transport or SpreadTransport(KEPT),
        )

    async def __aenter__(self) -> HttpClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close every connection."""
        await self._client.aclose()

    async def post(self, path: str, body: Mapping[str, Any]) -> Any:
        """What the server answers to `body`; raises `ServerError` once no further try is worth it."""
        return await self._ask("POST", path, json.dumps(body, separators=(",", ":")).encode())

    async def get(self, path: str) -> Any:
        """What the server answers."""
        return await self._ask("GET", path, None)

    async def _ask(self, method: str, path: str, content: bytes | None) -> Any:
        url = f"{self._root}{path}" if path.startswith("/") else f"{self.base_url}/{path}"
        waited, failures = 0.0, 0
        while True:
            async with self.limiter:
                began = self.limiter.epoch
                answer, failure, asked = await self._try(method, url, content)
                if failure is None:
                    self.limiter.answered()
                    return answer
                if failure.status is None or failure.status in OVERLOADED:
                    self.limiter.overloaded(began)
            failures += 1
            wait = self._retry.wait(failures, asked, self._random)
            final = failure.status is not None and not worth_retrying(failure.status)
            if final or failures >= self._retry.tries or waited + wait > self._retry.seconds:
                raise failure if failures == 1 else ServerError(f"{failure} ({failures} tries)", failure.status)
            self.retries += 1
            waited += wait
            await asyncio.sleep(wait)

    async def _try(self, method: str, url: str, content: bytes | None) -> tuple[Any, ServerError | None, float | None]:
        """The answer, or a failure and how long the server asks to wait."""
        try:
            response = await self._client.request(method, url, content=content)
        except httpx.TransportError as error:
            what = str(error) or type(error).__name__
            return None, ServerError(self._safe(f"no answer from {url}: {what}")), None
        if response.is_success:
            try:
                return json.loads(response.content), None, None
            except ValueError:
                text = f"{url} answered {response.status_code} with something else than JSON: {_shown(response.text)}"
                raise ServerError(self._safe(text), response.status_code) from None
        text = f"{url} answered {response.status_code}: {_reason(response)}"
        return None, ServerError(self._safe(text), response.status_code), asked_to_wait(response.headers)

    def _safe(self, text: str) -> str:
        """Servers repeat a wrong key in what they say about it."""
        return text.replace(self._key, "[key]") if self._key else text


def _checked(base_url: str) -> tuple[str, str]:
    """The URL without a trailing slash, and the server's root."""
    try:
        url = httpx.URL(base_url)
    except httpx.InvalidURL:
        raise UsageError(f"{base_url!r} is no URL: give one such as http://localhost:8000/v1") from None
    if url.scheme not in ("http", "https") or not url.host:
        raise UsageError(f"{base_url!r} is no URL of a server: give one such as http://localhost:8000/v1")
    if url.userinfo or url.query:
        raise UsageError(f"the URL of {url.host} holds more than an address: keys are taken from the environment")
    base = str(url).split("#")[0].rstrip("/")
    return base, base.removesuffix("/v1")


def _reason(response: httpx.Response) -> str:
    """The message of an error in OpenAI's envelope, or in one of the others that servers use."""
    try:
        held = json.loads(response.content)
    except ValueError:
        return _shown(response.text) or response.reason_phrase
    for name in ("error", "message", "detail"):
        if isinstance(held, dict) and held.get(name):
            held = held[name]
    return _shown(held if isinstance(held, str) else json.dumps(held))


def _shown(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _EXCERPT else text[:_EXCERPT] + "..."
