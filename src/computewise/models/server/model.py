"""A model behind a server, as the `Model` protocol: prompts, prefixes, steps, revisions, usage."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate
from typing import Any

from computewise.core import Attempt, Completion, FinishReason, Step, Usage
from computewise.costs import PriceCost, Prices
from computewise.errors import ModelError, UsageError
from computewise.http.client import HttpClient
from computewise.http.servers import tokenize
from computewise.models.messages import Message, conversation
from computewise.models.server.capabilities import LLAMA, Capabilities, Generation, Request, Response, Route, Tokens
from computewise.models.server.counts import MISCOUNTED, MOST_TOKENS, divide, estimated_tokens, least_tokens
from computewise.models.server.limits import FailedSamples, SpendLimit, Spent, TokenIdCache
from computewise.models.server.templates import PromptTemplate, Rendered
from computewise.session import gather


def cut(generated: Generation, delimiter: str) -> tuple[Step, ...]:
    """Its steps, delimiters included; what is blank belongs to the step before it.

    Tokens go to the step in which they begin; where the server does not show each, or some are of thinking, they are
    shared out by length.
    """
    texts = _pieces(generated.text, delimiter)
    if len(texts) > 1 and (spelled := generated.aligned_tokens):
        return _by_tokens(texts, spelled)
    shares = divide(generated.count, [len(text) for text in texts])
    each = generated.mean_logprob
    logprobs = [math.nan if math.isnan(each) else each * share for share in shares]
    return tuple(map(Step, texts, shares, logprobs))


def _pieces(text: str, delimiter: str) -> list[str]:
    *ended, rest = text.split(delimiter)
    pieces: list[str] = []
    for piece in (*(one + delimiter for one in ended), rest):
        if pieces and not (piece.strip() and pieces[-1].strip()):
            pieces[-1] += piece
        else:
            pieces.append(piece)
    return pieces


def _by_tokens(texts: Sequence[str], tokens: Tokens) -> tuple[Step, ...]:
    ends = list(accumulate(map(len, texts)))
    counts, logprobs, mean = [0] * len(texts), [0.0] * len(texts), tokens.mean_logprob
    step, begin = 0, 0
    for text, logprob in zip(tokens.texts, tokens.logprobs, strict=True):
        while step < len(texts) - 1 and begin >= ends[step]:
            step += 1
        counts[step] += 1
        logprobs[step] += mean if math.isnan(logprob) else logprob
        begin += len(text)
    return tuple(map(Step, texts, counts, logprobs))


BLANKS = 3

"""How often a model that begins a step with only the delimiter is asked to continue."""

_STARTS = 1024

"""The most rendered prompts that are kept; more than there are problems at a time."""

_STARTS_TEXT = 1 << 24

"""The most characters of all kept prompts, since conversations may be long."""

_SEED = 0x7FFFFFFF

"""Servers take seeds of 31 bits."""

_AROUND = 32

"""The most tokens that a template puts around a message."""

_END_OF_THINKING = "</think>"

MORE = "the server returned more continuations than it was asked for: the rest counts for the limits of a run alone"


@dataclass(slots=True)
class ServerReportedUsage:
    """The usage that a server reported, beside what was counted here, as a cross-check."""

    requests: int = 0
    counted: int = 0
    """Sampled tokens, from what came back."""
    said: int = 0
    """Sampled tokens, by the server's usage."""
    prompt: int = 0
    cached: int = 0
    """Prompt tokens that its cache held, by its usage."""


@dataclass(slots=True)
class ServerModel:
    """Whole solutions from any server; steps where it goes on from a prefix and stops at a delimiter.

    Prompts are rendered once and extended, as token ids where the server takes them: what a prefix cache holds of them
    stays valid, and no token is cut otherwise than it was sampled. Usage is charged by rule, as for the embedded
    models: the first of a call without prefix reads the prompt, everything else finds what stands before it in the
    cache; `observed` holds what the server says.
    """

    client: HttpClient
    name: str
    parameters: int | None
    capabilities: Capabilities
    route: Route
    template: PromptTemplate | None
    """None where the server renders the template, and conversations are sent as messages."""
    delimiter: str
    instruction: str = ""
    ceiling: SpendLimit = field(default_factory=SpendLimit)
    prices: Prices | None = None
    observed: ServerReportedUsage = field(default_factory=ServerReportedUsage)
    before: tuple[Message, ...] = ()
    """The turns of the conversation before the problem."""
    fields: Mapping[str, Any] = field(default_factory=dict)
    """Fields that are sent unchanged with every request."""
    lost: FailedSamples | None = None
    """Records samples that a server lost; without it, one lost sample fails the whole call."""
    _starts: OrderedDict[tuple[Message, ...], Rendered] = field(default_factory=OrderedDict)
    _memory: TokenIdCache = field(default_factory=TokenIdCache)

    @property
    def revises(self) -> bool:
        """Any model can be shown its attempts in a conversation."""
        return True

    @property
    def revises_steps(self) -> bool:
        """No: that conversation asks for a whole new solution."""
        return False

    @property
    def steps(self) -> bool:
        """Whether the server goes on from a prefix and stops at a delimiter."""
        return self.capabilities.steps

    async def sample(
        self,
        prompt: str,
        prefix: str,
        n: int,
        *,
        stop: str | None,
        max_tokens: int,
        temperature: float,
        seeds: Sequence[int],
        attempts: Sequence[Attempt] = (),
    ) -> list[Completion]:
        """See `computewise.core.Model.sample`; `attempts` are shown as a conversation about them."""
        if not self.steps and (prefix or stop):
            raise UsageError(f"{self.name} cannot be searched by steps: {self.capabilities.why_no_steps}")
        try:
            asked = await self._asked(prompt, prefix, attempts, stop, max_tokens, temperature)
        except ModelError as error:
            if self.lost is None:
                raise
            self.lost.record(error, n)
            if self.lost.all_failed():
                raise
            return [Completion((), "failed", Usage())] * n
        answers = await self._draw(asked, list(seeds))
        if self.lost is not None and self.lost.all_failed():
            raise TimeoutError if self.lost.late else self.lost.errors[0]
        read = next((a.prompt_tokens for a in answers if a.prompt_tokens is not None), None)
        if read is None:
            read = _prompt_estimate(asked)
        found = [one for answer in answers for one in answer.generations]
        blank = [index for index, one in enumerate(found) if _blank(one)]
        gone_on = await gather(self._continue(asked, found[index], seeds[index]) for index in blank)
        for index, one in zip(blank, gone_on, strict=True):
            found[index] = one
        fresh = 0 if prefix and not attempts else read
        first = next((index for index, one in enumerate(found) if one.ended != "failed"), 0)
        return [
            self._completion(one, asked, read, read - fresh if index == first else read)
            for index, one in enumerate(found)
        ]

    async def _asked(
        self,
        prompt: str,
        prefix: str,
        attempts: Sequence[Attempt],
        stop: str | None,
        max_tokens: int,
        temperature: float,
    ) -> Request:
        """The request for one continuation of the prompt."""
        messages = (*self.before, *conversation(prompt, attempts, self.instruction))
        asked = Request(messages, "", None, 1, stop, max_tokens, temperature, 0, self.fields)
        if self.template is None:
            return self._behind(asked, prefix) if prefix else asked
        start = await self._start(self.template, messages, keep=not attempts)
        asked = replace(asked, text=start.text, ids=start.ids)
        asked = self._behind(asked, prefix) if prefix else asked
        if self.capabilities.context is None or start.ids is None:
            return asked
        return await self._fitted(asked, self.template, self.capabilities.context, len(start.ids) + len(prefix))

    async def _fitted(self, asked: Request, template: PromptTemplate, context: int, at_most: int) -> Request:
        """The same request cut to the context, since a server refuses more; the prompt has at most `at_most` tokens."""
        if asked.ids is None and at_most + asked.max_tokens > context:
            asked = replace(asked, ids=await self._tokenized(asked.text, template.special))
        if asked.ids is None:
            return asked
        room = context - len(asked.ids)
        if room < 1:
            raise ModelError(f"{len(asked.ids)} tokens of prompt fill the {context} of {self.name}")
        return replace(asked, max_tokens=min(asked.max_tokens, room))

    def _behind(self, asked: Request, more: str) -> Request:
        """The same request with `more` added to the text that the model continues."""
        text = asked.text + more
        if self.template is not None:
            return replace(asked, text=text, ids=self._memory.find(text))
        *before, last = asked.messages
        if last.role != "assistant":
            before, last = [*before, last], Message("assistant", "")
        return replace(asked, messages=(*before, Message("assistant", last.content + more)), text=text)

    async def _start(self, template: PromptTemplate, messages: tuple[Message, ...], *, keep: bool) -> Rendered:
        """The rendered prompt; it is kept unless attempts are shown, since those are not shown again."""
        if (held := self._starts.get(messages)) is not None:
            return held
        start = await template.render(messages)
        if self.capabilities.token_ids and start.ids is None:
            start = replace(start, ids=await self._tokenized(start.text, template.special))
        if keep:
            self._starts[messages] = start
            while len(self._starts) > _STARTS or sum(len(one.text) for one in self._starts.values()) > _STARTS_TEXT:
                self._starts.popitem(last=False)
        return start

    async def _tokenized(self, text: str, special: bool) -> tuple[int, ...]:
        kind = "llama" if self.capabilities.server == LLAMA.name else "openai"
        return await tokenize(self.client, kind, self.name, text, special=special)

    async def _draw(self, asked: Request, seeds: list[int]) -> list[Response]:
        """As many continuations as there are seeds; a server that gives fewer than `n` at once is asked again."""
        # vLLM refuses more than one greedy continuation.
        most = self.capabilities.n if asked.temperature > 0 else 1
        answers: list[Response] = []
        while seeds:
            parts = [seeds[at : at + most] for at in range(0, len(seeds), most)]
            more = await gather(self._ask(replace(asked, n=len(part), seed=part[0] & _SEED)) for part in parts)
            answers += more
            if not all(0 < len(one.generations) <= len(part) for part, one in zip(parts, more, strict=True)):
                asked_for = len(parts[0])
                raise ModelError(f"{self.name} gave another number of continuations than the {asked_for} asked for")
            # It does not matter which seed belongs to which continuation, since they are independent.
            seeds = [seed for part, one in zip(parts, more, strict=True) for seed in part[len(one.generations) :]]
            most = max(len(one.generations) for one in more)
        return answers

    async def _ask(self, asked: Request) -> Response:
        """One request; where it fails and `lost` records that, as many failed continuations."""
        if self.lost is None:
            return await self._request(asked)
        answer = await self.lost.attempt(lambda: self._request(asked), asked.n)
        return answer or Response([Generation("", "failed", None, 0)] * asked.n, None, None, None)

    async def _request(self, asked: Request) -> Response:
        """One request, within the spend limit."""
        at_most = _most(asked)
        held, spent = self._spent(at_most), Spent()
        await self.ceiling.hold(held)
        try:
            answer = self._checked(await self.route.generate(asked), asked)
            sampled = sum(one.count for one in answer.generations)
            prompt = at_most.prompt_tokens if answer.prompt_tokens is None else answer.prompt_tokens
            cached = answer.cached_tokens or 0
            spent = self._spent(Usage(prompt_tokens=prompt, cached_prompt_tokens=cached, completion_tokens=sampled))
        finally:
            self.ceiling.release(held, spent)
        seen = self.observed
        seen.requests += 1
        seen.counted += sampled
        seen.said += answer.completion_tokens or 0
        seen.prompt += answer.prompt_tokens or 0
        seen.cached += cached
        if len(answer.generations) > asked.n:
            return replace(answer, generations=[_noted(one, MORE) for one in answer.generations[: asked.n]])
        return answer

    def _checked(self, answer: Response, asked: Request) -> Response:
        """The answer without a count of the prompt that cannot be: too small for its text, or above the context."""
        most, said = self.capabilities.context or MOST_TOKENS, answer.prompt_tokens
        if said is None or least_tokens(_prompt_text(asked)) <= said <= most:
            return answer
        noted = [_noted(one, MISCOUNTED) for one in answer.generations]
        return replace(answer, generations=noted, prompt_tokens=None, cached_tokens=None)

    def _spent(self, usage: Usage) -> Spent:
        dollars = PriceCost(self.prices).cost(usage, 0) if self.prices else 0.0
        return Spent(usage.completion_tokens, dollars)

    async def _continue(self, asked: Request, found: Generation, seed: int) -> Generation:
        """Continue behind a delimiter that came alone, since it is no step."""
        for again in range(1, BLANKS + 1):
            if (room := asked.max_tokens - found.count) < 1:
                return replace(found, ended="length")
            more = replace(self._behind(asked, found.text), max_tokens=room)
            (then,) = (one for answer in await self._draw(more, [seed + again]) for one in answer.generations)
            found = _joined(found, then)
            if not _blank(found):
                break
        return found

    def _completion(self, found: Generation, asked: Request, read: int, cached: int) -> Completion:
        if found.ended == "failed":
            return Completion((), "failed", Usage())
        found = _thought(found)
        reason: FinishReason = "length"
        if found.ended in ("end", "stop"):
            reason = "stop" if found.ended == "end" else "step"
        elif found.ended == "unsaid":
            # The server does not say what ended it: the model where the text is empty, otherwise the delimiter.
            reason = "step" if found.text.strip() else "stop"
            found = replace(found, text=found.text + self.delimiter) if reason == "step" else found
        steps = cut(found, self.delimiter)
        if reason == "step":
            self._remember(asked, found)
        count = sum(step.tokens for step in steps)
        usage = Usage(samples=1, prompt_tokens=read, cached_prompt_tokens=cached, completion_tokens=count)
        return Completion(_ends(steps, asked), reason, usage, found.thinking, found.notes)

    def _remember(self, asked: Request, found: Generation) -> None:
        """Keep the token ids of a prompt that a search will continue."""
        spelled = found.aligned_tokens
        if asked.ids is not None and spelled is not None and spelled.ids is not None:
            self._memory.keep(asked.text + found.text, asked.ids + spelled.ids)


def _most(asked: Request) -> Usage:
    """The most that a request may cost: a prompt token is at least a byte, except those of the template."""
    said = sum(len(message.content.encode(errors="replace")) + _AROUND for message in asked.messages)
    text = len(asked.text.encode(errors="replace"))
    read = len(asked.ids) if asked.ids is not None else max(said, text)
    return Usage(prompt_tokens=read, completion_tokens=asked.n * asked.max_tokens)


def _prompt_text(asked: Request) -> str:
    return asked.text or "".join(message.content for message in asked.messages)


def _prompt_estimate(asked: Request) -> int:
    return len(asked.ids) if asked.ids is not None else estimated_tokens(_prompt_text(asked))


def _noted(found: Generation, note: str) -> Generation:
    return replace(found, notes=tuple(dict.fromkeys((*found.notes, note))))


def _blank(found: Generation) -> bool:
    return found.ended == "stop" and not found.text.strip()


def _joined(first: Generation, then: Generation) -> Generation:
    both = first.tokens.followed_by(then.tokens) if first.tokens is not None and then.tokens is not None else None
    notes = tuple(dict.fromkeys((*first.notes, *then.notes)))
    return replace(then, text=first.text + then.text, tokens=both, count=first.count + then.count, notes=notes)


def _thought(found: Generation) -> Generation:
    """Separate thinking from the solution where it came in the text, as it does with raw prompts."""
    if found.ended != "end" or _END_OF_THINKING not in found.text:
        return found
    thinking, _, text = found.text.rpartition(_END_OF_THINKING)
    return replace(found, text=text.lstrip("\n"), thinking=thinking.removeprefix("<think>").strip())


def _ends(steps: tuple[Step, ...], asked: Request) -> tuple[Step, ...]:
    """Empty the text of a lone blank step, whose tokens the session adds to the step before."""
    blank = len(steps) == 1 and not steps[0].text.strip() and asked.stop is not None
    return (replace(steps[0], text=""),) if blank else steps
