"""its_hub's side of `benchmarks/against_its_hub.py`: one JSON object in, one out, by an interpreter with `its_hub[lm]`.

its_hub is used as its documentation does, with what it lacks for this server added around it, in its favour: the
samplers that it cannot set; the prefill, which llama.cpp repeats in its answer, taken off; and the end of a solution,
which a chat's finish_reason does not tell from the end of a step, found in the log-probabilities and marked.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
import warnings
from typing import Any

from arithmetic_values import scores
from its_hub import BestOfN, LMOrchestrator, OpenAICompatibleLanguageModel, StepGeneration
from its_hub.api import AbstractOutcomeRewardModel, AbstractProcessRewardModel
from its_hub.core.algorithms.beam_search import BeamSearch

END = "<end>"


class Served(OpenAICompatibleLanguageModel):
    """its_hub's client, corrected for llama.cpp; counts the sampled tokens."""

    sampled = 0
    requests = 0

    def _prepare_request_data(self, messages: Any, *given: Any, **settings: Any) -> Any:
        plain = {"top_k": 0, "top_p": 1.0, "min_p": 0.0, "samplers": ["temperature"]}
        data = super()._prepare_request_data(messages, *given, **settings)
        return {**data, **plain, "logprobs": True, "top_logprobs": 1}

    async def _agenerate(self, messages_lst: Any, *given: Any, **settings: Any) -> Any:
        answers = await super()._agenerate(messages_lst, *given, **settings)
        return [self._corrected(messages, answer) for messages, answer in zip(messages_lst, answers, strict=True)]

    async def agenerate_single(self, messages: Any, *given: Any, **settings: Any) -> Any:
        """One answer."""
        return self._corrected(messages, await super().agenerate_single(messages, *given, **settings))

    def _corrected(self, messages: Any, answer: dict[str, Any]) -> dict[str, Any]:
        choice = answer.pop("_raw_choice")
        tokens = (choice.get("logprobs") or {}).get("content", [])  # none where the delimiter came first
        ended = bool(tokens) and not tokens[-1]["bytes"]
        self.requests += 1
        self.sampled += len(tokens) + (choice["finish_reason"] == "stop" and not ended)  # a step's delimiter is cut off
        text = answer["content"] or ""
        if messages[-1].role == "assistant":
            text = text.removeprefix(messages[-1].content)
        return {**answer, "content": text + (END if ended else "")}


class Prm(AbstractProcessRewardModel):
    """Reads solutions without changing them."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def score(self, prompt_or_messages: Any, steps: Any) -> Any:
        """Not called."""
        raise NotImplementedError

    async def ascore(self, prompt_or_messages: Any, steps: Any) -> Any:
        """One score a solution."""
        return await scores(prompt_or_messages, [step.removesuffix(END) for step in steps], self.seconds)


class Orm(AbstractOutcomeRewardModel):
    """Whole solutions, as conversations."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def score(self, messages: Any, **settings: Any) -> Any:
        """Not called."""
        raise NotImplementedError

    async def ascore(self, messages: Any, orchestrator: Any = None, **settings: Any) -> Any:
        """One score a conversation."""
        solutions = [conversation[-1].content.removesuffix(END) for conversation in messages]
        return await scores(messages[0][0].content, solutions, self.seconds)


async def measure(job: dict[str, Any]) -> dict[str, Any]:
    """Returns seconds, answers and the number of sampled tokens."""
    model = Served(
        endpoint=f"{job['url']}/v1",
        api_key="none",
        model_name="small",
        temperature=1.0,
        max_completion_tokens=240,
        include_raw_choices=True,
    )
    if job["method"] == "beam search":
        steps = StepGeneration(max_steps=40, step_token="\n", stop_token=END, temperature=1.0)
        algorithm: Any = BeamSearch(steps, Prm(job["seconds"]), beam_width=job["width"])
    else:
        # Its default of 32 requests at a time waits in threads, and two cores have six of them.
        algorithm = BestOfN(Orm(job["seconds"]), LMOrchestrator(max_concurrency=-1))
    gate = asyncio.Semaphore(job["at_once"])

    async def solve(prompt: str) -> str:
        async with gate:
            answer = await algorithm.ainfer(model, prompt, budget=job["n"])
        return str(answer["content"]).removesuffix(END)

    started = time.perf_counter()
    answers = await asyncio.gather(*map(solve, job["prompts"]))
    seconds = time.perf_counter() - started
    await model.close()
    return {"seconds": seconds, "answers": answers, "sampled": model.sampled, "requests": model.requests}


if __name__ == "__main__":
    warnings.simplefilter("ignore", DeprecationWarning)
    json.dump(asyncio.run(measure(json.load(sys.stdin))), sys.stdout)
