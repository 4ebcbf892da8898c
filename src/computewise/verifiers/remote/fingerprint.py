"""Which server answers: by what its list of models says, else by a route that only it has."""

from __future__ import annotations

from typing import Any

from computewise.errors import ServerError
from computewise.http.client import HttpClient

_OWNERS = {"vllm": "vllm", "sglang": "sglang", "llamacpp": "llama"}
_ROUTES = (
    ("vllm", "/version", "version"),
    ("sglang", "/get_model_info", "model_path"),
    ("llama", "/props", "default_generation_settings"),
)


async def server_kind(client: HttpClient) -> str:
    """vllm, sglang, llama, or openai for anything else; raises `ServerError` where nothing answers."""
    listed = await _asked(client, "models")
    models = listed.get("data") if isinstance(listed, dict) else None
    if isinstance(models, list) and models and isinstance(models[0], dict) and models[0].get("owned_by") in _OWNERS:
        return _OWNERS[models[0]["owned_by"]]
    for kind, route, key in _ROUTES:
        answer = await _asked(client, route)
        if isinstance(answer, dict) and key in answer:
            return kind
    return "openai"


async def _asked(client: HttpClient, route: str) -> Any:
    """The answer; None where the server has no such route, though it answers."""
    try:
        return await client.get(route)
    except ServerError as error:
        if error.status is None:
            raise
        return None
