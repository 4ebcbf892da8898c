"""Which server a verifier is behind."""

from __future__ import annotations

from computewise.http.client import HttpClient
from computewise.http.servers import asked, kind_of


async def server_kind(client: HttpClient) -> str:
    """vllm, sglang, llama, or openai for anything else; raises `ServerError` where nothing answers."""
    listed = await asked(client, "models")
    models = listed.get("data") if isinstance(listed, dict) else None
    first = models[0] if isinstance(models, list) and models else None
    kind = await kind_of(client, first if isinstance(first, dict) else {})
    return "openai" if kind == "ollama" else kind
