"""A chat model as a verifier: it judges a solution so far, or the whole solution once it has ended."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from computewise.core import Usage
from computewise.errors import ModelError
from computewise.http.client import HttpClient
from computewise.session import gather
from computewise.verifiers.prompt import ScoredSteps, escape, fill
from computewise.verifiers.remote.answers import at, number, read_usage
from computewise.verifiers.templates import Judge, Layout
from computewise.verifiers.verdicts import TokenLogprobs, grade, yes_or_no, yes_share

LISTED = 20
"""How many of the likeliest tokens are requested: the most that chat endpoints return."""
Messages = list[dict[str, str]]


class JudgeReader:
    """Asks one question about each solution; all its new steps get the answer as their score.

    A search by steps pays one call for each new step, a solution that was sampled whole pays one call. Several samples
    are averaged. An answer without a verdict is requested once more; `ModelError` after that.
    """

    def __init__(self, client: HttpClient, model: str, layout: Layout, judge: Judge, *, samples: int) -> None:
        self._client = client
        self._model = model
        self._layout = layout
        self._judge = judge
        self._samples = samples

    async def read(self, question: str, solutions: Sequence[ScoredSteps]) -> tuple[list[tuple[float, ...]], Usage]:
        """See `computewise.verifiers.base.Reader.read`."""
        found = await gather(self._opinion(question, solution) for solution in solutions)
        scores = [(score,) * solution.new for solution, (score, _) in zip(solutions, found, strict=True)]
        return scores, sum((usage for _, usage in found), Usage())

    async def gives_logprobs(self) -> bool:
        """Whether the server returns log-probabilities; requests one token to find out."""
        answer = await self._client.post("chat/completions", self._body([_user("Reply with Yes.")], 0, 1))
        return _tokens(answer) is not None

    async def _opinion(self, question: str, solution: ScoredSteps) -> tuple[float, Usage]:
        found = await gather(self._sample(question, solution, seed) for seed in range(self._samples))
        return math.fsum(score for score, _ in found) / len(found), sum((usage for _, usage in found), Usage())

    async def _sample(self, question: str, solution: ScoredSteps, seed: int) -> tuple[float, Usage]:
        messages = self._messages(question, solution)
        score, text, usage = await self._ask(messages, seed)
        if score is None:
            messages += [{"role": "assistant", "content": text}, _user(self._judge.again)]
            score, text, more = await self._ask(messages, seed)
            usage += more
        if score is None:
            raise ModelError(f"{self._model} was asked twice for a {self._judge.answer} and answered {text[-80:]!r}")
        return score, usage

    async def _ask(self, messages: Messages, seed: int) -> tuple[float | None, str, Usage]:
        """The score, None where the answer has none, the answer's text, and its usage."""
        answer = await self._client.post("chat/completions", self._body(messages, seed, self._judge.max_tokens))
        tokens, text = _tokens(answer), _text(answer)
        usage = read_usage(answer, [*(message["content"] for message in messages), text], written=True)
        if self._judge.answer == "grade":
            return grade(text, self._judge.after), text, usage
        if tokens is not None:
            return yes_share(tokens, self._judge.after), text, usage
        if self._judge.fallback:
            raise ModelError("the server returned no log-probabilities, although it did at the start")
        return yes_or_no(text, self._judge.after), text, usage

    def _messages(self, question: str, solution: ScoredSteps) -> Messages:
        steps = self._layout.between.join(
            fill(self._layout.step, step=escape(step, self._layout), index=str(index))
            for index, step in enumerate(solution.steps, 1)
        )
        pattern = self._judge.whole if solution.finished else self._judge.partial or self._judge.whole
        asked = _user(fill(pattern, question=escape(question.strip(), self._layout), steps=steps))
        return [{"role": "system", "content": self._judge.system}, asked] if self._judge.system else [asked]

    def _body(self, messages: Messages, seed: int, max_tokens: int) -> dict[str, Any]:
        body = {
            "model": self._model,
            "messages": messages,
            "max_tokens": max_tokens,
            "temperature": self._judge.temperature,
            "seed": seed,
        }
        logprobs = {"logprobs": True, "top_logprobs": LISTED} if self._judge.answer == "yes-no" else {}
        return body | logprobs


def _user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def _text(answer: Any) -> str:
    """The answer, preceded by the thinking where the server returns that in a field of its own."""
    message = at(answer, "choices", 0, "message")
    content = at(message, "content")
    thoughts = message.get("reasoning_content") or message.get("reasoning")
    if not isinstance(content, str | None):
        raise ModelError(f"the server's answer is a {type(content).__name__}: it must be text")
    return f"{thoughts}</think>{content or ''}" if isinstance(thoughts, str) else content or ""


def _tokens(answer: Any) -> list[TokenLogprobs] | None:
    """The answer's tokens; None where the server returns no log-probabilities."""
    at(answer, "choices", 0, "message")
    logprobs = answer["choices"][0].get("logprobs")
    content = logprobs.get("content") if isinstance(logprobs, dict) else None
    if not isinstance(content, list) or not content:
        return None
    return [_said(token) for token in content]


def _said(token: Any) -> TokenLogprobs:
    listed = at(token, "top_logprobs")
    if not isinstance(listed, list) or not listed:
        listed = [token]
    likely: dict[str, float] = {}
    for one in listed:
        text, logprob = str(at(one, "token")), number(at(one, "logprob"), "a log-probability")
        likely[text] = max(logprob, likely.get(text, -math.inf))
    return TokenLogprobs(str(at(token, "token")), likely)
