"""The application: which path goes where, and what is said where something goes wrong."""

from __future__ import annotations

from http import HTTPStatus

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from computewise.serve.api import Api, Endpoint
from computewise.serve.backend import Backend
from computewise.serve.envelope import encode
from computewise.serve.pages import Pages
from computewise.serve.reading import read_chat, read_completion
from computewise.serve.refusals import Refused
from computewise.serve.sending import JSON
from computewise.serve.settings import Settings


def application(backend: Backend, settings: Settings) -> Starlette:
    """One server over one backend; it holds no state but what `Api` does."""
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
        exception_handlers={Refused: _refused, HTTPException: _unrouted, Exception: _unforeseen},
    )


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refused)
    return Response(encode(error.body), error.status, headers=dict(error.headers), media_type=JSON)


async def _unrouted(request: Request, error: Exception) -> Response:
    """No such path, or not by that method."""
    assert isinstance(error, HTTPException)
    path = f"{request.method} {request.url.path[:200]}"
    refused = Refused(f"{path}: {error.detail}", error.status_code, code="not_found", headers=error.headers)
    return await _refused(request, refused)


async def _unforeseen(request: Request, error: Exception) -> Response:
    """A defect of ours; what it was is in the log, no business of the client's."""
    text = "something went wrong here; the server's log has more"
    status = HTTPStatus.INTERNAL_SERVER_ERROR
    return await _refused(request, Refused(text, status, type="server_error", code="internal_error"))
