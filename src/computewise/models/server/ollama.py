"""Ollama's own `/api/generate`: its `/v1/completions` puts every prompt through the model's template."""

from __future__ import annotations

from computewise.errors import ModelError
from computewise.http.client import HttpClient
from computewise.models.server.dialects import OLLAMA
from computewise.models.server.generation import Answered, Asked, Ended, Generated


class OllamaRoute:
    """Rung B: raw prompts, one continuation a request, and no word on which stop fired."""

    def __init__(self, client: HttpClient, model: str) -> None:
        self._client, self._model = client, model

    async def generate(self, asked: Asked) -> Answered:
        """See `Route.generate`."""
        options = {
            "temperature": asked.temperature,
            "top_p": 1.0,
            "seed": asked.seed,
            "num_predict": asked.max_tokens,
            "stop": [] if asked.stop is None else [asked.stop],
            **OLLAMA.fixed,
            **OLLAMA.sampling,
        }
        body = {"model": self._model, "prompt": asked.text, "raw": True, "stream": False, "options": options}
        held = await self._client.post("/api/generate", body)
        if not isinstance(held, dict) or not isinstance(held.get("response"), str):
            raise ModelError(f"Ollama answered without a response: {str(held)[:200]}")
        how: Ended = "length" if held.get("done_reason") == "length" else "end" if asked.stop is None else "unsaid"
        count = held.get("eval_count")
        return Answered([Generated(held["response"], how, None, count)], held.get("prompt_eval_count"), None, count)
