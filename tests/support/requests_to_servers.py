"""Requests to served models, and what differs between the servers of `servers`."""

from __future__ import annotations

from collections.abc import Sequence

from doubles import problem

from computewise.core import Attempt, Completion
from computewise.models.server.model import ServerModel

PROMPT = problem(3).prompt
PATHS = {
    "vllm": "/v1/completions",
    "sglang": "/v1/completions",
    "llama": "/completion",
    "ollama": "/api/generate",
    "lmstudio": "/v1/completions",
    "tgi": "/v1/completions",
    "transformers": "/v1/completions",
    "hosted": "/v1/chat/completions",
    "deepseek": "/v1/chat/completions",
}
RUNGS = {"vllm": None, "sglang": "plain", "llama": None, "ollama": "plain", "lmstudio": "plain", "tgi": "plain"}
RUNGS |= {"transformers": "plain", "deepseek": None}
"""The template with which each is searched by steps."""
SAYS = ("vllm", "sglang", "llama", "tgi", "transformers")


async def ask(
    model: ServerModel,
    prefix: str = "",
    n: int = 1,
    *,
    prompt: str = PROMPT,
    stop: str | None = "\n",
    max_tokens: int = 60,
    temperature: float = 0.7,
    seed: int = 1 << 40,
    attempts: Sequence[Attempt] = (),
) -> list[Completion]:
    return await model.sample(
        prompt,
        prefix,
        n,
        stop=stop,
        max_tokens=max_tokens,
        temperature=temperature,
        seeds=[seed + 1000 * index for index in range(n)],
        attempts=attempts,
    )


def texts(completions: Sequence[Completion]) -> list[str]:
    return ["".join(step.text for step in completion.steps) for completion in completions]
