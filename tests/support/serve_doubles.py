"""A backend of simulated models, and requests to an application without a socket."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx
import numpy as np
from doubles import problem
from starlette.applications import Starlette

from computewise.controller.controller import Controller
from computewise.controller.file import ControllerArm
from computewise.controller.frontier import PricePoint
from computewise.controller.state import Option
from computewise.controller.trees import Forest, ForestRule
from computewise.core import Completion, Model, Problem, Usage, Verifier
from computewise.errors import ModelError
from computewise.models.server.limits import FailedSamples
from computewise.serve.admission import ServerSettings
from computewise.serve.backends import Backend, Binding, Upstream
from computewise.serve.endpoints import Api
from computewise.serve.execution import answer_request
from computewise.serve.planning import OFFERED
from computewise.serve.request import Answer, RequestState
from computewise.serve.schemas import ChatRequest, read_chat
from computewise.session import Limits
from computewise.testing import SimulatedModel, SimulatedPRM, SimulatedTask

PROMPT = problem().prompt
CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"
PRICES = (PricePoint(0.2, 1.5, 0.5), PricePoint(0.1, 4.0, 0.6), PricePoint(0.05, 10.0, 0.7), PricePoint(0.0, 40.0, 0.8))
"""What prices came to: the higher, the less is drawn and the less is right."""
RIGHT = str(problem().answer)
PERFECT = "right\n" * 4 + f"right {RIGHT}"
"""The solution of `perfect`."""
LONG = 100.0
"""Seconds that no request takes."""


@dataclass(frozen=True, slots=True)
class Loaded(SimulatedTask):
    """The simulated task as a server meets it."""

    instruction: str = ""
    warnings: tuple[str, ...] = ()


def fitted(worth: Mapping[str, float], confidence: float = 0.9, prices: tuple[PricePoint, ...] = PRICES) -> Controller:
    """A policy that thinks the same of every state: samples of small, one whole solution of large."""
    arms = (
        ControllerArm("samples", "small", {"name": "single"}, 6),
        ControllerArm("large", "large", {"name": "greedy"}, 1, larger=True),
    )
    options = tuple(Option(arm.name, 1, 1.0) for arm in arms)
    base = np.array([confidence, *(worth.get(arm.name, 0.0) for arm in arms)])
    forest = Forest(base, np.zeros((0, 0), np.int64), np.zeros((0, 0)), np.zeros((0, 1, len(base))))
    policy = ForestRule(
        arms=tuple(arm.name for arm in arms), larger=("large",), options=options, forest=forest, prices=prices
    )
    return Controller(policy, arms, "simulated_prm", "simulated", "samples", 1.0)


@dataclass(slots=True)
class Losing:
    """Loses every sample but each `keeps`-th; of 0 it keeps none."""

    lost: FailedSamples
    keeps: int
    model: Model = field(default_factory=SimulatedModel)
    error: ModelError = field(default_factory=lambda: ModelError("the server is out of order"))
    name: str = "small"
    parameters: int = 1_000
    revises: bool = True
    revises_steps: bool = True
    steps: bool = True
    _drawn: int = 0

    async def sample(self, prompt: str, prefix: str, n: int, **settings: Any) -> list[Completion]:
        found = await self.model.sample(prompt, prefix, n, **settings)
        for index in range(n):
            self._drawn += 1
            if not self.keeps or self._drawn % self.keeps:
                self.lost.record(self.error, 1)
                found[index] = Completion((), "failed", Usage())
            else:
                self.lost.answered += 1
        return found


@dataclass(slots=True)
class Gated:
    """Answers `free` calls at once, every later one only when `gate` is set; `waiting` counts those there are."""

    model: Model = field(default_factory=SimulatedModel)
    free: int = 0
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    waiting: int = 0
    cancelled: int = 0
    name: str = "small"
    parameters: int = 1_000
    revises: bool = True
    revises_steps: bool = True
    steps: bool = True
    _calls: int = 0

    async def sample(self, prompt: str, prefix: str, n: int, **settings: Any) -> list[Completion]:
        self._calls += 1
        if self._calls > self.free:
            self.waiting += 1
            try:
                await self.gate.wait()
            except asyncio.CancelledError:
                self.cancelled += 1
                raise
            finally:
                self.waiting -= 1
        return await self.model.sample(prompt, prefix, n, **settings)


@dataclass(slots=True, kw_only=True)
class SimulatedBackend:
    """Everything in closed form; `keeps` has the small model lose samples, see `Losing`."""

    players: Mapping[str, Model] = field(
        default_factory=lambda: {
            "small": SimulatedModel(skill=0.8, name="small", parameters=1_000),
            "large": SimulatedModel(skill=1.0, name="large", parameters=14_000),
        }
    )
    verifier: Verifier | None = field(default_factory=lambda: SimulatedPRM(parameters=500))
    fitted: Controller | None = None
    task: Loaded = field(default_factory=Loaded)
    grader: str = ""
    limits: Limits = field(default_factory=Limits)
    temperature: float = 1.0
    example: str = PROMPT
    refuses: Mapping[str, str] = field(default_factory=dict)
    """Strategies, with why they are refused."""
    upstreams: Mapping[str, Upstream] = field(default_factory=dict)
    keeps: int | None = None
    error: ModelError = field(default_factory=lambda: ModelError("the server is out of order"))

    @property
    def models(self) -> Sequence[str]:
        return list(self.players)

    def strategies(self, model: str) -> Mapping[str, str | None]:
        return {name: self.refuses.get(name) for name in OFFERED}

    def upstream(self, model: str) -> Upstream | None:
        return self.upstreams.get(model)

    def bind(self, asked: ChatRequest, model: str, strategy: str | None, lost: FailedSamples) -> Binding:
        names = [model]
        if strategy is None:
            assert self.fitted is not None
            names = self.fitted.models
        players = {name: self.players[name] for name in names}
        if self.keeps is not None:
            players["small"] = Losing(lost, self.keeps, self.players["small"], self.error)
        return Binding(players, Problem(asked.prompt, asked.prompt), "")


def body(prompt: str = PROMPT, model: str = "small", **fields: Any) -> dict[str, Any]:
    """Of a chat of one turn."""
    return {"model": model, "messages": [{"role": "user", "content": prompt}], **fields}


def asked(prompt: str = PROMPT, model: str = "small", **fields: Any) -> ChatRequest:
    """The same as it is read."""
    return read_chat(json.dumps(body(prompt, model, **fields)).encode())


def client_of(app: Starlette, key: str | None = None) -> httpx.AsyncClient:
    """A client of the application, in this process; what is unforeseen there is raised here."""
    headers = {} if key is None else {"authorization": f"Bearer {key}"}
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost", headers=headers)


async def until(true: Any) -> None:
    """Let others work until it is true."""
    async with asyncio.timeout(30):
        while not true():  # noqa: ASYNC110 - an event for everything that is waited for would be more code
            await asyncio.sleep(0)


def checked_error(response: httpx.Response) -> dict[str, Any]:
    """The inside of OpenAI's envelope, which has to be one."""
    held = response.json()
    assert set(held) == {"error"}, held
    inside: dict[str, Any] = held["error"]
    assert set(inside) == {"message", "type", "param", "code"}, held
    assert isinstance(inside["message"], str)
    assert inside["message"]
    assert isinstance(inside["type"], str)
    assert inside["param"] is None or isinstance(inside["param"], str)
    assert inside["code"] is None or isinstance(inside["code"], str)
    return inside


def begun(backend: Backend, model: str = "small", **fields: Any) -> tuple[RequestState, str]:
    return Api(backend, ServerSettings()).plan(asked(model=model, **fields), "client", "id")


async def tried(backend: Backend, model: str = "small", *, seconds: float = LONG, **fields: Any) -> RequestState:
    """A request's work, solved."""
    work, name = begun(backend, model, **{"seed": 1, **fields})
    work.answer = await answer_request(work, backend, name, seconds)
    return work


def of(work: RequestState) -> Answer:
    assert work.answer is not None
    return work.answer


def perfect(**changes: Any) -> SimulatedBackend:
    """Every step of every solution is right: all numbers are known."""
    players = {
        "small": SimulatedModel(skill=1.0, name="small", parameters=1_000),
        "large": SimulatedModel(skill=1.0, name="large", parameters=14_000),
    }
    return SimulatedBackend(players=players, **changes)
