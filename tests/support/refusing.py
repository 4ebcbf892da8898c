"""A chat server that refuses fields, values and roles, and says so in one of many ways."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx

from computewise.http.client import HttpClient
from computewise.http.concurrency import Retry

OPTIONAL = (
    "temperature",
    "seed",
    "top_p",
    "presence_penalty",
    "frequency_penalty",
    "top_k",
    "min_p",
    "repetition_penalty",
    "max_tokens",
    "max_completion_tokens",
    "n",
    "logprobs",
    "top_logprobs",
)

STATUSES = (400, 404, 415, 422, 501)

SOLUTION = r"It is \boxed{42}."


def _openai(name: str, why: str) -> Any:
    return {"error": {"message": f"{why}: '{name}'.", "type": "invalid_request_error", "param": name, "code": None}}


def _pointing(name: str, why: str) -> Any:
    return {"error": {"message": "Invalid request.", "type": "invalid_request_error", "param": name, "code": None}}


def _pydantic(name: str, why: str) -> Any:
    return {"detail": [{"type": "extra_forbidden", "loc": ["body", name], "msg": "Extra inputs are not permitted"}]}


def _echoing(name: str, why: str) -> Any:
    held = {"model": "m", "temperature": 1.0, "seed": 1, "max_tokens": 1, "n": 2}
    return {"detail": [{"type": "value_error", "loc": ["body", name], "msg": why, "input": held}]}


def _text(name: str, why: str) -> str:
    camel = "".join([part.title() if place else part for place, part in enumerate(name.split("_"))])
    return f"{why} ({camel})"


def _page(name: str, why: str) -> str:
    return f"<!DOCTYPE html><html><body><h1>Bad request</h1><p>{why}: <code>{name}</code></p></body></html>"


def _unnamed(name: str, why: str) -> Any:
    return {"message": "This request cannot be served by any provider."}


def _unnamed_page(name: str, why: str) -> str:
    return "<html><body><h1>Sorry</h1>The request was refused.</body></html>"


def _empty(name: str, why: str) -> str:
    return ""


WORDINGS = (_openai, _pointing, _pydantic, _echoing, _text, _page, _unnamed, _unnamed_page, _empty)


@dataclass(slots=True)
class Refusing:
    """A chat, as a function of requests; it lists one model and judges solutions that say 42, or 84 for 7 * 12, right.

    `after` is the number of requests that are answered whatever they hold, as by a gateway that changes its provider.
    """

    unknown: frozenset[str] = frozenset()
    """The fields that it refuses."""
    temperatures: tuple[float, float] = (0.0, 2.0)
    most_n: int = 128
    most_listed: int = 20
    most_tokens: int = 10**6
    system: bool = True
    chat: bool = True
    status: int = 400
    wording: int = 0
    after: int = 0
    thinks: int = 0
    """The tokens that it thinks before every answer."""
    asked: list[dict[str, Any]] = field(default_factory=list)

    def client(self, base_url: str = "http://test/v1") -> HttpClient:
        transport = httpx.MockTransport(self.handle)
        return HttpClient(base_url, retry=Retry(tries=1), transport=transport)

    def handle(self, request: httpx.Request) -> httpx.Response:
        """The answer to a request."""
        path = request.url.path
        if path == "/v1/models":
            return httpx.Response(200, json={"data": [{"id": "fake-1b", "object": "model", "owned_by": "someone"}]})
        if path != "/v1/chat/completions" or not self.chat:
            return httpx.Response(404, json={"detail": "Not Found"})
        body = json.loads(request.content)
        self.asked.append(body)
        refusal = self._refusal(body)
        if refusal is not None and len(self.asked) > self.after:
            held = WORDINGS[self.wording](*refusal)
            return httpx.Response(self.status, **({"text": held} if isinstance(held, str) else {"json": held}))
        return httpx.Response(200, json=self._answer(body))

    def _refusal(self, body: Mapping[str, Any]) -> tuple[str, str] | None:
        """The field that is refused first, and why."""
        if names := sorted(self.unknown & body.keys()):
            return names[0], "Unsupported parameter"
        least, most = self.temperatures
        if not least <= body.get("temperature", least) <= most:
            return "temperature", f"must be between {least:g} and {most:g}"
        if body.get("n", 1) > self.most_n:
            return "n", f"must be at most {self.most_n}"
        if (body.get("top_logprobs") or 0) > self.most_listed:
            return "top_logprobs", f"must be at most {self.most_listed}"
        if limit_of(body) > self.most_tokens and limit_of(body) < 10**6:
            return "max_tokens", f"maximum is {self.most_tokens} tokens"
        if not self.system and any(one["role"] == "system" for one in body["messages"]):
            return "messages", "System role not supported"
        return None

    def _answer(self, body: Mapping[str, Any]) -> Any:
        if self.thinks >= limit_of(body):
            message = {"role": "assistant", "content": None, "reasoning_content": "Let me see"}
            return self._said(body, message, "length", None)
        said = self._words(body)
        message = {"role": "assistant", "content": said}
        if self.thinks:
            message["reasoning_content"] = "Let me see. It is fine."
        return self._said(body, message, "stop", said)

    def _words(self, body: Mapping[str, Any]) -> str:
        text = json.dumps(body["messages"])
        right = "= 84" in text or ("= 36" not in text and "42" in text)
        asked = body["messages"][-1]["content"]
        if "one word, Yes or No" in asked:
            return "Yes" if right else "No"
        if "number" in asked:
            return "9" if right else "1"
        return "Yes" if "Reply with Yes" in asked else SOLUTION

    def _said(self, body: Mapping[str, Any], message: Any, finish: str, said: str | None) -> Any:
        choice = {"message": message, "finish_reason": finish}
        if body.get("logprobs") and said is not None:
            listed = [{"token": said, "logprob": -0.1}, {"token": "No" if said == "Yes" else "Yes", "logprob": -2.5}]
            token = {"token": said, "logprob": -0.1, "top_logprobs": listed[: body.get("top_logprobs") or 0]}
            choice["logprobs"] = {"content": [token]}
        n = body.get("n", 1)
        usage = {"prompt_tokens": 20, "completion_tokens": n * (8 + self.thinks)}
        return {"choices": [{"index": index, **choice} for index in range(n)], "usage": usage}


def limit_of(body: Mapping[str, Any]) -> int:
    """The limit of sampled tokens in a request."""
    return int(body.get("max_tokens") or body.get("max_completion_tokens") or 10**6)
