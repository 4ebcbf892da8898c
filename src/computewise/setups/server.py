"""The setup of served models: OpenAI-compatible servers, a verifier and a set of problems."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

from computewise.cache import GenerationCache
from computewise.core import LARGE, MODEL, VERIFIER, Model, Role, Usage, Verifier
from computewise.costs import Prices
from computewise.errors import UsageError
from computewise.http.client import CONCURRENCY, HttpClient, api_key_for
from computewise.http.concurrency import Retry
from computewise.http.servers import check_awake
from computewise.models.cached import CachedModel, CachedVerifier
from computewise.models.server.connect import ServerModelSpec, connect_model, spec_from_dict
from computewise.models.server.limits import SpendLimit
from computewise.models.server.model import ServerModel, ServerReportedUsage
from computewise.runs import WHERE
from computewise.session import Limits
from computewise.setups.base import IN_FLIGHT, Roles, SetupSpec
from computewise.setups.embedded import EmbeddedSetup, embedded_roles
from computewise.tasks.dataset import DatasetTask
from computewise.tasks.load import LoadedTask, TaskSpec, load_task
from computewise.verifiers.base import VerifierSpec
from computewise.verifiers.load import open_verifier
from computewise.verifiers.templates import find_template

PATIENT = Retry()
_SIZE_FLAGS: dict[Role, str] = {
    MODEL: "--parameters",
    LARGE: "--large-parameters",
    VERIFIER: "--verifier-parameters",
}
EMBEDDED_PRM = "prm"
"""The embedded process reward model, which reads the embedded tasks only: to try a server with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SpendReport:
    """What a served model spent while open: `saved` came from the cache, `observed` is what its server reported."""

    model: str
    observed: ServerReportedUsage
    saved: Usage


@dataclass(frozen=True, slots=True, kw_only=True)
class SpendPolicy:
    """What a run may cost, and where its answers are cached; nothing here decides a number."""

    tokens: int | None = None
    dollars: float | None = None
    cache: Path | None = None
    concurrency: int = CONCURRENCY
    in_flight: int = IN_FLIGHT
    retry: Retry = PATIENT
    """How often and how long a failed request is retried."""
    account: Callable[[SpendReport], None] | None = None
    """Called with the report of every model when it is closed."""


class ServerSetup:
    """Models and verifier behind their clients."""

    def __init__(self, models: Mapping[Role, Model], verifier: Verifier | None) -> None:
        self._models, self._verifier = models, verifier

    def model(self, role: Role) -> Model:
        """The served model of that role."""
        return self._models[role]

    def verifier(self) -> Verifier | None:
        """See `Setup.verifier`."""
        return self._verifier


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSpec(SetupSpec):
    """`small`, and `large` where there is one, as probed; keys are read from the environment when it is opened."""

    small: ServerModelSpec
    large: ServerModelSpec | None
    verifier: VerifierSpec | None
    """None: the embedded process reward model."""
    problems: TaskSpec
    bounds: Limits
    sampling_temperature: float
    prices: Mapping[Role, Prices]
    spending: SpendPolicy

    def roles(self) -> Roles:
        """Sizes, labels and prices; speeds and shapes of a served model are not known."""
        judge = self.verifier
        sizes = {role: _size(one.parameters, one.label, _SIZE_FLAGS[role]) for role, one in self._served().items()}
        if judge is None:
            sizes[VERIFIER] = embedded_roles().sizes[VERIFIER]
        elif judge.template != "none":
            sizes[VERIFIER] = _size(judge.parameters, self._verifier_name(), _SIZE_FLAGS[VERIFIER])
        return Roles(
            sizes=sizes,
            labels=self.labels(),
            steps=self.small.capabilities.steps,
            prices=self.prices,
        )

    def labels(self) -> Mapping[Role, str]:
        """See `SetupSpec.labels`."""
        return {**{role: one.label for role, one in self._served().items()}, VERIFIER: self._verifier_name()}

    def unknown_sizes(self) -> dict[str, str]:
        """Names of the models whose size nobody knows, each with the flag that says it: no FLOPs can be counted."""
        found = {one.label: _SIZE_FLAGS[role] for role, one in self._served().items() if one.parameters is None}
        judge = self.verifier
        if judge is not None and judge.parameters is None and judge.model != self.small.model:
            found[self._verifier_name()] = _SIZE_FLAGS[VERIFIER]
        return found

    def other_temperatures(self) -> list[tuple[str, float, float | None]]:
        """Models that sample at another temperature than is asked for: their names, that one and theirs."""
        return [
            (one.label, asked, used)
            for one in self._served().values()
            for asked in dict.fromkeys((0.0, self.sampling_temperature))
            if (used := one.capabilities.temperature(asked)) != asked
        ]

    def to_dict(self) -> dict[str, object]:
        """Everything that decides a number and, apart from it, where the servers are; never a key."""
        servers: dict[Role, str] = {role: one.base_url for role, one in self._served().items()}
        verifier: object = EMBEDDED_PRM
        if self.verifier is not None:
            servers |= {VERIFIER: self.verifier.base_url} if self.verifier.base_url else {}
            verifier = {**self.verifier.to_dict(), "base_url": None}
        return {
            "task": self.problems.name,
            "problem_set": self.problems.to_dict(),
            "models": {role: one.to_dict() for role, one in self._served().items()},
            "verifier": verifier,
            "limits": {"steps": self.bounds.steps, "tokens": self.bounds.tokens},
            "temperature": self.sampling_temperature,
            "prices": {role: asdict(one) for role, one in self.prices.items()},
            WHERE: servers,
        }

    def task(self) -> LoadedTask:
        """The task, loaded once in a process."""
        return _loaded(self.problems)

    @asynccontextmanager
    async def open(self) -> AsyncIterator[ServerSetup]:
        """One client for each server, one spend limit and one cache for all."""
        ceiling = SpendLimit(self.spending.tokens, self.spending.dollars)
        async with AsyncExitStack() as stack:
            store = None if self.spending.cache is None else stack.enter_context(GenerationCache(self.spending.cache))
            clients: dict[str, HttpClient] = {}

            async def client(base_url: str, role: Role, most: int | None = None) -> HttpClient:
                # One client, and so one limiter, for each server; its key is that of the first role which it serves.
                base_url = base_url.rstrip("/")
                if base_url not in clients:
                    at_once = min(self.spending.concurrency, most or self.spending.concurrency)
                    opened = HttpClient(
                        base_url, api_key=api_key_for(role), concurrency=at_once, retry=self.spending.retry
                    )
                    if role == VERIFIER:  # the others were probed
                        await check_awake(base_url, api_key_for(role))
                    clients[base_url] = await stack.enter_async_context(opened)
                return clients[base_url]

            models: dict[Role, Model] = {}
            for role, served in self._served().items():
                model = await self._open_model(
                    role, served, await client(served.base_url, role, served.capabilities.slots), ceiling
                )
                models[role] = model if store is None else CachedModel(model, store, self._identity(served))
                stack.callback(self._account, served, model.observed, models[role])
            verifier: Verifier | None
            if self.verifier is None:
                verifier = EmbeddedSetup().verifier()
            else:
                url = self.verifier.base_url
                verifier = await open_verifier(self.verifier, None if url is None else await client(url, VERIFIER))
                if store is not None and url is not None and verifier is not None:
                    verifier = CachedVerifier(verifier, store, _verifier_identity(self.verifier))
            yield ServerSetup(models, verifier)

    def split(self) -> str:
        """All rows of a data set; the test problems of a generated task."""
        return "all" if isinstance(self.task(), DatasetTask) else "test"

    def limits(self) -> Limits:
        """See `SetupSpec.limits`."""
        return self.bounds

    def temperature(self) -> float:
        """See `SetupSpec.temperature`."""
        return self.sampling_temperature

    def in_flight(self) -> int:
        """See `SetupSpec.in_flight`."""
        return self.spending.in_flight

    def _account(self, served: ServerModelSpec, observed: ServerReportedUsage, model: Model) -> None:
        if self.spending.account is not None:
            saved = model.saved if isinstance(model, CachedModel) else Usage()
            self.spending.account(SpendReport(model=served.label, observed=observed, saved=saved))

    def _served(self) -> dict[Role, ServerModelSpec]:
        return {MODEL: self.small, **({} if self.large is None else {LARGE: self.large})}

    def _verifier_name(self) -> str:
        if self.verifier is None:
            return EMBEDDED_PRM
        # A dot in a template's name ends no suffix: qwen2.5-math-7b.
        return self.verifier.model or Path(self.verifier.template).name.removesuffix(".toml")

    def _identity(self, served: ServerModelSpec) -> dict[str, str]:
        """What decides the model's answers, for the keys of the cache; of a template's file its text."""
        task, file = self.task(), Path(served.chat_template or "")
        return {
            "served": json.dumps(served.to_dict()),
            "template": file.read_text("utf-8") if file.is_file() else "",
            "instruction": task.instruction,
            "delimiter": task.delimiter,
        }

    async def _open_model(
        self, role: Role, served: ServerModelSpec, client: HttpClient, ceiling: SpendLimit
    ) -> ServerModel:
        task = self.task()
        return await connect_model(
            served,
            client,
            delimiter=task.delimiter,
            instruction=task.instruction,
            ceiling=ceiling,
            prices=self.prices.get(role),
        )


def spec_from_config(config: Mapping[str, Any]) -> ServerSpec:
    """The setup that `ServerSpec.to_dict` described in a run directory's configuration."""
    servers, held = config[WHERE], config["verifier"]
    models = {role: spec_from_dict(plain, servers[role]) for role, plain in config["models"].items()}
    return ServerSpec(
        small=models[MODEL],
        large=models.get(LARGE),
        verifier=None if held == EMBEDDED_PRM else VerifierSpec(**{**held, "base_url": servers.get(VERIFIER)}),
        problems=TaskSpec(**config["problem_set"]),
        bounds=Limits(**config["limits"]),
        sampling_temperature=config["temperature"],
        prices={role: Prices(**prices) for role, prices in config["prices"].items()},
        spending=SpendPolicy(),
    )


def _size(parameters: int | None, label: str, flag: str) -> int:
    if parameters is None:
        raise UsageError(f"a study counts FLOPs, and the number of parameters of {label} is unknown: give {flag} 7e9")
    return parameters


def _verifier_identity(spec: VerifierSpec) -> dict[str, str]:
    plain = {**spec.to_dict(), "base_url": None}
    return {"spec": json.dumps(plain), "template": repr(find_template(spec.template))}


_loaded = cache(load_task)
