"""Models behind their servers as a backend."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import NamedTuple

from computewise.core import Model, Problem, Verifier
from computewise.models.chat import Message
from computewise.models.forgetful import Forgetful, as_needed
from computewise.models.server.llama import LlamaRoute
from computewise.models.server.lost import Lost
from computewise.models.server.model import ServerModel
from computewise.models.server.ollama import OllamaRoute
from computewise.models.server.opening import PLAIN, ServedModel, open_served
from computewise.models.server.templates import RawTemplate
from computewise.policy.file import Fitted
from computewise.serve.backend import Cast, Upstream, open_policy
from computewise.serve.choosing import OFFERED
from computewise.serve.reading import Asked
from computewise.serve.refusals import Refused
from computewise.session import Limits
from computewise.strategies import NEEDS_VERIFIER, STEPWISE
from computewise.study.server_source import ServerSource
from computewise.tasks.load import LoadedTask

_OF_A_TEMPLATE = ("chat_template_kwargs", "chat_template", "documents", "add_generation_prompt")
_CEILINGS = ("n_predict", "num_predict", "max_new_tokens", "max_length")
"""Names that some servers have for max_tokens, and put above it."""


class Ways(NamedTuple):
    """The ways to one model: as `computewise check` found them, as a chat that takes any field, as raw text."""

    served: ServedModel
    usual: ServerModel
    chat: ServerModel | None
    raw: ServerModel | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedBackend:
    """One or two models, a verifier, a policy for them."""

    ways: Mapping[str, Ways]
    labels: Mapping[str, str]
    """Names in the policy, by the models' names."""
    task: LoadedTask
    grader: str
    verifier: Verifier | None
    fitted: Fitted | None
    limits: Limits
    temperature: float
    example: str = ""

    @property
    def models(self) -> Sequence[str]:
        """See `Backend.models`."""
        return list(self.ways)

    def strategies(self, model: str) -> Mapping[str, str | None]:
        """See `Backend.strategies`."""
        found = self.ways[model].served.capabilities.strategies()
        if self.verifier is None:
            found |= dict.fromkeys(NEEDS_VERIFIER, "it needs a verifier, and there is none")
        return {name: found[name] for name in OFFERED}

    def upstream(self, model: str) -> Upstream | None:
        """See `Backend.upstream`."""
        return Upstream(self.ways[model].usual.client, self.ways[model].served.model)

    def cast(self, asked: Asked, model: str, strategy: str | None, lost: Lost) -> Cast:
        """See `Backend.cast`."""
        turns = asked.turns
        transcript = "\n\n".join(turn.content for turn in turns)
        # Seeds are made of its id, for every sample anew: conversations may be long.
        problem = Problem(id=blake2b(transcript.encode(), digest_size=16).hexdigest(), prompt=turns[-1].content)
        names = [name for name, label in self.labels.items() if self.fitted and label in self.fitted.models]
        stepwise = self._stepwise(strategy)
        players: dict[str, Model] = {}
        for name in [model] if strategy is not None else names:
            way: Model = replace(
                self._way(asked, self.ways[name], stepwise),
                before=self._before(asked),
                instruction="",
                fields=asked.fields,
                lost=lost,
            )
            if strategy is None:
                players[self.labels[name]] = Forgetful(way)
            else:
                players[name] = as_needed(way, strategy)
        return Cast(players, problem, transcript)

    def _stepwise(self, strategy: str | None) -> bool:
        """Whether a model is asked to go on from the beginning of a solution."""
        if strategy is not None:
            return strategy in STEPWISE
        assert self.fitted is not None
        return any(str(arm.strategy.get("name")) in STEPWISE for arm in self.fitted.arms)

    def _before(self, asked: Asked) -> tuple[Message, ...]:
        """The turns before the problem; the task's instruction is put before a chat that has none of its own."""
        before = asked.turns[:-1]
        if asked.endpoint == "chat" and self.task.instruction and not any(turn.role == "system" for turn in before):
            return (Message("system", self.task.instruction), *before)
        return before

    def _way(self, asked: Asked, ways: Ways, stepwise: bool) -> ServerModel:
        """By which route every field reaches the model; raises `Refused` where there is none."""
        server = ways.served.capabilities.server
        if name := next((one for one in _CEILINGS if one in asked.fields), None):
            raise Refused(f"{name} would pass by what bounds a search: say max_tokens", param=name, code="unsearchable")
        if asked.endpoint == "completions":
            if ways.raw is None:
                raise Refused(f"{server} takes no raw prompts to search with: use chat/completions", param="prompt")
            way = ways.raw
        elif asked.fields and not stepwise and ways.chat is not None:
            return ways.chat
        else:
            way = ways.usual
        if (name := next((one for one in _OF_A_TEMPLATE if one in asked.fields), None)) and way.template is not None:
            text = f"{name} does not reach the template of prompts that are gone on from"
            raise Refused(f"{text}: name a strategy of whole solutions", param=name, code="unsearchable")
        if asked.fields and isinstance(way.route, LlamaRoute | OllamaRoute):
            name = next(iter(asked.fields))
            text = f"{name[:60]} does not reach {server} where solutions are searched by steps or from raw prompts"
            raise Refused(f"{text}: leave it out", param=name[:60], code="unsearchable")
        return way


@asynccontextmanager
async def served_backend(source: ServerSource, policy: str | None, grader: str) -> AsyncIterator[ServedBackend]:
    """Opened; raises `UsageError` or `RunError` where the policy is not for these models."""
    task, labels = source.task(), source.models().labels
    async with source.open() as opened:
        ways: dict[str, Ways] = {}
        names: dict[str, str] = {}
        for role, served in (("small", source.small), ("large", source.large)):
            if served is not None:
                model = opened.model(role)
                assert isinstance(model, ServerModel)
                ways[served.model], names[served.model] = await _ways(served, model), labels[role]
        fitted = None
        if policy is not None:
            fitted = open_policy(policy, list(names.values()), labels["prm"])
        yield ServedBackend(
            ways=ways,
            labels=names,
            task=task,
            grader=grader,
            verifier=opened.judge,
            fitted=fitted,
            limits=source.limits(),
            temperature=source.temperature(),
        )


async def _ways(served: ServedModel, usual: ServerModel) -> Ways:
    found = served.capabilities
    chat = raw = None
    if found.chat:
        as_chat = replace(served, capabilities=replace(found, raw=False), chat_template=None)
        chat = await open_served(as_chat, usual.client, delimiter=usual.delimiter, ceiling=usual.ceiling)
    if found.raw:
        plain = replace(served, capabilities=replace(found, template=PLAIN), chat_template=PLAIN, thinking_budget=None)
        opened = await open_served(plain, usual.client, delimiter=usual.delimiter, ceiling=usual.ceiling)
        raw = replace(opened, template=RawTemplate())
    return Ways(served, usual, chat, raw)
