"""Models and verifiers behind servers for synchronous code, async code and notebooks: one event loop in a thread."""

from __future__ import annotations

import asyncio
import atexit
import json
import threading
from collections.abc import Coroutine, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from computewise.cache import GenerationCache
from computewise.core import Attempt, Candidate, Completion, Model, Problem, Usage, Verifier
from computewise.errors import UsageError
from computewise.http.client import HttpClient
from computewise.http.servers import check_awake
from computewise.models.cached import CachedModel
from computewise.models.server.connect import ServerModelSpec, connect_model, probe_model
from computewise.tasks.load import QUESTION, TaskSpec, load_task
from computewise.verifiers.base import VerifierSpec
from computewise.verifiers.load import open_verifier

T = TypeVar("T")

SECONDS_TO_CLOSE = 5.0


class Background:
    """An event loop in a thread, started at first use. All connections are opened on it.

    A connection belongs to one event loop. On this one it serves synchronous code, async code, and a notebook, whose
    own loop is already running. `stack` holds what is closed when the process ends.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self.stack = AsyncExitStack()

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """The coroutine's result, waited for; an interrupt cancels it."""
        loop = self._started()
        if _running() is loop:
            coroutine.close()
            raise UsageError("a synchronous call within a solve would wait for itself: await the async one")
        future = asyncio.run_coroutine_threadsafe(coroutine, loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    async def call(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """The coroutine's result, computed on this loop and awaited on the caller's."""
        loop = self._started()
        if _running() is loop:
            return await coroutine
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(coroutine, loop))

    def _started(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                thread = threading.Thread(target=self._loop.run_forever, name="computewise", daemon=True)
                thread.start()
                atexit.register(self._end, self._loop, thread)
            return self._loop

    def _end(self, loop: asyncio.AbstractEventLoop, thread: threading.Thread) -> None:
        asyncio.run_coroutine_threadsafe(self.stack.aclose(), loop).result(SECONDS_TO_CLOSE)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(SECONDS_TO_CLOSE)
        loop.close()


BACKGROUND = Background()


def _running() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


class BackgroundModel:
    """A model that samples on the background loop, whatever loop calls it."""

    def __init__(self, model: Model | None) -> None:
        self._model = model

    @property
    def opened(self) -> Model:
        """The model itself; raises `UsageError` while its connection is closed."""
        if self._model is None:
            raise UsageError("the connection is closed: open it by `with connect(...) as model`, or `async with`")
        return self._model

    @property
    def name(self) -> str:
        """See `computewise.core.Model.name`."""
        return self.opened.name

    @property
    def parameters(self) -> int | None:
        """See `computewise.core.Model.parameters`."""
        return self.opened.parameters

    @property
    def revises(self) -> bool:
        """See `computewise.core.Model.revises`."""
        return self.opened.revises

    @property
    def revises_steps(self) -> bool:
        """See `computewise.core.Model.revises_steps`."""
        return self.opened.revises_steps

    @property
    def steps(self) -> bool:
        """See `computewise.core.Model.steps`."""
        return self.opened.steps

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
        """See `computewise.core.Model.sample`."""
        return await BACKGROUND.call(
            self.opened.sample(
                prompt,
                prefix,
                n,
                stop=stop,
                max_tokens=max_tokens,
                temperature=temperature,
                seeds=seeds,
                attempts=attempts,
            )
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionSettings:
    """The arguments of `computewise.connect`."""

    base_url: str
    model: str | None
    api_key: str | None
    parameters: float | None
    chat_template: str | None
    thinking: bool
    cache: Path | None
    concurrency: int


class Connection(BackgroundModel):
    """A model behind a server: a `Model`, and a context manager for both `with` and `async with`."""

    def __init__(self, settings: ConnectionSettings) -> None:
        super().__init__(None)
        self._settings = settings
        self._stack = AsyncExitStack()
        self._opened: tuple[ServerModelSpec, HttpClient, GenerationCache | None] | None = None
        self._for_tasks: dict[tuple[str, str], Model] = {}

    @property
    def spec(self) -> ServerModelSpec:
        """What a probe of the server found."""
        return self._open_parts()[0]

    @property
    def client(self) -> HttpClient:
        """The client of the server, for calls on the background loop."""
        return self._open_parts()[1]

    async def for_task(self, delimiter: str, instruction: str) -> Model:
        """The same model with the delimiter of steps and the instruction of a task."""
        return BackgroundModel(await BACKGROUND.call(self._for_task(delimiter, instruction)))

    def __enter__(self) -> Connection:
        BACKGROUND.run(self._open())
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        BACKGROUND.run(self._close())

    async def __aenter__(self) -> Connection:
        await BACKGROUND.call(self._open())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await BACKGROUND.call(self._close())

    def _open_parts(self) -> tuple[ServerModelSpec, HttpClient, GenerationCache | None]:
        if self._opened is None:
            raise UsageError("the connection is closed: open it by `with connect(...) as model`, or `async with`")
        return self._opened

    async def _open(self) -> None:
        settings = self._settings
        if self._opened is not None:
            raise UsageError("the connection is already open")
        spec = await probe_model(
            settings.base_url,
            settings.model,
            api_key=settings.api_key,
            parameters=settings.parameters,
            chat_template=settings.chat_template,
            thinking=settings.thinking,
        )
        slots = spec.capabilities.slots or settings.concurrency
        async with AsyncExitStack() as stack:
            client = await stack.enter_async_context(
                HttpClient(spec.base_url, api_key=settings.api_key, concurrency=min(settings.concurrency, slots))
            )
            store = None if settings.cache is None else stack.enter_context(GenerationCache(settings.cache))
            self._opened = spec, client, store
            question = load_task(TaskSpec(QUESTION))
            self._model = await self._for_task(question.delimiter, question.instruction)
            self._stack = stack.pop_all()

    async def _close(self) -> None:
        self._opened = self._model = None
        self._for_tasks.clear()
        await self._stack.aclose()

    async def _for_task(self, delimiter: str, instruction: str) -> Model:
        spec, client, store = self._open_parts()
        key = delimiter, instruction
        if key not in self._for_tasks:
            model: Model = await connect_model(spec, client, delimiter=delimiter, instruction=instruction)
            identity = {**_identity(spec), "instruction": instruction, "delimiter": delimiter}
            self._for_tasks[key] = model if store is None else CachedModel(model, store, identity)
        return self._for_tasks[key]


def _identity(spec: ServerModelSpec) -> dict[str, str]:
    """What decides the model's answers; the same keys as those of a study, which can use the same cache."""
    file = Path(spec.chat_template or "")
    return {"served": json.dumps(spec.to_dict()), "template": file.read_text("utf-8") if file.is_file() else ""}


@dataclass(frozen=True, slots=True)
class BackgroundVerifier:
    """A verifier that scores on the background loop; `label` is its name in a controller's file."""

    verifier: Verifier
    label: str

    @property
    def name(self) -> str:
        """See `computewise.core.Verifier.name`."""
        return self.verifier.name

    @property
    def parameters(self) -> int | None:
        """See `computewise.core.Verifier.parameters`."""
        return self.verifier.parameters

    async def score(self, problem: Problem, candidates: Sequence[Candidate]) -> tuple[list[tuple[float, ...]], Usage]:
        """See `computewise.core.Verifier.score`."""
        return await BACKGROUND.call(self.verifier.score(problem, candidates))

    def value(self, scores: Sequence[float]) -> float:
        """See `computewise.core.Verifier.value`."""
        return self.verifier.value(scores)


async def connect_verifier(spec: VerifierSpec, client: HttpClient | None, api_key: str | None) -> BackgroundVerifier:
    """The verifier of a specification, opened on the background loop; without a client one of its own, for good."""

    async def opened() -> Verifier:
        used = client
        if used is None and spec.base_url is not None:
            await check_awake(spec.base_url, api_key)
            used = await BACKGROUND.stack.enter_async_context(HttpClient(spec.base_url, api_key=api_key))
        found = await open_verifier(spec, used)
        if found is None:
            raise UsageError('the verifier "none" is no verifier: leave the verifier out')
        return found

    label = spec.model or Path(spec.template).name.removesuffix(".toml")
    return BackgroundVerifier(await BACKGROUND.call(opened()), label)
