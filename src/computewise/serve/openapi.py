"""The OpenAPI document, made from the types that parse requests."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

import msgspec

from computewise.serve.schemas import ChatBody, CompletionBody

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
            "version": version("computewise"),
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
