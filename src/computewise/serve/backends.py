"""The models that requests are solved by: the embedded ones, or those of an upstream server."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import NamedTuple, Protocol

from computewise.controller.controller import NO_VERIFIER, Controller, read_controller
from computewise.controller.file import controller_path
from computewise.core import LARGE, MODEL, REVISER, VERIFIER, Model, Problem, Role, Verifier
from computewise.errors import ProblemError, RunError, UsageError
from computewise.http.client import HttpClient
from computewise.models.messages import Message
from computewise.models.server.connect import PLAIN, ServerModelSpec, connect_model
from computewise.models.server.limits import FailedSamples
from computewise.models.server.model import ServerModel
from computewise.models.server.routes import LlamaRoute, OllamaRoute
from computewise.models.server.templates import RawTemplate
from computewise.serve.errors import ApiError
from computewise.serve.planning import OFFERED
from computewise.serve.schemas import ChatRequest
from computewise.session import Limits
from computewise.setups.embedded import WEIGHTS, EmbeddedSetup
from computewise.setups.server import ServerSpec
from computewise.strategies import STRATEGIES
from computewise.tasks.arithmetic import find_task
from computewise.tasks.load import LoadedTask


class Upstream(NamedTuple):
    """The server that a request passes through to, and the model's name there."""

    client: HttpClient
    model: str


class Binding(NamedTuple):
    """The models of one request by their names; the first is the one that solves alone."""

    models: Mapping[str, Model]
    problem: Problem
    transcript: str
    """What the verifier reads as the problem: the conversation."""


class Backend(Protocol):
    """What all requests share: models, verifier, task and controller."""

    @property
    def models(self) -> Sequence[str]:
        """The names that clients may use; the controller is for the first."""
        ...

    @property
    def task(self) -> LoadedTask:
        """The task that extracts and compares answers."""
        ...

    @property
    def grader(self) -> str:
        """The name of the grader, by which a prompt is judged gradable; empty: every prompt is."""
        ...

    @property
    def verifier(self) -> Verifier | None:
        """The verifier; None: answers are chosen by majority vote."""
        ...

    @property
    def fitted(self) -> Controller | None:
        """The controller, where there is one."""
        ...

    @property
    def limits(self) -> Limits:
        """Bounds on one solution."""
        ...

    @property
    def temperature(self) -> float:
        """The sampling temperature of requests that name none."""
        ...

    @property
    def example(self) -> str:
        """An example problem for the page; may be empty."""
        ...

    def strategies(self, model: str) -> Mapping[str, str | None]:
        """Every strategy, with the reason why that model cannot use it; None where it can."""
        ...

    def upstream(self, model: str) -> Upstream | None:
        """The upstream of that model; None for an embedded one."""
        ...

    def bind(self, asked: ChatRequest, model: str, strategy: str | None, lost: FailedSamples) -> Binding:
        """The models for a strategy or, without one, for the controller.

        Samples that a server loses are noted in `lost`. Raises `ApiError` for a field that does not reach the model,
        `ProblemError` for a problem that the task cannot read.
        """
        ...


GENERIC_POLICY = "generic"
"""The name of the shipped controller for any model."""


def open_policy(policy: str, models: Sequence[str], verifier: str) -> Controller:
    """The controller in a file, or the shipped one of that name; raises `RunError` if it is for other models."""
    if policy == GENERIC_POLICY:
        return Controller.generic(models[0], None if verifier == NO_VERIFIER else verifier)
    fitted = read_controller(controller_path(policy), models=models, verifier=verifier)
    if not fitted.rule.prices:
        raise RunError(f"the policy {policy} has no list of prices: what an effort is worth cannot be read from it")
    return fitted


_NAMES = (WEIGHTS[MODEL], WEIGHTS[LARGE], WEIGHTS[REVISER])

_WITHOUT_EFFECT = ("user", "metadata", "store", "safety_identifier", "prompt_cache_key", "service_tier")

"""Fields that describe the client and do not change the answer."""

_EXAMPLES = {"expressions": "3*(4+5)-67*(13-6)", "stories": "Finn has 61 stamps. Finn finds 72. How many stamps?"}

_LONGEST = 10_000

"""Most characters of a problem: to parse a longer one would block every request for seconds."""

_DEFAULTS = {"top_p": 1, "presence_penalty": 0, "frequency_penalty": 0}


class EmbeddedBackend:
    """The embedded models on one engine, which computes in the thread of the event loop."""

    models = _NAMES
    grader = ""

    def __init__(self, policy: str | None, task: str = "expressions", temperature: float = 1.0) -> None:
        self._setup = EmbeddedSetup()
        self.task = find_task(task)
        self.example = _EXAMPLES[task]
        self.limits = Limits()
        self.temperature = temperature
        self.fitted: Controller | None = None
        self.verifier = self._setup.verifier()
        if policy is not None:
            self.fitted = open_policy(policy, self.models, WEIGHTS[VERIFIER])
            if self.fitted.task != task:
                raise UsageError(f"the policy {policy} is for the task {self.fitted.task}, not for {task}")
        self._setup.named(WEIGHTS[MODEL])

    def strategies(self, model: str) -> Mapping[str, str | None]:
        """See `Backend.strategies`."""
        if model == WEIGHTS[REVISER]:
            return dict.fromkeys(OFFERED)
        why = f"{model} was not trained to be shown its attempts, {WEIGHTS[REVISER]} was"
        return {name: why if STRATEGIES[name].needs_history else None for name in OFFERED}

    def upstream(self, model: str) -> Upstream | None:
        """See `Backend.upstream`."""
        return None

    def bind(self, asked: ChatRequest, model: str, strategy: str | None, lost: FailedSamples) -> Binding:
        """See `Backend.bind`; raises `ApiError` for a field that these models cannot use."""
        if len(asked.turns) > 1:
            raise ApiError(
                "the embedded models read one turn, the user's, and no system prompt: conversations need an upstream",
                param="messages[0]",
                code="unsupported_field",
            )
        for name, value in asked.fields.items():
            if value is False or value in ([], {}, ""):
                continue
            if name not in _WITHOUT_EFFECT and not (name in _DEFAULTS and value == _DEFAULTS[name]):
                if name == "response_format" and asked.shaped is None:
                    continue
                text = f"the embedded models take no {name[:60]}: that needs an upstream"
                raise ApiError(text, param=name[:60], code="unsupported_field")
        if len(asked.prompt) > _LONGEST:
            raise ProblemError(f"a problem of {len(asked.prompt)} characters: allowed are {_LONGEST}")
        problem = self.task.read(asked.prompt.strip())
        if strategy is None:
            assert self.fitted is not None
            models: dict[str, Model] = {name: self._setup.named(name) for name in self.fitted.models}
            return Binding(models, problem, problem.prompt)
        return Binding({model: self._setup.named(model)}, problem, "")


_OF_A_TEMPLATE = ("chat_template_kwargs", "chat_template", "documents", "add_generation_prompt")

_CEILINGS = ("n_predict", "num_predict", "max_new_tokens", "max_length")

"""Fields that some servers take in place of max_tokens, and prefer to it."""


class Routes(NamedTuple):
    """The routes to one model: the probed one, a chat that takes any field, and raw text."""

    served: ServerModelSpec
    usual: ServerModel
    chat: ServerModel | None
    raw: ServerModel | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedBackend:
    """One or two served models with their verifier and controller."""

    ways: Mapping[str, Routes]
    labels: Mapping[str, str]
    """The names in the controller by the models' names."""
    task: LoadedTask
    grader: str
    verifier: Verifier | None
    fitted: Controller | None
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
            lacking = [name for name in found if STRATEGIES[name].needs_verifier]
            found |= dict.fromkeys(lacking, "it needs a verifier, and there is none")
        return {name: found[name] for name in OFFERED}

    def upstream(self, model: str) -> Upstream | None:
        """See `Backend.upstream`."""
        return Upstream(self.ways[model].usual.client, self.ways[model].served.model)

    def bind(self, asked: ChatRequest, model: str, strategy: str | None, lost: FailedSamples) -> Binding:
        """See `Backend.bind`."""
        turns = asked.turns
        transcript = "\n\n".join(turn.content for turn in turns)
        # The id is hashed for the seed of every sample: a digest is shorter than a conversation.
        problem = Problem(id=blake2b(transcript.encode(), digest_size=16).hexdigest(), prompt=turns[-1].content)
        names = [name for name, label in self.labels.items() if self.fitted and label in self.fitted.models]
        stepwise = self._stepwise(strategy)
        players: dict[str, Model] = {}
        for name in [model] if strategy is not None else names:
            players[name if strategy is not None else self.labels[name]] = replace(
                self._way(asked, self.ways[name], stepwise),
                before=self._before(asked),
                instruction="",
                fields=asked.fields,
                lost=lost,
            )
        return Binding(players, problem, transcript)

    def _stepwise(self, strategy: str | None) -> bool:
        """Whether a model has to continue partial solutions."""
        if strategy is not None:
            return bool(STRATEGIES[strategy].needs_steps)
        assert self.fitted is not None
        return any(STRATEGIES[str(arm.strategy["name"])].needs_steps for arm in self.fitted.arms)

    def _before(self, asked: ChatRequest) -> tuple[Message, ...]:
        """The turns before the problem; the task's instruction comes first in a chat without a system turn."""
        before = asked.turns[:-1]
        if asked.endpoint == "chat" and self.task.instruction and not any(turn.role == "system" for turn in before):
            return (Message("system", self.task.instruction), *before)
        return before

    def _way(self, asked: ChatRequest, ways: Routes, stepwise: bool) -> ServerModel:
        """The route by which every field reaches the model; raises `ApiError` where there is none."""
        server = ways.served.capabilities.server
        if name := next((one for one in _CEILINGS if one in asked.fields), None):
            raise ApiError(
                f"{name} would override the bounds of a search: use max_tokens", param=name, code="unsearchable"
            )
        if asked.endpoint == "completions":
            if ways.raw is None:
                raise ApiError(f"{server} takes no raw prompts to search with: use chat/completions", param="prompt")
            way = ways.raw
        elif asked.fields and not stepwise and ways.chat is not None:
            return ways.chat
        else:
            way = ways.usual
        if (name := next((one for one in _OF_A_TEMPLATE if one in asked.fields), None)) and way.template is not None:
            text = f"{name} does not reach the template that renders partial solutions"
            raise ApiError(f"{text}: name a strategy of whole solutions", param=name, code="unsearchable")
        if asked.fields and isinstance(way.route, LlamaRoute | OllamaRoute):
            name = next(iter(asked.fields))
            text = f"{name[:60]} does not reach {server} where solutions are searched by steps or from raw prompts"
            raise ApiError(f"{text}: leave it out", param=name[:60], code="unsearchable")
        return way


@asynccontextmanager
async def served_backend(source: ServerSpec, policy: str | None, grader: str) -> AsyncIterator[ServedBackend]:
    """The open backend; raises `UsageError` or `RunError` if the policy is for other models."""
    task, labels = source.task(), source.labels()
    async with source.open() as opened:
        ways: dict[str, Routes] = {}
        names: dict[str, str] = {}
        served_models: tuple[tuple[Role, ServerModelSpec | None], ...] = ((MODEL, source.small), (LARGE, source.large))
        for role, served in served_models:
            if served is not None:
                model = opened.model(role)
                assert isinstance(model, ServerModel)
                ways[served.model], names[served.model] = await _ways(served, model), labels[role]
        fitted = None
        if policy is not None:
            fitted = open_policy(policy, list(names.values()), labels[VERIFIER])
        yield ServedBackend(
            ways=ways,
            labels=names,
            task=task,
            grader=grader,
            verifier=opened.verifier(),
            fitted=fitted,
            limits=source.limits(),
            temperature=source.temperature(),
        )


async def _ways(served: ServerModelSpec, usual: ServerModel) -> Routes:
    found = served.capabilities
    chat = raw = None
    if found.chat:
        as_chat = replace(served, capabilities=replace(found, raw=False), chat_template=None)
        chat = await connect_model(as_chat, usual.client, delimiter=usual.delimiter, ceiling=usual.ceiling)
    if found.raw:
        plain = replace(served, capabilities=replace(found, template=PLAIN), chat_template=PLAIN, thinking_budget=None)
        opened = await connect_model(plain, usual.client, delimiter=usual.delimiter, ceiling=usual.ceiling)
        raw = replace(opened, template=RawTemplate())
    return Routes(served, usual, chat, raw)
