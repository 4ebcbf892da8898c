"""A served model behind the `Model` protocol."""

from __future__ import annotations

import hashlib
from array import array
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from computewise.core import Attempt, Completion, FinishReason, Step, Usage
from computewise.costs import PriceCost, Prices
from computewise.errors import ModelError, UsageError
from computewise.http.client import HttpClient
from computewise.models.chat import Message, conversation
from computewise.models.server.capabilities import Capabilities
from computewise.models.server.ceiling import Ceiling, Spent
from computewise.models.server.generation import Answered, Asked, Generated, Route, Token
from computewise.models.server.steps import cut
from computewise.models.server.templates import Rendered, Template, ids_of
from computewise.session import together

BLANKS = 3
"""How often a model that begins a step with nothing but the delimiter is asked to go on."""
_REMEMBERED = 8192
_SEED = 0x7FFFFFFF
"""Servers take seeds of 31 bits."""
_END_OF_THINKING = "</think>"


@dataclass(slots=True)
class Observed:
    """What a server said of its own accounts, beside what was counted: a cross-check."""

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
    parameters: int
    capabilities: Capabilities
    route: Route
    template: Template | None
    """None where the server renders: conversations are sent as such."""
    delimiter: str
    instruction: str = ""
    ceiling: Ceiling = field(default_factory=Ceiling)
    prices: Prices | None = None
    observed: Observed = field(default_factory=Observed)
    _starts: dict[tuple[Message, ...], Rendered] = field(default_factory=dict)
    _ids: OrderedDict[bytes, array[int]] = field(default_factory=OrderedDict)

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
        if (prefix or stop) and not self.capabilities.steps:
            raise UsageError(f"{self.name} cannot be searched by steps: {self.capabilities.why_no_steps}")
        asked = await self._asked(prompt, prefix, attempts, stop, max_tokens, temperature)
        answers = await self._draw(asked, list(seeds))
        read = next((a.prompt_tokens for a in answers if a.prompt_tokens is not None), None)
        if read is None:
            read = len(asked.ids) if asked.ids is not None else -(-len(asked.text) // 4)
        found = [one for answer in answers for one in answer.found]
        found = [await self._not_blank(asked, one, seed) for one, seed in zip(found, seeds, strict=True)]
        fresh = 0 if prefix and not attempts else read
        return [
            self._completion(one, asked, read, read - fresh if index == 0 else read) for index, one in enumerate(found)
        ]

    async def _asked(
        self,
        prompt: str,
        prefix: str,
        attempts: Sequence[Attempt],
        stop: str | None,
        max_tokens: int,
        temperature: float,
    ) -> Asked:
        """One continuation of the prompt, as the server is to be asked for it."""
        messages = tuple(conversation(prompt, attempts, self.instruction))
        asked = Asked(messages, "", None, 1, stop, max_tokens, temperature, 0)
        if self.template is None:
            last = [Message("assistant", prefix)] if prefix else []
            return replace(asked, messages=(*messages, *last), text=prefix)
        start = await self._start(self.template, messages)
        text = start.text + prefix
        return replace(asked, text=text, ids=start.ids if not prefix else self._known(text))

    async def _start(self, template: Template, messages: tuple[Message, ...]) -> Rendered:
        """Rendered once; where attempts are shown it is not kept, since nobody asks for it again."""
        if (held := self._starts.get(messages)) is not None:
            return held
        start = await template.render(messages)
        if self.capabilities.token_ids and start.ids is None:
            start = replace(start, ids=await self._tokenized(start.text, template.special))
        if len(messages) <= 2:
            self._starts[messages] = start
        return start

    async def _tokenized(self, text: str, special: bool) -> tuple[int, ...]:
        body = {"content": text, "add_special": special, "parse_special": True}
        if self.capabilities.server != "llama.cpp":
            body = {"model": self.name, "prompt": text, "add_special_tokens": special}
        return ids_of(await self.client.post("/tokenize", body))

    async def _draw(self, asked: Asked, seeds: list[int]) -> list[Answered]:
        """As many continuations as there are seeds; a server that ignores `n` is asked for each alone."""
        each = self.capabilities.n
        parts = [seeds[at : at + each] for at in range(0, len(seeds), each)]
        answers = await together(self._ask(replace(asked, n=len(part), seed=part[0] & _SEED)) for part in parts)
        missing = [seed for part, answer in zip(parts, answers, strict=True) for seed in part[len(answer.found) :]]
        if missing:
            # Which seed goes with which continuation does not matter: they are as good as independent.
            answers += await together(self._ask(replace(asked, n=1, seed=seed & _SEED)) for seed in missing)
        if sum(len(answer.found) for answer in answers) != len(seeds):
            raise ModelError(f"{self.name} gave another number of continuations than the {len(seeds)} asked for")
        return answers

    async def _ask(self, asked: Asked) -> Answered:
        """One request, within the ceiling."""
        most, spent = self._spent(Usage(completion_tokens=asked.n * asked.max_tokens)), Spent()
        await self.ceiling.hold(most)
        try:
            answer = await self.route.generate(asked)
            sampled = sum(_count(one) for one in answer.found)
            spent = self._spent(
                Usage(
                    prompt_tokens=answer.prompt_tokens or 0,
                    cached_prompt_tokens=answer.cached_tokens or 0,
                    completion_tokens=sampled,
                )
            )
        finally:
            await self.ceiling.release(most, spent)
        seen = self.observed
        seen.requests += 1
        seen.counted += sampled
        seen.said += answer.completion_tokens or 0
        seen.prompt += answer.prompt_tokens or 0
        seen.cached += answer.cached_tokens or 0
        return answer

    def _spent(self, usage: Usage) -> Spent:
        dollars = PriceCost(self.prices).cost(usage, 0) if self.prices else 0.0
        return Spent(usage.completion_tokens, dollars)

    async def _not_blank(self, asked: Asked, found: Generated, seed: int) -> Generated:
        """A step that is only a delimiter is none: the model is asked to go on behind it."""
        for again in range(1, BLANKS + 1):
            if found.ended != "stop" or found.text.strip():
                return found
            room = asked.max_tokens - _count(found)
            if room < 1:
                return replace(found, ended="length")
            more = replace(asked, text=asked.text + found.text, ids=None, max_tokens=room, seed=(seed + again) & _SEED)
            if self.template is None:
                last = asked.messages[-1]
                before = last.content if last.role == "assistant" else ""
                kept = asked.messages[:-1] if last.role == "assistant" else asked.messages
                more = replace(more, messages=(*kept, Message("assistant", before + found.text)))
            found = _joined(found, (await self._ask(more)).found[0])
        return found

    def _completion(self, found: Generated, asked: Asked, read: int, cached: int) -> Completion:
        found = _thought(found)
        reason: FinishReason = "length"
        if found.ended in ("end", "stop"):
            reason = "stop" if found.ended == "end" else "step"
        elif found.ended == "unsaid":
            # Nobody says what ended it: that was the model where nothing came, the delimiter otherwise.
            reason = "step" if found.text.strip() else "stop"
            found = replace(found, text=found.text + self.delimiter) if reason == "step" else found
        steps = cut(found, self.delimiter)
        if reason == "step":
            self._remember(asked, found)
        count = sum(step.tokens for step in steps)
        usage = Usage(samples=1, prompt_tokens=read, cached_prompt_tokens=cached, completion_tokens=count)
        return Completion(_ends(steps, asked), reason, usage, found.thinking)

    def _remember(self, asked: Asked, found: Generated) -> None:
        """The token ids of a prompt that a search will go on from."""
        if asked.ids is None or not found.tokens or any(token.id is None for token in found.tokens):
            return
        if "".join(token.text for token in found.tokens) == found.text:
            ids = (*asked.ids, *(token.id or 0 for token in found.tokens))
            self._ids[_digest(asked.text + found.text)] = array("i", ids)
            while len(self._ids) > _REMEMBERED:
                self._ids.popitem(last=False)

    def _known(self, text: str) -> tuple[int, ...] | None:
        held = self._ids.get(_digest(text))
        return None if held is None else tuple(held)


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode(), digest_size=16).digest()


def _count(found: Generated) -> int:
    return sum(step.tokens for step in cut(found, "\n"))


def _joined(first: Generated, then: Generated) -> Generated:
    both: tuple[Token, ...] | None = None
    if first.tokens is not None and then.tokens is not None:
        both = first.tokens + then.tokens
    return replace(then, text=first.text + then.text, tokens=both, count=_count(first) + _count(then))


def _thought(found: Generated) -> Generated:
    """Thinking that came in the text, as raw prompts give it, kept apart from the solution."""
    if found.ended != "end" or _END_OF_THINKING not in found.text:
        return found
    thinking, _, text = found.text.rpartition(_END_OF_THINKING)
    return replace(found, text=text.lstrip("\n"), thinking=thinking.removeprefix("<think>").strip())


def _ends(steps: tuple[Step, ...], asked: Asked) -> tuple[Step, ...]:
    """A model that ended right behind a delimiter adds its end's tokens to the step before, which the session does."""
    blank = len(steps) == 1 and not steps[0].text.strip() and asked.stop is not None
    return (replace(steps[0], text=""),) if blank else steps
