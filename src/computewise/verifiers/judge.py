"""A chat model as the judge: what it is asked, and how its verdict is read."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from computewise.core import Usage
from computewise.errors import ModelError
from computewise.http.client import HttpClient
from computewise.http.servers import ask
from computewise.models.server.choices import cut_off, envelope_of
from computewise.session import gather
from computewise.verifiers.labels import log_probability, read_usage
from computewise.verifiers.templates import Judge, Layout, ScoredSteps, escape, fill

YES, NO = "yes", "no"

THOUGHT = "</think>"

_DECORATION = " \n\t\r*_`\"'.:,#()[]{}$\\!\u2581\u0120\u010a"

_GRADE = re.compile(r"[^\w-]*(?:(?:grade|score|rating)\b[^\w-]*)?(\d+(?:\.\d+)?)\s*(?:/\s*10\b)?[^\w]*", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class TokenLogprobs:
    """One token of an answer, with the log-probabilities of the likeliest tokens at its place."""

    text: str
    likely: Mapping[str, float]


def yes_share(tokens: Sequence[TokenLogprobs], after: str) -> float | None:
    """P(yes) / (P(yes) + P(no)) at the first word after the last `after`, or after the thinking where that is "".

    Spellings of a word are summed. A word that is not listed gets the most it can have: the least of the listed
    probabilities, or what all of them leave of 1, whichever is smaller.
    """
    said = "".join(token.text for token in tokens)
    place = _behind(said, after)
    if place is None:
        return None
    begin = 0
    for token in tokens:
        if _word(token.text[max(place - begin, 0) :]):
            return _share(token)
        begin += len(token.text)
    return None


def yes_or_no(text: str, after: str) -> float | None:
    """1 for a yes and 0 for a no, from the text alone."""
    place = _behind(text, after)
    found = re.match(r"\W*(yes|no)\b", text[place:], re.IGNORECASE) if place is not None else None
    return None if found is None else float(found[1].lower() == YES)


def grade(text: str, after: str) -> float | None:
    """A tenth of a number from 0 to 10 that stands alone, after a word such as "grade", or before "/10"."""
    place = _behind(text, after)
    found = _GRADE.fullmatch(text[place:].strip()) if place is not None else None
    value = float(found[1]) if found else math.inf
    return value / 10 if value <= 10 else None


def _share(token: TokenLogprobs) -> float | None:
    shares = {text: math.exp(logprob) for text, logprob in token.likely.items()}
    found = {word: [p for text, p in shares.items() if _word(text) == word] for word in (YES, NO)}
    if not any(found.values()):
        return None
    at_most = min(min(shares.values()), max(0.0, 1 - math.fsum(shares.values())))
    yes, no = (math.fsum(found[word]) if found[word] else at_most for word in (YES, NO))
    return yes / (yes + no) if yes + no > 0 else None


def _behind(text: str, after: str) -> int | None:
    """Where the verdict begins."""
    thought = text.rfind(THOUGHT)
    begun = thought + len(THOUGHT) if thought >= 0 else 0
    if not after:
        return begun
    place = text.lower().rfind(after.lower())
    return None if place < 0 else place + len(after)


def _word(text: str) -> str:
    return text.strip(_DECORATION).lower()


LISTED = 20

"""How many of the likeliest tokens are requested: the most that chat endpoints return."""

SHORT = 16

"""The limit of tokens of the first question, which one word answers."""

THINKING = (4096, 16_384)

"""The limits of tokens for a judge that was cut off before its verdict, as thinking comes first."""

CHAT = "chat/completions"

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
        self._room = judge.max_tokens

    async def read(self, question: str, solutions: Sequence[ScoredSteps]) -> tuple[list[tuple[float, ...]], Usage]:
        """See `computewise.verifiers.base.Reader.read`."""
        found = await gather(self._opinion(question, solution) for solution in solutions)
        scores = [(score,) * solution.new for solution, (score, _) in zip(solutions, found, strict=True)]
        return scores, sum((usage for _, usage in found), Usage())

    async def gives_logprobs(self) -> bool:
        """Whether the server returns log-probabilities.

        The short requests for this find out too what the server accepts and how much room the model's thinking needs.
        """
        asked = [*self._system(), _user("Reply with Yes.")]
        for room in (min(self._room, SHORT), *THINKING):
            answer = await ask(self._client, CHAT, self._body(asked, 0, room), finding=True)
            if not (_cut(answer) and not _written(answer).rpartition(THOUGHT)[2].strip()):
                break
        self._room = max(self._room, room) if room > SHORT else self._room
        return _tokens(answer) is not None

    async def _opinion(self, question: str, solution: ScoredSteps) -> tuple[float, Usage]:
        found = await gather(self._sample(question, solution, seed) for seed in range(self._samples))
        return math.fsum(score for score, _ in found) / len(found), sum((usage for _, usage in found), Usage())

    async def _sample(self, question: str, solution: ScoredSteps, seed: int) -> tuple[float, Usage]:
        messages = self._messages(question, solution)
        score, text, usage, cut = await self._ask(messages, seed)
        while score is None and cut and (wider := [room for room in THINKING if room > self._room]):
            # What is cut off before the verdict is mostly thinking: the same question, with room for it.
            self._room = wider[0]
            score, text, more, cut = await self._ask(messages, seed)
            usage += more
        if score is None and not cut:
            messages += [{"role": "assistant", "content": text}, _user(self._judge.again)]
            score, text, more, cut = await self._ask(messages, seed)
            usage += more
        if score is None and cut:
            raise ModelError(
                f"{self._model} was cut off at {self._room} tokens before its verdict, probably while it was thinking: "
                "name a judge that thinks less by --verifier-model"
            )
        if score is None:
            raise ModelError(f"{self._model} was asked twice for a {self._judge.answer} and answered {text[-80:]!r}")
        return score, usage

    async def _ask(self, messages: Messages, seed: int) -> tuple[float | None, str, Usage, bool]:
        """The score, None where the answer has none; the answer's text, its usage, and whether the limit cut it."""
        answer = await ask(self._client, CHAT, self._body(messages, seed, self._room))
        tokens, text, cut = _tokens(answer), _written(answer), _cut(answer)
        usage = read_usage(answer, [message["content"] for message in messages], written=text)
        if self._judge.answer == "grade":
            return grade(text, self._judge.after), text, usage, cut
        if tokens is not None:
            return yes_share(tokens, self._judge.after), text, usage, cut
        if self._judge.fallback and not cut:
            raise ModelError("the server returned no log-probabilities, although it did at the start")
        return yes_or_no(text, self._judge.after), text, usage, cut

    def _system(self) -> Messages:
        return [{"role": "system", "content": self._judge.system}] if self._judge.system else []

    def _messages(self, question: str, solution: ScoredSteps) -> Messages:
        steps = self._layout.between.join(
            fill(self._layout.step, step=escape(step, self._layout), index=str(index))
            for index, step in enumerate(solution.steps, 1)
        )
        pattern = self._judge.whole if solution.finished else self._judge.partial or self._judge.whole
        asked = _user(fill(pattern, question=escape(question.strip(), self._layout), steps=steps))
        return [*self._system(), asked]

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


def _written(answer: Any) -> str:
    """The answer, preceded by the thinking where the server returns that in a field of its own."""
    first = envelope_of(answer)[0][0]
    thoughts = first.message.thinking if first.message is not None else ""
    return f"{thoughts}{THOUGHT}{first.written or ''}" if thoughts else first.written or ""


def _cut(answer: Any) -> bool:
    """Whether something else than the model ended the answer, such as the limit of tokens."""
    first = envelope_of(answer)[0][0]
    return cut_off(first.finish_reason, 0 if first.written else 1, 1, exact=True)[0]


def _tokens(answer: Any) -> list[TokenLogprobs] | None:
    """The answer's tokens; None where the server returns no log-probabilities."""
    logprobs = envelope_of(answer)[0][0].logprobs
    content = logprobs.get("content") if isinstance(logprobs, dict) else None
    if not isinstance(content, list) or not content:
        return None
    return [_said(token) for token in content if isinstance(token, dict)] or None


def _said(token: Mapping[str, Any]) -> TokenLogprobs:
    """A token and those that the server lists for its place, without log-probabilities that cannot be."""
    listed = token.get("top_logprobs")
    if not isinstance(listed, list) or not listed:
        listed = [token]
    likely: dict[str, float] = {}
    for one in listed:
        text = one.get("token") if isinstance(one, dict) else None
        if isinstance(text, str) and (logprob := log_probability(one.get("logprob"))) is not None:
            likely[text] = max(logprob, likely.get(text, -math.inf))
    return TokenLogprobs(token["token"] if isinstance(token.get("token"), str) else "", likely)
