"""The ASGI application: routes, pages, middleware and the OpenAPI document."""

from __future__ import annotations

from functools import cache
from http import HTTPStatus
from importlib import metadata
from importlib.resources import files
from typing import Any

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from computewise.serve.accounting import CONTENT_TYPE
from computewise.serve.admission import ServerSettings
from computewise.serve.backends import Backend
from computewise.serve.endpoints import Api, Endpoint
from computewise.serve.errors import ApiError
from computewise.serve.history import detail, version
from computewise.serve.planning import read_name
from computewise.serve.responses import JSON, encode
from computewise.serve.schemas import ChatBody, CompletionBody, read_chat, read_completion
from computewise.viewer.tree import read_asset, script

POLICY = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:"

"""No foreign and no inline scripts: a text by a model cannot run as code."""

_OWN = {"page.js": "text/javascript", "page.css": "text/css"}

_PARTS = ("parts", "words", "server", "asking", "list", "shown", "start")

"""The files that make up `page.js`."""

_OF_THE_VIEWER = {"viewer.js": "text/javascript", "viewer.css": "text/css", "d3-hierarchy.min.js": "text/javascript"}

_SUFFIX = 16

_MOST_LISTED = 1000


class Pages:
    """The handlers of all GET requests."""

    def __init__(self, api: Api) -> None:
        self._api = api

    async def health(self, request: Request) -> Response:
        """The status, and the numbers of running and waiting requests."""
        queue = self._api.queue
        return _json({"status": "ok", "in_flight": queue.in_flight, "waiting": queue.waiting})

    async def models(self, request: Request) -> Response:
        """Every model name that clients may use; the first is the one that the controller is for."""
        self._api.keys.client(request.scope)
        return _json({"object": "list", "data": self._models()})

    async def model(self, request: Request) -> Response:
        """One model."""
        self._api.keys.client(request.scope)
        backend, name = self._api.backend, request.path_params["name"]
        model = read_name(name, backend.models).model
        strategy = name[len(model) + 1 :] or None
        return _json(_model(name, strategy, strategy is None and backend.upstream(model) is not None))

    async def metrics(self, request: Request) -> Response:
        """The metrics, for Prometheus."""
        self._api.keys.client(request.scope)
        return Response(self._api.measures.text(), media_type=CONTENT_TYPE)

    async def description(self, request: Request) -> Response:
        """The OpenAPI document."""
        self._api.keys.client(request.scope)
        return _json(description())

    async def traces(self, request: Request) -> Response:
        """The client's recent requests, and what the server offers."""
        client = self._api.keys.client(request.scope)
        limit = request.query_params.get("limit", "100")
        if not (limit.isascii() and limit.isdigit() and 1 <= len(limit) <= 4 and 1 <= int(limit) <= _MOST_LISTED):
            raise ApiError(f"limit: 1 to {_MOST_LISTED}", param="limit", code="invalid_value")
        return _json({"server": self._server(), "traces": self._api.traces.recent(client, int(limit))})

    async def trace(self, request: Request) -> Response:
        """One request with its tree; 204 if it has not changed since the client's version."""
        client = self._api.keys.client(request.scope)
        id = request.path_params["id"]
        work = self._api.traces.find(client, id)
        if work is None:
            raise ApiError(f"there is no request {id[:64]!r} here", HTTPStatus.NOT_FOUND, code="trace_not_found")
        if request.query_params.get("since") == str(version(work)):
            return Response(status_code=HTTPStatus.NO_CONTENT)
        return _json(await detail(work))

    async def page(self, request: Request) -> Response:
        """The page that shows the requests."""
        return _static("index.html", "text/html")

    async def asset(self, request: Request) -> Response:
        """A script or a style sheet of the page."""
        name = request.path_params["name"]
        if name in _OWN:
            return _static(name, _OWN[name])
        if name in _OF_THE_VIEWER:
            return Response(read_asset(name), media_type=_OF_THE_VIEWER[name], headers=_HEADERS)
        raise ApiError(f"there is no {name[:64]!r} here", HTTPStatus.NOT_FOUND, code="not_found")

    def _models(self) -> list[dict[str, Any]]:
        backend = self._api.backend
        found = []
        for name in backend.models:
            found.append(_model(name, None, backend.upstream(name) is not None))
            sized = [f"{one}@{_SUFFIX}" if one not in ("single", "greedy") else one for one in self._allowed(name)]
            found += [_model(f"{name}:{one}", one, False) for one in sized]
        return found

    def _allowed(self, model: str) -> list[str]:
        return [name for name, why in self._api.strategies[model].items() if why is None]

    def _server(self) -> dict[str, Any]:
        backend = self._api.backend
        first, *others = backend.models
        return {
            "model": first,
            "large": others[0] if others else None,
            "policy": backend.fitted is not None,
            "verifier": backend.verifier.name if backend.verifier else None,
            "embedded": backend.upstream(first) is None,
            "example": backend.example,
            "strategies": self._allowed(first),
            "efforts": dict(self._api.settings.efforts),
        }


def _model(name: str, strategy: str | None, passes: bool) -> dict[str, Any]:
    more = {"strategy": strategy, "passes_through": passes}
    return {"id": name, "object": "model", "created": 0, "owned_by": "computewise", "computewise": more}


_HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-cache",
}


def _json(held: Any) -> Response:
    return Response(encode(held), media_type=JSON, headers={"cache-control": "no-store"})


def _static(name: str, kind: str) -> Response:
    return Response(_text(name), media_type=kind, headers=_HEADERS)


@cache
def _text(name: str) -> str:
    folder = files("computewise.serve").joinpath("page")
    if name != "page.js":
        return folder.joinpath(name).read_text("utf-8")
    return script(folder.joinpath("js", f"{part}.js").read_text("utf-8") for part in _PARTS)


def application(backend: Backend, settings: ServerSettings) -> Starlette:
    """The application over one backend; all its state is in `Api`."""
    api = Api(backend, settings)
    pages = Pages(api)
    return Starlette(
        routes=[
            Route("/v1/chat/completions", Endpoint(api, read_chat), methods=["POST"]),
            Route("/v1/completions", Endpoint(api, read_completion), methods=["POST"]),
            Route("/v1/models", pages.models),
            Route("/v1/models/{name:path}", pages.model),
            Route("/health", pages.health),
            Route("/metrics", pages.metrics),
            Route("/openapi.json", pages.description),
            Route("/traces", pages.traces),
            Route("/traces/{id}", pages.trace),
            Route("/", pages.page),
            Route("/page/{name}", pages.asset),
        ],
        exception_handlers={ApiError: _refused, HTTPException: _unrouted, Exception: _unforeseen},
    )


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    return Response(encode(error.body), error.status, headers=dict(error.headers), media_type=JSON)


async def _unrouted(request: Request, error: Exception) -> Response:
    """Answer a request for an unknown path or by a wrong method."""
    assert isinstance(error, HTTPException)
    path = f"{request.method} {request.url.path[:200]}"
    refused = ApiError(f"{path}: {error.detail}", error.status_code, code="not_found", headers=error.headers)
    return await _refused(request, refused)


async def _unforeseen(request: Request, error: Exception) -> Response:
    """Answer after an unexpected error: the log has its details, the client gets none."""
    text = "internal error: see the server's log"
    status = HTTPStatus.INTERNAL_SERVER_ERROR
    return await _refused(request, ApiError(text, status, type="server_error", code="internal_error"))


_ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"]},
                "code": {"type": ["string", "null"]},
            },
        }
    },
}
_COUNT = {"type": "integer", "minimum": 0}
_USAGE = {
    "type": "object",
    "required": ["prompt_tokens", "completion_tokens", "total_tokens"],
    "properties": dict.fromkeys(("prompt_tokens", "completion_tokens", "total_tokens"), _COUNT),
}


def description() -> dict[str, Any]:
    """The API as an OpenAPI 3.1 document."""
    _, components = msgspec.json.schema_components(
        [ChatBody, CompletionBody], ref_template="#/components/schemas/{name}"
    )
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "computewise",
            "version": metadata.version("computewise"),
            "description": "Compute-optimal answers behind OpenAI's API.",
        },
        "paths": {
            "/v1/chat/completions": {"post": _answering("ChatBody", "chat.completion", "message")},
            "/v1/completions": {"post": _answering("CompletionBody", "text_completion", "text")},
            "/v1/models": {"get": _reading("Every name that may be asked for.")},
            "/v1/models/{name}": {"get": {**_reading("One of them."), "parameters": [_in("path", "name")]}},
            "/traces": {"get": {**_reading("Recent requests."), "parameters": [_limit()]}},
            "/traces/{id}": {
                "get": {
                    **_reading("One request with its search tree."),
                    "parameters": [_in("path", "id"), _in("query", "since")],
                }
            },
            "/health": {"get": _reading("Alive, and how busy.")},
            "/metrics": {"get": _reading("For Prometheus.", "text/plain")},
        },
        "components": {
            "schemas": {**components, "Error": _ERROR, "Usage": _USAGE},
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{}, {"bearer": []}],
    }


def _answering(body: str, kind: str, inside: str) -> dict[str, Any]:
    choice = {"type": "object", "required": ["index", "finish_reason", inside]}
    answer = {
        "type": "object",
        "required": ["id", "object", "created", "model", "choices"],
        "properties": {
            "object": {"const": kind},
            "choices": {"type": "array", "minItems": 1, "items": choice},
            "usage": {"$ref": "#/components/schemas/Usage"},
        },
    }
    return {
        "summary": "The answer, after as much compute as it is worth.",
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": {"$ref": f"#/components/schemas/{body}"}}},
        },
        "responses": {
            "200": {
                "description": "An answer, or a stream of events with it.",
                "content": {"application/json": {"schema": answer}, "text/event-stream": {}},
            },
            "default": _failure(),
        },
    }


def _reading(summary: str, kind: str = "application/json") -> dict[str, Any]:
    responses: dict[str, Any] = {"200": {"description": summary, "content": {kind: {}}}, "default": _failure()}
    if summary.startswith("One request"):
        responses["204"] = {"description": "Nothing new since that version."}
    return {"summary": summary, "responses": responses}


def _failure() -> dict[str, Any]:
    schema = {"$ref": "#/components/schemas/Error"}
    return {"description": "What is wrong.", "content": {"application/json": {"schema": schema}}}


def _in(place: str, name: str) -> dict[str, Any]:
    return {"in": place, "name": name, "required": place == "path", "schema": {"type": "string", "minLength": 1}}


def _limit() -> dict[str, Any]:
    return {
        "in": "query",
        "name": "limit",
        "required": False,
        "schema": {"type": "integer", "minimum": 1, "maximum": 1000},
    }
