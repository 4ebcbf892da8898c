"""Ollama's own `/api/generate`: its `/v1/completions` puts every prompt through the model's template."""

from __future__ import annotations

from msgspec import Struct

from computewise.http.client import HttpClient
from computewise.models.server.dialects import OLLAMA
from computewise.models.server.generation import Answered, Asked, Ended, Generated
from computewise.models.server.parsing import read


class _OllamaCompletion(Struct):
    response: str
    done_reason: str | None = None
    eval_count: int | None = None
    prompt_eval_count: int | None = None


class OllamaRoute:
    """Rung B: raw prompts, one continuation a request, and no word on which stop fired."""

    def __init__(self, client: HttpClient, model: str) -> None:
        self._client, self._model = client, model

    async def generate(self, asked: Asked) -> Answered:
        """See `Route.generate`."""
        options = {
            "temperature": asked.temperature,
            "seed": asked.seed,
            "num_predict": asked.max_tokens,
            "stop": [] if asked.stop is None else [asked.stop],
            **OLLAMA.fixed,
            **OLLAMA.sampling,
        }
        body = {"model": self._model, "prompt": asked.text, "raw": True, "stream": False, "options": options}
        found = read(await self._client.post("/api/generate", body), _OllamaCompletion, "response of Ollama's")
        how: Ended = "end" if asked.stop is None else "unsaid"
        if found.done_reason == "length":
            how = "length"
        generated = Generated(found.response, how, None, found.eval_count)
        return Answered([generated], found.prompt_eval_count, None, found.eval_count)
